"""Outbound WebSockets."""

import asyncio
import base64
import os
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self, cast
from urllib.parse import urlsplit

import httptools

from theater.contract import Binary, Close, Data, Headers, Message, Ping, Pong, Text
from theater.errors import ConnectFailed, ConnectionEnded
from theater.limits import ConnectionLimits
from theater.protocol.handshake import Refusal, check_response, request_headers
from theater.protocol.machine import Machine, Role, State

_QUEUE: Final = 16  # messages that wait for `receive` before the socket is no longer read
_LAST_REPLIES: Final = 0.25  # seconds to reply to what came before a close frame
_GOODBYE: Final = 5.0  # seconds for the server to end the connection after it
_FRAGMENT: Final = 64  # bytes of a large message's fragments that are still taken, on average
_QUOTED: Final = 200  # bytes of a refusal's body that are told


class Url(NamedTuple):
    """The parts of a WebSocket URL (RFC 6455 §3)."""

    secure: bool
    host: str
    port: int
    target: str  # path and query, as they go into the request line

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a `ws:` or `wss:` URL; `http:` and `https:` are taken for them.

        Raises:
            ConnectFailed: it is none.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConnectFailed(text, str(error)) from error
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise ConnectFailed(text, "expected a URL such as ws://127.0.0.1:8080/path")
        if parts.fragment:
            raise ConnectFailed(text, "a WebSocket URL has no fragment")
        secure = parts.scheme in ("wss", "https")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not target.isascii() or " " in target:
            raise ConnectFailed(text, "the path and query must be percent-encoded")
        return cls(secure, parts.hostname, port or (443 if secure else 80), target)

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


