"""Load client for idle connections: opens them and holds them open.

Usage: python -m benchmarks.load.idle URL
Command: how many more connections to open (may be 0). Reply: {"open": how many are open now}.
"""

import asyncio
import sys

import uvloop
from picows import WSListener, WSTransport, ws_connect

from benchmarks.load.commands import Reply, serve_commands

AT_ONCE = 32  # handshakes under way together: well below the listen backlog of every server


class IdleConnections:
    """The open connections of one client."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = 0
        self._places = asyncio.Semaphore(AT_ONCE)

    async def open_more(self, count: float) -> Reply:
        await asyncio.gather(*(self._open_one() for _ in range(int(count))))
        return {"open": self._open}

    async def _open_one(self) -> None:
        async with self._places:
            await ws_connect(lambda: IdleConnection(self), self._url)
        self._open += 1

    def closed_one(self) -> None:
        self._open -= 1


class IdleConnection(WSListener):
    """Sends nothing; answers pings, as picows does by itself."""

    def __init__(self, connections: IdleConnections) -> None:
        self._connections = connections

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._connections.closed_one()


async def main(url: str) -> None:
    await serve_commands(IdleConnections(url).open_more)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
