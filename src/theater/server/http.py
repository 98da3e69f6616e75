"""Plain HTTP: an ASGI application that leads to the actors' `handle_request`."""

import http
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any, Final

from theater.contract import Headers, Peer, Query, Request, Response
from theater.errors import GuestError, MailboxFull, Reason
from theater.limits import Limits
from theater.protocol.handshake import Refusal, check_request
from theater.runtime.system import ActorSystem
from theater.server.routing import Match, Router, split_path

log = logging.getLogger("theater.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FAILED: Final = Response.text("Internal Server Error\n", Reason.INTERNAL_ERROR.status)
OVERLOADED: Final = Response(
    Reason.OVERLOADED.status, {"content-type": "text/plain", "retry-after": "1"}, "Service Unavailable\n"
)

# What the server alone says about a response, RFC 9112 §6 and §9.6.
_BODILESS: Final = (204, 304)  # RFC 9110 §8.6
_FRAMING_FIELDS: Final = frozenset(("content-length", "transfer-encoding", "connection", "keep-alive"))


class HttpApplication:
    """Answers plain HTTP requests by actors, and by pages of the server's own.

    Args:
        system: the actors.
        router: which of them serves what.
        pages: further pages by path, for GET.
        limits: of the request.
    """

    def __init__(
        self, system: ActorSystem, router: Router, pages: dict[str, Callable[[], Response]], limits: Limits
    ) -> None:
        self._system = system
        self._router = router
        self._pages = pages
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(scope, receive)
        headers = wire_headers(response)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": wire_body(response)})

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        segments = split_path(scope["raw_path"].decode("latin-1"))
        if segments is None:
            return Response.text("The path is malformed.\n", 400)
        path = "/" + "/".join(segments)
        method: str = scope["method"]
        page = self._pages.get(path)
        if page is not None:
            return page() if method in ("GET", "HEAD") else not_allowed(("GET",))
        match = self._router.find("http-server", segments)
        if match is None:
            return self._no_page(scope, segments)
        if not allowed(method, match.route.methods):
            return not_allowed(match.route.methods)
        body = await self._body(receive)
        if isinstance(body, Response):
            return body
        return await self._ask(_request(scope, path, match, body), match)

    async def _ask(self, request: Request, match: Match) -> Response:
        address = match.route.address(match.parameters)
        try:
            response: Response = await self._system.cell(address).call("handle_request", request)
        except MailboxFull:
            return OVERLOADED
        except GuestError:  # it stands in the log
            return FAILED
        if response.status == 101:
            log.error("%s: a 101 response to a request on %s that asks for no upgrade", address, request.path)
            return FAILED
        return response

    def _no_page(self, scope: Scope, segments: list[str]) -> Response:
        """Where a WebSocket would be, says what is missing for it; elsewhere there is nothing."""
        if self._router.find("websocket-server", segments) is None:
            return Response.text("Not Found\n", 404)
        refusal = check_request(scope["method"], scope["http_version"], Headers.from_wire(scope["headers"]))
        if isinstance(refusal, Refusal):
            return refusal_response(refusal)
        return Response.text("This server cannot upgrade the connection here.\n", 400)

    async def _body(self, receive: Receive) -> bytes | Response:
        limit = self._limits.max_body
        too_large = Response(
            413, {"content-type": "text/plain"}, f"The request body has more than {limit} bytes.\n"
        )
        parts = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return too_large  # nobody is there to read it
            size += len(message.get("body", b""))
            if size > limit:
                return too_large
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)


def refusal_response(refusal: Refusal) -> Response:
    """The response that tells a client why its handshake was refused."""
    headers = [("content-type", "text/plain; charset=utf-8"), *refusal.headers]
    return Response(refusal.status, headers, refusal.problem + "\n")


def wire_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """A response's header fields as HTTP libraries take them; its framing is the server's."""
    fields = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        if name not in _FRAMING_FIELDS
    ]
    if response.status not in _BODILESS:
        fields.append((b"content-length", b"%d" % len(response.body)))
    return fields


def wire_body(response: Response) -> bytes:
    """A response's body, if it may have one."""
    return b"" if response.status in _BODILESS else response.body


def encode_last(response: Response) -> bytes:
    """A whole response in HTTP/1.1 behind which the connection ends."""
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}\r\n".encode()]
    fields = [(b"date", formatdate(usegmt=True).encode()), *wire_headers(response), (b"connection", b"close")]
    lines += [b"%b: %b\r\n" % field for field in fields]
    return b"".join([*lines, b"\r\n", wire_body(response)])


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _request(scope: Scope, path: str, match: Match, body: bytes) -> Request:
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=path,
        parameters=match.parameters,
        query=Query(scope["query_string"].decode("latin-1")),
        headers=Headers.from_wire(scope["headers"]),
        body=body,
        peer=Peer(*client) if client else None,
    )


def allowed(method: str, methods: tuple[str, ...]) -> bool:
    """Whether a route with these methods takes this one; none given means all."""
    return not methods or method in methods or (method == "HEAD" and "GET" in methods)


def not_allowed(methods: tuple[str, ...]) -> Response:
    """The response to a method that a route does not take."""
    allow = [*methods, "HEAD"] if "GET" in methods and "HEAD" not in methods else list(methods)
    return Response(405, {"content-type": "text/plain", "allow": ", ".join(allow)}, "Method Not Allowed\n")
