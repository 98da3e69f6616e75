"""Payload to messages: limits, UTF-8 and inflating. RFC 6455 §5.4 and §8.1, RFC 7692 §6.2."""

from codecs import utf_8_decode
from typing import Final

import msgspec

from theater.contract.messages import Binary, Close, Ping, Pong, Text
from theater.errors import Reason
from theater.limits import ConnectionLimits
from theater.protocol.deflate import Deflate, Inflater
from theater.protocol.frames import Opcode

BATCH: Final = 64
"""Events of one `receive`. A full mailbox can stop the reader that often, so it overshoots by no more."""

_STEP: Final = 16 * 1024  # bytes that are inflated at a time; a chunk of a compressed message has no more
_FREE: Final = 1024 * 1024  # bytes of a compressed message that may come out of however few
_PART: Final = 1024  # bytes or characters; a smaller part grows, since each takes some 50 bytes more
_NO_PARTS: Final[list[str] | list[bytes]] = []  # shared by all connections between messages; never filled


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message, from a machine that streams. Text comes as whole characters."""

    data: str | bytes
    last: bool


class Failure(msgspec.Struct, frozen=True):
    """The connection must fail (RFC 6455 §7.1.7); `problem` may be told to the peer."""

    reason: Reason
    problem: str


Output = Text | Binary | Ping | Pong | Chunk | Close | Failure


class Violation(Exception):
    """Leaves the parser; becomes a `Failure` before it leaves the machine."""

    def __init__(self, problem: str, reason: Reason = Reason.PROTOCOL_ERROR) -> None:
        super().__init__(problem)
        self.failure = Failure(reason, problem)


class Assembly:
    """The message whose frames are arriving.

    Args:
        limits: of the connection. What is too large is a fault as soon as a frame header announces
            it, or, if it is compressed, as soon as so much has been inflated.
        stream: give messages as `Chunk`s, as their bytes arrive.
        deflate: what was agreed on about compression.

    Attributes:
        deflate: as given.
    """

    __slots__ = (
        "_compressed",
        "_fragments",
        "_inflater",
        "_inflating",
        "_kind",
        "_limits",
        "_parts",
        "_size",
        "_stream",
        "_tail",
        "deflate",
    )

    def __init__(self, limits: ConnectionLimits, stream: bool, deflate: Deflate | None) -> None:
        self.deflate = deflate
        self._limits = limits
        self._stream = stream
        self._kind = 0  # Opcode.TEXT, Opcode.BINARY, or 0 between messages
        self._fragments = 0  # frames so far
        self._size = 0  # bytes so far, inflated
        self._parts: list[str] | list[bytes] = _NO_PARTS
        self._tail = b""  # the first bytes of an unfinished character
        self._compressed: Inflater | None = None  # what inflates the message, if it is compressed
        self._inflating = False  # a full batch left some of it to be inflated
        self._inflater: Inflater | None = None  # that of all messages; made when the first needs it

    def _begin_message(self, opcode: int, deflate: Deflate | None) -> None:
        """Begins a message; it is compressed if `deflate` is given."""
        self._kind = opcode
        self._fragments = 0
        self._size = 0
        self._parts = []
        if deflate is not None:
            if self._inflater is None:
                self._inflater = Inflater(deflate)
            self._inflater.begin_message()
            self._compressed = self._inflater

    def _begin_fragment(self, size: int, fin: bool) -> None:
        """Begins a frame of it, and checks its limits as far as they can be before there is payload."""
        limits = self._limits
        self._fragments += 1
        if self._compressed is not None:
            self._compressed.begin_frame(size)
        else:
            self._size += size
            most = limits.max_stream if self._stream else limits.max_message
            if self._size > most:
                raise _too_big("a message of" if fin else "a message of at least", self._size, most)
        if self._stream:
            return
        most = limits.max_frame or limits.max_message
        if size > most:
            raise _too_big("a frame of", size, most)
        if self._fragments > limits.max_fragments:
            problem = f"a message of more than {limits.max_fragments:,} frames"
            raise Violation(problem, Reason.POLICY_VIOLATION)

    def _take_data(self, piece: bytes, last: bool, events: list[Output]) -> None:
        """Takes payload, unmasked; `last` ends the message."""
        if self._compressed is None:
            self._take_plain(piece, last, events)
        else:
            self._compressed.feed(piece, last)
            self._inflate(self._compressed, events)

    def _inflate(self, inflater: Inflater, events: list[Output]) -> None:
        """Inflates what has been fed, or as much of it as the batch holds."""
        limits = self._limits
        largest = limits.max_stream if self._stream else limits.max_message
        most = min(largest, max(_FREE, inflater.arrived * limits.max_inflation))
        self._inflating = False
        while True:
            room = most - self._size
            step = min(_STEP, room + 1)  # one byte more tells what is too large from what is not
            data = inflater.inflate(step)
            self._size += len(data)
            if len(data) > room:
                self._take_plain(data[:room], False, events)
                if most == largest:
                    raise _too_big("a message of at least", self._size, largest)
                raise _inflated_too_much(self._size, inflater.arrived, limits.max_inflation)
            drained = len(data) < step
            self._take_plain(data, drained and inflater.ending, events)
            if drained:
                return
            if len(events) >= BATCH:
                self._inflating = True
                return

    def _take_plain(self, piece: bytes, last: bool, events: list[Output]) -> None:
        content: str | bytes = piece
        if self._kind == Opcode.TEXT:
            piece = self._tail + piece
            self._tail = b""
            try:
                if last:
                    content = piece.decode()
                else:
                    content, used = utf_8_decode(piece)
                    self._tail = piece[used:]
                    # Python waits for a third byte here, though nothing can make a surrogate valid.
                    if self._tail >= b"\xed\xa0" and self._tail < b"\xee":
                        piece.decode()
            except UnicodeDecodeError as error:
                if self._stream and error.start:
                    events.append(Chunk(piece[: error.start].decode(), False))
                raise
        if self._stream:
            if content or last:
                events.append(Chunk(content, last))
        else:
            parts = self._parts
            if parts and len(parts[-1]) < _PART:
                parts[-1] += content  # type: ignore[assignment, operator]
            elif content:  # a peer may send empty fragments for ever
                parts.append(content)  # type: ignore[arg-type]
            if last:
                text = self._kind == Opcode.TEXT
                events.append(Text("".join(parts)) if text else Binary(b"".join(parts)))  # type: ignore[arg-type]
        if last:
            self._kind = 0
            self._compressed = None
            self._parts = _NO_PARTS


def _too_big(what: str, size: int, most: int) -> Violation:
    return Violation(f"{what} {size:,} bytes, at most {most:,} are allowed", Reason.MESSAGE_TOO_BIG)


def _inflated_too_much(size: int, arrived: int, most: int) -> Violation:
    problem = f"{arrived:,} bytes inflated to at least {size:,}, at most {most:,} times as many are allowed"
    return Violation(problem, Reason.MESSAGE_TOO_BIG)
