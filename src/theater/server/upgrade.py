"""From an upgrade request to an open WebSocket, or to the response that refuses it."""

import asyncio
import logging
from typing import Any, NamedTuple, Protocol

from theater.contract import Accept, Headers, Query, Request, Response, UpgradeRequest
from theater.errors import GuestError, MailboxFull, RequestTimeout
from theater.protocol.extensions import negotiate
from theater.protocol.handshake import OWN_FIELDS, Offer, Refusal, check_request, response_headers
from theater.runtime.cell import Cell
from theater.runtime.system import ActorSystem
from theater.server.admission import Admission, Slot
from theater.server.connection import WebSocketConnection
from theater.server.http import FAILED, OVERLOADED, allowed, not_allowed, refusal_response
from theater.server.hub import Hub
from theater.server.proxies import Source
from theater.server.routing import Match, Route, Router, split_path

log = logging.getLogger("theater.server")


class UpgradeHead(NamedTuple):
    """The head of a request that asks for an upgrade, as the HTTP parser gave it.

    Attributes:
        method, path, query, http_version, headers: of the request; path and query are still encoded.
        source: whom it is from.
        authority: host and port that it is for.
        secure: whether it came over TLS.
    """

    method: str
    path: str
    query: str
    http_version: str
    headers: Headers
    source: Source
    authority: str
    secure: bool


class Client(Protocol):
    """The HTTP connection that an upgrade request came by."""

    transport: asyncio.Transport
    slot: Slot

    def end(self, response: Response) -> None:
        """Writes a response, and ends the connection when the client has had time to read it."""


class _Pending(NamedTuple):
    """An upgrade that an actor is deciding on."""

    client: Client
    early: bytes
    offer: Offer
    request: UpgradeRequest
    cell: Cell
    route: Route


class Upgrader:
    """Checks upgrade requests, asks the actor, and opens the connection.

    Args:
        system: the actors.
        router: which of them serves what.
        hub: what all connections share.
        admission: who is let in before an actor is asked.
    """

    def __init__(self, system: ActorSystem, router: Router, hub: Hub, admission: Admission) -> None:
        self._system = system
        self._router = router
        self._hub = hub
        self._admission = admission

    def upgrade(self, head: UpgradeHead, client: Client, early: bytes) -> None:
        """Handles one request. The transport is this object's until it calls `end`.

        Args:
            head: the request.
            client: what it came by.
            early: bytes that came behind it.
        """
        refusal = self._admission.check_upgrade(client.slot, head.source)
        found = self._find(head) if refusal is None else refusal_response(refusal)
        if isinstance(found, Response):
            client.end(found)
            return
        match, path = found
        offer = self._check(head, match, client.slot)
        if isinstance(offer, Refusal):
            client.end(refusal_response(offer))
            return
        request = UpgradeRequest(
            path=path,
            parameters=match.parameters,
            query=Query(head.query),
            headers=head.headers,
            subprotocols=offer.subprotocols,
            peer=head.source.peer,
        )
        self._ask(request, match, offer, client, early)

    def _find(self, head: UpgradeHead) -> tuple[Match, str] | Response:
        """The route of a request, and its decoded path."""
        segments = split_path(head.path)
        if segments is None:
            return Response.text("The path is malformed.\n", 400)
        match = self._router.find("websocket-server", segments) or self._router.find("http-server", segments)
        if match is None:
            return Response.text("Not Found\n", 404)
        if not allowed(head.method, match.route.methods):
            return not_allowed(match.route.methods)
        return match, "/" + "/".join(segments)

    def _check(self, head: UpgradeHead, match: Match, slot: Slot) -> Offer | Refusal:
        """Checks what can be checked without the actor, which may not even exist yet."""
        admission, route = self._admission, match.route
        refusal = admission.check_origin(head.headers, route.origins, head.authority, head.secure)
        if refusal is not None:
            return refusal
        offer = check_request(head.method, head.http_version, head.headers)
        if isinstance(offer, Refusal):
            admission.refused["handshake"] += 1
            return offer
        most = self._system.limits(route.actor).max_actor_connections
        return admission.join(slot, route.address(match.parameters), most) or offer

    def _ask(self, request: UpgradeRequest, match: Match, offer: Offer, client: Client, early: bytes) -> None:
        route = match.route
        try:
            cell = self._system.cell(route.address(match.parameters))
            if route.kind == "websocket-server":
                answer = cell.call("upgrade_connection", request)
            else:
                answer = cell.call("handle_request", _as_plain(request))
        except GuestError as error:
            self._refuse(client, _failure(error))
            return
        pending = _Pending(client, early, offer, request, cell, route)
        if answer.done():
            self._decided(pending, answer)
        else:
            client.transport.pause_reading()
            answer.add_done_callback(lambda answer: self._decided(pending, answer))

    def _decided(self, pending: _Pending, answer: "asyncio.Future[Any]") -> None:
        client = pending.client
        error = answer.exception()  # it stands in the log
        if client.transport.is_closing():
            return
        if self._hub.stopping:
            self._refuse(client, OVERLOADED)
            return
        if error is not None:
            self._refuse(client, _failure(error))
            return
        decision: Accept | Response | None = answer.result()
        if isinstance(decision, Response) and decision.status == 101:
            decision = self._by_hand(pending, decision)
        if decision is None:
            self._refuse(client, Response.text("Forbidden\n", 403))
        elif isinstance(decision, Response):
            self._refuse(client, decision)
        else:
            self._open(pending, decision)

    def _open(self, pending: _Pending, accept: Accept) -> None:
        client, early, offer, request, cell, route = pending
        agreed = negotiate(offer.extensions, route.limits, self._hub.budget)
        headers = response_headers(offer, accept.subprotocol, accept.headers, agreed)
        if isinstance(headers, str):
            self._hub.budget.give_back(agreed.deflate)
            log.error("%s: cannot accept a connection on %s: %s", cell.address, request.path, headers)
            self._refuse(client, FAILED)
            return
        transport = client.transport
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % bytes(headers))
        transport.resume_reading()
        WebSocketConnection(
            self._hub, cell, request, accept, transport, route, agreed.deflate, client.slot
        ).start(early)

    def _refuse(self, client: Client, response: Response) -> None:
        """Refuses what had been counted for an actor."""
        self._admission.leave(client.slot)
        self._admission.refused["overloaded" if response is OVERLOADED else "actor"] += 1
        client.end(response)

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


def _failure(error: BaseException) -> Response:
    """What a client is told about an actor's failure."""
    return OVERLOADED if isinstance(error, MailboxFull | RequestTimeout) else FAILED
