"""A TCP connection in memory, with the faults of a real network on demand."""

import asyncio
from collections import deque
from typing import Final

_HIGH_WATER: Final = 64 * 1024  # bytes; as asyncio and uvloop have it


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory; `link` makes both.

    What one end writes arrives at the other in the event loop's next rounds, in order. The faults:

    * `split = n`: bytes arrive at this end in pieces of at most n;
    * `pause_reading()`: this end reads no more, so the other's writes pile up; `resume_reading()`;
    * `write_eof()`: this end says that it will send no more (a half-close);
    * `abort()`: the connection is reset; what is on the way is lost;
    * `close()`: it ends in order, once all that was written has arrived.

    Attributes:
        split: see above; None for no splitting.
    """

    def __init__(self, peer: tuple[str, int]) -> None:
        super().__init__({"peername": peer, "sockname": ("127.0.0.1", 0)})
        self.split: int | None = None
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._other = self
        self._coming: deque[bytes] = deque()
        self._size = 0  # bytes in `_coming`
        self._eof = False  # the other end sends no more
        self._eof_told = False
        self._reading = True
        self._closing = False
        self._lost = False
        self._congested = False
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._scheduled = False

    # As asyncio has it

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        other = self._other
        if not data or self._closing or other._lost:
            return
        other._coming.append(bytes(data))
        other._size += len(data)
        other._schedule()
        self._pause_writer()

    def get_write_buffer_size(self) -> int:
        return self._other._size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low
        self._pause_writer()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._other._eof = True
        self._other._schedule()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.write_eof()
            if self._other._lost:
                self._lose(None)

    def abort(self) -> None:
        self._lose(None)
        self._other._lose(ConnectionResetError("the peer reset the connection"))

    # How it works

    def _pause_writer(self) -> None:
        if self._other._size > self._high and not self._congested:
            self._congested = True
            self._protocol.pause_writing()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._arrive)

    def _arrive(self) -> None:
        self._scheduled = False
        if self._lost or not self._reading:
            return
        if self._coming:
            self._give(self._next_piece())
            if self._other._congested and self._size <= self._other._low:
                self._other._congested = False
                self._other._protocol.resume_writing()
            self._schedule()
        elif self._eof and not self._eof_told:
            self._eof_told = True
            stay = isinstance(self._protocol, asyncio.Protocol | asyncio.BufferedProtocol) and (
                self._protocol.eof_received()
            )
            if not stay:
                self.close()
            if self._other._closing:  # it has been waiting for its bytes to arrive
                self._other._lose(None)
            self._schedule()
        elif self._eof and self._closing:
            self._lose(None)

    def _next_piece(self) -> bytes:
        data = self._coming.popleft()
        if self.split is not None and len(data) > self.split:
            self._coming.appendleft(data[self.split :])
            data = data[: self.split]
        self._size -= len(data)
        return data

    def _give(self, data: bytes) -> None:
        if self._closing:
            return
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            while data:
                buffer = memoryview(protocol.get_buffer(len(data)))
                size = min(len(data), len(buffer))
                buffer[:size] = data[:size]
                data = data[size:]
                protocol.buffer_updated(size)
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._coming.clear()
            self._size = 0
            self._loop.call_soon(self._protocol.connection_lost, error)


def link() -> tuple[MemoryTransport, MemoryTransport]:
    """The two ends of a new connection: the client's and the server's."""
    client = MemoryTransport(("127.0.0.1", 80))
    server = MemoryTransport(("127.0.0.1", 50_000))
    client._other, server._other = server, client
    return client, server
