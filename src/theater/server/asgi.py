"""Theater as an ASGI application: inside of another one, or under any ASGI server, with HTTP/2 too.

The head of each request is read here, from what ASGI calls its scope; `AsgiBridge` does the rest.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol
from urllib.parse import quote, unquote

from theater.contract import Headers, Peer
from theater.errors import InvalidHeader
from theater.limits import ConnectionLimits
from theater.protocol.handshake import Refusal, request_headers
from theater.server.admission import NO_SLOT, Admission
from theater.server.bridge import AsgiBridge, Message, response_messages
from theater.server.http import HttpApplication, Receive, Scope, Send, refusal_response
from theater.server.proxies import Source
from theater.server.upgrade import UpgradeHead, Upgrader

_KEY: Final = "AAAAAAAAAAAAAAAAAAAAAA=="  # §4.1 wants it random against caches, and there are none in memory
_UNCOMPRESSED: Final = ConnectionLimits(compression=False)  # it is the ASGI server that compresses
_HANDSHAKE: Final = frozenset(
    (
        "connection",
        "upgrade",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
    )
)
"""Header fields that the ASGI server has dealt with; over HTTP/2 most of them never were there."""


class Parts(Protocol):
    """What an application is made of, see `Theater`."""

    application: HttpApplication
    upgrader: Upgrader
    admission: Admission

    async def stop(self) -> None:
        """Ends all connections and actors."""


class AsgiApplication:
    """An ASGI 3 application. Each event loop that it is used in has actors of its own.

    They begin with the first request. Under an ASGI server they end when it does; who mounts this in
    another application calls `stop` when that one ends, since ASGI tells nobody but the outermost.

    Args:
        build: makes the parts, inside of the running event loop.
    """

    def __init__(self, build: Callable[[], Parts]) -> None:
        self._build = build
        self._parts: dict[asyncio.AbstractEventLoop, Parts] = {}
        self._stopping: set[asyncio.AbstractEventLoop] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a WebSocket, a request of plain HTTP, or the server's life.

        Raises:
            ValueError: it is none of these.
        """
        match scope["type"]:
            case "websocket":
                denial = "websocket.http.response" in (scope.get("extensions") or {})
                parts = self._here()
                bridge = AsgiBridge(receive, send, denial, parts.admission.limits, parts.admission.clock)
                await bridge.run(partial(_ask, parts, scope, bridge))
            case "http":
                await _answer(self._here(), scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case other:
                raise ValueError(
                    f"expected an ASGI scope of type websocket, http or lifespan, found {other!r}"
                )

    async def stop(self) -> None:
        """Closes all connections of this event loop with 1001, and ends its actors.

        Does nothing if there are none, or if that has begun.
        """
        loop = asyncio.get_running_loop()
        if loop in self._parts and loop not in self._stopping:
            self._stopping.add(loop)
            try:
                await self._parts[loop].stop()
            finally:
                self._stopping.remove(loop)
                del self._parts[loop]

    def _here(self) -> Parts:
        """The parts that belong to this event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._parts:
            for other in [other for other in self._parts if other.is_closed()]:
                del self._parts[other]
            self._parts[loop] = self._build()
        return self._parts[loop]

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _ask(parts: Parts, scope: Scope, bridge: AsgiBridge) -> None:
    """Asks for a WebSocket, as a client would that comes by TCP."""
    admission = parts.admission
    bridge.slot = admission.connect() or NO_SLOT
    head = admission.check_connections() or _upgrade_head(scope, admission)
    if isinstance(head, UpgradeHead):
        parts.upgrader.upgrade(head, bridge, b"")
    else:
        bridge.end(refusal_response(head))


def _upgrade_head(scope: Scope, admission: Admission) -> UpgradeHead | Refusal:
    try:
        fields = Headers([field for field in _headers(scope) if field[0] not in _HANDSHAKE])
        subprotocols = scope.get("subprotocols") or ()
        headers = request_headers("localhost", _KEY, subprotocols, fields, _UNCOMPRESSED)
    except InvalidHeader:
        return admission.refuse("malformed")
    authority = headers["host"]
    return admission.check_host(authority) or UpgradeHead(
        method="GET",
        path=_path(scope),
        query=(scope.get("query_string") or b"").decode("latin-1"),
        http_version="1.1",
        headers=headers,
        source=admission.proxies.source(Source(_peer(scope)), headers),
        authority=authority,
        secure=scope.get("scheme") == "wss",
    )


async def _answer(parts: Parts, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request of plain HTTP."""
    admission = parts.admission
    deadline = asyncio.get_running_loop().time() + admission.limits.body_timeout

    async def receive_in_time() -> Message:
        async with asyncio.timeout_at(deadline):
            return await receive()

    async def send_on(message: Message) -> None:
        with suppress(OSError):  # the client has gone
            await send(message)

    try:
        headers = _headers(scope)
    except InvalidHeader:
        refusal: Refusal | None = admission.refuse("malformed")
    else:
        refusal = admission.check_host(headers.get("host", ""))
        if refusal is None:
            source = admission.proxies.source(Source(_peer(scope)), headers)
            changed = {
                "raw_path": _path(scope).encode("latin-1"),
                "query_string": scope.get("query_string") or b"",
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
                "client": source.peer,
            }
            try:
                await parts.application({**scope, **changed}, receive_in_time, send_on)
            except TimeoutError:
                refusal = admission.refuse("body-timeout")
    if refusal is not None:
        for message in response_messages("http.response", refusal_response(refusal)):
            await send_on(message)


def _headers(scope: Scope) -> Headers:
    """The header fields.

    Raises:
        InvalidHeader: the server has let through what is not well-formed.
    """
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    cookies = [value for name, value in fields if name == "cookie"]
    if len(cookies) > 1:
        # RFC 9113 §8.2.3: HTTP/2 may split this field, which is to be undone "before being passed
        # into a non-HTTP/2 context"
        fields = [field for field in fields if field[0] != "cookie"]
        fields.append(("cookie", "; ".join(cookies)))
    return Headers(fields)


def _peer(scope: Scope) -> Peer | None:
    client = scope.get("client")
    return Peer(client[0], int(client[1] or 0)) if client and client[0] else None  # granian has text


def _path(scope: Scope) -> str:
    """The path as it stands in the request, without the part where this application is mounted."""
    raw = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1").partition("?")[0]
    # `raw_path` is left whole by who mounts; `path` has lost that part in older versions of Starlette.
    root = (scope.get("root_path") or "").rstrip("/")
    end = 0
    while root and end >= 0:
        end = raw.find("/", end + 1)
        front = unquote(raw[:end] if end >= 0 else raw)
        if front == root:
            return raw[end:] if end >= 0 else "/"
        if len(front) > len(root):
            break
    return raw
