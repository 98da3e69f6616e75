"""Load client for echo: sends batches of messages on several connections and checks every reply in full.

Usage: python -m benchmarks.load.echo URL CONNECTIONS text|binary|deflate PAYLOAD_BYTES IN_FLIGHT
Command: seconds to send for. Reply: see `EchoLoad.run`.

A connection writes IN_FLIGHT ready-made frames in one call, waits for all the replies, and begins again. When
the time is up no new batch is begun, but those on their way are waited for: only answered messages are
counted, and both sides are idle when the command is answered.

With `deflate` the messages are JSON, compressed beforehand, and every reply must be compressed too.
"""

import asyncio
import random
import sys
import time
from itertools import cycle

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.deflate import Inflater, connect_compressed, deflate, json_messages
from benchmarks.load.frames import client_frame

LAST_REPLIES_SECONDS = 10.0
DEFLATE_BATCHES = 64  # of 1 KiB: more than any window holds, so that none finds an earlier copy of a message


class Run:
    """What the connections share while one command is carried out. Times are `time.perf_counter_ns`."""

    def __init__(self, connections: int, deadline: int) -> None:
        self.deadline = deadline
        self.round_trips: list[int] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._busy = connections

    def connection_finished(self) -> None:
        self._busy -= 1
        if not self._busy:
            self.finished.set_result(None)

    def fail(self, why: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(LoadError(why))


class EchoConnection(WSListener):
    """One connection. Its messages are its own, so that a mixed-up or reordered reply is noticed."""

    def __init__(self, kind: WSMsgType, batches: list[list[bytes]]) -> None:
        self._kind = kind
        self._batches = cycle([(b"".join(map(self._frame, batch)), batch) for batch in batches])
        self._payloads: list[bytes] = []
        self._answered = 0
        self._sent_at = 0
        self._run: Run | None = None
        self._fault: str | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._write = transport.underlying_transport.write

    def _frame(self, payload: bytes) -> bytes:
        """A message as it is sent."""
        return client_frame(self._kind, payload)

    def _payload(self, frame: WSFrame) -> bytes | None:
        """The message that a reply holds."""
        return frame.get_payload_as_bytes()

    def begin(self, run: Run) -> None:
        self._run = run
        if self._fault:
            run.fail(self._fault)
        else:
            self._send_batch(time.perf_counter_ns())

    def _send_batch(self, now: int) -> None:
        self._answered = 0
        self._sent_at = now
        frames, self._payloads = next(self._batches)
        self._write(frames)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        run = self._run
        if run is None:
            self._fail("the server sent a message that nobody asked for")
            return
        if frame.msg_type is not self._kind or self._payload(frame) != self._payloads[self._answered]:
            self._fail(f"reply {self._answered} of a batch is not what was sent: {frame}")
            return
        self._answered += 1
        if self._answered == len(self._payloads):
            now = time.perf_counter_ns()
            run.round_trips.append(now - self._sent_at)
            if now < run.deadline:
                self._send_batch(now)
            else:
                self._run = None
                run.connection_finished()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._fail("the server closed a connection")

    def _fail(self, why: str) -> None:
        """Fail the run, or the next one if none is under way."""
        self._fault = self._fault or why
        if self._run:
            self._run.fail(self._fault)


class DeflateEchoConnection(EchoConnection):
    """The same, compressed both ways."""

    def __init__(self, kind: WSMsgType, batches: list[list[bytes]]) -> None:
        super().__init__(kind, batches)
        self._inflater = Inflater()

    def _frame(self, payload: bytes) -> bytes:
        return client_frame(self._kind, deflate(payload), compressed=True)

    def _payload(self, frame: WSFrame) -> bytes | None:
        return self._inflater.inflate(frame.get_payload_as_bytes()) if frame.rsv1 else None


class EchoLoad:
    """A number of connections to one server, and their messages."""

    def __init__(self, connections: list[EchoConnection], in_flight: int) -> None:
        self._connections = connections
        self._in_flight = in_flight

    async def run(self, seconds: float) -> Reply:
        """Send for so long. Answers with

        - `messages`: how many were answered, and `seconds`: from the first byte sent to the last reply;
        - `round_trip_p50_us`, `round_trip_p99_us`: from writing a batch to its last reply;
        - `client_cpu_seconds`: what this process used meanwhile.
        """
        cpu, start = time.process_time(), time.perf_counter_ns()
        run = Run(len(self._connections), start + int(seconds * 1e9))
        for connection in self._connections:
            connection.begin(run)
        try:
            await asyncio.wait_for(run.finished, seconds + LAST_REPLIES_SECONDS)
        except TimeoutError:
            raise LoadError(f"a reply did not come within {LAST_REPLIES_SECONDS:g} s") from None
        elapsed, cpu = time.perf_counter_ns() - start, time.process_time() - cpu
        round_trips = sorted(run.round_trips)
        return {
            "messages": len(round_trips) * self._in_flight,
            "seconds": elapsed / 1e9,
            "round_trip_p50_us": round_trips[len(round_trips) // 2] / 1e3,
            "round_trip_p99_us": round_trips[len(round_trips) * 99 // 100] / 1e3,
            "client_cpu_seconds": cpu,
        }


def make_payloads(kind: WSMsgType, size: int, connection: int, in_flight: int) -> list[bytes]:
    """Different for every connection and place in the batch, the same in every run; text is ASCII."""
    numbers = random.Random(connection)
    letters = bytes(range(256)) if kind is WSMsgType.BINARY else b"abcdefghijklmnopqrstuvwxyz 0123456789"
    return [bytes(numbers.choices(letters, k=size)) for _ in range(in_flight)]


async def open_plain(url: str, kind: WSMsgType, number: int, size: int, in_flight: int) -> EchoConnection:
    connection = EchoConnection(kind, [make_payloads(kind, size, number, in_flight)])
    await ws_connect(lambda: connection, url)
    return connection


async def open_compressed(url: str, number: int, size: int, in_flight: int) -> EchoConnection:
    messages = json_messages(number, DEFLATE_BATCHES * in_flight, size)
    batches = [messages[start : start + in_flight] for start in range(0, len(messages), in_flight)]
    connection = DeflateEchoConnection(WSMsgType.TEXT, batches)
    await connect_compressed(connection, url)
    return connection


async def main(url: str, connections: int, kind: str, size: int, in_flight: int) -> None:
    opened = []
    for number in range(connections):
        if kind == "deflate":
            opened.append(await open_compressed(url, number, size, in_flight))
        else:
            opened.append(await open_plain(url, WSMsgType[kind.upper()], number, size, in_flight))
    await serve_commands(EchoLoad(opened, in_flight).run)


if __name__ == "__main__":
    url, connections, kind, size, in_flight = sys.argv[1:]
    uvloop.run(main(url, int(connections), kind, int(size), int(in_flight)))
