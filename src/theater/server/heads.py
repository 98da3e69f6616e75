"""What a request's head must be like, beyond what httptools checks.

httptools is strict: it refuses bare LF and CR, folded lines, white space before a colon, control
characters, and every doubtful `Content-Length`, alone or beside `Transfer-Encoding`. What it lets
through, and what servers and proxies understand differently all the same, is refused here.
"""

import httptools

from theater.contract import Headers
from theater.protocol.handshake import Refusal


def check_head(method: str, version: str, headers: Headers, upgrading: bool) -> Refusal | None:
    """Says what is wrong with a head, if anything is.

    Args:
        method: in upper case.
        version: of HTTP, such as `1.1`.
        headers: all header fields.
        upgrading: the parser takes it for a request to upgrade.
    """
    codings = headers.get_all("transfer-encoding")
    hosts = len(headers.get_all("host"))
    if version not in ("1.0", "1.1"):  # RFC 9110 §15.6.6
        return Refusal(505, "This server speaks HTTP/1.1.")
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112 §3.2
        return Refusal(400, "The request must have exactly one Host header.")
    if codings and version == "1.0":  # RFC 9112 §6.1: its framing is to be treated as faulty
        return Refusal(400, "A request in HTTP/1.0 has no Transfer-Encoding.")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:  # RFC 9112 §6.1
        return Refusal(501, "The only Transfer-Encoding that this server knows is chunked.")
    if method == "CONNECT":
        return Refusal(501, "This server is no proxy.")
    # httptools would skip the body, and take it for the next request.
    if upgrading and (codings or headers.get("content-length", "0") != "0"):
        return Refusal(400, "A request to upgrade the connection has no body here.")
    return None


def authority(target: bytes, headers: Headers) -> str:
    """Host and port that a request is for, as they stand there.

    Raises:
        httptools.HttpParserInvalidURLError: the target is none.
    """
    if target.startswith((b"/", b"*")):
        return headers.get("host", "")
    # RFC 9112 §3.2.2: "the origin server MUST ignore the received Host header field (if any)"
    url = httptools.parse_url(target)
    host = (url.host or b"").decode("latin-1")
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{url.port}" if url.port else host


def asks_for_websocket(headers: Headers) -> bool:
    """Whether a request wants to become a WebSocket, rightly or not (RFC 9110 §7.8, §7.6.1)."""
    return _names(headers, "upgrade", "websocket") and _names(headers, "connection", "upgrade")


def _names(headers: Headers, field: str, token: str) -> bool:
    return token in (found.lower() for found in headers.tokens(field))
