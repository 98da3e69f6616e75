"""HTTP/1.1 on a socket: uvicorn's httptools protocol, with limits, and with the upgrade led to ours.

uvicorn would hand an upgrade to a class given as `ws=`, but only after it has lost the HTTP version
and what came behind the request. It knows no limits but for keep-alive, and parses all requests that
come in one read before it answers the first.
"""

import asyncio
import enum
import logging
import socket
from contextlib import suppress
from typing import Final, assert_never

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from theater.contract import Headers, Peer, Response
from theater.protocol.handshake import Refusal
from theater.server.admission import NO_SLOT, Admission
from theater.server.heads import asks_for_websocket, authority, check_head
from theater.server.http import encode_last, refusal_response
from theater.server.hub import READ_BUFFER
from theater.server.proxies import Malformed, PreambleParser, Source
from theater.server.upgrade import UpgradeHead, Upgrader

_PIECE: Final = 1024  # bytes that are parsed at once: what else came waits while a request is answered
_SELDOM: Final = 60.0  # seconds between looks at a connection that has no deadline
_FOREVER: Final = float("inf")

log = logging.getLogger("theater.server")


class _Phase(enum.Enum):
    """What the client is expected to send, or to do."""

    HEAD = enum.auto()
    BODY = enum.auto()
    NOTHING = enum.auto()  # its request is being answered, or has been
    UPGRADE = enum.auto()  # it waits for an actor's decision
    LEAVING = enum.auto()  # it has been told to go, and what it sends is thrown away
    GONE = enum.auto()


class _Stop(Exception):
    """Stops the parser inside a callback."""


