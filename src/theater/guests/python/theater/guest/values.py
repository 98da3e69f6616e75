"""Between the classes of `theater.contract` and those of the component's bindings."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, assert_never

from wit_world.imports import types

from theater.contract import (
    Accept,
    Binary,
    Close,
    Closed,
    Congested,
    Connected,
    Data,
    Drained,
    Error,
    Event,
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
from theater.contract.plain import pack
from theater.errors import InvalidMessage, LocalError
from theater.limits import MAX_ATTACHMENT
from theater.protocol.close import encode_close
from theater.runtime.address import Address

MAX_CONTROL_PAYLOAD: Final = 125  # RFC 6455 §5.5
_CONNECTED: Final = Connected()
_DRAINED: Final = Drained()


# Looked up by class, since `match` asks for one class after the other, which takes as long as all the rest.
_INCOMING: Final[dict[type, Callable[[Any], Any]]] = {
    types.Incoming_Text: Text,
    types.Incoming_Binary: Binary,
    types.Incoming_Ping: Ping,
    types.Incoming_Pong: Pong,
}
_EVENTS: Final[dict[type, Callable[[Any], Event]]] = {
    types.Event_Connected: lambda _: _CONNECTED,
    types.Event_Received: lambda event: Received(_INCOMING[type(event.value)](event.value.value)),
    types.Event_Error: lambda event: Error(event.value),
    types.Event_Congested: lambda event: Congested(event.value),
    types.Event_Drained: lambda _: _DRAINED,
    types.Event_Closed: lambda event: Closed(event.value.code, event.value.reason),
}


def lift_event(event: types.Event) -> Event:
    """What happened on a connection."""
    return _EVENTS[type(event)](event)


def lower_message(message: object) -> types.Message:
    """What is to be sent to a connection.

    Raises:
        InvalidMessage: it is no message, or holds what its kind cannot carry.
        InvalidClose: a close code or reason that may not be sent.
    """
    lower = _MESSAGES.get(type(message))
    if lower is not None:
        return lower(message)
    for kind, lower in _MESSAGES.items():  # a class that is derived from one of them
        if isinstance(message, kind):
            return lower(message)
    raise InvalidMessage(message, "Text, Binary, Ping, Pong or Close")


def _lower_close(message: Close) -> types.Message:
    payload = encode_close(message.code, message.reason)
    return types.Message_Close(types.Close(message.code, payload[2:].decode()))


_MESSAGES: Final[dict[type, Callable[[Any], types.Message]]] = {
    Text: lambda message: types.Message_Text(_text(message, message.text)),
    Binary: lambda message: types.Message_Binary(_bytes(message, message.data)),
    Ping: lambda message: types.Message_Ping(_control_payload(message, message.payload)),
    Pong: lambda message: types.Message_Pong(_control_payload(message, message.payload)),
    Close: _lower_close,
}


def _text(message: object, text: object) -> str:
    if isinstance(text, str):
        if text.isascii():
            return text
        with suppress(UnicodeEncodeError):
            text.encode()
            return text
    raise InvalidMessage(message, "text without lone surrogates")


def _bytes(message: object, data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise InvalidMessage(message, "bytes")


def _control_payload(message: object, payload: object) -> bytes:
    encoded = _bytes(message, payload)
    if len(encoded) > MAX_CONTROL_PAYLOAD:
        raise InvalidMessage(message, f"at most {MAX_CONTROL_PAYLOAD} bytes of payload")
    return encoded


def lift_data(data: types.Data) -> Data:
    """What another actor sent, or a piece of a message."""
    match data:
        case types.Data_Text(text):
            return Text(text)
        case types.Data_Binary(content):
            return Binary(content)
        case _:
            assert_never(data)


def lower_data(data: object) -> types.Data:
    """What is sent to another actor, or a piece of a message.

    Raises:
        InvalidMessage: it is neither `Text` nor `Binary`, or holds what its kind cannot carry.
    """
    match data:
        case Text(text):
            return types.Data_Text(_text(data, text))
        case Binary(content):
            return types.Data_Binary(_bytes(data, content))
    raise InvalidMessage(data, "Text or Binary")


def lower_answer(answer: Data | None) -> types.Data | None:
    """What another actor is answered; raises what `lower_data` does."""
    return None if answer is None else lower_data(answer)


def lower_nothing(result: None) -> None:
    """What a handler without a result has returned."""


def lower_text(text: str | None) -> str | None:
    """Text that goes to the host beside a message.

    Raises:
        LocalError: it is no text, or no Unicode.
    """
    given: object = text  # callers may be untyped
    if given is not None:
        try:
            given.encode()  # type: ignore[attr-defined]
        except (AttributeError, UnicodeEncodeError):
            raise LocalError(f"{text!r:.100} is not Unicode text") from None
    return text


def lower_address(address: Address) -> types.Address:
    """Where another actor is found; raises what `lower_text` does."""
    return types.Address(lower_text(address.type) or "", lower_text(address.key) or "")


def facts(found: types.Connection | types.Request | types.UpgradeRequest) -> dict[str, Any]:
    """What a connection's facts and requests have in common with each other and with their records."""
    return {
        **vars(found),
        "parameters": dict(found.parameters),
        "query": Query(found.query),
        # The host has checked them.
        "headers": Headers.from_wire(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers
        ),
        "peer": None if found.peer is None else Peer(found.peer.address, found.peer.port),
    }


def lift_request(request: types.Request) -> Request:
    """A plain HTTP request."""
    return Request(**facts(request))


def lift_upgrade_request(request: types.UpgradeRequest) -> UpgradeRequest:
    """A request to open a WebSocket."""
    return UpgradeRequest(**{**facts(request), "subprotocols": tuple(request.subprotocols)})


def lower_response(response: Response) -> types.Response:
    """The answer to a request."""
    return types.Response(response.status, list(response.headers), response.body)


def lower_decision(decision: Accept | Response | None) -> types.Decision | None:
    """The answer to an upgrade request."""
    match decision:
        case None:
            return None
        case Response():
            return types.Decision_Response(lower_response(decision))
        case Accept():
            attachment = pack(decision.attachment, "an attachment", MAX_ATTACHMENT)
            return types.Decision_Accept(
                types.Accept(decision.subprotocol, list(decision.headers), list(decision.tags), attachment)
            )
        case _:
            assert_never(decision)
