"""Between a WebSocket of an ASGI server and Theater's own.

A WebSocket that an ASGI server has accepted has messages, but no socket and no frames. To the rest
of Theater `AsgiBridge` is the transport of a client that speaks RFC 6455, so that admission, limits,
policies and actors are the same as by TCP. The price is that each message is put into a frame in
memory, and taken out again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Final, assert_never

from theater.contract import Binary, Close, Ping, Pong, Response, Text
from theater.errors import InvalidClose, Reason
from theater.limits import ConnectionLimits, Limits
from theater.protocol.close import ABNORMAL, NO_STATUS, encode_close
from theater.protocol.frames import CLOSE_FRAME
from theater.protocol.handshake import OWN_FIELDS
from theater.protocol.machine import Chunk, Failure, Machine, Output, Role
from theater.runtime.ports import Clock, Timer
from theater.server.admission import NO_SLOT, Slot
from theater.server.connection import WebSocketConnection
from theater.server.http import Receive, Send, wire_body, wire_headers

# What leaves was made by this server, so that its size is known to whoever made it.
_ANY: Final = ConnectionLimits(max_message=1 << 62, max_fragments=1 << 62)

Message = MutableMapping[str, Any]
"""An ASGI message."""

log = logging.getLogger("theater.server")


class AsgiBridge(asyncio.Transport):
    """A WebSocket of an ASGI server as a transport, and the client at the other end of that.

    Implements `Client`.

    Args:
        receive, send: the connection, as ASGI has it.
        denial: the server takes a whole response in the place of a bare 403.
        limits: of the server.
        clock: for deadlines.

    Attributes:
        slot: the connection's place in the counts.
    """

    def __init__(self, receive: Receive, send: Send, denial: bool, limits: Limits, clock: Clock) -> None:
        super().__init__()
        self.transport: asyncio.Transport = self
        self.slot: Slot = NO_SLOT
        self._receive = receive
        self._send = send
        self._denial = denial
        self._limits = limits
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None]
        self._writing: asyncio.Task[None]
        self._closing = False
        self._gone = False  # the server takes no more
        self._deadline: Timer | None = None
        self._connection: WebSocketConnection | None = None  # as soon as there is one
        self._machine = Machine(Role.CLIENT, _ANY, masking_key=lambda: b"\0\0\0\0")
        # Towards the connection.
        self._arriving = bytearray()
        self._paused = False
        self._taken = asyncio.Event()  # nothing is arriving
        # Towards the client.
        self._leaving: deque[tuple[Message, int]] = deque()  # with sizes in bytes, as frames
        self._arrival = asyncio.Event()  # something is leaving
        self._size = 0  # bytes of what is leaving
        self._unfinished = 0  # bytes of a message that is still being put together
        self._low, self._high = limits.send_low_water, limits.send_high_water
        self._congested = False

    async def run(self, ask: Callable[[], None]) -> None:
        """Serves the connection until it ends.

        Args:
            ask: asks for the upgrade.
        """
        await self._receive()  # `websocket.connect`
        try:
            async with asyncio.TaskGroup() as group:
                self._reading = group.create_task(self._read())
                self._writing = group.create_task(self._write())
                ask()
        finally:
            self._closing = True
            if self._deadline is not None:
                self._deadline.cancel()
            if self._connection is not None:
                self._connection.connection_lost(None)
            self.slot.release()

    def end(self, response: Response) -> None:
        """Refuses the connection."""
        if self._denial:
            self._leave(response_messages("websocket.http.response", response))
        else:
            self._leave([{"type": "websocket.close"}])  # ASGI makes it 403
        self.close()
        self._set_deadline()

    # From the client to the actor

    async def _read(self) -> None:
        while True:
            # One message is taken ahead while reading is paused, since that may be the last.
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._disconnected(message.get("code") or NO_STATUS, message.get("reason") or "")
                return
            text = message.get("text")
            self._machine.send(Binary(bytes(message["bytes"])) if text is None else Text(text))
            self._feed()
            while self._arriving:
                self._taken.clear()
                await self._taken.wait()

    def _disconnected(self, code: int, reason: str) -> None:
        if code != ABNORMAL:
            self._say_goodbye(code, reason)
            self._feed()
        self.abort()

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Sends a close frame to the connection, in the client's name."""
        try:
            payload = encode_close(code, reason)
        except InvalidClose:
            payload = b""  # it had no code, or the server has made up what cannot be sent
        self._machine.send_frame(CLOSE_FRAME, payload)
        self._paused = False

    def _feed(self) -> None:
        """Gives the connection what has come from its client, as long as it reads."""
        self._arriving += b"".join(self._machine.out)
        self._machine.out.clear()
        connection = self._connection
        while self._arriving and connection is not None and not self._paused and not self._closing:
            buffer = connection.get_buffer(-1)
            size = min(len(buffer), len(self._arriving))
            buffer[:size] = self._arriving[:size]
            del self._arriving[:size]
            connection.buffer_updated(size)
        if not self._arriving:
            self._taken.set()

    # From the actor to the client

    def write(self, data: bytes | bytearray | memoryview) -> None:
        connection = self._connection
        if self._closing:
            return
        if connection is None:
            self._leave([_acceptance(bytes(data))])
            return
        self._unfinished += len(data)
        self._leave(self._unpack(bytes(data)))
        self._limit(connection)
        if self._machine.out:
            self._loop.call_soon(self._feed)

    def _unpack(self, data: bytes) -> list[Message]:
        """Takes messages out of frames, and answers those that want an answer."""
        messages: list[Message] = []
        machine = self._machine
        events = machine.receive(data)
        while events:
            messages += [message for event in events if (message := _as_message(event)) is not None]
            events = machine.receive() if machine.behind else []
        machine.finish()
        return messages

    def _leave(self, messages: list[Message]) -> None:
        if messages:
            self._leaving += [(message, 0) for message in messages[:-1]]
            self._leaving.append((messages[-1], self._unfinished))
            self._size += self._unfinished
            self._unfinished = 0
            self._arrival.set()

    def _limit(self, connection: WebSocketConnection) -> None:
        """Sees to it that no more waits here than may."""
        if self._size > self._high and not self._congested:
            self._congested = True
            connection.pause_writing()
        most = connection.limits.max_send_queue
        if self._unfinished > most:
            # It cannot leave before it is whole, and the actor may go on for ever.
            self._unfinished = 0
            self._say_goodbye(
                Reason.INTERNAL_ERROR.close_code, f"a message in pieces of more than {most} bytes"
            )

    async def _write(self) -> None:
        """Sends what is leaving until the transport is closed, then ends the connection."""
        while self._leaving or not self._closing:
            if not self._leaving:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            message, size = self._leaving.popleft()
            if not self._gone:
                await self._put(message)
            self._size -= size
            if self._congested and self._size <= self._low and self._connection is not None:
                self._congested = False
                self._connection.resume_writing()
        self.abort()

    async def _put(self, message: Message) -> None:
        try:
            await self._send(message)
            return
        except OSError:  # what ASGI has servers raise when the client has gone; not all do
            pass
        except Exception as error:  # noqa: BLE001  # it is the server's code
            log.warning("the ASGI server did not take a message of type %s: %s", message["type"], error)
        self._gone = True
        self._set_deadline()  # the server may still have the client's last words

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self._clock.call_later(self._limits.close_timeout, self.abort)

    # As asyncio has it

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, WebSocketConnection):
            self._connection = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = self._high if high is None else high
        self._low = self._low if low is None else low

    def get_write_buffer_size(self) -> int:
        return self._size + self._unfinished

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._feed)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._arrival.set()
        self._reading.cancel()  # granian takes no `websocket.close` while something is received

    def abort(self) -> None:
        self.close()
        self._writing.cancel()


