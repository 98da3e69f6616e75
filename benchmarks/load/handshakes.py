"""Load client for handshakes: opens connections as fast as it can, several at once.

Usage: python -m benchmarks.load.handshakes URL
Command: how many to open; 0 closes them all. Reply: see `Handshakes.run`; {} for 0.

The request is made beforehand, and the answer only searched for what it must hold. Compression is offered,
as browsers do. Closing is a command of
its own, so that it does not count; it is answered when the server has closed them too.
"""

import asyncio
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop
from picows import WSMsgType

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.deflate import OFFER
from benchmarks.load.frames import client_frame
from benchmarks.load.opening import open_all

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Key and answer of RFC 6455's own example (section 1.3)."""

GOODBYE = client_frame(WSMsgType.CLOSE, (1000).to_bytes(2, "big"))
ANSWER_SECONDS = 10.0


def upgrade_request(url: str, *more: tuple[str, str]) -> bytes:
    """The head of a request as browsers send it, but for cookies and extensions.

    Args:
        url: of the server.
        more: header fields besides.
    """
    address = urlsplit(url)
    fields = (
        f"GET {address.path} HTTP/1.1",
        f"Host: {address.netloc}",
        "Connection: Upgrade",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
        "Upgrade: websocket",
        f"Origin: http://{address.netloc}",
        "Sec-WebSocket-Version: 13",
        "Accept-Encoding: gzip, deflate",
        "Accept-Language: en-GB,en;q=0.9",
        f"Sec-WebSocket-Key: {KEY}",
        *(f"{name}: {value}" for name, value in more),
    )
    return "\r\n".join((*fields, "", "")).encode()


class Handshake(asyncio.Protocol):
    """One connection, from its request to its end."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        if self._head.startswith(b"HTTP/1.1 101 ") and ACCEPT in self._head:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(LoadError(f"the server did not upgrade: {self._head[:80]!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)
        if not self.opened.done():
            self.opened.set_exception(LoadError("the server closed a connection"))

    def close(self) -> None:
        self._transport.write(GOODBYE)
        self._transport.write_eof()


class Handshakes:
    """The connections that are open."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._request = upgrade_request(url, *OFFER.items())
        self._open: list[Handshake] = []
        self._times: list[int] = []

    async def run(self, count: float) -> Reply:
        """Open so many. Answers with

        - `handshakes`: how many were made, and `seconds`: how long that took;
        - `handshake_p50_us`, `handshake_p99_us`: from connecting to the answer;
        - `client_cpu_seconds`: what this process used meanwhile.
        """
        if not count:
            await self._close_all()
            return {}
        self._times = []
        cpu, start = time.process_time(), time.perf_counter_ns()
        await open_all(self._open_one, int(count))
        elapsed, cpu = time.perf_counter_ns() - start, time.process_time() - cpu
        times = sorted(self._times)
        return {
            "handshakes": len(times),
            "seconds": elapsed / 1e9,
            "handshake_p50_us": times[len(times) // 2] / 1e3,
            "handshake_p99_us": times[len(times) * 99 // 100] / 1e3,
            "client_cpu_seconds": cpu,
        }

    async def _open_one(self, _number: int) -> None:
        start = time.perf_counter_ns()
        loop = asyncio.get_running_loop()
        _, handshake = await loop.create_connection(lambda: Handshake(self._request), self._host, self._port)
        await handshake.opened
        self._times.append(time.perf_counter_ns() - start)
        self._open.append(handshake)

    async def _close_all(self) -> None:
        for handshake in self._open:
            handshake.close()
        if self._open:
            _, left = await asyncio.wait([each.closed for each in self._open], timeout=ANSWER_SECONDS)
            if left:
                raise LoadError(f"the server did not close {len(left)} connections")
        self._open.clear()


async def main(url: str) -> None:
    await serve_commands(Handshakes(url).run)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
