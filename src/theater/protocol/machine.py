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
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from theater.contract.messages import Binary, Close, Message, Ping, Text
from theater.errors import InvalidMessage
from theater.limits import ConnectionLimits
from theater.protocol.assembly import Chunk, Failure, Output
from theater.protocol.close import ABNORMAL, NO_STATUS, encode_close
from theater.protocol.deflate import Deflate, Deflater
from theater.protocol.frames import (
    CLOSE_FRAME,
    FIN,
    RSV1,
    Opcode,
    encode_frame,
    encode_head,
    encode_message,
)
from theater.protocol.receiver import Receiver, ReceiverState
from theater.protocol.shared import SharedMessage

__all__ = ["Chunk", "Failure", "Machine", "Output", "Role", "State", "new_masking_key"]

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


_TEXT_FRAME: Final = FIN | Opcode.TEXT
_BINARY_FRAME: Final = FIN | Opcode.BINARY
_SHORT_TEXT_HEADS: Final = tuple(bytes((_TEXT_FRAME, size)) for size in range(126))
_LARGE: Final = 4096  # bytes of payload that are not copied to stand behind their head
_NEVER: Final = sys.maxsize  # bytes from which messages are compressed, where they are not
_ABNORMAL: Final = Close(ABNORMAL)

_Held = tuple[int, bytes, bool]  # arguments of `send_frame`
_Exported = tuple[State, Close, bool, Close, int, list[_Held], ReceiverState]


