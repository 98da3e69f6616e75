"""Heads of handshakes."""

from contextlib import suppress
from random import Random
from typing import Any

import httptools

from theater.contract import Headers
from theater.limits import ConnectionLimits
from theater.protocol.deflate import ContextBudget
from theater.protocol.extensions import negotiate
from theater.protocol.handshake import (
    Offer,
    Refusal,
    accept_key,
    check_request,
    check_response,
    response_headers,
)

from .setups import LIMITS, Broken, promise
from .streams import damage_bytes

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SUBPROTOCOLS = ("chat", "superchat")
FIELDS = {
    "Host": ("example.com", "", "[::1]:80"),
    "Upgrade": ("websocket", "h2c, WebSocket", "h2c"),
    "Connection": ("Upgrade", "keep-alive, Upgrade", ",,upgrade ,"),
    "Sec-WebSocket-Version": ("13", "8", "13, 8"),
    "Sec-WebSocket-Key": (KEY, KEY[:-1], "é"),
    "Sec-WebSocket-Accept": (accept_key(KEY), accept_key("")),
    "Sec-WebSocket-Protocol": ("chat", "chat, superchat", "superchat", "a,a", ""),
    "Content-Length": ("0", "1"),
}
OFFERS = (
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    'permessage-deflate; client_max_window_bits="12"; server_max_window_bits=10',
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=8",
    "x-other; a=b; c, permessage-deflate",
    'permessage-deflate; a="\\"',
    ",;=",
)


def head(kind: str, dice: Random) -> bytes:
    """The head of a request or response, seldom right in all its fields."""
    lines = ["GET / HTTP/1.1" if kind == "request" else "HTTP/1.1 101 Switching Protocols"]
    for name, values in FIELDS.items():
        if name == "Sec-WebSocket-Accept" and kind == "request":
            continue
        usual = name not in ("Content-Length", "Sec-WebSocket-Protocol")
        while dice.random() < (0.98 if usual else 0.2):
            lines.append(f"{name}: {values[0] if dice.random() < 0.95 else dice.choice(values)}")
            if dice.random() < 0.98:
                break
    if dice.random() < 0.7:
        offer = ", ".join(dice.choices(OFFERS, k=dice.choice((1, 1, 2, 3))))
        if dice.random() < 0.5:
            offer = damage_bytes(offer.encode(), dice).decode("latin-1")
        lines.append(f"Sec-WebSocket-Extensions: {offer}")
    wire = "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n"
    return damage_bytes(wire, dice) if dice.random() < 0.3 else wire


class Head:
    """What httptools, which is between a peer and the handshake, makes of a head.

    Raises:
        httptools.HttpParserError: it is none.
    """

    def __init__(self, kind: str, wire: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False
        parser_type = httptools.HttpRequestParser if kind == "request" else httptools.HttpResponseParser
        self.parser: Any = parser_type(self)
        with suppress(httptools.HttpParserUpgrade):
            self.parser.feed_data(wire)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def check_head(kind: str, wire: bytes) -> str:
    """Does a handshake with this half of it; returns how that ended."""
    try:
        found = Head(kind, wire)
    except httptools.HttpParserError:
        return "no HTTP"
    if not found.complete:
        return "unfinished"
    headers = Headers.from_wire(found.fields)
    limits = LIMITS["roomy"]
    if kind == "response":
        status = found.parser.get_status_code()
        opened = check_response(status, headers, KEY, SUBPROTOCOLS, limits)
        if isinstance(opened, Refusal):
            return "response refused"
        promise(opened.subprotocol in (None, *SUBPROTOCOLS), "a subprotocol that was not offered", opened)
        return "response accepted"
    method, version = found.parser.get_method().decode(), found.parser.get_http_version()
    offer = check_request(method, version, headers)
    if isinstance(offer, Refusal):
        promise(400 <= offer.status < 500, "the wrong status for a peer's fault", offer)
        Headers(offer.headers)
        return f"request refused, {offer.status}"
    answer_offer(offer, headers, limits)
    return "request accepted"


def answer_offer(offer: Offer, headers: Headers, limits: ConnectionLimits) -> None:
    """Answers a request; its client must be content, and understand the same."""
    budget = ContextBudget(limits.max_message)
    agreed = negotiate(offer.extensions, limits, budget)
    ours = agreed.deflate
    subprotocol = offer.subprotocols[0] if offer.subprotocols else None
    answer = response_headers(offer, subprotocol, Headers(), agreed)
    promise(isinstance(answer, Headers), "no answer to an offer", offer, answer)
    read = Headers.from_wire(Head("response", b"HTTP/1.1 101 OK\r\n%b\r\n" % bytes(answer)).fields)  # type: ignore[arg-type]
    promise(read == answer, "the answer is read as another", answer, read)
    opened = check_response(101, read, headers["sec-websocket-key"], offer.subprotocols, limits)
    if isinstance(opened, Refusal):
        raise Broken(f"our own answer is refused: {opened.problem}")
    theirs = opened.agreed.deflate
    promise((ours is None) == (theirs is None), "only one end compresses")
    if ours is not None and theirs is not None:
        for sender, receiver in ((ours, theirs), (theirs, ours)):
            fits = 8 <= sender.send_window <= receiver.receive_window <= 15
            kept = receiver.receive_takeover or not sender.send_takeover
            promise(fits and kept, "one end sends what the other cannot inflate", sender, receiver)
    budget.give_back(ours)
    promise(budget.taken == 0, "bytes of the budget are not given back", budget.taken)
