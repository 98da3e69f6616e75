"""The functions of both versions of the contract, as shapes; the types are those of the WIT files."""

from collections.abc import Mapping
from operator import methodcaller
from typing import Any, NamedTuple

from theater.contract import (
    Accept,
    Binary,
    Close,
    Closed,
    Congested,
    Connected,
    ConnectionInfo,
    Drained,
    Error,
    Headers,
    Peer,
    Ping,
    Pong,
    Query,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.contract.plain import check_size, pack, unpack
from theater.errors import ActorFailed, InvalidAddress, LocalError, MailboxFull, NoSuchActor, RequestTimeout
from theater.limits import MAX_ATTACHMENT
from theater.runtime.address import Address
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U16,
    U32,
    U64,
    Adapted,
    Case,
    EnumOf,
    Field,
    FunctionShape,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Shape,
    TupleOf,
    VariantOf,
)


class Contract(NamedTuple):
    """One version of the contract: functions by interface and name.

    Attributes:
        version: such as `0.2.0`.
        package: name of the WIT package.
        imports: what the host offers.
        exports: what a component may have; each interface may be left out.
    """

    version: str
    package: str
    imports: Mapping[str, Mapping[str, FunctionShape]]
    exports: Mapping[str, Mapping[str, FunctionShape]]

    def interface(self, name: str) -> str:
        """The name of an interface as a component has it: `theater:websocket/actors@0.2.0`."""
        return f"{self.package}/{name}@{self.version}"


def _record(make: Any, **fields: Shape) -> RecordOf:
    """A record whose fields have the names of the attributes, in WIT with hyphens."""
    return RecordOf(make, tuple(Field(name.replace("_", "-"), name, shape) for name, shape in fields.items()))


def _function(*parameters: Shape, result: Shape | None = None) -> FunctionShape:
    return FunctionShape(parameters, result)


def _fallible(*parameters: Shape, ok: Shape | None = None, error: Shape = STRING) -> FunctionShape:
    return FunctionShape(parameters, ResultOf(ok, error))


_PAIRS = ListOf(TupleOf((STRING, STRING)))
_HEADERS = Adapted(_PAIRS, Headers)

# 0.2.0

CLOSE = _record(Close, code=U16, reason=STRING)
_TEXT = Case("text", Text, STRING, "text")
_BINARY = Case("binary", Binary, BYTES, "data")
_PING = Case("ping", Ping, BYTES, "payload")
_PONG = Case("pong", Pong, BYTES, "payload")
MESSAGE = VariantOf((_TEXT, _BINARY, _PING, _PONG, Case("close", Close, CLOSE)))
INCOMING = VariantOf((_TEXT, _BINARY, _PING, _PONG))
DATA = VariantOf((_TEXT, _BINARY))
EVENT = VariantOf(
    (
        Case("connected", Connected),
        Case("received", Received, INCOMING, "message"),
        Case("error", Error, STRING, "problem"),
        Case("congested", Congested, U64, "waiting"),
        Case("drained", Drained),
        Case("closed", Closed, _record(Closed, code=U16, reason=STRING)),
    )
)
PEER = _record(Peer, address=STRING, port=U16)
_PARAMETERS = Adapted(_PAIRS, dict, methodcaller("items"))
_QUERY = Adapted(STRING, Query, str)
REQUEST = _record(
    Request,
    method=STRING,
    path=STRING,
    parameters=_PARAMETERS,
    query=_QUERY,
    headers=_HEADERS,
    body=BYTES,
    peer=OptionOf(PEER),
)
UPGRADE_REQUEST = _record(
    UpgradeRequest,
    path=STRING,
    parameters=_PARAMETERS,
    query=_QUERY,
    headers=_HEADERS,
    subprotocols=Adapted(ListOf(STRING), tuple),
    peer=OptionOf(PEER),
)
RESPONSE = _record(Response, status=U16, headers=_HEADERS, body=BYTES)


def _attachment(text: str | None) -> object:
    """Reads the attachment of an `accept`; `set-attachment` does not look inside.

    Raises:
        ValueError: it is no JSON, or too large.
    """
    if text is None:
        return None
    check_size(text, "an attachment", MAX_ATTACHMENT)
    try:
        return unpack(text)
    except RecursionError as error:
        raise ValueError("an attachment is nested too deeply") from error


def _packed_attachment(attachment: object) -> str | None:
    return pack(attachment, "an attachment", MAX_ATTACHMENT)


ACCEPT = _record(
    Accept,
    subprotocol=OptionOf(STRING),
    headers=_HEADERS,
    tags=ListOf(STRING),
    attachment=Adapted(OptionOf(STRING), _attachment, _packed_attachment),
)
DECISION = VariantOf((Case("accept", Accept, ACCEPT), Case("response", Response, RESPONSE)))
CONNECTION = _record(
    ConnectionInfo,
    id=U64,
    path=STRING,
    parameters=_PARAMETERS,
    query=_QUERY,
    headers=_HEADERS,
    subprotocol=OptionOf(STRING),
    peer=OptionOf(PEER),
)
ADDRESS = _record(Address, type=STRING, key=STRING)
ACTOR_ERROR = VariantOf(
    (
        Case("invalid-address", InvalidAddress),
        Case("no-such-actor", NoSuchActor),
        Case("mailbox-full", MailboxFull),
        Case("actor-failed", ActorFailed),
        Case("request-timeout", RequestTimeout),
        Case("local-error", LocalError, STRING, str),
    )
)
LEVEL = EnumOf(("debug", "info", "warning", "error"))