class Machine(Receiver):
    """Both halves of one open connection: receiving, sending, and the closing handshake.

    Args:
        role: which end this is.
        limits: of the connection. What comes and is too large is a `Failure`.
        stream: give messages as `Chunk`s, as their bytes arrive.
        deflate: what was agreed on about compression.
        masking_key: where a client takes its keys from.

    Attributes:
        out: bytes for the peer, in order. The owner writes and clears it.
        held: bytes of data messages that wait until the message that is going out in chunks has.
        state: where the closing handshake stands.
        closed: how the connection ended, as far as is known: the peer's close frame, the fault, or
            1006 if there was neither.
        failed: the peer was at fault.
    """

    __slots__ = (
        "_answer",
        "_compress_from",
        "_deflater",
        "_masking_key",
        "_plain",
        "_sending",
        "_waiting",
        "closed",
        "failed",
        "held",
        "out",
        "state",
    )

    def __init__(
        self,
        role: Role,
        limits: ConnectionLimits,
        *,
        stream: bool = False,
        deflate: Deflate | None = None,
        masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        super().__init__(role is Role.SERVER, limits, stream, deflate)
        self.out: list[bytes] = []
        self.held = 0
        self.state = State.OPEN
        self.closed = _ABNORMAL
        self.failed = False
        self._answer = _ABNORMAL  # what `finish` tells the peer
        self._masking_key = masking_key if role is Role.CLIENT else None
        self._sending = 0  # opcode of the message that is going out in fragments
        self._waiting: list[SharedMessage | _Held] | None = None  # what is held, in order
        self._deflater: Deflater | None = None  # made when it is needed first
        self._compress_from = max(limits.compression_min, 1) if deflate and deflate.can_send else _NEVER
        self._set_plain()

    # Handing over

    def export_state(self) -> bytes:
        """Everything that another machine needs to go on in the middle of a frame, but for `out`.

        The peer's context is taken along; our own begins anew, which a peer does not notice.

        Raises:
            LocalError: a compressed message has arrived in part, or did not end where it must (RFC 7692
                §7.2.1). Try again when more is here.
        """
        held = [
            (item.first, item.payload, item.compress) if isinstance(item, SharedMessage) else item
            for item in self._waiting or ()
        ]
        own = (self.state, self.closed, self.failed, self._answer, self._sending, held, self.export())
        return msgspec.msgpack.encode(own)

    def restore_state(self, exported: bytes) -> None:
        """Goes on where the machine that `export_state` was called on stopped; same role and options."""
        own = msgspec.msgpack.decode(exported, type=_Exported)
        self.state, self.closed, self.failed, self._answer, self._sending, held, received = own
        self.restore(received)
        for first, payload, compress in held:
            self._hold((first, payload, compress), len(payload))
        self._set_plain()

    # Receiving

    def receive(self, data: bytes | bytearray = b"", end: int | None = None) -> list[Output]:
        """Takes bytes from the peer and returns what they mean, in order.

        Args:
            data: the bytes; a buffer that is used again may be passed, nothing keeps it.
            end: how many of them count; all, if left out.
        """
        closing = self.state is State.CLOSING
        events = super().receive(data, end)
        for event in events:
            match event:
                case Ping(payload):
                    # §5.5.2: "an endpoint MUST send a Pong frame in response, unless it already
                    # received a Close frame", and §5.5.3: with the same application data
                    self._frame(FIN | Opcode.PONG, payload)
                case Close(code):
                    # §5.5.1: "When sending a Close frame in response, the endpoint typically echos
                    # the status code it received."
                    self._end(event, answer=Close(code))
                case Failure(reason, problem):
                    self.failed = True
                    words = Close(reason.close_code, problem)
                    self._end(words, answer=words)
        if closing:  # who has said goodbye does not listen
            self._shortcut = False
            return [event for event in events if isinstance(event, Close | Failure)]
        return events

    def _end(self, closed: Close, answer: Close) -> None:
        self.closed = closed
        self._answer = answer
        # §7.1.3: the closing handshake is complete when a close frame was both sent and received
        self.state = State.CLOSED if self.state is State.CLOSING else State.ENDING
        self._plain = False

    # Sending

    def may_send(self) -> bool:
        """Whether messages still go out."""
        # §5.5.1: "The application MUST NOT send any more data frames after sending a Close frame."
        # After receiving one it may: replies to what came before it go out before the answer.
        return self.state is State.OPEN or self.state is State.ENDING

    def send(self, message: Message, compress: bool = True) -> None:
        """Sends a message, or begins the closing handshake; does nothing once that has begun.

        A data message waits while another is going out in chunks.

        Args:
            message: what to send.
            compress: send it compressed, if that was agreed on and makes it smaller.

        Raises:
            InvalidMessage: it is no message, or holds what its kind cannot carry.
            InvalidClose: a close code or reason that may not be sent.
        """
        if self._plain:
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
                if 0 < size < self._compress_from:
                    self._frame(_TEXT_FRAME, payload)
                    return
            elif type(message) is Binary:
                payload = message.data
                if type(payload) is bytes and len(payload) < self._compress_from:
                    self._frame(_BINARY_FRAME, payload)
                    return
        self.send_frame(*encode_message(message), compress)

    def send_frame(self, first: int, payload: bytes, compress: bool = True) -> None:
        """Sends what `encode_message` made of a message; as `send`."""
        if not self.may_send():
            return
        if first >= CLOSE_FRAME:
            if first == CLOSE_FRAME:
                if self.state is State.ENDING:  # the peer was first
                    self.finish()
                    return
                self.state = State.CLOSING
                self._shortcut = False
                self._send_no_more()
        elif self._sending:
            self._hold((first, payload, compress), len(payload))
            return
        elif compress and len(payload) >= self._compress_from and self.deflate is not None:
            if self._deflater is None:
                deflate, level = self.deflate, self._limits.compression_level
                self._deflater = Deflater(deflate.send_window, level, deflate.send_takeover)
            smaller = self._deflater.deflate(payload)
            if smaller is not None:
                first, payload = first | RSV1, smaller
        self._frame(first, payload)

    def send_shared(self, message: SharedMessage) -> None:
        """Sends a message that goes to many connections; for a server only. Waits as others do."""
        if not self.may_send():
            return
        if self._sending:
            self._hold(message, message.size)
            return
        if message.compress and message.size >= self._compress_from and self.deflate is not None:
            frame = message.compressed(self.deflate.send_window, self._limits.compression_level)
            if frame is not None:
                # The peer's context has gone on without ours, so that is of no use any more.
                self._deflater = None
                self.out.append(frame)
                return
        self.out.append(message.plain)

    def send_chunk(self, data: str | bytes, last: bool) -> None:
        """Sends a piece of a message as a frame of its own; control frames may go between them.

        Data messages that are sent meanwhile go out behind the last chunk.

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
        self._set_plain()
        self._frame(first | FIN if last else first, payload)
        if last:
            self._release()

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
            self._send_no_more()

    def lost(self) -> Close:
        """Notes that the TCP connection has ended; returns how the WebSocket did."""
        self.state = State.CLOSED
        self.over = True
        self._shortcut = False
        self._send_no_more()
        return self.closed

    def _hold(self, item: "SharedMessage | _Held", size: int) -> None:
        # §5.4: fragments of one message may not be interleaved with those of another
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(item)
        self.held += size

    def _release(self) -> None:
        waiting, self._waiting, self.held = self._waiting, None, 0
        for item in waiting or ():
            if isinstance(item, SharedMessage):
                self.send_shared(item)
            else:
                self.send_frame(*item)

    def _send_no_more(self) -> None:
        self._plain = False
        self._waiting, self.held = None, 0

    def _set_plain(self) -> None:
        self._plain = (
            self._masking_key is None
            and self.state is State.OPEN
            and not self._sending
            and self._compress_from >= 126
        )

    def _frame(self, first: int, payload: bytes) -> None:
        if self._masking_key is not None:
            self.out.append(encode_frame(first, payload, self._masking_key()))
        elif len(payload) < _LARGE:
            self.out.append(encode_frame(first, payload))
        else:
            self.out += (encode_head(first, len(payload)), payload)
