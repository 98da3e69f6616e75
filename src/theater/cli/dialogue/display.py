"""How what a peer sends is shown. It is not trusted: nothing it sends can drive the terminal."""

import re
from typing import Final

from theater.contract import Binary, Close, Data, Text

_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f"  # control characters, but for the tabulator
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of what follows
    "\u2028\u2029]"  # break lines
)
_ROW: Final = 16  # bytes to a line of a dump
_DUMPED: Final = 4096  # bytes of a message that are dumped

_CODES: Final = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no code",
    1006: "connection lost",
    1007: "invalid data",
    1008: "policy violation",
    1009: "message too big",
    1010: "extension missing",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}
"""IANA's WebSocket Close Code Number Registry, and the two codes that are never sent."""


def escaped(text: str) -> str:
    r"""The text with what could drive a terminal, or break the line, as `\n`, `\x1b` or `\u202e`."""
    return _HARMFUL.sub(lambda found: repr(found[0])[1:-1], text)


def line(message: Data) -> str:
    """The message in one line: text escaped, binary in hexadecimal."""
    return escaped(message.text) if isinstance(message, Text) else message.data.hex()


def block(message: Data) -> str:
    """The message for a reader: text with its line breaks, binary as a dump.

    All lines but the first are indented, so that a message cannot pass for another one.
    """
    if isinstance(message, Binary):
        lines = _dump(message.data)
    else:
        lines = [escaped(each) for each in message.text.replace("\r\n", "\n").split("\n")]
    return "\n  ".join(lines)


def ending(closed: Close, ours: bool) -> str:
    """How a connection ended, in words.

    Args:
        closed: code and reason; 1006 if there was no closing handshake.
        ours: we began it.
    """
    if closed.code == 1006:
        return "the connection was lost: no closing handshake (code 1006)"
    meaning = f" ({_CODES[closed.code]})" if closed.code in _CODES else ""
    reason = f": {escaped(closed.reason)}" if closed.reason else ""
    # Who began it, if not us, is not known: it may be that we had to refuse a message.
    return f"closed cleanly{' by us' if ours else ''} with code {closed.code}{meaning}{reason}"


def _dump(data: bytes) -> list[str]:
    lines = [f"{len(data)} bytes"]
    for start in range(0, min(len(data), _DUMPED), _ROW):
        row = data[start : start + _ROW]
        readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<{3 * _ROW - 1}}  {readable}")
    if len(data) > _DUMPED:
        lines.append(f"and {len(data) - _DUMPED} more")
    return lines