def response_messages(kind: str, response: Response) -> list[Message]:
    """A whole response in ASGI.

    Args:
        kind: `http.response`, or with `websocket.` before it.
        response: what to send.
    """
    return [
        {"type": f"{kind}.start", "status": response.status, "headers": wire_headers(response)},
        {"type": f"{kind}.body", "body": wire_body(response)},
    ]


def _acceptance(head: bytes) -> Message:
    """What the head of an accepting response comes to in ASGI."""
    fields = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2]]
    return {
        "type": "websocket.accept",
        "subprotocol": next((value for name, value in fields if name == "sec-websocket-protocol"), None),
        "headers": [
            (name.encode(), value.encode("latin-1")) for name, value in fields if name not in OWN_FIELDS
        ],
    }


def _as_message(event: Output) -> Message | None:
    """What an event of the client's machine comes to in ASGI, if anything."""
    match event:
        case Text(text):
            return {"type": "websocket.send", "text": text}
        case Binary(data):
            return {"type": "websocket.send", "bytes": data}
        case Close(code, reason):
            return {"type": "websocket.close", "code": 1000 if code == NO_STATUS else code, "reason": reason}
        case Ping() | Pong():
            return None  # the server under it keeps the connection alive
        case Chunk() | Failure():
            raise AssertionError(event)  # this machine does not stream, and the frames are our own
        case _:
            assert_never(event)
