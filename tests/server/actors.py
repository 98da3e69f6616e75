"""What the tests of open connections share: actors that remember, servers for them, and clients that
read slowly or speak in exact bytes."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.protocol.wire import read_frames
from tests.server.raw import Raw, dial, handshake, settle, until

from theater import Actor, Binary, Closed, Connection, Event, Received, Text
from theater.config import Manifest
from theater.limits import Limits
from theater.protocol.frames import encode_head
from theater.runtime.cell import Cell
from theater.runtime.ports import Reply
from theater.server.connection import WebSocketConnection
from theater.testing import MemoryTransport, Server, Stage, link, serve, stage

_NARROW: Final = 4096  # bytes that each end's kernel may hold; it makes a few times as many of it


class Recorder(Actor):
    """Keeps what happens in the class, and echoes data."""

    seen: list[Event]

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        self.seen.append(event)
        match event:
            case Received(Text() | Binary() as message):
                return message
        return None


def recorder(base: type[Recorder] = Recorder) -> type[Recorder]:
    """A class with a memory of its own."""
    return type("Recorder", (base,), {"seen": []})


def closed(actor: type[Recorder]) -> list[Closed]:
    """How the actor's connections have ended."""
    return [event for event in actor.seen if isinstance(event, Closed)]


def routed(actor: type[Actor], path: str = "/", instance: str = "", **options: Any) -> Manifest:
    """A manifest for an actor, whose routes have more than a path."""
    manifest = Manifest.of(actor, path, instance)
    routes = tuple(msgspec.structs.replace(route, **options) for route in manifest.routes)
    return msgspec.structs.replace(manifest, routes=routes)


@asynccontextmanager
async def opened(
    *served: type[Actor] | Manifest, path: str = "/", limits: Limits = Limits()
) -> AsyncIterator[tuple[Server, Raw]]:
    """A server on a port, and a connection to it behind the handshake."""
    async with serve(*served, path=path, limits=limits) as server, dial(server.port) as raw:
        await raw.upgraded()
        yield server, raw


# What can be seen of a server


def connections(server: Server | Stage) -> list[WebSocketConnection]:
    """The open connections."""
    return list(server.theater._hub.open)  # type: ignore[arg-type]  # there are no others


def nobody_left(server: Server | Stage) -> bool:
    return not server.theater._hub.open


def cell_of(server: Server | Stage) -> Cell:
    """Its only actor."""
    [cell] = server.theater.system
    return cell


def nothing_kept(server: Server | Stage) -> bool:
    """Whether a server has given back all that connections took."""
    admission = server.theater.admission
    return (
        nobody_left(server)
        and not server.theater._hub.budget.taken
        and not admission._open
        and not admission._actors
        and not admission._connections
        and not any(cell.connections or cell.queued or cell.task for cell in server.theater.system)
    )


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# Clients that send a lot, or do not read


def bulk(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """As `client_frame`, for megabytes: the masking key changes nothing."""
    return encode_head(fin << 7 | rsv << 4 | opcode, len(payload), masked=True) + bytes(4) + payload


@asynccontextmanager
async def dial_narrowly(port: int) -> AsyncIterator[Raw]:
    """As `dial`, with little room in the kernel; call `narrow` when it has been upgraded."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=_NARROW)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def narrow(connection: WebSocketConnection) -> None:
    """Leaves little room in the kernel for what a connection sends."""
    sock = connection._transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NARROW)


def stop_reading(raw: Raw) -> None:
    """From now on the client does not read."""
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is not one for writing only


def read_again(raw: Raw) -> None:
    """From now on it does."""
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]


# Connections in memory, for exact bytes


class Counting(MemoryTransport):
    """Counts the writes of the server, and keeps what was written."""

    written: list[bytes]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        super().write(data)


def counting(transport: MemoryTransport) -> list[bytes]:
    """Counts the writes of a transport from now on."""
    transport.__class__ = Counting
    assert isinstance(transport, Counting)
    transport.written = []
    return transport.written


class Sink(asyncio.Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """What came behind the response to the handshake."""
        behind = self.data.partition(b"\r\n\r\n")[2]
        return [(frame.first, frame.payload) for frame in read_frames(behind)]


def bare(theater: Stage) -> tuple[MemoryTransport, Sink]:
    """The client's end of a new connection, and what keeps all that arrives there."""
    client, server = link()
    protocol = theater.theater.new_connection()
    server.set_protocol(protocol)
    protocol.connection_made(server)
    sink = Sink()
    client.set_protocol(sink)
    return client, sink


@asynccontextmanager
async def entered(
    *served: type[Actor] | Manifest, limits: Limits = Limits()
) -> AsyncIterator[tuple[Stage, MemoryTransport, Sink]]:
    """A server in memory, and a connection to it that has been upgraded; nothing may be left in the end."""
    async with stage(*served, limits=limits) as theater:
        client, sink = bare(theater)
        client.write(handshake())
        await settle()
        yield theater, client, sink
        client.abort()
        await later(theater, 10)  # a batch may be waiting
        await until(lambda: nothing_kept(theater))


async def later(theater: Stage, seconds: float) -> None:
    """Lets time pass, and no more than a second of it between two rounds of the event loop."""
    for _ in range(int(seconds)):
        theater.clock.advance(1)
        await settle()
    theater.clock.advance(seconds % 1)
    await settle()
