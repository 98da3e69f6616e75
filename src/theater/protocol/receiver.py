"""Frames to messages: the incoming half of a WebSocket, RFC 6455 §5 and RFC 7692 §6."""

import zlib
from typing import Final

from theater.contract.messages import Binary, Ping, Pong, Text
from theater.errors import LocalError, Reason
from theater.limits import ConnectionLimits
from theater.protocol.assembly import BATCH, Assembly, Failure, Output, Violation
from theater.protocol.close import decode_close
from theater.protocol.deflate import Deflate, Inflater
from theater.protocol.frames import FIN, MASK, MAX_CONTROL_PAYLOAD, RSV1, Opcode, apply_mask

_TEXT_FRAME: Final = FIN | Opcode.TEXT
_BINARY_FRAME: Final = FIN | Opcode.BINARY
_IN_PLACE: Final = 4096  # bytes of payload from which unmasking through a view beats a copy
_BETWEEN_FRAMES: Final = -1

ReceiverState = tuple[bytes, bool, bool, bytes, int, int, bool, bytes, bytes, int, int, int, bytes, bytes]
"""What `export` gives: plain data."""


class Receiver(Assembly):
    """Turns bytes from the peer into what they mean, until its close frame or first fault.

    Args:
        masked: frames come masked, as they do to a server.
        limits, stream, deflate: as of `Assembly`.

    Attributes:
        over: a close frame or a fault was the last event; nothing is looked at any more.
        behind: a full batch left bytes that `receive()` is to be called for.
    """

    __slots__ = (
        "_control",
        "_fin",
        "_key",
        "_left",
        "_mask_bit",
        "_max_whole",
        "_opcode",
        "_rest",
        "_shortcut",
        "_shortcuts",
        "behind",
        "over",
    )

    def __init__(
        self, masked: bool, limits: ConnectionLimits, stream: bool = False, deflate: Deflate | None = None
    ) -> None:
        super().__init__(limits, stream, deflate)
        self.over = False
        self.behind = False
        self._mask_bit = MASK if masked else 0
        # Bytes of a message in one frame.
        self._max_whole = min(limits.max_message, limits.max_frame or limits.max_message)
        self._shortcuts = masked and not stream
        self._shortcut = self._shortcuts  # and nothing is unfinished
        self._rest = b""  # an unfinished frame header, or what a full batch left
        # The frame whose payload is arriving.
        self._left = _BETWEEN_FRAMES  # payload bytes to come
        self._opcode = 0
        self._fin = False
        self._key = b""  # rotated to the next payload byte
        self._control = b""  # payload so far, if it is a control frame

    def receive(self, data: bytes | bytearray = b"", end: int | None = None) -> list[Output]:
        """Takes bytes and returns what they mean, in order.

        Args:
            data: the bytes; a buffer that is used again may be passed, nothing keeps it.
            end: how many of them count; all, if left out.
        """
        events: list[Output] = []
        if self.over:  # §5.5.1: nothing may follow a close frame
            return events
        if end is None:
            end = len(data)
        if self._rest:
            data = self._rest + data[:end]
            end = len(data)
            self._rest = b""
        try:
            if self._inflating and self._compressed is not None:
                self._inflate(self._compressed, events)
            position = self._parse(data, end, events)
        except (Violation, UnicodeDecodeError, zlib.error) as fault:
            position = end
            self.over = True
            events.append(_failure(fault))
        self.behind = len(events) >= BATCH and (position < end or self._inflating)
        if position < end:
            self._rest = bytes(data[position:end])
        self._shortcut = (
            self._shortcuts and position >= end and self._left < 0 and not self._kind and not self.over
        )
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
        if begin + size != end or size > self._max_whole or (first != _TEXT_FRAME and first != _BINARY_FRAME):
            return None
        masked = data[begin:end] if size < _IN_PLACE else memoryview(data)[begin:end]
        payload = apply_mask(masked, data[begin - 4 : begin])
        if first == _BINARY_FRAME:
            return Binary(payload)
        try:
            return Text(payload.decode())
        except UnicodeDecodeError:  # `receive` knows what to do
            return None

    def export(self) -> ReceiverState:
        """Everything that another receiver needs to go on in the middle of a frame.

        Raises:
            LocalError: it is in the middle of a compressed message, or the last one did not end where
                it must (RFC 7692 §7.2.1). zlib's state of that cannot be taken along, only what it
                keeps between messages.
        """
        if self._compressed is not None:
            raise LocalError("a connection cannot be handed over in the middle of a compressed message")
        text = self._kind == Opcode.TEXT
        content = "".join(self._parts).encode() if text else b"".join(self._parts)  # type: ignore[arg-type]
        return (
            content,
            self.over,
            self.behind,
            self._rest,
            self._left,
            self._opcode,
            self._fin,
            self._key,
            self._control,
            self._kind,
            self._size,
            self._fragments,
            self._tail,
            self._inflater.window() if self._inflater else b"",
        )

    def restore(self, state: ReceiverState) -> None:
        """Goes on where the receiver that gave `state` stopped; made with the same arguments."""
        content, self.over, self.behind, self._rest, self._left, self._opcode, self._fin = state[:7]
        self._key, self._control, self._kind, self._size, self._fragments, self._tail, window = state[7:]
        if self._kind:
            self._parts = [content.decode()] if self._kind == Opcode.TEXT else [content]
        if window and self.deflate:
            self._inflater = Inflater(self.deflate, window)
        self._shortcut = False  # the next read finds out

    def _parse(self, data: bytes | bytearray, end: int, events: list[Output]) -> int:
        """Parses until the data, the batch or the connection ends; returns how far it came."""
        position = 0
        while position < end and len(events) < BATCH:
            if self._left >= 0:
                position = self._take_payload(data, position, end, events)
                if self.over:
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
                raise Violation("a frame that is not masked" if self._mask_bit else "a masked frame")
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
                and size <= self._max_whole
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
            if self.over:
                return end
        return position

    def _begin_frame(self, first: int, size: int) -> None:
        """Checks a frame header and goes over to its payload."""
        opcode = first & 0x0F
        fin = bool(first & FIN)
        # §5.2: "If a nonzero value is received and none of the negotiated extensions defines the
        # meaning of such a nonzero value, the receiving endpoint MUST _Fail the WebSocket Connection_"
        # RFC 7692 §6: the first bit stands on the first frame of a compressed message, nowhere else.
        deflate = self.deflate if first & 0x70 == RSV1 and 0 < opcode < Opcode.CLOSE else None
        if first & 0x70 and deflate is None:
            raise Violation("a frame with reserved bits set")
        if opcode >= Opcode.CLOSE:
            if opcode > Opcode.PONG:
                raise Violation(f"a frame with the reserved opcode {opcode}")
            # §5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT
            # be fragmented."
            if not fin:
                raise Violation("a fragmented control frame")
            if size > MAX_CONTROL_PAYLOAD:
                raise Violation(f"a control frame of {size} bytes")
            self._control = b""
        else:
            if opcode > Opcode.BINARY:
                raise Violation(f"a frame with the reserved opcode {opcode}")
            # §5.4: fragments of one message may not be interleaved with those of another
            if opcode == Opcode.CONTINUATION:
                if not self._kind:
                    raise Violation("a continuation frame without a message to continue")
            elif self._kind:
                raise Violation("a new message before the last one has ended")
            else:
                self._begin_message(opcode, deflate)
            self._begin_fragment(size, fin)
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

    def _take_control(self, events: list[Output]) -> None:
        payload = self._control
        self._control = b""
        if self._opcode == Opcode.PONG:
            events.append(Pong(payload))
        elif self._opcode == Opcode.PING:
            events.append(Ping(payload))
        else:
            close = decode_close(payload)
            if isinstance(close, str):
                raise Violation(close)
            self.over = True
            events.append(close)


def _failure(fault: Exception) -> Failure:
    if isinstance(fault, Violation):
        return fault.failure
    # §8.1: "that endpoint MUST _Fail the WebSocket Connection_"
    if isinstance(fault, UnicodeDecodeError):
        return Failure(Reason.INVALID_TEXT, "text that is not UTF-8")
    # §7.4.1: 1007 is for "data within a message that was not consistent with the type of the message"
    return Failure(Reason.INVALID_TEXT, "compressed data that cannot be inflated")


def _extended_size(field: bytes | bytearray) -> int:
    """Reads a payload length of 2 or 8 bytes (§5.2)."""
    size = int.from_bytes(field, "big")
    # "the minimal number of bytes MUST be used to encode the length"
    if size < (126 if len(field) == 2 else 65536):
        raise Violation("a payload length that is not in its shortest form")
    # "the most significant bit MUST be 0"
    if size >> 63:
        raise Violation("a payload length of more than 63 bits")
    return size
