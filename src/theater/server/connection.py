"""The shell around one open WebSocket: between its socket, the protocol machine and its actor."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from theater.contract import Close, Closed, Error, Message, Received
from theater.contract.http import Accept, UpgradeRequest
from theater.contract.messages import Binary, Ping, Pong, Text
from theater.errors import Reason
from theater.limits import Limits
from theater.protocol.machine import Failure, Machine, Role, State
from theater.runtime.cell import Cell
from theater.runtime.connection import Connection
from theater.runtime.ports import Clock, Timer

READ_BUFFER: Final = 256 * 1024  # bytes, for all connections of one loop together
_JOIN: Final = 16 * 1024  # bytes that are joined to one buffer for a write; more go as they are

_MAILBOX: Final = 1  # why reading is paused, a bit each
_BACKLOG: Final = 2

_NO_PROTOCOL: Final = asyncio.Protocol()
_CLOSING: Final = State.CLOSING
_ENDING: Final = State.ENDING

log = logging.getLogger("theater.server")


class Hub:
    """What all WebSockets of one event loop share.

    Args:
        loop: the event loop.
        clock: for deadlines.
        limits: of the connection.
        new_id: source of connection ids.

    Attributes:
        buffer: where every read goes. A connection takes what it needs before the next read.
        open: the connections that have not ended.
        stopping: no more are to be opened.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, limits: Limits, new_id: Callable[[], int]
    ) -> None:
        self.buffer = bytearray(READ_BUFFER)
        self.clock = clock
        self.limits = limits
        self.new_id = new_id
        self.open: set[WebSocketConnection] = set()
        self._waiting: list[WebSocketConnection] = []
        self._scheduled = False
        self.stopping = False
        self._empty: asyncio.Event | None = None
        self.call_soon = loop.call_soon

    def flush_later(self, connection: "WebSocketConnection") -> None:
        """Writes what a connection has put out, in the loop's next round, with all that it puts out
        until then."""
        self._waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()

    def closed(self, connection: "WebSocketConnection") -> None:
        """Notes that a connection has ended."""
        self.open.discard(connection)
        if not self.open and self._empty is not None:
            self._empty.set()

    async def until_empty(self) -> None:
        """Waits until all connections have ended."""
        if self.open:
            self._empty = asyncio.Event()
            await self._empty.wait()


