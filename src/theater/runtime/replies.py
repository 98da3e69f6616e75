"""What handlers may return."""

from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Final

from theater.contract import Accept, Binary, Close, Message, Ping, Pong, Response, Text
from theater.errors import InvalidMessage, InvalidReply

MESSAGES: Final = frozenset((Text, Binary, Ping, Pong, Close))
"""The classes of messages."""


def replies(result: object) -> Iterable[Message]:
    """The messages that `handle_websocket` has returned.

    Raises:
        InvalidReply: it returned something else.
    """
    if result is None:
        return ()
    if type(result) in MESSAGES:
        return (result,)  # type: ignore[return-value]
    if isinstance(result, Iterable) and not isinstance(result, str | bytes | bytearray | Mapping):
        return result
    raise InvalidReply("handle_websocket", result, "None, a message or a list of messages")


def check_data(message: object) -> None:
    """Checks what one actor sends to another.

    Raises:
        InvalidMessage: it is neither `Text` nor `Binary`.
    """
    if not isinstance(message, Text | Binary):
        raise InvalidMessage(message, "Text or Binary")


_RESULTS: dict[str, tuple[type | UnionType, str]] = {
    "init": (NoneType, "nothing"),
    "upgrade_connection": (Accept | Response | None, "Accept, Response or None"),
    "handle_batch": (NoneType, "nothing"),
    "handle_request": (Response, "a Response"),
    "handle_message": (Text | Binary | None, "Text, Binary or None"),
}


def check_result(handler: str, result: object) -> None:
    """Checks what a handler other than `handle_websocket` has returned.

    Raises:
        InvalidReply: it returned something else.
    """
    kind, words = _RESULTS[handler]
    if not isinstance(result, kind):
        raise InvalidReply(handler, result, words)
