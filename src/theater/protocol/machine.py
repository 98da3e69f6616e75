"""One end of an open WebSocket as a pure machine: RFC 6455 §5 to §7.

Bytes from the peer go into `receive`, which returns what they mean; `send` and `close` append
bytes for the peer to `out`. The machine does no I/O, reads no clock and raises nothing that a peer
can provoke: a peer's fault is a `Failure` among the events.

The owner does this for every read:

1. handle each event of `receive(data)`, and call `receive()` again while `behind` is true;
2. after `Close` or `Failure`, always the last event, call `finish()`: it answers the peer's close
   frame, or tells it the fault, behind all that was sent before;
3. write what is in `out`, and clear it;
4. when `state` is `CLOSED`, close the TCP connection.
"""

import enum
import os
from codecs import utf_8_decode
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.errors import InvalidMessage, LocalError, Reason
from theater.protocol.close import ABNORMAL, NO_STATUS, decode_close, encode_close
from theater.protocol.frames import (
    CLOSE_FRAME,
    FIN,
    MASK,
    MAX_CONTROL_PAYLOAD,
    Opcode,
    apply_mask,
    encode_frame,
    encode_head,
    encode_message,
)

_BATCH: Final = 64
"""Events of one `receive`. A full mailbox can stop the reader that often, so it overshoots by no more."""

new_masking_key = partial(os.urandom, 4)
"""RFC 6455 §5.3: "The masking key needs to be unpredictable"."""


class Role(enum.Enum):
    """Which end this is; a client masks what it sends, a server must not."""

    SERVER = "server"
    CLIENT = "client"