class Http1Connection(HttpToolsProtocol):
    """One TCP connection, for as long as it speaks HTTP. Implements `Client` and `Watched`.

    Args:
        config: uvicorn's settings, with the application for plain requests.
        state: uvicorn's record of open connections.
        loop: the event loop.
        upgrader: what handles requests to upgrade.
        admission: what decides who is let in.

    Attributes:
        slot: the connection's place in the counts; a WebSocket that is opened on it takes it over.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # None before the first request

    # uvicorn's own attributes are as many as Python keeps without a table for each object.
    __slots__ = (
        "_admission",
        "_deadline",
        "_farewell",
        "_head",
        "_left",
        "_limits",
        "_next_check",
        "_phase",
        "_preamble",
        "_refusal",
        "_rest",
        "_size",
        "_source",
        "_unsent",
        "_upgrader",
        "slot",
    )

    def __init__(
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        upgrader: Upgrader,
        admission: Admission,
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=loop)
        self.access_log = False  # said in `Config` it would silence uvicorn in the whole process
        self.slot = NO_SLOT
        self._upgrader = upgrader
        self._admission = admission
        self._limits = admission.limits
        self._source = Source(None)
        self._preamble: PreambleParser | None = None
        self._phase = _Phase.HEAD
        self._size = 0  # bytes since the head began, or since the last byte of a body
        self._left = 0  # bytes of a body with a length that have not come yet
        self._rest = b""  # what came behind a request that is still being answered
        self._head: UpgradeHead | None = None  # of a request to upgrade
        self._refusal: Refusal | None = None  # why the parser was stopped
        self._farewell: Response | None = None  # goes out when earlier requests are answered
        self._unsent = 0  # bytes that the client had not taken when that was last looked at
        self._deadline = _FOREVER
        self._next_check = _FOREVER

    # From the socket

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        admission = self._admission
        slot = admission.connect()
        self.slot = slot or NO_SLOT
        sock = transport.get_extra_info("socket")
        # On a Unix socket nobody has an address; elsewhere, only who has gone already.
        vanished = self.client is None and sock is not None and sock.family != socket.AF_UNIX
        if slot is None or vanished:
            transport.abort()
            return
        refusal = admission.check_connections()
        if refusal is not None:
            self.end(refusal_response(refusal))
            return
        self._allow(self._limits.handshake_timeout)
        peer = Peer(*self.client) if self.client else None
        if admission.policy.proxy_protocol and admission.proxies.trusts(peer):
            self._preamble = PreambleParser()
        self._comes_from(Source(peer))

    def data_received(self, data: bytes) -> None:
        if self._preamble is not None:
            data = self._read_preamble(self._preamble, data)
        if self._phase is _Phase.LEAVING or not data:
            return
        if self._rest or self._answering():
            self._rest += data  # bounded, since nothing more is read
            self.flow.pause_reading()
        else:
            self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._phase = _Phase.GONE
        self._rest = b""
        self._admission.wheel.forget(self)
        self.slot.release()

    def _comes_from(self, source: Source) -> None:
        self._source = source
        self.client = source.peer
        # Whom a proxy's connection is from is said by each of its requests.
        if not self._admission.proxies.trusts(source.peer):
            refusal = self._admission.count(self.slot, source)
            if refusal is not None:
                self.end(refusal_response(refusal))

    def _read_preamble(self, parser: PreambleParser, data: bytes) -> bytes:
        """Takes the PROXY protocol's header; returns what stands behind it."""
        found = parser.feed(data)
        if found is None:
            return b""
        self._preamble = None
        if isinstance(found, Malformed):
            log.warning("a malformed PROXY protocol header came from %s: %s", self.client, found.problem)
            self._admission.refused["proxy-protocol"] += 1
            self._phase = _Phase.LEAVING
            self.transport.abort()
            return b""
        if found.peer is not None:
            self._comes_from(Source(found.peer, told=True))
        return found.rest

    def _feed(self, data: bytes) -> None:
        """Parses what was read, up to the end of a request that has to be answered first."""
        if self._phase is _Phase.NOTHING:
            self._begin_head()
        position = 0
        while position < len(data) and not self._answering():
            size = self._left or min(_PIECE, self._limits.max_head - self._size)
            piece = data[position : position + size]
            position += len(piece)
            self._size += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                position += upgrade.args[0] - len(piece)
                if self._head is not None:
                    self._upgrade(self._head, data[position:])
                    return
            except httptools.HttpParserError:
                self.end(refusal_response(self._refusal or self._admission.refuse("malformed")))
                return
            if self._size >= self._limits.max_head:
                self.end(refusal_response(self._admission.refuse("head-size")))
                return
        if self._answering():
            self._deadline = _FOREVER  # what comes from now on is looked at later
        if position < len(data):
            self._rest = data[position:]
            self.flow.pause_reading()

    def _answering(self) -> bool:
        """Whether a whole request waits for its response."""
        if self._phase is _Phase.BODY:
            return bool(self.pipeline)
        return self.cycle is not None and not self.cycle.response_complete

    # From the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._phase is _Phase.NOTHING:  # right behind another
            self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is _Phase.BODY:
            return  # RFC 9110 §6.5.1: a trailer field must not be merged into the header
        if len(self.headers) >= self._limits.max_headers:
            self._refusal = self._admission.refuse("head-fields")
            raise _Stop
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        headers = Headers.from_wire(self.headers)
        method, version = self.parser.get_method().decode(), self.parser.get_http_version()
        refusal = check_head(method, version, headers, self.parser.should_upgrade())
        host = ""
        if refusal is not None:
            self._admission.refused["malformed"] += 1
        else:
            host = authority(self.url, headers)
            refusal = self._admission.check_host(host)
        if refusal is not None:
            self._refusal = refusal
            raise _Stop
        source = self._admission.proxies.source(self._source, headers)
        self.scope["client"] = source.peer
        self._head = None
        # Other methods are answered as plain HTTP, which can say 405.
        if self.parser.should_upgrade() and method == "GET" and asks_for_websocket(headers):
            url = httptools.parse_url(self.url)
            self._head = UpgradeHead(
                method=method,
                path=(url.path or b"/").decode("latin-1"),
                query=(url.query or b"").decode("latin-1"),
                http_version=version,
                headers=headers,
                source=source,
                authority=host,
                secure=self.scheme == "https",
            )
        super().on_headers_complete()
        self._phase = _Phase.BODY
        self._size = 0
        self._left = int(headers.get("content-length", "0"))
        self._allow(self._limits.body_timeout)

    def on_body(self, body: bytes) -> None:
        self._size = 0
        self._left = max(0, self._left - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = _Phase.NOTHING
        self._size = 0
        if self._answering():
            self._deadline = _FOREVER
        else:
            self._allow(self._limits.keep_alive)

    def _should_upgrade(self) -> bool:
        return self._head is not None

    def _begin_head(self) -> None:
        self._phase = _Phase.HEAD
        self._allow(self._limits.handshake_timeout)

    # Upgrades and responses

    def _upgrade(self, head: UpgradeHead, early: bytes) -> None:
        if self._answering():  # an earlier request goes first
            self._deadline = _FOREVER
            self._rest = early
            self.flow.pause_reading()
            return
        # RFC 6455 §4.1: a client has to wait for the response before it sends more, so this is a lot.
        if len(early) > READ_BUFFER:
            self.end(refusal_response(self._admission.refuse("malformed")))
            return
        self._phase = _Phase.UPGRADE
        self._deadline = self._next_check = _FOREVER
        self._admission.wheel.forget(self)
        self.connections.discard(self)
        # It points back here; without it the two go when they are no longer needed, not when the
        # garbage collector comes round.
        self.parser = None  # type: ignore[assignment]
        self._head = None
        self._upgrader.upgrade(head, self, early)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._phase is _Phase.GONE:
            return
        if self.transport.is_closing():  # it was not to be kept
            self._leave()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._farewell is not None:
            self._say_goodbye(self._farewell)
            return
        elif self._phase is _Phase.NOTHING:
            self._allow(self._limits.keep_alive)
        self.loop.call_soon(self._go_on)  # not from inside the application

    def _go_on(self) -> None:
        """Parses what came meanwhile, and reads on."""
        if self._phase in (_Phase.LEAVING, _Phase.GONE) or self._answering():
            return
        if self._phase is _Phase.HEAD:
            self._allow(self._limits.handshake_timeout)
        elif self._phase is _Phase.BODY:
            self._allow(self._limits.body_timeout)
        rest, self._rest = self._rest, b""
        if self._head is not None:
            self._upgrade(self._head, rest)
        elif rest:
            self._feed(rest)
        if not self._rest and self._phase is not _Phase.UPGRADE:
            self.flow.resume_reading()

    # The end

    def end(self, response: Response) -> None:
        """Answers with this when earlier requests have their answers, and ends the connection."""
        in_body = self._phase is _Phase.BODY
        self._phase = _Phase.LEAVING
        self._deadline = _FOREVER
        self._rest = b""
        self.parser = None  # type: ignore[assignment]
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not in_body):
            self._say_goodbye(response)
        elif not in_body:
            self._farewell = response
        elif self.pipeline and self.pipeline[0][0] is cycle:  # others go before it
            self.pipeline.popleft()
            self._farewell = response
        else:
            self._say_goodbye(None if cycle.response_started else response)
            cycle.disconnected = True
            cycle.message_event.set()

    def _say_goodbye(self, response: Response | None) -> None:
        """Writes the last response, and waits a while for the client to take it and go.

        It may still be sending. Closing now would reset the connection, and with it the response.
        """
        transport = self.transport
        if transport.is_closing():
            return
        if response is not None:
            transport.write(encode_last(response))
        transport.resume_reading()
        self._leave(wait=transport.can_write_eof())

    def _leave(self, *, wait: bool = False) -> None:
        """Ends the connection, at once or when the client does."""
        self._phase = _Phase.LEAVING
        self.connections.add(self)  # after an upgrade that came to nothing it is not in there
        if wait:
            with suppress(OSError):  # the client has reset the connection
                self.transport.write_eof()
        else:
            self.transport.close()
        self._await_end()

    def _await_end(self) -> None:
        """Gives the client its time to go, or to take some more of its last response."""
        self._unsent = self.transport.get_write_buffer_size()
        self._allow(self._limits.body_timeout if self._unsent else self._limits.close_timeout)

    # Deadlines

    def _allow(self, seconds: float) -> None:
        """Gives the client this long for what is expected of it now."""
        self._deadline = self._admission.clock.now() + seconds
        if self._deadline < self._next_check:
            self._next_check = self._deadline
            self._admission.wheel.forget(self)
            self._admission.wheel.watch(self, self._deadline)

    def check(self, now: float) -> float:
        self._next_check = -_FOREVER  # what is allowed from here on is looked at below
        if now >= self._deadline:
            self._deadline = _FOREVER
            self._expire()
        self._next_check = min(self._deadline, now + _SELDOM)
        return self._next_check

    def _expire(self) -> None:
        match self._phase:
            case _Phase.HEAD:
                refusal = self._admission.refuse("head-timeout")
                if self._size or self.cycle is not None:
                    self.end(refusal_response(refusal))
                else:
                    self._leave()
            case _Phase.BODY:
                self.end(refusal_response(self._admission.refuse("body-timeout")))
            case _Phase.NOTHING:
                self._leave()
            case _Phase.LEAVING:
                if self.transport.get_write_buffer_size() < self._unsent:
                    self._await_end()
                else:
                    self.transport.abort()
            case _Phase.UPGRADE | _Phase.GONE:
                pass  # the actor has a deadline of its own; nobody is there any more
            case _:
                assert_never(self._phase)