class WebSocketConnection(asyncio.BufferedProtocol):
    """Moves bytes and events between a socket and a cell. Implements `Wire`.

    Args:
        hub: what it shares with others.
        cell: its actor.
        request: what it was opened with.
        accept: what the actor said to that.
        transport: the socket.
        max_message: bytes of one incoming message; the server's limit, if 0.
    """

    __slots__ = (
        "_cell",
        "_connection",
        "_counters",
        "_ended",
        "_flushing",
        "_hub",
        "_machine",
        "_paused",
        "_timer",
        "_transport",
        "_writable",
    )

    def __init__(
        self,
        hub: Hub,
        cell: Cell,
        request: UpgradeRequest,
        accept: Accept,
        transport: asyncio.Transport,
        max_message: int = 0,
    ) -> None:
        self._hub = hub
        self._cell = cell
        self._counters = cell.counters
        self._transport = transport
        self._machine = Machine(Role.SERVER, max_message or hub.limits.max_message)
        self._connection = Connection(hub.new_id(), request, accept, self, cell.outbox)
        self._paused = 0
        self._writable = True
        self._flushing = False
        self._ended = False
        self._timer: Timer | None = None

    def start(self, early: bytes) -> None:
        """Begins, with the bytes that came right behind the handshake."""
        self._hub.open.add(self)
        # uvloop holds on to the last protocol that is not buffered, which would keep the HTTP
        # connection and its parser in memory as long as the WebSocket.
        self._transport.set_protocol(_NO_PROTOCOL)
        self._transport.set_protocol(self)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s: connection %d from %s", self._cell.address, self._connection.id, self._connection.peer
            )
        self._cell.connected(self._connection)
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

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._hub.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handles what was read; with 0, goes on with what an earlier read has left."""
        self._counters.bytes_in += nbytes
        self._flushing = True  # what is sent here meanwhile is written below
        message = self._machine.receive_whole(self._hub.buffer, nbytes)
        if message is not None:
            self._counters.messages_in += 1
            self._cell.receive(self._connection, Received(message))
        else:
            self._receive(nbytes)
        self.flush()

    def _receive(self, size: int) -> None:
        machine = self._machine
        cell = self._cell
        connection = self._connection
        events = machine.receive(self._hub.buffer, size)
        while True:
            for event in events:
                kind = type(event)
                if kind is Text or kind is Binary or kind is Ping or kind is Pong:
                    self._counters.messages_in += 1
                    if machine.may_send():  # the actor may close while it handles this read
                        cell.receive(connection, Received(event))  # type: ignore[arg-type]
                elif isinstance(event, Failure):
                    cell.receive(connection, Error(event.problem))
            if not machine.behind or self._paused:
                break
            events = machine.receive()
        if machine.state >= _ENDING:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hub.closed(self)
        closed = self._machine.lost()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: connection %d ended: %s", self._cell.address, self._connection.id, closed)
        self._cell.closed(self._connection, Closed(closed.code, closed.reason))

    def pause_writing(self) -> None:
        # Who does not read what it is sent is not read either, until it does.
        self._writable = False
        self._pause(_BACKLOG)

    def resume_writing(self) -> None:
        self._writable = True
        self._resume(_BACKLOG)

    def _end(self) -> None:
        """Ends the TCP connection when the closing handshake is over (RFC 6455 §7.1.1)."""
        if self._ended:
            return
        self._ended = True
        self._machine.finish()
        self.flush()
        self._set_deadline()
        if self._machine.failed and self._transport.can_write_eof():
            # The peer may still be sending. Closing now would reset the connection, and with it
            # the close frame that says why.
            self._transport.write_eof()
        else:
            self._transport.close()

    # From the actor: `Wire`

    def send(self, message: Message) -> None:
        self._machine.send(message)
        self._counters.messages_out += 1
        if not self._flushing:
            self._flush_later()

    def send_frame(self, first: int, payload: bytes) -> None:
        self._machine.send_frame(first, payload)
        self._counters.messages_out += 1
        if not self._flushing:
            self._flush_later()

    def send_encoded(self, frame: bytes) -> None:
        self._machine.send_encoded(frame)
        self._counters.messages_out += 1
        if not self._flushing:
            self._flush_later()

    def pause_reading(self) -> None:
        self._pause(_MAILBOX)

    def resume_reading(self) -> None:
        self._resume(_MAILBOX)

    # To the socket

    def _flush_later(self) -> None:
        self._flushing = True
        self._hub.flush_later(self)

    def flush(self) -> None:
        """Writes what the machine has put out."""
        self._flushing = False
        machine = self._machine
        out = machine.out
        if not out:
            return
        if not self._writable:
            self._check_backlog()
        if len(out) == 1:
            self._counters.bytes_out += len(out[0])
            self._transport.write(out[0])
        else:
            size = sum(map(len, out))
            self._counters.bytes_out += size
            if size < _JOIN:
                self._transport.write(b"".join(out))
            else:
                self._transport.writelines(out)
        out.clear()
        if machine.state is _CLOSING:
            self._await_close()

    def _check_backlog(self) -> None:
        """Gives up a client that has too much waiting already; what was to join it is not sent."""
        waiting = self._transport.get_write_buffer_size()
        if waiting > self._hub.limits.max_send_queue and self._machine.state is State.OPEN:
            self._machine.out.clear()
            self._machine.close(Reason.TOO_SLOW.close_code, "reads too slowly")
            self._cell.receive(
                self._connection, Error(f"reads too slowly: {waiting} bytes are waiting for it")
            )

    def _await_close(self) -> None:
        """Waits for the peer's close frame; nothing else from it counts any more."""
        if self._timer is None:
            self._set_deadline()
            self._paused = 0
            self._hub.call_soon(self._catch_up)

    def _set_deadline(self) -> None:
        if self._timer is None:
            self._timer = self._hub.clock.call_later(self._hub.limits.close_timeout, self._transport.abort)

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
                self._hub.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Handles what was read before the pause, then reads on."""
        if self._machine.behind and not self._paused:
            self.buffer_updated(0)
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
