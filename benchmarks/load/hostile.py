"""Load client for hostile actors: a connection to each, over which it is told to misbehave again and again.

Usage: python -m benchmarks.load.hostile URL DEED
Command: how many more connections to open; 0 has all begin, twice a second each. Reply: {"open": how many}.

What is appended to the URL's path names the actor. What they answer, if anything, is not looked at.
"""

import asyncio
import sys

import uvloop
from picows import WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.opening import open_all

PAUSE_SECONDS = 0.5


class Attack:
    """The connections of one client."""

    def __init__(self, url: str, deed: str) -> None:
        self._url = url
        self._deed = deed.encode()
        self._transports: list[WSTransport] = []
        self._telling: asyncio.Task[None] | None = None

    async def go_on(self, count: float) -> Reply:
        await open_all(self._open_one, int(count))
        if not count and self._telling is None:
            self._telling = asyncio.create_task(self._tell())
        if self._telling is not None and self._telling.done():
            raise LoadError(f"the attack has ended: {self._telling.exception()!r}")
        return {"open": len(self._transports)}

    async def _open_one(self, number: int) -> None:
        transport, _ = await ws_connect(WSListener, f"{self._url}hostile/{number}")
        self._transports.append(transport)

    async def _tell(self) -> None:
        while True:
            for transport in self._transports:
                transport.send(WSMsgType.TEXT, self._deed)
                await asyncio.sleep(PAUSE_SECONDS / len(self._transports))


async def main(url: str, deed: str) -> None:
    await serve_commands(Attack(url, deed).go_on)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
