"""Requests, responses and decisions, as in `wit/0.2.0`, interface `types`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from theater.contract.connection import check_tags
from theater.contract.fields import Headers, Peer, Query
from theater.contract.plain import pack, unpack
from theater.limits import MAX_ATTACHMENT


@dataclass(frozen=True, slots=True)
class Request:
    """A plain HTTP request.

    Attributes:
        method: in upper case, such as `GET`.
        path: percent-decoded, dot segments removed.
        parameters: what the braces of the route's pattern stood for in this path, decoded.
        query: the part after the question mark.
        headers: header fields.
        body: the whole body, empty if there is none.
        peer: who asks; none on a Unix socket.
    """

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Query = Query()
    headers: Headers = Headers()
    body: bytes = b""
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A request to open a WebSocket that has passed the checks of RFC 6455 §4.2.1.

    Attributes:
        path, parameters, query, headers, peer: as in `Request`.
        subprotocols: what the client offers, most wanted first.
    """

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Query = Query()
    headers: Headers = Headers()
    subprotocols: tuple[str, ...] = ()
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response.

    Attributes:
        status: 200 to 599, or 101 to answer an upgrade request by hand.
        headers: a mapping or pairs are taken too. `Content-Length` is the server's job.
        body: text is taken too, and sent as UTF-8.
    """

    status: int = 200
    headers: Headers = Headers()
    body: bytes = b""

    def __init__(
        self,
        status: int = 200,
        headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | str = b"",
    ) -> None:
        if type(status) is not int or not (status == 101 or 200 <= status <= 599):
            raise ValueError(f"an HTTP status is 101 or 200 to 599, not {status!r}")
        given: object = body  # callers may be untyped
        if not isinstance(given, str | bytes | bytearray | memoryview):
            raise TypeError(f"a body is text or bytes, not {type(body).__name__}")
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "headers", Headers(headers))
        object.__setattr__(self, "body", body.encode() if isinstance(body, str) else bytes(body))

    @classmethod
    def text(cls, text: str, status: int = 200) -> "Response":
        """Plain text in UTF-8."""
        return cls(status, {"content-type": "text/plain; charset=utf-8"}, text)

    @classmethod
    def html(cls, html: str, status: int = 200) -> "Response":
        """A page in UTF-8."""
        return cls(status, {"content-type": "text/html; charset=utf-8"}, html)

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Response":
        """Anything that `json.dumps` takes."""
        return cls(status, {"content-type": "application/json"}, json.dumps(value))


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer of `upgrade_connection` that lets a client in.

    Attributes:
        subprotocol: one of those the client offered, or none.
        headers: added to the 101 response; the handshake's own fields may not be given.
        tags: labels to find the connection by, see `Connection.tags`.
        attachment: plain data kept with the connection, see `Connection.attachment`.
    """

    subprotocol: str | None = None
    headers: Headers = Headers()
    tags: frozenset[str] = frozenset()
    attachment: object = None

    def __init__(
        self,
        subprotocol: str | None = None,
        headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
        tags: Iterable[str] = (),
        attachment: object = None,
    ) -> None:
        object.__setattr__(self, "subprotocol", subprotocol)
        object.__setattr__(self, "headers", Headers(headers))
        object.__setattr__(self, "tags", check_tags(tags))
        # A copy: the caller may go on to change its own.
        object.__setattr__(self, "attachment", unpack(pack(attachment, "an attachment", MAX_ATTACHMENT)))
