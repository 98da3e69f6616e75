"""Servers for tests: on a real port, or in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from theater.app import Theater, bind
from theater.client import ClientConnection
from theater.client.connection import Url
from theater.config import Served, manifests_of
from theater.contract import Headers
from theater.limits import Limits
from theater.testing.clock import VirtualClock
from theater.testing.memory import MemoryTransport, link


class Server:
    """A running server on a free port of 127.0.0.1."""

    def __init__(self, theater: Theater, port: int) -> None:
        self.theater = theater
        self.port = port

    def url(self, path: str = "/", scheme: str = "ws") -> str:
        """The URL of a path on this server."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def serve(
    *served: Served, path: str = "/", instance: str = "", limits: Limits = Limits()
) -> AsyncIterator[Server]:
    """Serves actors on a free port, and stops with the block.

    Args:
        served: what to serve.
        path, instance: for actor classes, as in a manifest's handler.
        limits: what the server allows.
    """
    theater = Theater(manifests_of(served, path, instance, limits), limits)
    sock = bind("127.0.0.1", 0)
    await theater.start(sock)
    try:
        yield Server(theater, sock.getsockname()[1])
    finally:
        await theater.stop()


class Stage:
    """A server without a port, whose connections and time are in the test's hands.

    Attributes:
        clock: the server's.
        theater: the server.
    """

    def __init__(self, theater: Theater, clock: VirtualClock) -> None:
        self.theater = theater
        self.clock = clock

    async def connect(
        self,
        path: str = "/",
        *,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        split: int | None = None,
    ) -> "StageConnection":
        """Opens a WebSocket in memory.

        Args:
            path: path and query.
            headers: added to the request.
            subprotocols: to offer.
            split: bytes that reach the server at a time; all at once if left out.

        Raises:
            ConnectFailed: the server refused.
        """
        url = f"ws://stage{path}"
        client, server = link()
        server.split = split
        connection = StageConnection(
            url, Url.parse(url), Headers(headers), subprotocols, Limits().max_message
        )
        connection.wire, connection.server_wire = client, server
        server.set_protocol(self.theater.new_connection())
        client.set_protocol(connection)
        server.get_protocol().connection_made(server)
        connection.connection_made(client)
        await connection.opened
        return connection


class StageConnection(ClientConnection):
    """The client's end of a connection in memory.

    Attributes:
        wire: the transport at the client's end; its faults are the client's.
        server_wire: the transport at the server's end.
    """

    wire: MemoryTransport
    server_wire: MemoryTransport


@asynccontextmanager
async def stage(
    *served: Served, path: str = "/", instance: str = "", limits: Limits = Limits()
) -> AsyncIterator[Stage]:
    """Sets up actors in memory under a virtual clock; arguments as of `serve`.

    At the end of the block connections are closed as a server closes them, and cut off when that
    takes longer than a second of real time.
    """
    clock = VirtualClock()
    theater = Theater(manifests_of(served, path, instance, limits), limits, clock=clock)
    try:
        yield Stage(theater, clock)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await theater.stop()