V0_2 = Contract(
    "0.2.0",
    "theater:websocket",
    imports={
        "websocket": {
            "send-message": _fallible(U64, MESSAGE, OptionOf(STRING), BOOL),
            "send-now": _fallible(U64, MESSAGE, OptionOf(STRING), BOOL),
            "send-chunk": _fallible(U64, DATA, BOOL),
            "drained": _function(U64),
            "get-waiting": _function(U64, result=U64),
            "close-connection": _fallible(U64, U16, STRING),
            "get-tags": _function(U64, result=ListOf(STRING)),
            "set-tags": _fallible(U64, ListOf(STRING)),
            "get-attachment": _function(U64, result=OptionOf(STRING)),
            "set-attachment": _fallible(U64, OptionOf(STRING)),
            "get-connections": _function(result=ListOf(U64)),
            "find-connection": _function(U64, result=OptionOf(CONNECTION)),
            "broadcast": _fallible(MESSAGE, ListOf(U64), OptionOf(STRING), OptionOf(STRING), BOOL),
        },
        "actors": {
            "get-address": _function(result=ADDRESS),
            "send": _fallible(ADDRESS, DATA, error=ACTOR_ERROR),
            "request": _fallible(ADDRESS, DATA, OptionOf(F64), ok=OptionOf(DATA), error=ACTOR_ERROR),
        },
        "state": {
            "get-state": _function(result=OptionOf(STRING)),
            "set-state": _fallible(OptionOf(STRING)),
        },
        "host": {
            "log": _function(LEVEL, STRING),
            "now": _function(result=F64),
            "monotonic": _function(result=F64),
            "random": _function(U32, result=BYTES),
        },
    },
    exports={
        "lifecycle": {"init": _fallible()},
        "websocket-upgrade": {"upgrade-connection": _fallible(UPGRADE_REQUEST, ok=OptionOf(DECISION))},
        "websocket-actor": {"handle-websocket": _fallible(U64, EVENT, ok=ListOf(MESSAGE))},
        "batch-actor": {"handle-batch": _fallible(ListOf(TupleOf((U64, EVENT))))},
        "stream-actor": {"handle-chunk": _fallible(U64, DATA, BOOL, ok=ListOf(MESSAGE))},
        "http-actor": {"handle-request": _fallible(REQUEST, ok=RESPONSE)},
        "message-actor": {"handle-message": _fallible(DATA, ADDRESS, ok=OptionOf(DATA))},
    },
)

# 0.1.0


class WebSocketRequest(NamedTuple):
    """The handshake's fields of the client (RFC 6455 §4.1)."""

    sec_websocket_key: str
    sec_websocket_version: str


class WebSocketResponse(NamedTuple):
    """The handshake's field of the server (RFC 6455 §4.2.2), which the host computes by itself."""

    sec_websocket_accept: str


class HttpRequest(NamedTuple):
    """A plain HTTP request, with its path and query as they came."""

    method: str
    uri: str
    headers: Headers
    body: bytes | None


def _response(status: int, headers: Headers, body: bytes | None) -> Response:
    return Response(status, headers, body or b"")


# Their pings, pongs and closes carry nothing: what a message of the host has is left behind.
MESSAGE_TYPE = VariantOf((_TEXT, _BINARY, Case("ping", Ping), Case("pong", Pong), Case("close", Close)))
CONNECTION_EVENT = VariantOf(
    (
        Case("connected", Connected),
        Case("message", Received, MESSAGE_TYPE, "message"),
        Case("error", Error, STRING, "problem"),
        Case("closed", Closed),
    )
)
WEBSOCKET_REQUEST = _record(WebSocketRequest, sec_websocket_key=STRING, sec_websocket_version=STRING)
WEBSOCKET_RESPONSE = _record(WebSocketResponse, sec_websocket_accept=STRING)
HTTP_REQUEST = _record(HttpRequest, method=STRING, uri=STRING, headers=_HEADERS, body=OptionOf(BYTES))
HTTP_RESPONSE = _record(_response, status=U16, headers=_HEADERS, body=OptionOf(BYTES))

V0_1 = Contract(
    "0.1.0",
    "theater:websocket",
    imports={
        "websocket": {
            "send-message": _function(U64, MESSAGE_TYPE),
            "close-connection": _function(U64),
        },
    },
    exports={
        "websocket-upgrade": {
            "upgrade-connection": _function(WEBSOCKET_REQUEST, result=OptionOf(WEBSOCKET_RESPONSE))
        },
        "websocket-actor": {
            "handle-websocket": _function(CONNECTION_EVENT, result=OptionOf(MESSAGE_TYPE)),
        },
        "http-actor": {"handle-request": _function(HTTP_REQUEST, result=HTTP_RESPONSE)},
    },
)
