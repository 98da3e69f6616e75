"""Load client for rooms: some members say something at once, and every member must hear all of it.

Usage: python -m benchmarks.load.room URL MEMBERS SPEAKERS PAYLOAD_BYTES seconds|exchanges
Command: how many seconds to go on for, or how many exchanges to have. Reply: see `Room.run`.

An exchange is over when every member, speakers included, has heard every speaker once; then the next begins.
Every member is a connection that reads all it gets. If the URL says so, it speaks Socket.IO.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.frames import client_frame
from benchmarks.load.opening import open_all

EXCHANGE_SECONDS = 10.0
NAME_BYTES = 8  # what texts begin with: the number of their speaker
SOCKET_IO = b'42["say","', b'"]'  # an event with one argument, before and behind its text


class Speech:
    """What is said in every exchange, and what a member hears of it.

    Args:
        speakers: how many there are.
        size: bytes of a text.
        wrapping: what stands before and behind a text in a message.
    """

    def __init__(self, speakers: int, size: int, wrapping: tuple[bytes, bytes] = (b"", b"")) -> None:
        before, behind = wrapping
        self._name = slice(len(before), len(before) + NAME_BYTES)
        self._payloads = [before + _text(number, size) + behind for number in range(speakers)]
        self._places = {payload[self._name]: place for place, payload in enumerate(self._payloads)}
        self.frames = [client_frame(WSMsgType.TEXT, payload) for payload in self._payloads]
        self.everyone = (1 << speakers) - 1

    def speaker(self, payload: bytes) -> int:
        """The bit of the one who said this; 0 if nobody did."""
        place = self._places.get(payload[self._name])
        return 0 if place is None or payload != self._payloads[place] else 1 << place


def _text(number: int, size: int) -> bytes:
    letters = random.Random(number).choices(b"abcdefghijklmnopqrstuvwxyz 0123456789", k=size - NAME_BYTES)
    return f"{number:0{NAME_BYTES}}".encode() + bytes(letters)


class Room:
    """The members, and the exchange that is under way."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.members: list[Member] = []
        self.latencies: list[int] = []
        self.said_at = 0
        self._waiting = 0  # members that have not heard everything yet
        self._exchanges = 0
        self._enough: Callable[[], bool] = lambda: True
        self._finished: asyncio.Future[None] | None = None
        self._fault: str | None = None

    async def for_seconds(self, seconds: float) -> Reply:
        deadline = time.perf_counter_ns() + int(seconds * 1e9)
        return await self.run(lambda: time.perf_counter_ns() >= deadline)

    async def for_exchanges(self, count: float) -> Reply:
        return await self.run(lambda: self._exchanges >= count)

    async def run(self, enough: Callable[[], bool]) -> Reply:
        """Have exchanges until there were enough. Answers with

        - `messages`: how many were said, `deliveries`: how many were heard, and `seconds`: how long it took;
        - `delivery_p50_us`, `delivery_p99_us`: from saying something until a member has heard everything;
        - `client_cpu_seconds`: what this process used meanwhile.
        """
        self._enough, self._exchanges, self.latencies = enough, 0, []
        self._finished = asyncio.get_running_loop().create_future()
        cpu, start = time.process_time(), time.perf_counter_ns()
        self._begin()
        await self._watch(self._finished)
        elapsed, cpu = time.perf_counter_ns() - start, time.process_time() - cpu
        latencies = sorted(self.latencies)
        messages = self._exchanges * len(self.speech.frames)
        return {
            "messages": messages,
            "deliveries": messages * len(self.members),
            "seconds": elapsed / 1e9,
            "delivery_p50_us": latencies[len(latencies) // 2] / 1e3,
            "delivery_p99_us": latencies[len(latencies) * 99 // 100] / 1e3,
            "client_cpu_seconds": cpu,
        }

    async def _watch(self, finished: asyncio.Future[None]) -> None:
        """Until the run ends, or an exchange takes too long."""
        while not finished.done():
            exchanges = self._exchanges
            await asyncio.wait([finished], timeout=EXCHANGE_SECONDS)
            if not finished.done() and exchanges == self._exchanges:
                self.fail(f"{self._waiting} members did not hear everything within {EXCHANGE_SECONDS:g} s")
        await finished

    def _begin(self) -> None:
        if self._fault:
            self.fail(self._fault)
            return
        self._waiting = len(self.members)
        self.said_at = time.perf_counter_ns()
        for member, frame in zip(self.members, self.speech.frames, strict=False):
            member.write(frame)

    def heard_everything(self) -> None:
        """A member has heard all that is said in this exchange."""
        self.latencies.append(time.perf_counter_ns() - self.said_at)
        self._waiting -= 1
        if self._waiting:
            return
        self._exchanges += 1
        if not self._enough():
            self._begin()
        elif self._finished and not self._finished.done():
            self._finished.set_result(None)

    def fail(self, why: str) -> None:
        """Fail the run, or the next one if none is under way."""
        self._fault = self._fault or why
        if self._finished and not self._finished.done():
            self._finished.set_exception(LoadError(self._fault))


class Member(WSListener):
    """A connection that hears, and may speak."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._heard = 0
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.write = transport.underlying_transport.write
        self.joined.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        speech = self._room.speech
        speaker = speech.speaker(frame.get_payload_as_bytes())
        if not speaker or self._heard & speaker:
            self._room.fail(f"a member heard what nobody said, or said only once: {frame}")
        self._heard |= speaker
        if self._heard == speech.everyone:
            self._heard = 0
            self._room.heard_everything()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._room.fail("the server closed a connection")


class SocketIoMember(Member):
    """The same in Socket.IO (protocol 5 in Engine.IO's protocol 4)."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.write = transport.underlying_transport.write

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        packet = frame.get_payload_as_bytes()
        if packet.startswith(b"42"):  # event
            super().on_ws_frame(transport, frame)
        elif packet.startswith(b"0"):  # open: connect to the main namespace
            transport.send(WSMsgType.TEXT, b"40")
        elif packet.startswith(b"40"):
            self.joined.set_result(None)
        elif packet == b"2":  # ping
            transport.send(WSMsgType.TEXT, b"3")


async def main(url: str, members: int, speakers: int, size: int, unit: str) -> None:
    socket_io = "EIO=4" in url
    room = Room(Speech(speakers, size, SOCKET_IO) if socket_io else Speech(speakers, size))

    async def join(_number: int) -> None:
        member = SocketIoMember(room) if socket_io else Member(room)
        await ws_connect(lambda: member, url)
        await asyncio.wait_for(member.joined, EXCHANGE_SECONDS)
        room.members.append(member)

    await open_all(join, members)
    await serve_commands(room.for_seconds if unit == "seconds" else room.for_exchanges)


if __name__ == "__main__":
    url, members, speakers, size, unit = sys.argv[1:]
    uvloop.run(main(url, int(members), int(speakers), int(size), unit))
