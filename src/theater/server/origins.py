"""Whose pages may connect, and under which host names: the fields `Origin` and `Host`."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = r"(?P<host>\[[0-9a-f:.]+\]|[^\s/?#@:\[\]*,]+)(?::(?P<port>\d{1,5}))?"
_AUTHORITY: Final = re.compile(_HOST)
_ORIGIN: Final = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://{_HOST}")


class Origin(NamedTuple):
    """An origin (RFC 6454 §4), in lower case; the port is the scheme's own if none was written."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "Origin | None":
        """Reads an origin as it is serialised (RFC 6454 §6.2); None if it is none with a host."""
        match = _ORIGIN.fullmatch(text.lower())
        if match is None:
            return None
        scheme = match["scheme"]
        port = int(match["port"]) if match["port"] else _PORTS.get(scheme)
        return cls(scheme, match["host"].removesuffix("."), port)


def origin_allowed(origin: str, allowed: Sequence[str], authority: str, secure: bool) -> bool:
    """Whether pages of an origin may connect.

    Args:
        origin: value of the field `Origin`.
        allowed: origins, `https://*.example.org` for all subdomains, or `*` for any; if there are
            none, only pages of the same host and port may. `null`, which stands for sandboxed
            frames and files, must be written out too.
        authority: host and port that the request is for.
        secure: whether it came over TLS.
    """
    parsed = Origin.parse(origin)
    if allowed:
        return any(_matches(origin, parsed, pattern) for pattern in allowed)
    return parsed is not None and _same(parsed, authority, secure)


def host_allowed(authority: str, allowed: Sequence[str]) -> bool:
    """Whether a server is there for a host.

    Args:
        authority: host and port that a request is for; the port does not count.
        allowed: hosts, or `*.example.org` for all subdomains; any, if there are none.
    """
    if not allowed:
        return True
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None:
        return False
    host = match["host"].removesuffix(".")
    return any(_host_matches(host, pattern.lower()) for pattern in allowed)


def _matches(origin: str, parsed: Origin | None, pattern: str) -> bool:
    if pattern == "*" or pattern.lower() == origin.lower():
        return True
    # The host of a wildcard is no host, so it is taken out for reading.
    expected = Origin.parse(pattern.replace("://*.", "://", 1))
    if parsed is None or expected is None or (parsed.scheme, parsed.port) != (expected.scheme, expected.port):
        return False
    return _host_matches(parsed.host, "*." + expected.host if "://*." in pattern else expected.host)


def _host_matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _same(origin: Origin, authority: str, secure: bool) -> bool:
    """The same origin, as far as a server can tell.

    A proxy may have ended TLS, so both schemes will do for a request that came without, and a host
    without a port stands for the default port of the scheme that the origin names.
    """
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None or origin.scheme not in _PORTS or (secure and origin.scheme != "https"):
        return False
    port = int(match["port"]) if match["port"] else _PORTS[origin.scheme]
    return (origin.host, origin.port) == (match["host"].removesuffix("."), port)
