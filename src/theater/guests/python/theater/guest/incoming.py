"""Messages that arrive in pieces, for handlers that read them as a `Stream`.

On the server a streamed message is one turn. Here every piece is a turn of its own, in which the handler
goes on from where it waited for it: what it has sent leaves with each piece, a failure takes back what was
done with the last one, and events of other connections may come in between.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from theater.contract import Data, Stream, Text
from theater.errors import ConnectionEnded, LocalError
from theater.guest.loop import NEXT_CHUNK, Work


class IncomingStream(Stream):
    """Hands pieces to the handler that reads them."""

    __slots__ = ("_abandoned", "_chunks", "_complete", "_lost", "_started")

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self._chunks: deque[str | bytes] = deque()
        self._complete = False
        self._lost: ConnectionEnded | None = None
        self._started = False
        self._abandoned = False

    def feed(self, chunk: Data, last: bool) -> None:
        """Takes a piece that has arrived."""
        data = chunk.text if isinstance(chunk, Text) else chunk.data
        if data and not self._abandoned:
            self._chunks.append(data)
        self._complete = last

    def lost(self, code: int, reason: str) -> None:
        """Notes that the rest will not arrive."""
        self._lost = ConnectionEnded(code, reason)

    def abandon(self) -> None:
        """Throws away what nobody will read."""
        self._abandoned = True
        self._chunks.clear()

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._started:
            raise LocalError("a stream can be read once")
        self._started = True
        return self._read()

    async def _read(self) -> AsyncIterator[str | bytes]:
        while True:
            while self._chunks:
                yield self._chunks.popleft()
            if self._abandoned:
                raise LocalError("a stream can be read until the handler that got it returns")
            if self._complete:
                return
            if self._lost is not None:
                raise self._lost
            await NEXT_CHUNK


class IncomingMessage:
    """A message that is arriving, and the handler that was given it.

    Args:
        first: its first piece.
        handle: begins the handler.

    Attributes:
        broken: the rest will not arrive; why is told by the next event of the connection.
    """

    def __init__(self, first: Data, handle: Callable[[Stream], Any]) -> None:
        self.broken = False
        self._stream = IncomingStream(isinstance(first, Text))
        self._handle = handle
        self._work: Work | None = None
        self._ended = False

    def take(self, chunk: Data, last: bool) -> Any:
        """Lets the handler go on with a piece; what it has returned, once it has."""
        if self._ended:
            return None
        self._stream.feed(chunk, last)
        return self._go_on()

    def lose(self, code: int, reason: str) -> None:
        """Lets the handler know that the connection has ended before the message."""
        if not self._ended:
            self._stream.lost(code, reason)
            self._go_on()

    def cancel(self) -> None:
        """Ends the handler, whose message will not go on, though its connection does."""
        if not self._ended and self._work is not None:
            self._end()
            self._work.cancel()

    def _go_on(self) -> Any:
        try:
            if self._work is None:
                self._work = Work("handle_websocket", self._handle(self._stream))
            if not self._work.advance():
                return None
        except BaseException:
            self._end()
            raise
        self._end()
        return self._work.result

    def _end(self) -> None:
        self._ended = True
        self._stream.abandon()
