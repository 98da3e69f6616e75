"""The opening handshake: RFC 6455 §4, both sides. Takes and gives values, never bytes of HTTP."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from theater.contract.fields import Headers
from theater.limits import ConnectionLimits
from theater.protocol.extensions import (
    FIELD,
    NOTHING,
    Agreed,
    Extension,
    check_answer,
    format_extensions,
    offer_extensions,
    parse_extensions,
)

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # §1.3
VERSION: Final = "13"
OWN_FIELDS: Final = frozenset(
    ("connection", "upgrade", "sec-websocket-accept", "sec-websocket-protocol", FIELD)
)
"""Header fields of a 101 response that belong to the handshake."""


class Refusal(NamedTuple):
    """Why a handshake cannot go on: an HTTP status, a plain sentence, and header fields."""

    status: int
    problem: str
    headers: tuple[tuple[str, str], ...] = ()


class Offer(NamedTuple):
    """What a valid upgrade request asks for.

    Attributes:
        accept: the right `Sec-WebSocket-Accept` for its key.
        subprotocols: most wanted first.
        extensions: likewise.
    """

    accept: str
    subprotocols: tuple[str, ...]
    extensions: tuple[Extension, ...] = ()


class Opened(NamedTuple):
    """What a client and its server have agreed on."""

    subprotocol: str | None
    agreed: Agreed


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (§4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def check_request(method: str, http_version: str, headers: Headers) -> Offer | Refusal:
    """The server's checks of §4.2.1, in the order in which they help the caller most.

    Args:
        method: in upper case.
        http_version: such as `1.1`.
        headers: all header fields.
    """
    if method != "GET":
        return Refusal(405, f"A WebSocket is opened with GET, not {method}.", (("allow", "GET"),))
    if http_version != "1.1":
        return Refusal(400, f"A WebSocket is opened with HTTP/1.1, not HTTP/{http_version}.")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return Refusal(400, "A request to open a WebSocket has no body.")
    if len(headers.get_all("host")) != 1:
        return Refusal(400, "The request must have exactly one Host header.")
    if "websocket" not in _lower(headers.tokens("upgrade")):
        return Refusal(426, "The Upgrade header must name websocket.", (("upgrade", "websocket"),))
    if "upgrade" not in _lower(headers.tokens("connection")):
        return Refusal(400, "The Connection header must name Upgrade.")
    versions = headers.get_all("sec-websocket-version")
    if versions != [VERSION]:
        found = ", ".join(versions) or "none"
        # §4.4: an unsupported version is answered with the supported ones
        return Refusal(
            426,
            f"The Sec-WebSocket-Version must be {VERSION}, not {found}.",
            (("upgrade", "websocket"), ("sec-websocket-version", VERSION)),
        )
    keys = headers.get_all("sec-websocket-key")
    if len(keys) != 1:
        return Refusal(400, "The request must have exactly one Sec-WebSocket-Key header.")
    if not _is_key(keys[0]):
        return Refusal(400, "The Sec-WebSocket-Key must be 16 bytes in base64.")
    subprotocols = tuple(headers.tokens("sec-websocket-protocol"))
    # §4.1: "The elements that comprise this value MUST [...] all be unique strings"
    if len(set(subprotocols)) != len(subprotocols):
        return Refusal(400, "The Sec-WebSocket-Protocol header names a subprotocol twice.")
    extensions = parse_extensions(headers.get_all(FIELD))
    if isinstance(extensions, str):
        return Refusal(400, f"The Sec-WebSocket-Extensions header is malformed: {extensions}.")
    return Offer(accept_key(keys[0]), subprotocols, extensions)


def response_headers(
    offer: Offer, subprotocol: str | None, extra: Headers, agreed: Agreed = NOTHING
) -> Headers | str:
    """The header fields of the 101 response (§4.2.2); text says why there can be none.

    Args:
        offer: what the client asked for.
        subprotocol: the chosen one, if any.
        extra: further fields.
        agreed: the extensions.
    """
    if subprotocol is not None and subprotocol not in offer.subprotocols:
        return f"the client did not offer the subprotocol {subprotocol!r}"
    fields = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", offer.accept)]
    if subprotocol is not None:
        fields.append(("sec-websocket-protocol", subprotocol))
    if agreed != NOTHING:
        fields.append((FIELD, format_extensions(agreed.answer())))
    for name, value in extra:
        if name in OWN_FIELDS:
            return f"the header {name} belongs to the handshake"
        if name not in ("content-length", "transfer-encoding"):  # a 101 has no body, RFC 9110 §8.6
            fields.append((name, value))
    return Headers(fields)


def request_headers(
    host: str, key: str, subprotocols: Sequence[str], extra: Headers, limits: ConnectionLimits
) -> Headers:
    """The header fields of a client's request (§4.1); `extra` may replace `host` and add others.

    Args:
        host: value of the Host field.
        key: 16 random bytes in base64.
        subprotocols: what to offer, most wanted first.
        extra: further fields.
        limits: of the connection; they say which extensions to offer.
    """
    fields = [
        ("host", host),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", key),
        ("sec-websocket-version", VERSION),
    ]
    if subprotocols:
        fields.append(("sec-websocket-protocol", ", ".join(subprotocols)))
    extensions = offer_extensions(limits)
    if extensions:
        fields.append((FIELD, format_extensions(extensions)))
    given = {name for name, _ in extra}
    return Headers([field for field in fields if field[0] not in given] + list(extra))


def check_response(
    status: int, headers: Headers, key: str, subprotocols: Sequence[str], limits: ConnectionLimits
) -> Opened | Refusal:
    """The client's checks of §4.1.

    Args:
        status: of the response.
        headers: of the response.
        key: what was sent as `Sec-WebSocket-Key`.
        subprotocols: what was offered.
        limits: what `request_headers` was given.
    """
    if status != 101:
        return Refusal(status, f"the server answered with HTTP status {status}")
    if _lower(headers.tokens("upgrade")) != ["websocket"]:
        return Refusal(status, "the server did not upgrade to websocket")
    if "upgrade" not in _lower(headers.tokens("connection")):
        return Refusal(status, "the server's Connection header does not name Upgrade")
    if headers.get_all("sec-websocket-accept") != [accept_key(key)]:
        return Refusal(status, "the server's Sec-WebSocket-Accept is wrong")
    chosen = headers.get_all("sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0] not in subprotocols):
        return Refusal(status, f"the server chose the subprotocol {', '.join(chosen)}, which was not offered")
    answer = parse_extensions(headers.get_all(FIELD))
    if isinstance(answer, str):
        return Refusal(status, f"the server's Sec-WebSocket-Extensions is malformed: {answer}")
    agreed = check_answer(answer, limits)
    if isinstance(agreed, str):
        return Refusal(status, agreed)
    return Opened(chosen[0] if chosen else None, agreed)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("ascii"), validate=True)) == 16
    except (binascii.Error, UnicodeEncodeError):
        return False


def _lower(tokens: list[str]) -> list[str]:
    return [token.lower() for token in tokens]
