"""The outgoing half of an open WebSocket: writing, and what waits when the client reads slowly."""

import asyncio
from typing import Final

from theater.contract import Congested, Drained, Error, Event, Message
from theater.errors import LocalError, Reason
from theater.limits import ConnectionLimits
from theater.protocol.frames import CLOSE_FRAME, encode_message
from theater.protocol.keepalive import Keepalive
from theater.protocol.machine import Machine, State
from theater.protocol.shared import SharedMessage
from theater.runtime.counters import Counters
from theater.runtime.ports import Frame
from theater.runtime.sendqueue import SendQueue
from theater.server.hub import Hub

_JOIN: Final = 16 * 1024  # bytes that are joined to one buffer for a write; more go as they are
FULL: Final = 32
"""Pieces put out while a read is handled that are written before it is over."""

_CLOSING: Final = State.CLOSING


class Outgoing:
    """Sends what an actor sends; this is most of `Wire`.

    As long as the client keeps up, messages go to the machine and are written, once for all that is
    sent while a read is handled. When the transport has had enough, or a message is going out in
    pieces, the others wait in a queue of their own.

    Args:
        hub: what all connections share.
        machine: the connection's.
        transport: the socket.
        limits: of this connection.
        counters: of the actor's type.
    """

    __slots__ = (
        "_changed",
        "_congested",
        "_counters",
        "_flushing",
        "_hub",
        "_keepalive",
        "_machine",
        "_queue",
        "_streaming",
        "_told",
        "_transport",
        "_wheel",
        "_writable",
        "limits",
    )

    def __init__(
        self,
        hub: Hub,
        machine: Machine,
        transport: asyncio.Transport,
        limits: ConnectionLimits,
        counters: Counters,
    ) -> None:
        self.limits = limits
        self._hub = hub
        self._wheel = hub.wheel
        self._keepalive = Keepalive(limits, hub.clock.now())
        self._machine = machine
        self._transport = transport
        self._counters = counters
        self._flushing = False  # what is put out now is flushed by who called
        self._writable = True
        self._congested = False  # so the client is not read either
        self._told = False  # the actor was told so, and has not been told otherwise
        self._streaming = False  # a message is going out in pieces
        self._queue: SendQueue[Frame | SharedMessage] | None = None  # None while the client keeps up
        self._changed: asyncio.Future[None] | None = None  # for those who wait until it does

    # From the actor

    def send(self, message: Message) -> None:
        if self._queue is None:
            self._machine.send(message)
            self._counters.messages_out += 1
            if not self._flushing:
                self.flush()
        else:
            self.send_frame(Frame(*encode_message(message)))

    def send_frame(self, frame: Frame) -> None:
        self._counters.messages_out += 1
        self._keepalive.active = self._wheel.now
        if self._queue is not None:
            self._keep(frame, len(frame.payload), frame.key)
            return
        self._machine.send_frame(frame.first, frame.payload, frame.compress)
        if not self._flushing or len(self._machine.out) > FULL:
            self.flush()

    def send_shared(self, message: SharedMessage, key: str | None) -> None:
        self._counters.messages_out += 1
        self._keepalive.active = self._wheel.now
        if self._queue is not None:
            self._keep(message, message.size, key)
            return
        self._machine.send_shared(message)
        if not self._flushing or len(self._machine.out) > FULL:
            self.flush()

    def open_stream(self) -> None:
        if self._streaming:
            raise LocalError("another message is going out in pieces on this connection")
        if self._machine.may_send():
            self._streaming = True
            self._queue = SendQueue(self.limits)

    def send_chunk(self, data: str | bytes, last: bool) -> None:
        self._machine.send_chunk(data, last)
        self._keepalive.active = self._wheel.now
        self.flush()
        if last:
            self._counters.messages_out += 1
            self._streaming = False
            self._catch_up()

    def break_stream(self, begun: bool) -> None:
        self._streaming = False
        if begun:
            self._close_now(Reason.INTERNAL_ERROR, "")
        else:
            self._catch_up()

    async def writable(self) -> None:
        # Others have their turn even while a fast client, or none any more, takes all it is sent.
        await asyncio.sleep(0)
        while not self._writable:
            await self._change()

    async def drained(self) -> None:
        while self._queue or not self._writable:
            await self._change()

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size() + (0 if self._queue is None else self._queue.size)

    # From the transport

    def pause_writing(self) -> None:
        self._writable = False
        if self._queue is None:
            self._queue = SendQueue(self.limits)
        if not self._congested:
            self._congested = True
            # Who does not read what it is sent is not read either, until it does.
            self._hold_back(True)
            # An actor that is sending a stream is told by `writable`.
            if not self._streaming:
                self._told = True
                self._deliver(Congested(self.waiting))

    def resume_writing(self) -> None:
        self._writable = True
        self._catch_up()

    def flush(self) -> None:
        """Writes what the machine has put out."""
        self._flushing = False
        machine = self._machine
        out = machine.out
        if not out:
            return
        # The transport may call `pause_writing` meanwhile, and the actor send more: `out` is empty by then.
        if len(out) == 1:
            data = out[0]
            out.clear()
            self._counters.bytes_out += len(data)
            self._transport.write(data)
        else:
            machine.out = []
            size = sum(map(len, out))
            self._counters.bytes_out += size
            if size < _JOIN:
                self._transport.write(b"".join(out))
            else:
                self._transport.writelines(out)
        if machine.state is _CLOSING:
            self._await_close()

    def send_rest(self) -> None:
        """Sends all that waits, before the closing handshake ends; it is bounded."""
        while self._queue and not self._streaming:
            self._emit(self._queue.take())

    def release(self) -> None:
        """Lets go of all that waits, since the connection has ended, and of all who wait for it."""
        self._queue = None
        self._writable = True
        self._streaming = False
        self._tell_change()

    # What happens between

    def _keep(self, message: Frame | SharedMessage, size: int, key: str | None) -> None:
        """Lets a message wait, as far as the policy allows."""
        queue = self._queue
        if queue is None or not self._machine.may_send():
            return
        if message.first == CLOSE_FRAME:
            queue.put_last(message)
            self._set_deadline()
            return
        dropped = queue.dropped
        if not queue.put(message, size, key):
            waiting = self.waiting
            self._close_now(Reason.TOO_SLOW, "reads too slowly")
            self._deliver(Error(f"reads too slowly: {waiting} bytes are waiting for it"))
        self._counters.messages_dropped += queue.dropped - dropped

    def _close_now(self, reason: Reason, words: str) -> None:
        """Begins the closing handshake, without what still waits."""
        self._queue = None
        self._machine.close(reason.close_code, words)
        self.flush()
        self._tell_change()

    def _catch_up(self) -> None:
        """Sends what has waited, as long as the client takes it."""
        queue = self._queue
        size = 0
        while queue and self._writable and not self._streaming:
            before = queue.size
            self._emit(queue.take())
            size += before - queue.size
            if size >= _JOIN:
                size = 0
                self.flush()
        self.flush()
        if self._writable and (self._streaming or not queue):
            if not self._streaming:
                self._queue = None
            if self._congested:
                self._congested = False
                self._hold_back(False)
            if self._told:
                self._told = False
                self._deliver(Drained())
        self._tell_change()

    def _emit(self, message: Frame | SharedMessage) -> None:
        if isinstance(message, Frame):
            self._machine.send_frame(message.first, message.payload, message.compress)
        else:
            self._machine.send_shared(message)

    async def _change(self) -> None:
        """Waits until there is more room, or none is needed any more."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set_result(None)

    # The other half's part

    def _deliver(self, event: Event) -> None:
        """Gives the actor an event."""
        raise NotImplementedError

    def _hold_back(self, on: bool) -> None:
        """Reads no more from the client, or reads again."""
        raise NotImplementedError

    def _await_close(self) -> None:
        """Waits for the peer's close frame."""
        raise NotImplementedError

    def _set_deadline(self) -> None:
        """Drops the connection if it has not ended when `close_timeout` is over."""
        raise NotImplementedError
