"""The messages of a WebSocket connection, as in `wit/0.2.0`, interface `types`.

Values are msgspec structs: immutable, comparable, usable in `match`, and at 0.1 µs several times
cheaper to make than a frozen dataclass; two of them are made for every message.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import msgspec


class Text(msgspec.Struct, frozen=True, gc=False):
    """A text message."""

    text: str


class Binary(msgspec.Struct, frozen=True, gc=False):
    """A binary message."""

    data: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    """A ping with at most 125 bytes of payload. The host answers pings by itself."""

    payload: bytes = b""


class Pong(msgspec.Struct, frozen=True, gc=False):
    """A pong with at most 125 bytes of payload."""

    payload: bytes = b""


class Close(msgspec.Struct, frozen=True, gc=False):
    """Asks for the connection to be closed (RFC 6455 §7.4).

    Attributes:
        code: 1000 to 1003, 1007 to 1014 or 3000 to 4999.
        reason: at most 123 bytes of UTF-8.
    """

    code: int = 1000
    reason: str = ""


class Stream(ABC):
    """A message that is still arriving, on a path with `messages = "stream"`.

    Iterate over it with `async for`, once. Chunks are `str` or `bytes`, never empty, at most about
    256 KiB, and text is never cut inside a character. The client is held back while none is taken.
    What has not been taken when the handler returns is thrown away.

    Attributes:
        is_text: whether it is text.
    """

    __slots__ = ("is_text",)

    is_text: bool

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[str] | AsyncIterator[bytes]:
        """The chunks.

        Raises:
            ConnectionEnded: the connection ended before the message did.
        """


Data = Text | Binary
"""What one actor sends to another."""

Message = Text | Binary | Ping | Pong | Close
"""What an actor sends to a connection."""

Incoming = Text | Binary | Ping | Pong
"""What a connection sends to an actor, whole; its Close arrives as the event `Closed`."""
