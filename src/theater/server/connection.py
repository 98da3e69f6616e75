"""The shell around one open WebSocket: between its socket, the protocol machine and its actor."""

import asyncio
import logging
from contextlib import suppress
from typing import Final, assert_never

from theater.contract import Close, Closed, Error, Event, Incoming, Ping, Pong, Received, Stream, Text
from theater.contract.http import Accept, UpgradeRequest
from theater.contract.messages import Binary
from theater.errors import Reason
from theater.protocol.deflate import Deflate
from theater.protocol.keepalive import Beat
from theater.protocol.machine import Chunk, Failure, Machine, Output, Role, State
from theater.runtime.cell import Cell
from theater.runtime.connection import Connection
from theater.runtime.ports import Timer
from theater.runtime.streams import IncomingStream
from theater.server.admission import Slot
from theater.server.hub import Hub
from theater.server.outgoing import FULL, Outgoing
from theater.server.routing import Route
from theater.server.throttle import Throttle

# Why reading is paused, a bit each.
_MAILBOX: Final = 1
_BACKLOG: Final = 2
_RATE: Final = 4
_STREAM: Final = 8

_AHEAD: Final = 256 * 1024  # bytes of streamed messages that wait for the actor before reading is paused

_NO_PROTOCOL: Final = asyncio.Protocol()
_ENDING: Final = State.ENDING

log = logging.getLogger("theater.server")


