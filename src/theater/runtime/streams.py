"""A message that is still arriving, as its actor reads it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from theater.contract import Close, Stream
from theater.errors import ConnectionEnded, LocalError


class IncomingStream(Stream):
    """Hands chunks from a connection to the handler that reads them.

    Args:
        is_text: whether it is text.
        freed: called with the number of bytes, or characters, that do not wait any more.
        progress: called when the reader gets a chunk.
    """

    __slots__ = ("_abandoned", "_arrival", "_chunks", "_complete", "_freed", "_lost", "_progress", "_started")

    def __init__(self, is_text: bool, freed: Callable[[int], None], progress: Callable[[], None]) -> None:
        self.is_text = is_text
        self._freed = freed
        self._progress = progress
        self._chunks: deque[str | bytes] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._complete = False
        self._lost: Close | None = None
        self._started = False
        self._abandoned = False

    def feed(self, data: str | bytes, last: bool) -> None:
        """Takes a chunk that has arrived."""
        self._complete = last
        if self._abandoned:
            self._freed(len(data))
        elif data:
            self._chunks.append(data)
        self._wake()

    def lost(self, closed: Close) -> None:
        """Notes that the rest will not arrive."""
        if not self._complete:
            self._lost = closed
            self._wake()

    def abandon(self) -> None:
        """Throws away what nobody will read."""
        self._abandoned = True
        while self._chunks:
            self._freed(len(self._chunks.popleft()))
        self._wake()

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._started:
            raise LocalError("a stream can be read once")
        self._started = True
        return self._read()

    async def _read(self) -> AsyncIterator[str | bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._progress()
                self._freed(len(chunk))
                yield chunk
            if self._abandoned:
                raise LocalError("a stream can be read until the handler that got it returns")
            if self._complete:
                return
            if self._lost is not None:
                raise ConnectionEnded(self._lost.code, self._lost.reason)
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