class State(enum.IntEnum):
    """Where the closing handshake stands (RFC 6455 §7.1)."""

    OPEN = 0
    CLOSING = 1  # our close frame is out, the peer's is awaited
    ENDING = 2  # the peer has closed or is at fault; replies may go out until `finish`
    CLOSED = 3


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message, from a machine that streams. Text comes as whole characters."""

    data: str | bytes
    last: bool


class Failure(msgspec.Struct, frozen=True):
    """The connection must fail (RFC 6455 §7.1.7); `problem` may be told to the peer."""

    reason: Reason
    problem: str


Output = Text | Binary | Ping | Pong | Chunk | Close | Failure

_TEXT_FRAME: Final = FIN | Opcode.TEXT
_BINARY_FRAME: Final = FIN | Opcode.BINARY
_SHORT_TEXT_HEADS: Final = tuple(bytes((_TEXT_FRAME, size)) for size in range(126))
_OPEN: Final = State.OPEN
_IN_PLACE: Final = 4096  # bytes of payload from which a copy costs more than what avoids it
_ABNORMAL: Final = Close(ABNORMAL)
_BETWEEN_FRAMES: Final = -1
_NO_PARTS: Final[list[str] | list[bytes]] = []  # shared by all connections between messages; never filled


_STATE: Final = (
    "state",
    "closed",
    "failed",
    "behind",
    "_answer",
    "_sending",
    "_rest",
    "_left",
    "_opcode",
    "_fin",
    "_key",
    "_control",
    "_kind",
    "_size",
    "_tail",
)
_STATE_TYPES: Final = tuple[
    bytes,
    State,
    Close,
    bool,
    bool,
    Close,
    int,
    bytes,
    int,
    int,
    bool,
    bytes,
    bytes,
    int,
    int,
    bytes,
]


def _extended_size(field: bytes | bytearray) -> int:
    """Reads a payload length of 2 or 8 bytes (§5.2)."""
    size = int.from_bytes(field, "big")
    # "the minimal number of bytes MUST be used to encode the length"
    if size < (126 if len(field) == 2 else 65536):
        raise _Violation("a payload length that is not in its shortest form")
    # "the most significant bit MUST be 0"
    if size >> 63:
        raise _Violation("a payload length of more than 63 bits")
    return size


class _Violation(Exception):
    """Leaves the parser; becomes a `Failure` before it leaves the machine."""

    def __init__(self, problem: str, reason: Reason = Reason.PROTOCOL_ERROR) -> None:
        super().__init__(problem)
        self.failure = Failure(reason, problem)


class Machine:
    """Frames to messages and back, for one open connection.

    Args:
        role: which end this is.
        max_message: bytes of the largest incoming message; a larger one is a `Failure` as soon as
            a frame header announces it. Does not count when streaming.
        stream: give messages as `Chunk`s as their bytes arrive, of whatever size.
        masking_key: where a client takes its keys from.

    Attributes:
        out: bytes for the peer, in order. The owner writes and clears it.
        state: where the closing handshake stands.
        closed: how the connection ended, as far as is known: the peer's close frame, the fault, or
            1006 if there was neither.
        failed: the peer was at fault.
        behind: a full batch left bytes that `receive()` is to be called for.
    """

    __slots__ = (
        "_answer",
        "_control",
        "_fin",
        "_key",
        "_kind",
        "_left",
        "_mask_bit",
        "_masking_key",
        "_max_message",
        "_opcode",
        "_parts",
        "_rest",
        "_sending",
        "_shortcut",
        "_shortcuts",
        "_size",
        "_stream",
        "_tail",
        "behind",
        "closed",
        "failed",
        "out",
        "state",
    )

    def __init__(
        self,
        role: Role,
        max_message: int,
        stream: bool = False,
        masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        self.out: list[bytes] = []
        self.state = State.OPEN
        self.closed = _ABNORMAL
        self.failed = False
        self.behind = False
        self._answer = _ABNORMAL  # what `finish` tells the peer
        self._mask_bit = MASK if role is Role.SERVER else 0  # of incoming frames
        self._masking_key = masking_key if role is Role.CLIENT else None
        self._max_message = max_message
        self._stream = stream
        self._shortcuts = role is Role.SERVER and not stream
        self._shortcut = self._shortcuts  # and nothing is unfinished
        self._sending = 0  # opcode of the message that is going out in fragments
        self._rest = b""  # an unfinished frame header, or what a full batch left
        # The frame whose payload is arriving.
        self._left = _BETWEEN_FRAMES  # payload bytes to come
        self._opcode = 0
        self._fin = False
        self._key = b""  # rotated to the next payload byte
        self._control = b""  # payload so far, if it is a control frame
        # The message whose frames are arriving.
        self._kind = 0  # Opcode.TEXT, Opcode.BINARY, or 0 between messages
        self._size = 0
        self._parts: list[str] | list[bytes] = _NO_PARTS
        self._tail = b""  # the first bytes of an unfinished character

    # Handing over

    def export_state(self) -> bytes:
        """Everything that another machine needs to go on in the middle of a frame, but for `out`."""
        text = self._kind == Opcode.TEXT
        content = "".join(self._parts).encode() if text else b"".join(self._parts)  # type: ignore[arg-type]
        return msgspec.msgpack.encode([content, *(getattr(self, name) for name in _STATE)])

    def restore_state(self, exported: bytes) -> None:
        """Goes on where the machine that `export_state` was called on stopped; same role and options."""
        content, *values = msgspec.msgpack.decode(exported, type=_STATE_TYPES)
        for name, value in zip(_STATE, values, strict=True):
            setattr(self, name, value)
        if self._kind:
            self._parts = [content.decode()] if self._kind == Opcode.TEXT else [content]
        self._shortcut = False  # the next read finds out

    # Receiving

    def receive(self, data: bytes | bytearray = b"", end: int | None = None) -> list[Output]:
        """Takes bytes from the peer and returns what they mean, in order.

        Args:
            data: the bytes; a buffer that is used again may be passed, nothing keeps it.
            end: how many of them count; all, if left out.
        """
        if end is None:
            end = len(data)
        events: list[Output] = []
        if self.state >= State.ENDING:  # §5.5.1: nothing may follow a close frame
            return events
        closing = self.state is State.CLOSING
        if self._rest:
            data = self._rest + data[:end]
            end = len(data)
            self._rest = b""
        try:
            position = self._parse(data, end, events)
        except _Violation as violation:
            position = end
            self._fail(violation.failure, events)
        except UnicodeDecodeError:
            # §8.1: "that endpoint MUST _Fail the WebSocket Connection_"
            position = end
            self._fail(Failure(Reason.INVALID_TEXT, "text that is not UTF-8"), events)
        self.behind = len(events) >= _BATCH and position < end
        if position < end:
            self._rest = bytes(data[position:end])
        self._shortcut = (
            self._shortcuts and position >= end and self._left < 0 and not self._kind and self.state is _OPEN
        )
        if closing:  # who has said goodbye does not listen
            return [event for event in events if isinstance(event, Close | Failure)]
        return events

    def receive_whole(self, data: bytes | bytearray, end: int) -> Text | Binary | None:
        """A server's way to take the commonest read of all: one message of less than 64 KiB in one
        frame, whole and alone.

        Where it returns None, nothing has been taken, and `receive` is to be called. That would come
        to the same here too, in twice the time.

        Args:
            data: the bytes.
            end: how many of them count.
        """
        if not self._shortcut or end < 6:
            return None
        first = data[0]
        size = data[1] - MASK
        begin = 6
        if size >= 126:
            if size == 127 or end < 8:
                return None
            size = data[2] << 8 | data[3]
            if size < 126:
                return None
            begin = 8
        if (
            begin + size != end
            or size > self._max_message
            or (first != _TEXT_FRAME and first != _BINARY_FRAME)
        ):
            return None
        masked = data[begin:end] if size < _IN_PLACE else memoryview(data)[begin:end]
        payload = apply_mask(masked, data[begin - 4 : begin])
        if first == _BINARY_FRAME:
            return Binary(payload)
        try:
            return Text(payload.decode())
        except UnicodeDecodeError:  # `receive` knows what to do
            return None

    def _parse(self, data: bytes | bytearray, end: int, events: list[Output]) -> int:
        """Parses until the data, the batch or the connection ends; returns how far it came."""
        position = 0
        while position < end and len(events) < _BATCH:
            if self._left >= 0:
                position = self._take_payload(data, position, end, events)
                if self.state >= State.ENDING:
                    return end
                continue
            begin = position + 2
            if begin > end:
                break
            first = data[position]
            second = data[position + 1]
            # §5.1: "a server MUST close the connection upon receiving a frame that is not masked",
            # and a client upon receiving one that is
            if second & MASK != self._mask_bit:
                raise _Violation("a frame that is not masked" if self._mask_bit else "a masked frame")
            size = second & 0x7F
            if size >= 126:
                begin += 2 if size == 126 else 8
                if begin > end:
                    break
                size = _extended_size(data[position + 2 : begin])
            if self._mask_bit:
                begin += 4
                if begin > end:
                    break
            stop = begin + size
            if (
                stop <= end
                and (first == _TEXT_FRAME or first == _BINARY_FRAME)
                and not self._kind
                and not self._stream
                and size <= self._max_message
            ):
                # The common case: a whole message in one frame that is all here.
                if not self._mask_bit:
                    payload = bytes(data[begin:stop])
                elif size < _IN_PLACE:
                    payload = apply_mask(data[begin:stop], data[begin - 4 : begin])
                else:
                    payload = apply_mask(memoryview(data)[begin:stop], data[begin - 4 : begin])
                events.append(Text(payload.decode()) if first == _TEXT_FRAME else Binary(payload))
                position = stop
                continue
            self._begin_frame(first, size)
            if self._mask_bit:
                self._key = bytes(data[begin - 4 : begin])
            position = self._take_payload(data, begin, end, events)
            if self.state >= State.ENDING:
                return end
        return position

    def _begin_frame(self, first: int, size: int) -> None:
        """Checks a frame header and goes over to its payload."""
        opcode = first & 0x0F
        fin = bool(first & FIN)
        # §5.2: "If a nonzero value is received and none of the negotiated extensions defines the
        # meaning of such a nonzero value, the receiving endpoint MUST _Fail the WebSocket Connection_"
        if first & 0x70:
            raise _Violation("a frame with reserved bits set")
        if opcode >= Opcode.CLOSE:
            if opcode > Opcode.PONG:
                raise _Violation(f"a frame with the reserved opcode {opcode}")
            # §5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT
            # be fragmented."
            if not fin:
                raise _Violation("a fragmented control frame")
            if size > MAX_CONTROL_PAYLOAD:
                raise _Violation(f"a control frame of {size} bytes")
            self._control = b""
        else:
            if opcode > Opcode.BINARY:
                raise _Violation(f"a frame with the reserved opcode {opcode}")
            # §5.4: fragments of one message may not be interleaved with those of another
            if opcode == Opcode.CONTINUATION:
                if not self._kind:
                    raise _Violation("a continuation frame without a message to continue")
            elif self._kind:
                raise _Violation("a new message before the last one has ended")
            else:
                self._kind = opcode
                self._size = 0
                self._parts = []
            self._size += size
            if self._size > self._max_message and not self._stream:
                raise _Violation(f"a message of more than {self._max_message} bytes", Reason.MESSAGE_TOO_BIG)
        self._opcode = opcode
        self._fin = fin
        self._left = size

    def _take_payload(self, data: bytes | bytearray, position: int, end: int, events: list[Output]) -> int:
        """Consumes what is here of the current frame's payload; returns the position behind it."""
        stop = min(end, position + self._left)
        size = stop - position
        piece = bytes(data[position:stop])
        if self._mask_bit and size:
            piece = apply_mask(piece, self._key)
            turn = size & 3
            self._key = self._key[turn:] + self._key[:turn]
        self._left -= size
        if self._opcode >= Opcode.CLOSE:
            self._control += piece
            if not self._left:
                self._left = _BETWEEN_FRAMES
                self._take_control(events)
            return stop
        last = self._fin and not self._left
        if not self._left:
            self._left = _BETWEEN_FRAMES
        self._take_data(piece, last, events)
        return stop

    def _take_data(self, piece: bytes, last: bool, events: list[Output]) -> None:
        content: str | bytes = piece
        if self._kind == Opcode.TEXT:
            piece = self._tail + piece
            try:
                content, used = utf_8_decode(piece, "strict", last)
                # Python waits for a third byte here, though nothing can make a surrogate valid.
                if piece[used:] >= b"\xed\xa0" and piece[used:] < b"\xee":
                    piece.decode()
            except UnicodeDecodeError as error:
                if self._stream and error.start:
                    events.append(Chunk(piece[: error.start].decode(), False))
                raise
            self._tail = piece[used:]
        if self._stream:
            if content or last:
                events.append(Chunk(content, last))
        else:
            if content:  # a peer may send empty fragments for ever
                self._parts.append(content)  # type: ignore[arg-type]
            if last:
                text = self._kind == Opcode.TEXT
                parts = self._parts
                events.append(Text("".join(parts)) if text else Binary(b"".join(parts)))  # type: ignore[arg-type]
        if last:
            self._kind = 0
            self._parts = _NO_PARTS

    def _take_control(self, events: list[Output]) -> None:
        payload = self._control
        self._control = b""
        if self._opcode == Opcode.PONG:
            events.append(Pong(payload))
        elif self._opcode == Opcode.PING:
            events.append(Ping(payload))
            # §5.5.2: "an endpoint MUST send a Pong frame in response, unless it already received a
            # Close frame", and §5.5.3: with the same application data
            self._frame(FIN | Opcode.PONG, payload)
        else:
            close = decode_close(payload)
            if isinstance(close, str):
                raise _Violation(close)
            # §5.5.1: "When sending a Close frame in response, the endpoint typically echos the
            # status code it received."
            self._end(close, answer=Close(close.code))
            events.append(close)

    def _fail(self, failure: Failure, events: list[Output]) -> None:
        words = Close(failure.reason.close_code, failure.problem)
        self.failed = True
        self._end(words, answer=words)
        events.append(failure)

    def _end(self, closed: Close, answer: Close) -> None:
        self.closed = closed
        self._answer = answer
        # §7.1.3: the closing handshake is complete when a close frame was both sent and received
        self.state = State.CLOSED if self.state is State.CLOSING else State.ENDING

    # Sending

    def may_send(self) -> bool:
        """Whether messages still go out."""
        # §5.5.1: "The application MUST NOT send any more data frames after sending a Close frame."
        # After receiving one it may: replies to what came before it go out before the answer.
        return self.state is State.OPEN or self.state is State.ENDING

    def send(self, message: Message) -> None:
        """Sends a message, or begins the closing handshake; does nothing once that has begun.

        Raises:
            InvalidMessage: it is no message, or holds what its kind cannot carry.
            InvalidClose: a close code or reason that may not be sent.
            LocalError: a message is going out in chunks.
        """
        if self.state is _OPEN and self._masking_key is None and not self._sending:
            # What nearly all messages are, without the detours.
            if type(message) is Text:
                try:
                    payload = message.text.encode()
                except (AttributeError, UnicodeEncodeError):
                    payload = b""  # `encode_message` says what is wrong with it
                size = len(payload)
                if 0 < size < 126:
                    self.out.append(_SHORT_TEXT_HEADS[size] + payload)
                    return
                if size:
                    self._frame(_TEXT_FRAME, payload)
                    return
            elif type(message) is Binary and type(message.data) is bytes:
                self._frame(_BINARY_FRAME, message.data)
                return
        self.send_frame(*encode_message(message))

    def send_frame(self, first: int, payload: bytes) -> None:
        """Sends what `encode_message` made of a message."""
        if not self.may_send():
            return
        if first == CLOSE_FRAME:
            if self.state is State.ENDING:  # `finish` will answer the peer
                return
            self.state = State.CLOSING
            self._shortcut = False
        elif first < CLOSE_FRAME:
            self._check_whole()
        self._frame(first, payload)

    def send_encoded(self, frame: bytes) -> None:
        """Sends a data frame that was encoded for many connections at once; for a server only."""
        if self.may_send():
            self._check_whole()
            self.out.append(frame)

    def send_chunk(self, data: str | bytes, last: bool) -> None:
        """Sends a piece of a message as a frame of its own; control frames may go between them.

        Raises:
            InvalidMessage: it cannot be sent, or the message's other chunks are of another kind.
        """
        if not self.may_send():
            return
        opening, payload = encode_message(Text(data) if isinstance(data, str) else Binary(data))
        opening &= ~FIN
        if self._sending not in (0, opening):
            raise InvalidMessage(data, "all chunks of a message to be text, or all bytes")
        first = Opcode.CONTINUATION if self._sending else opening
        self._sending = 0 if last else opening
        self._frame(first | FIN if last else first, payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begins the closing handshake; does nothing if it has begun.

        Raises:
            InvalidClose: the code or reason may not be sent.
        """
        self.send_frame(CLOSE_FRAME, encode_close(code, reason))

    def finish(self) -> None:
        """Ends the closing handshake after `Close` or `Failure`; does nothing at other times."""
        if self.state is State.ENDING:
            code, reason = self._answer.code, self._answer.reason
            self._frame(CLOSE_FRAME, b"" if code == NO_STATUS else encode_close(code, reason))
            self.state = State.CLOSED

    def lost(self) -> Close:
        """Notes that the TCP connection has ended; returns how the WebSocket did."""
        self.state = State.CLOSED
        self._shortcut = False
        return self.closed

    def _check_whole(self) -> None:
        # §5.4: fragments of one message may not be interleaved with those of another
        if self._sending:
            raise LocalError("a message cannot be sent between the chunks of another")

    def _frame(self, first: int, payload: bytes) -> None:
        if self._masking_key is not None:
            self.out.append(encode_frame(first, payload, self._masking_key()))
        elif len(payload) < _IN_PLACE:
            self.out.append(encode_frame(first, payload))
        else:
            self.out += (encode_head(first, len(payload)), payload)