class WebSocketConnection(Outgoing, asyncio.BufferedProtocol):
    """Moves bytes and events between a socket and a cell. Implements `Wire`.

    Args:
        hub: what it shares with others.
        cell: its actor.
        request: what it was opened with.
        accept: what the actor said to that.
        transport: the socket.
        route: what led here.
        deflate: how messages are compressed, if that was agreed on.
        slot: its place among the connections that are counted.
    """

    __slots__ = (
        "_cell",
        "_connection",
        "_ended",
        "_paused",
        "_plain",
        "_rate_timer",
        "_route",
        "_slot",
        "_stalled",
        "_stream",
        "_streamed",
        "_throttle",
        "_timer",
    )

    def __init__(
        self,
        hub: Hub,
        cell: Cell,
        request: UpgradeRequest,
        accept: Accept,
        transport: asyncio.Transport,
        route: Route,
        deflate: Deflate | None,
        slot: Slot,
    ) -> None:
        limits = route.limits
        machine = Machine(Role.SERVER, limits, stream=route.stream, deflate=deflate)
        super().__init__(hub, machine, transport, limits, cell.counters)
        self._cell = cell
        self._route = route
        self._slot = slot
        self._connection = Connection(hub.new_id(), request, accept, self, cell.outbox)
        self._plain = route.batch is None and not route.answers  # messages go straight to the cell
        self._paused = 0
        self._ended = False
        self._timer: Timer | None = None
        self._stream: IncomingStream | None = None  # whose chunks are arriving
        self._streamed = 0  # bytes of streams that have not been taken
        self._stalled = 0  # bytes that waited for the client when it was last checked
        self._throttle = Throttle(limits, hub.clock.now())
        self._rate_timer: Timer | None = None  # until which the client is not read

    def start(self, early: bytes) -> None:
        """Begins, with the bytes that came right behind the handshake."""
        self._hub.opened(self, self._keepalive.deadline)
        self._transport.set_write_buffer_limits(self.limits.send_high_water, self.limits.send_low_water)
        # uvloop holds on to the last protocol that is not buffered, which would keep the HTTP
        # connection and its parser in memory as long as the WebSocket.
        self._transport.set_protocol(_NO_PROTOCOL)
        self._transport.set_protocol(self)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s: connection %d from %s", self._cell.address, self._connection.id, self._connection.peer
            )
        self._cell.connected(self._connection, self._route.batch)
        if early:
            self._hub.buffer[: len(early)] = early
            self.buffer_updated(len(early))

    def shut_down(self, reason: Reason) -> None:
        """Begins the closing handshake because the server stops."""
        self.send(Close(reason.close_code))

    def abort(self) -> None:
        """Drops the TCP connection."""
        self._transport.abort()

    # From the socket

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._hub.view

    def buffer_updated(self, nbytes: int) -> None:
        """Handles what was read; with 0, goes on with what an earlier read has left."""
        self._counters.bytes_in += nbytes
        self._flushing = True  # what is sent here meanwhile is written below
        keepalive = self._keepalive
        keepalive.heard = now = self._wheel.now
        throttle = self._throttle
        throttle.size -= nbytes
        message = self._machine.receive_whole(self._hub.buffer, nbytes)
        if message is None:
            self._receive(nbytes)
        else:
            self._counters.messages_in += 1
            keepalive.active = now
            throttle.messages -= 1
            # `_within_rate` would come to the same.
            if (throttle.messages >= 0 and throttle.size >= 0) or self._within_rate(message):
                if self._plain:
                    self._cell.receive(self._connection, Received(message))
                else:
                    self._deliver(Received(message))
        self.flush()

    def _receive(self, size: int) -> None:
        machine = self._machine
        events = machine.receive(self._hub.buffer, size)
        while True:
            for event in events:
                # The actor may close the connection while it handles this read.
                if machine.may_send() or type(event) is Failure:
                    self._take(event)
                    if len(machine.out) > FULL:  # replies to one read may be many
                        self.flush()
                        self._flushing = True
            if not machine.behind or self._paused:
                break
            events = machine.receive()
        if machine.state >= _ENDING:
            self._end()

    def _take(self, event: Output) -> None:
        match event:
            case Text() | Binary():
                self._counters.messages_in += 1
                self._keepalive.active = self._wheel.now
                self._throttle.messages -= 1
                if self._machine.deflate is not None:
                    self._throttle.size -= _size(event)  # inflating takes time, too
                if self._within_rate(event):
                    self._deliver(Received(event))
            case Ping():
                self._counters.messages_in += 1
                self._throttle.messages -= 1
                if self._within_rate(event):
                    self._deliver(Received(event))
            case Pong(payload):
                self._counters.messages_in += 1
                self._throttle.messages -= 1
                if self._keepalive.pong(payload, self._hub.clock.now()):
                    self._counters.round_trips.observe(self._keepalive.round_trip or 0.0)
                elif self._within_rate(event):
                    self._deliver(Received(event))
            case Chunk():
                self._take_chunk(event)
            case Failure(_, problem):
                self._deliver(Error(problem))
            case Close():
                pass  # `_end` follows
            case _:
                assert_never(event)

    def _take_chunk(self, chunk: Chunk) -> None:
        """Hands on a piece of a streamed message; the first one is an event."""
        size = len(chunk.data)
        stream, first = self._stream, self._stream is None
        if stream is None:
            self._counters.messages_in += 1
            self._throttle.messages -= 1
            stream = IncomingStream(
                isinstance(chunk.data, str), self._stream_freed, self._cell.extend_deadline
            )
        self._stream = None if chunk.last else stream
        self._streamed += size
        if self._machine.deflate is not None:
            self._throttle.size -= size
        self._keepalive.active = self._wheel.now
        stream.feed(chunk.data, chunk.last)
        if first:
            self._deliver(Received(stream))
        self._within_rate()
        if self._streamed > _AHEAD:
            self._pause(_STREAM)

    def _stream_freed(self, size: int) -> None:
        self._streamed -= size
        if self._streamed <= _AHEAD // 2:
            self._resume(_STREAM)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._rate_timer):
            if timer is not None:
                timer.cancel()
        self._hub.closed(self)
        self._hub.budget.give_back(self._machine.deflate)
        self._slot.release()
        closed = self._machine.lost()
        self._counters.closed[closed.code] += 1
        if self._stream is not None:
            self._stream.lost(closed)
        self.release()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: connection %d ended: %s", self._cell.address, self._connection.id, closed)
        self._cell.closed(self._connection, Closed(closed.code, closed.reason), self._route.batch)

    def _end(self) -> None:
        """Ends the TCP connection when the closing handshake is over (RFC 6455 §7.1.1)."""
        if self._ended:
            return
        self._ended = True
        self.send_rest()  # §5.5.1: replies to what came before the close frame go out before the answer
        self.release()
        self._machine.finish()
        self.flush()
        self._set_deadline()
        if self._machine.failed and self._transport.can_write_eof():
            # The peer may still be sending. Closing now would reset the connection, and with it
            # the close frame that says why.
            with suppress(OSError):  # asyncio raises it where the peer is gone
                self._transport.write_eof()
        else:
            self._transport.close()

    # To the actor

    def _deliver(self, event: Event) -> None:
        route = self._route
        if isinstance(event, Received):
            if route.answers and isinstance(event.message, Text):
                answer = route.answers.get(event.message.text)
                if answer is not None:
                    self.send(Text(answer))
                    return
            if isinstance(event.message, Stream):
                self._cell.receive_stream(self._connection, event)
                return
        if route.batch is None:
            self._cell.receive(self._connection, event)
        else:
            self._cell.gather(self._connection, event, route.batch)

    # Time

    def check(self, now: float) -> float:
        """Does what time asks for; called by the wheel."""
        keepalive = self._keepalive
        if self._machine.state is not State.OPEN:
            return now + self.limits.close_timeout  # there is a timer for that
        if self._paused:
            keepalive.heard = now  # it may be speaking; it is not listened to
        if not self._writable and self._is_stalled():
            self._give_up(f"has read nothing for {self.limits.ping_interval:g} s")
        else:
            match keepalive.check(now):
                case Beat.PING:
                    self._machine.send(Ping(keepalive.payload))
                    self.flush()
                case Beat.GONE:
                    self._give_up(f"did not answer a ping within {self.limits.pong_timeout:g} s")
                case Beat.IDLE:
                    self.send(Close(1000, "idle for too long"))
                case Beat.EXPIRED:
                    self.send(Close(Reason.GOING_AWAY.close_code, "open for long enough"))
                case Beat.NOTHING:
                    pass
        return keepalive.deadline

    def resume_writing(self) -> None:
        self._stalled = 0
        super().resume_writing()

    def _is_stalled(self) -> bool:
        """Whether the client has read nothing since the last check; nothing is added to what waits for
        it in the transport meanwhile."""
        before, self._stalled = self._stalled, self._transport.get_write_buffer_size()
        return before == self._stalled

    def _give_up(self, problem: str) -> None:
        """Ends a connection whose client is not there any more."""
        self._deliver(Error(problem))
        self._transport.abort()

    def _await_close(self) -> None:
        if self._timer is None:
            self._set_deadline()
            # Nothing else from the peer counts any more.
            self._paused = 0
            self._hub.call_soon(self._read_on)

    def _set_deadline(self) -> None:
        if self._timer is None:
            self._timer = self._hub.clock.call_later(self.limits.close_timeout, self._transport.abort)

    # Rates

    def _within_rate(self, message: Incoming | None = None) -> bool:
        """Settles what has been read with the buckets; says whether it may be handled.

        Args:
            message: what came, if it is whole and can be left out.
        """
        throttle = self._throttle
        if throttle.messages >= 0 and throttle.size >= 0:
            return True
        limits = self.limits
        now = self._hub.clock.now()
        if limits.rate_action == "drop" and message is not None:
            if throttle.admits(_size(message), now):
                return True
            self._counters.messages_dropped += 1
            return False
        wait = throttle.settle(now)
        if not wait:
            return True
        if limits.rate_action == "close":
            self._close_now(Reason.POLICY_VIOLATION, "too much at once")
            self._deliver(
                Error(
                    f"sends more than {limits.message_rate:g} messages or {limits.byte_rate:g} bytes a second"
                )
            )
            return False
        if self._rate_timer is None:
            self._counters.throttled += 1
            self._pause(_RATE)
            self._rate_timer = self._hub.clock.call_later(wait, self._check_rate)
        return True

    def _check_rate(self) -> None:
        """Reads on if the time to wait is over."""
        self._rate_timer = None
        wait = self._throttle.wait(self._hub.clock.now())
        if wait:
            self._rate_timer = self._hub.clock.call_later(wait, self._check_rate)
        else:
            self._resume(_RATE)

    # Reading and not

    def pause_reading(self) -> None:
        self._pause(_MAILBOX)

    def resume_reading(self) -> None:
        self._resume(_MAILBOX)

    def _hold_back(self, on: bool) -> None:
        if on:
            self._pause(_BACKLOG)
        else:
            self._resume(_BACKLOG)

    def _pause(self, why: int) -> None:
        if self._machine.state is State.OPEN and not self._transport.is_closing():
            if not self._paused:
                self._transport.pause_reading()
            self._paused |= why

    def _resume(self, why: int) -> None:
        if self._paused:
            self._paused &= ~why
            if not self._paused:
                # Not at once: this may be called from inside the turn of the actor it feeds.
                self._hub.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Handles what was read before the pause, then reads on."""
        if self._transport.is_closing():  # what is left of a connection that was lost is not looked at
            return
        if self._machine.behind and not self._paused:
            self.buffer_updated(0)
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()


def _size(message: Incoming) -> int:
    """About how many bytes a message was on the wire."""
    match message:
        case Text(text):
            return len(text)
        case Binary(payload) | Ping(payload) | Pong(payload):
            return len(payload)
