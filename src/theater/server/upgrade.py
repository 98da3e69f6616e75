"""From an upgrade request to an open WebSocket, or to the response that refuses it."""

import asyncio
import http
import logging
from email.utils import formatdate
from typing import Any, NamedTuple

from theater.contract import Accept, Headers, Peer, Query, Request, Response, UpgradeRequest
from theater.errors import MailboxFull
from theater.protocol.handshake import OWN_FIELDS, Offer, Refusal, check_request, response_headers
from theater.runtime.cell import Cell
from theater.runtime.system import ActorSystem
from theater.server.connection import Hub, WebSocketConnection
from theater.server.http import (
    FAILED,
    OVERLOADED,
    allowed,
    not_allowed,
    refusal_response,
    wire_body,
    wire_headers,
)
from theater.server.routing import Router, split_path

log = logging.getLogger("theater.server")


class UpgradeHead(NamedTuple):
    """The head of a request that asks for an upgrade, as the HTTP parser gave it."""

    method: str
    path: str
    query: str
    http_version: str
    headers: Headers
    peer: Peer | None


class _Pending(NamedTuple):
    """An upgrade that an actor is deciding on."""

    transport: asyncio.Transport
    early: bytes
    offer: Offer
    request: UpgradeRequest
    cell: Cell
    max_message: int


class Upgrader:
    """Checks upgrade requests, asks the actor, and opens the connection.

    Args:
        system: the actors.
        router: which of them serves what.
        hub: what all connections share.
    """

    def __init__(self, system: ActorSystem, router: Router, hub: Hub) -> None:
        self._system = system
        self._router = router
        self._hub = hub

    def upgrade(self, head: UpgradeHead, transport: asyncio.Transport, early: bytes) -> None:
        """Handles one request. The transport is this object's from now on.

        Args:
            head: the request.
            transport: the socket.
            early: bytes that came behind the request.
        """
        segments = split_path(head.path)
        if segments is None:
            respond(transport, Response.text("The path is malformed.\n", 400))
            return
        match = self._router.find("websocket-server", segments) or self._router.find("http-server", segments)
        if match is None:
            respond(transport, Response.text("Not Found\n", 404))
            return
        if not allowed(head.method, match.route.methods):
            respond(transport, not_allowed(match.route.methods))
            return
        offer = check_request(head.method, head.http_version, head.headers)
        if isinstance(offer, Refusal):
            respond(transport, refusal_response(offer))
            return
        request = UpgradeRequest(
            path="/" + "/".join(segments),
            parameters=match.parameters,
            query=Query(head.query),
            headers=head.headers,
            subprotocols=offer.subprotocols,
            peer=head.peer,
        )
        try:
            cell = self._system.cell(match.route.address(match.parameters))
            if match.route.kind == "websocket-server":
                answer = cell.call("upgrade_connection", request)
            else:
                answer = cell.call("handle_request", _as_plain(request))
        except MailboxFull:
            respond(transport, OVERLOADED)
            return
        pending = _Pending(transport, early, offer, request, cell, match.route.max_message)
        if answer.done():
            self._decided(pending, answer)
        else:
            transport.pause_reading()
            answer.add_done_callback(lambda answer: self._decided(pending, answer))

    def _decided(self, pending: _Pending, answer: "asyncio.Future[Any]") -> None:
        transport, early, offer, request, cell, max_message = pending
        failed = answer.exception() is not None  # it stands in the log
        if transport.is_closing():
            return
        if self._hub.stopping:
            respond(transport, OVERLOADED)
            return
        if failed:
            respond(transport, FAILED)
            return
        decision: Accept | Response | None = answer.result()
        if isinstance(decision, Response) and decision.status == 101:
            decision = self._by_hand(pending, decision)
        if decision is None:
            respond(transport, Response.text("Forbidden\n", 403))
        elif isinstance(decision, Response):
            respond(transport, decision)
        else:
            headers = response_headers(offer, decision.subprotocol, decision.headers)
            if isinstance(headers, str):
                log.error("%s: cannot accept a connection on %s: %s", cell.address, request.path, headers)
                respond(transport, FAILED)
                return
            transport.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % bytes(headers))
            transport.resume_reading()
            WebSocketConnection(self._hub, cell, request, decision, transport, max_message).start(early)

    def _by_hand(self, pending: _Pending, response: Response) -> Accept | Response:
        """Checks a 101 response that an actor made itself, as in the proposal's first example."""
        headers = response.headers
        if headers.get_all("sec-websocket-accept") == [pending.offer.accept]:
            chosen = headers.get_all("sec-websocket-protocol")
            rest = [field for field in headers if field[0] not in OWN_FIELDS]
            return Accept(", ".join(chosen) or None, rest)
        log.error(
            "%s: a 101 response on %s with a wrong Sec-WebSocket-Accept: found %s, expected %s",
            pending.cell.address,
            pending.request.path,
            ", ".join(headers.get_all("sec-websocket-accept")) or "none",
            pending.offer.accept,
        )
        return FAILED


def _as_plain(request: UpgradeRequest) -> Request:
    return Request(
        method="GET",
        path=request.path,
        parameters=request.parameters,
        query=request.query,
        headers=request.headers,
        peer=request.peer,
    )


def respond(transport: asyncio.Transport, response: Response) -> None:
    """Writes a response as HTTP/1.1 and closes the connection."""
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}\r\n".encode()]
    fields = [(b"date", formatdate(usegmt=True).encode()), *wire_headers(response), (b"connection", b"close")]
    lines += [b"%b: %b\r\n" % field for field in fields]
    transport.write(b"".join([*lines, b"\r\n", wire_body(response)]))
    transport.close()


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
