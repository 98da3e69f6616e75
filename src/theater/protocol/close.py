"""Close codes and the payload of close frames: RFC 6455 §5.5.1 and §7.4."""

from theater.contract.messages import Close
from theater.errors import InvalidClose

NO_STATUS = 1005
"""Stands for a close frame without a code; never on the wire (§7.4.1)."""

ABNORMAL = 1006
"""Stands for a connection that ended without a close frame; never on the wire (§7.4.1)."""

MAX_REASON = 123
"""Bytes: a control frame carries 125, two of them are the code (§5.5)."""


def may_be_sent(code: int) -> bool:
    """Whether the code may stand in a close frame.

    Registered codes are 1000 to 1003 and 1007 to 1014; 3000 to 3999 belong to libraries and
    4000 to 4999 to applications (§7.4.2). All others are unassigned, or, as 1004 to 1006 and 1015,
    reserved.
    """
    return 3000 <= code <= 4999 or 1007 <= code <= 1014 or 1000 <= code <= 1003


def encode_close(code: int, reason: str = "") -> bytes:
    """The payload of a close frame.

    Raises:
        InvalidClose: the code may not be sent, or the reason is too long.
    """
    given: tuple[object, object] = (code, reason)  # callers may be untyped
    if not isinstance(given[0], int) or not isinstance(given[1], str):
        raise InvalidClose(code, reason, "the code must be a number and the reason text")
    if not may_be_sent(code):
        raise InvalidClose(code, reason, "allowed codes are 1000 to 1003, 1007 to 1014 and 3000 to 4999")
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) > MAX_REASON:
        raise InvalidClose(
            code, reason, f"the reason has {len(encoded)} bytes, at most {MAX_REASON} are allowed"
        )
    return code.to_bytes(2, "big") + encoded


def decode_close(payload: bytes) -> Close | str:
    """Reads the payload of a close frame; text says what is wrong with it.

    A reason that is not UTF-8 raises UnicodeDecodeError, since it has a close code of its own.
    """
    if not payload:
        return Close(NO_STATUS)
    # §5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
    if len(payload) == 1:
        return "a close frame with half a close code"
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        return f"close code {code} is not allowed"
    return Close(code, payload[2:].decode())
