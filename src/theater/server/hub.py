"""What all WebSockets of one event loop share."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from theater.errors import Reason
from theater.limits import Limits
from theater.protocol.deflate import ContextBudget
from theater.runtime.ports import Clock
from theater.server.wheel import Watched, Wheel

READ_BUFFER: Final = 256 * 1024  # bytes, for all connections of one loop together


class OpenConnection(Watched, Protocol):
    """A connection, as the hub sees it."""

    def shut_down(self, reason: Reason) -> None:
        """Begins the closing handshake because the server stops."""

    def abort(self) -> None:
        """Drops the TCP connection."""


class Hub:
    """What all WebSockets of one event loop share.

    Args:
        loop: the event loop.
        clock: for deadlines.
        limits: of the server.
        new_id: source of connection ids.

    Attributes:
        buffer: where every read goes. A connection takes what it needs before the next read.
        view: of the buffer, for transports, some of which take slices of what they get.
        budget: memory for compression.
        open: the connections that have not ended.
        stopping: no more are to be opened.
        wheel: deadlines of open connections.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, limits: Limits, new_id: Callable[[], int]
    ) -> None:
        self.buffer = bytearray(READ_BUFFER)
        self.view = memoryview(self.buffer)
        self.clock = clock
        self.new_id = new_id
        self.budget = ContextBudget(limits.compression_memory)
        self.wheel = Wheel(clock)
        self.open: set[OpenConnection] = set()
        self.stopping = False
        self._empty: asyncio.Event | None = None
        self.call_soon = loop.call_soon

    def opened(self, connection: OpenConnection, deadline: float) -> None:
        """Notes that a connection has begun, and when it is to be checked."""
        self.open.add(connection)
        self.wheel.watch(connection, deadline)

    def closed(self, connection: OpenConnection) -> None:
        """Notes that a connection has ended."""
        self.open.discard(connection)
        self.wheel.forget(connection)
        if not self.open and self._empty is not None:
            self._empty.set()

    async def until_empty(self) -> None:
        """Waits until all connections have ended."""
        if self.open:
            self._empty = asyncio.Event()
            await self._empty.wait()
