"""A relay between client and server that notes what goes over the wire, whatever either side believes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROL: Final = (CLOSE, PING, PONG)
_KEPT: Final = 96  # bytes of each direction that a report shows, behind its head


class Frame(NamedTuple):
    """A frame as it was on the wire.

    Attributes:
        opcode, fin, rsv1, masked: of its header.
        length: bytes of payload.
        payload: of a control frame, unmasked; of others nothing is kept.
    """

    opcode: int
    fin: bool
    rsv1: bool
    masked: bool
    length: int
    payload: bytes


class Direction:
    """One direction of a connection: an HTTP head, and frames behind it (RFC 6455 §5.2).

    Attributes:
        head: of the request or the response, without the empty line; empty over TLS.
        start: the first bytes behind it, as they were; over TLS the first at all.
        frames: those whose header has passed; none over TLS.
    """

    def __init__(self, tls: bool) -> None:
        self.head = ""
        self.start = b""
        self.frames: list[Frame] = []
        self._tls = tls
        self._buffer = bytearray()
        self._skip = 0  # bytes of a payload that are not here yet

    def feed(self, data: bytes) -> None:
        if not self._tls and not self.head:
            self._buffer += data
            head, found, data = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            self.head = head.decode("latin-1")
            self._buffer.clear()
        self.start += data[: _KEPT - len(self.start)]
        if self._tls or len(data) <= self._skip:
            self._skip -= min(self._skip, len(data))
            return
        self._buffer += data[self._skip :]
        self._skip = 0
        while self._frame():
            pass

    def field(self, name: str) -> str:
        """The value of a header field; empty if there is none."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    def of(self, *opcodes: int) -> list[Frame]:
        """The frames with one of these opcodes."""
        return [frame for frame in self.frames if frame.opcode in opcodes]

    def _frame(self) -> bool:
        """Takes a frame from the buffer; False if it is not there yet."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, second = buffer[:2]
        size = {126: 2, 127: 8}.get(second & 127, 0)
        masked = bool(second & 128)
        begin = 2 + size + 4 * masked
        opcode = first & 15
        length = int.from_bytes(buffer[2 : 2 + size], "big") if size else second & 127
        payload = b""
        if len(buffer) < begin or (opcode in CONTROL and len(buffer) < begin + length):
            return False
        if opcode in CONTROL:
            key = buffer[begin - 4 : begin] if masked else bytes(4)
            payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(buffer[begin : begin + length]))
        self.frames.append(Frame(opcode, bool(first & 128), bool(first & 64), masked, length, payload))
        end = begin + length
        self._skip = max(0, end - len(buffer))
        del buffer[:end]
        return True


class Wire:
    """What one TCP connection has carried."""

    def __init__(self, tls: bool) -> None:
        self.client = Direction(tls)
        self.server = Direction(tls)

    @property
    def status(self) -> str:
        """The status code of the response; empty if there was none."""
        return self.server.head.split(" ")[1] if self.server.head.startswith("HTTP/") else ""

    def __str__(self) -> str:
        """The beginning of both directions, for a report."""
        lines = []
        for direction, who in ((self.client, "client"), (self.server, "server")):
            lines += [f"  {who}: {line}" for line in direction.head.split("\r\n") if line]
            lines.append(f"  {who}: {direction.start.hex(' ') or 'nothing'}")
        return "\n".join(lines)


class Tap:
    """Relays connections to a port.

    Args:
        target: the port.
        tls: whether TLS is spoken there, of which nothing can be understood.

    Attributes:
        port: where clients connect.
        wires: what has passed, a connection each; the caller clears it.
    """

    def __init__(self, target: int, tls: bool = False) -> None:
        self.port = 0
        self.wires: list[Wire] = []
        self._target = target
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Tap"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(self._tls)
        self.wires.append(wire)
        with suppress(OSError):
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(
                    self._pump(reader, their_writer, wire.client),
                    self._pump(their_reader, writer, wire.server),
                )
            finally:
                their_writer.close()
        writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        while data := await reader.read(256 * 1024):
            direction.feed(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