async def connect(
    url: str,
    *,
    headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    max_message: int = ConnectionLimits().max_message,
    compression: bool = True,
    timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> "ClientConnection":
    """Opens a WebSocket.

    Args:
        url: `ws:` or `wss:`.
        headers: added to the request.
        subprotocols: to offer, most wanted first.
        max_message: bytes of the largest message to take, inflated.
        compression: offer permessage-deflate; messages of 1 KiB or more are compressed if the server
            accepts.
        timeout: seconds for it all, the handshake included.
        tls: for `wss:`; the system's certificates are trusted if left out.

    Raises:
        ConnectFailed: there is no server, it refused, or it took too long.
        InvalidHeader: a header cannot be sent.
    """
    place = Url.parse(url)
    if place.secure and tls is None:
        tls = ssl.create_default_context()
    extra = Headers(headers)
    loop = asyncio.get_running_loop()
    connection = ClientConnection(url, place, extra, subprotocols, max_message, compression)
    try:
        async with asyncio.timeout(timeout):
            await loop.create_connection(
                lambda: connection, place.host, place.port, ssl=tls if place.secure else None
            )
            await connection.opened
    except TimeoutError:
        connection.abort()
        raise ConnectFailed(url, f"no answer within {timeout:g} s") from None
    except OSError as error:
        # asyncio's own words for a refused connection name the address instead
        words = os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else str(error)
        raise ConnectFailed(url, words) from error
    except BaseException:
        connection.abort()
        raise
    return connection


class ClientConnection(asyncio.Protocol):
    """An outbound WebSocket; made by `connect`. As an async context manager it closes at the end.

    One task may receive; any may send.

    Attributes:
        subprotocol: the one agreed on.
        headers: of the server's response.
        closed: how it ended, once it has.
    """

    def __init__(
        self,
        url: str,
        place: Url,
        headers: Headers,
        subprotocols: Sequence[str],
        max_message: int,
        compression: bool = True,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.subprotocol: str | None = None
        self.headers = Headers()
        self.closed: Close | None = None
        self._url = url
        self._place = place
        self._request_headers = headers
        self._subprotocols = subprotocols
        self._limits = ConnectionLimits(
            max_message=max_message,
            max_fragments=max(ConnectionLimits().max_fragments, max_message // _FRAGMENT),
            compression=compression,
        )
        self._machine = Machine(Role.CLIENT, self._limits)  # another when the server has answered
        self._key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._messages: deque[Data] = deque()
        self._arrival = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._pings: dict[bytes, asyncio.Future[float]] = {}
        self._loop = loop
        self._ended: asyncio.Future[None] = loop.create_future()
        self._answered = False  # the head of the response is here
        self._paused = False
        self._waiting = False  # in `receive`, so whatever came before has been answered
        self._body = b""

    # What it is for

    async def send(self, message: Message) -> None:
        """Sends a message, and waits while the peer does not read.

        Raises:
            ConnectionEnded: it has been closed.
            InvalidMessage, InvalidClose: it cannot be sent.
        """
        if not self._machine.may_send():
            raise self._end_error()
        self._machine.send(message)
        self._flush()
        await self._writable.wait()

    async def send_chunk(self, data: str | bytes, last: bool) -> None:
        """Sends a piece of a message as a frame of its own, and waits while the peer does not read."""
        if not self._machine.may_send():
            raise self._end_error()
        self._machine.send_chunk(data, last)
        self._flush()
        await self._writable.wait()

    async def receive(self) -> Data:
        """The next text or binary message.

        Raises:
            ConnectionEnded: there are no more.
        """
        while not self._messages:
            self._finish()
            if self.closed is not None:
                raise ConnectionEnded(self.closed.code, self.closed.reason)
            self._arrival.clear()
            self._waiting = True
            try:
                await self._arrival.wait()
            finally:
                self._waiting = False
        message = self._messages.popleft()
        if self._paused and len(self._messages) <= _QUEUE // 2:
            self._resume()
        return message

    async def __aiter__(self) -> AsyncIterator[Data]:
        """The messages until the connection ends."""
        try:
            while True:
                yield await self.receive()
        except ConnectionEnded:
            return

    async def ping(self, payload: bytes | None = None) -> float:
        """Sends a ping and waits for its pong; returns the seconds between them.

        Raises:
            ConnectionEnded: it ended first.
        """
        payload = secrets.token_bytes(4) if payload is None else payload
        began = self._loop.time()
        answer = self._pings.setdefault(payload, self._loop.create_future())
        await self.send(Ping(payload))
        ended: float = await asyncio.shield(answer)
        return ended - began

    async def close(self, code: int = 1000, reason: str = "", timeout: float = 5.0) -> None:
        """Closes with a handshake, and waits for its end.

        Args:
            code, reason: for the peer.
            timeout: seconds after which the connection is dropped.

        Raises:
            InvalidClose: the code or reason may not be sent.
        """
        self._machine.close(code, reason)
        self._finish()
        self._flush()
        self._resume()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._ended)
        except TimeoutError:
            self.abort()
            await self._ended

    def abort(self) -> None:
        """Drops the TCP connection."""
        if self._transport is not None:
            self._transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # From the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's derive from nothing
        fields = request_headers(
            self._place.authority, self._key, self._subprotocols, self._request_headers, self._limits
        )
        transport.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (self._place.target.encode(), bytes(fields)))

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self._take(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._open():
                self._take(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self._answered:
                self._open()  # says what is missing
            self._refused(f"the server does not speak HTTP: {error}", None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            if self._answered:
                self._open()
            self._refused("the server closed the connection before it answered", None)
        self.closed = self._machine.lost()
        self._arrival.set()
        self._writable.set()
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(self._end_error())
        if not self._ended.done():
            self._ended.set_result(None)

    # The response to the handshake, from httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body[: _QUOTED - len(self._body)]

    def on_headers_complete(self) -> None:
        self._answered = True

    def on_message_complete(self) -> None:
        if self._parser is None or self._parser.get_status_code() == 101:
            return
        if self._parser.get_status_code() < 200:  # RFC 9110 §15.2: an answer follows
            self._answered = False
            self._fields.clear()
        else:
            self._open()  # says why it cannot

    def _open(self) -> bool:
        """Checks the response, and says whether the WebSocket is open now."""
        if self._parser is None or self.opened.done():
            return False
        status = self._parser.get_status_code()
        self.headers = Headers.from_wire(self._fields)
        result = check_response(status, self.headers, self._key, self._subprotocols, self._limits)
        if isinstance(result, Refusal):
            words = self._body.decode("utf-8", "replace").strip().partition("\n")[0]
            self._refused(f"{result.problem}: {words}" if words else result.problem, status)
            return False
        self.subprotocol, agreed = result
        self._machine = Machine(Role.CLIENT, self._limits, deflate=agreed.deflate)
        self._parser = None
        self.opened.set_result(None)
        return True

    def _refused(self, problem: str, status: int | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectFailed(self._url, problem, status))
        self.abort()

    # The open connection

    def _take(self, data: bytes) -> None:
        """Handles what was read; with nothing, goes on with what an earlier read has left."""
        machine = self._machine
        events = machine.receive(data)
        while True:
            for event in events:
                match event:
                    case Text() | Binary():
                        self._messages.append(event)
                    case Pong(payload) if payload in self._pings:
                        ping = self._pings.pop(payload)
                        if not ping.done():
                            ping.set_result(self._loop.time())
            if len(self._messages) >= _QUEUE and machine.may_send():
                self._pause()
            if self._paused or not machine.behind:
                break
            events = machine.receive()
        self._arrival.set()
        if machine.state >= State.ENDING:
            # The peer's close frame is answered when what came before it has been, or soon.
            if self._waiting and not self._messages:
                self._finish()
            self._loop.call_later(_LAST_REPLIES, self._finish)
            # RFC 6455 §7.1.1: the server closes the TCP connection first
            self._loop.call_later(_GOODBYE, self.abort)
        self._flush()

    def _finish(self) -> None:
        self._machine.finish()
        self._flush()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self._machine.behind:
            self._take(b"")
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _flush(self) -> None:
        out = self._machine.out
        if out and self._transport is not None:
            self._transport.write(b"".join(out))
        out.clear()

    def _end_error(self) -> ConnectionEnded:
        closed = self.closed or self._machine.closed
        return ConnectionEnded(closed.code, closed.reason)
