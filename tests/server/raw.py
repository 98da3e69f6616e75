"""What the tests of the server share: a TCP client that writes exact bytes, and patience."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from tests.protocol.wire import KEY, Frame

PATIENCE: Final = 10.0  # seconds until a test gives up waiting
CRLF: Final = b"\r\n"

FIELDS: Final = (
    ("Host", "example.org"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),  # of RFC 6455 §1.3
    ("Sec-WebSocket-Version", "13"),
)
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def request(
    line: str = "GET / HTTP/1.1", fields: Iterable[tuple[str, str]] = FIELDS, body: bytes = b""
) -> bytes:
    """The bytes of a request."""
    head = [line, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(head).encode("latin-1") + CRLF * 2 + body


def handshake(
    line: str = "GET / HTTP/1.1",
    *,
    without: str | tuple[str, ...] = (),
    extra: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of an opening handshake, some of its fields left out and others added at the end."""
    left_out = (without,) if isinstance(without, str) else without
    return request(line, [*(field for field in FIELDS if field[0] not in left_out), *extra])


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, payload, fin, rsv, KEY).encode()


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        """The value of a field that may stand once at most."""
        values = [value for field, value in self.headers if field == name]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None


class Raw:
    """A TCP connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, method: str = "GET") -> Answer:
        """Reads one response, which must say how long it is."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(CRLF * 2)).decode("latin-1").split("\r\n")[:-2]
            version, status, *_ = head[0].split(" ")
            assert version == "HTTP/1.1"
            headers = []
            for line in head[1:]:
                name, colon, value = line.partition(": ")
                assert colon, line
                headers.append((name.lower(), value))
            answer = Answer(int(status), headers, b"")
            if method == "HEAD" or answer.status in (101, 204, 304):
                return answer
            length = answer.get("content-length")
            assert length is not None
            return answer._replace(body=await self.reader.readexactly(int(length)))

    async def upgraded(self, data: bytes | None = None) -> Answer:
        """Sends a handshake and reads the 101 response."""
        self.write(handshake() if data is None else data)
        answer = await self.answer()
        assert answer.status == 101, answer
        return answer

    async def frame(self) -> tuple[int, bytes]:
        """Reads one frame: its first byte and its payload."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self.reader.readexactly(2)
            assert not size & 0x80, "a server must not mask"
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first, await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def dial(port: int) -> AsyncIterator[Raw]:
    """Opens a TCP connection to a server on this machine, and drops it in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Waits until something has become true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is nothing to wait on
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Lets everything happen that happens without time passing, in memory."""
    for _ in range(50):
        await asyncio.sleep(0)
