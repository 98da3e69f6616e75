"""Load client that never reads: opens connections and leaves what comes in the kernel's hands.

Usage: python -m benchmarks.load.silent URL
Command: how many more connections to open. Reply: {"open": how many have been opened}.
"""

import asyncio
import socket
import sys
from urllib.parse import urlsplit

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.handshakes import ACCEPT, upgrade_request


class SilentConnections:
    """Sockets that are held open, and never read again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sockets: list[socket.socket] = []

    async def open_more(self, count: float) -> Reply:
        for _ in range(int(count)):
            self._sockets.append(await asyncio.to_thread(self._open))
        return {"open": len(self._sockets)}

    def _open(self) -> socket.socket:
        address = urlsplit(self._url)
        connection = socket.create_connection((address.hostname, address.port), timeout=10)
        connection.sendall(upgrade_request(self._url))
        head = connection.recv(4096)
        if ACCEPT not in head:
            raise LoadError(f"the server did not upgrade: {head[:80]!r}")
        return connection


async def main(url: str) -> None:
    await serve_commands(SilentConnections(url).open_more)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
