"""Load client for one huge message: sends it piece by piece, as one frame or as many fragments.

Usage: python -m benchmarks.load.stream URL frame|fragments
Command: how many mebibytes to send. Reply: see `Stream.run`.

The server answers with the size in bytes as a text, or sends the message back in frames of any size, which
are compared with what was sent.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from itertools import chain, repeat

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.frames import client_frame, client_head, masked

PIECE = random.Random(0).randbytes(64 * 1024)
"""What the message repeats; a fragment."""

PIECES = PIECE * 64  # of which the payload of any frame is a part
MEBIBYTE = 1024 * 1024
WRITE_BUFFER = 512 * 1024
LEAST_MEBIBYTES_PER_SECOND = 8


def one_frame(size: int) -> Iterator[bytes]:
    """A message of so many bytes, a multiple of a piece's, as a single frame."""
    return chain([client_head(WSMsgType.BINARY, size)], repeat(masked(PIECE), size // len(PIECE)))


def fragments(size: int) -> Iterator[bytes]:
    """The same with a frame for each piece (RFC 6455 section 5.4)."""
    middle = client_frame(WSMsgType.CONTINUATION, PIECE, fin=False)
    return chain(
        [client_frame(WSMsgType.BINARY, PIECE, fin=False)],
        repeat(middle, size // len(PIECE) - 2),
        [client_frame(WSMsgType.CONTINUATION, PIECE)],
    )


class Stream(WSListener):
    """A connection that sends one message at a time, no faster than the server takes it."""

    def __init__(self, form: str) -> None:
        self._form = one_frame if form == "frame" else fragments
        self._pieces: Iterator[bytes] = iter(())
        self._size = 0
        self._received = 0
        self._writable = True
        self._answered: asyncio.Future[None] | None = None

    async def run(self, mebibytes: float) -> Reply:
        """Send a message. Answers with how many `seconds` passed until the answer was complete, and with the
        `client_cpu_seconds` that this process used meanwhile."""
        self._size, self._received = int(mebibytes) * MEBIBYTE, 0
        self._pieces = self._form(self._size)
        self._answered = asyncio.get_running_loop().create_future()
        cpu, start = time.process_time(), time.perf_counter_ns()
        self._pump()
        try:
            await asyncio.wait_for(self._answered, 10 + mebibytes / LEAST_MEBIBYTES_PER_SECOND)
        except TimeoutError:
            raise LoadError(f"no answer to a message of {mebibytes:g} MiB") from None
        elapsed, cpu = time.perf_counter_ns() - start, time.process_time() - cpu
        return {"seconds": elapsed / 1e9, "client_cpu_seconds": cpu}

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport.underlying_transport
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._pump()

    def _pump(self) -> None:
        while self._writable and (piece := next(self._pieces, None)):
            self._transport.write(piece)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type is WSMsgType.TEXT:
            self._received = self._size if payload == str(self._size).encode() else -1
        elif PIECES.startswith(payload, self._received % len(PIECE)):
            self._received += len(payload)
        else:
            self._received = -1
        if frame.fin or self._received < 0:
            self._end(None if self._received == self._size else f"the answer is wrong: {frame}")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._end(f"the server closed the connection: {transport.close_handshake}")

    def _end(self, fault: str | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if fault:
            self._answered.set_exception(LoadError(fault))
        else:
            self._answered.set_result(None)


async def main(url: str, form: str) -> None:
    stream = Stream(form)
    await ws_connect(lambda: stream, url)
    await serve_commands(stream.run)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
