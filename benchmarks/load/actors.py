"""Load client for actors: a connection to each, which is told something, answers, and stays.

Usage: python -m benchmarks.load.actors URL
Command: how many more (may be 0), one after another. Reply: {"open": how many there are now}, and of those
just made `first_reply_p50_ms` and `first_reply_p99_ms`: from opening the TCP connection to the reply.

What is appended to the URL's path names the actor, so that each connection is the first to one of its own.
"""

import asyncio
import sys
import time

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands

REPLY_SECONDS = 30.0
MESSAGE = b"To be, or not to be, that is the question: whether 'tis nobler .."


class Actors:
    """The actors of one client."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made = 0
        self.open = 0

    async def make(self, count: float) -> Reply:
        times = sorted([await self._make_one() for _ in range(int(count))])
        if not times:
            return {"open": self.open}
        return {
            "open": self.open,
            "first_reply_p50_ms": times[len(times) // 2],
            "first_reply_p99_ms": times[len(times) * 99 // 100],
        }

    async def _make_one(self) -> float:
        """Milliseconds that it took."""
        self._made += 1
        connection = ActorConnection(self)
        began = time.perf_counter_ns()
        transport, _ = await ws_connect(lambda: connection, f"{self._url}{self._made}")
        self.open += 1
        transport.send(WSMsgType.TEXT, MESSAGE)
        try:
            await asyncio.wait_for(connection.replied, REPLY_SECONDS)
        except TimeoutError:
            raise LoadError(f"actor {self._made} did not reply within {REPLY_SECONDS:g} s") from None
        return (time.perf_counter_ns() - began) / 1e6


class ActorConnection(WSListener):
    """A connection to an actor that nobody else talks to."""

    def __init__(self, actors: Actors) -> None:
        self._actors = actors
        self.replied: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.replied.done():
            return
        if frame.get_payload_as_bytes() == MESSAGE:
            self.replied.set_result(None)
        else:
            self.replied.set_exception(LoadError(f"the reply is not what was sent: {frame}"))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._actors.open -= 1
        if not self.replied.done():
            self.replied.set_exception(LoadError("the server closed a connection"))


async def main(url: str) -> None:
    await serve_commands(Actors(url).make)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
