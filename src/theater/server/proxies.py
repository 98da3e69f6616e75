"""Who a client is when proxies stand between: `Forwarded`, `X-Forwarded-For`, and PROXY protocol.

What a proxy says is believed only of those that are configured: anybody can write a header.
"""

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

from theater.contract import Headers, Peer

UNIX: Final = "unix"
"""Stands for all peers of a Unix socket among trusted proxies."""

# RFC 7239 §4: pairs, separated by semicolons, in elements, separated by commas
_PAIR: Final = re.compile(
    r"[ \t]*(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r'(?:(?P<token>[!#$%&\'*+\-.^_`|~0-9A-Za-z]+)|"(?P<quoted>(?:[^"\\]|\\.)*)")[ \t]*(?P<end>[;,]|$)'
)
_NODE: Final = re.compile(r"(?P<v4>[0-9.]+)(?::\d{1,5})?|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::\d{1,5})?")

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1_MOST: Final = 107  # bytes of a whole line, §2.1
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class Source(NamedTuple):
    """Where a connection or request comes from.

    Attributes:
        peer: the client, as far as it is known; none on a Unix socket.
        told: a trusted proxy said so, or it is that proxy itself, which failed to say.
    """

    peer: Peer | None
    told: bool = False


class Proxies:
    """The proxies that may speak for their clients.

    Args:
        trusted: IP addresses, networks such as `10.0.0.0/8`, or `unix`.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        trusted = frozenset(trusted)
        self._unix = UNIX in trusted
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in sorted(trusted - {UNIX}):
            self._networks.append(ipaddress.ip_network(text))

    def trusts(self, peer: Peer | None) -> bool:
        """Whether a peer is one of them."""
        if peer is None:
            return self._unix
        address = parse_address(peer.address) if self._networks else None
        return address is not None and self._trusts(address)

    def source(self, source: Source, headers: Headers) -> Source:
        """Whom a request is from, by its header fields if it comes from one of these proxies.

        The nearest address that is none of theirs counts; what stands behind it may be forged. If
        the fields are malformed, or both are there and disagree, the proxy's own address counts.
        """
        if not self.trusts(source.peer):
            return source
        found = [
            self._nearest(elements)
            for elements in (_forwarded(headers), _x_forwarded_for(headers))
            if elements is not None
        ]
        if not found:
            return source
        if None in found or len(set(found)) > 1:
            return Source(source.peer, told=True)
        return Source(Peer(str(found[0]), 0), told=True)

    def _nearest(self, elements: list[str]) -> IPv4Address | IPv6Address | None:
        """The last address that is no trusted proxy's, or the first if all are; None if malformed."""
        address = None
        for element in reversed(elements):
            address = _parse_node(element)
            if address is None or not self._trusts(address):
                break
        return address

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Reads an IP address; an IPv4 address that is mapped into IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _x_forwarded_for(headers: Headers) -> list[str] | None:
    """The addresses of `X-Forwarded-For`, farthest first; None if the field is not there."""
    if "x-forwarded-for" not in headers:
        return None
    values = ",".join(headers.get_all("x-forwarded-for"))
    return [part.strip(" \t") for part in values.split(",")]


def _forwarded(headers: Headers) -> list[str] | None:
    """What `for` says in every element of `Forwarded` (RFC 7239 §5.2), farthest first.

    Returns:
        None if the field is not there; an empty text for an element without `for`, and as the last
        element if the field is malformed.
    """
    if "forwarded" not in headers:
        return None
    text = ",".join(headers.get_all("forwarded"))
    elements: list[str] = []
    node = ""
    position = 0
    while True:
        pair = _PAIR.match(text, position)
        if pair is None:
            return [*elements, ""]
        if pair["name"].lower() == "for":
            node = pair["token"] or re.sub(r"\\(.)", r"\1", pair["quoted"] or "")
        if pair["end"] != ";":
            elements.append(node)
            node = ""
        if not pair["end"]:
            return elements
        position = pair.end()


def _parse_node(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without a port; IPv6 may lack its brackets, as `X-Forwarded-For` has it."""
    match = _NODE.fullmatch(text)
    if match is not None:
        return parse_address(match["v4"] or match["v6"])
    return None if "%" in text else parse_address(text)


class Preamble(NamedTuple):
    """A PROXY protocol header.

    Attributes:
        peer: whom the proxy speaks for; None if for itself, or for nobody that has an IP address.
        rest: the bytes behind it.
    """

    peer: Peer | None
    rest: bytes


class Malformed(NamedTuple):
    """What stands in the place of a PROXY protocol header, and is none."""

    problem: str


class PreambleParser:
    """Reads the header that a proxy sends before all else, in both versions.

    The specification is HAProxy's `proxy-protocol.txt`, which the section numbers here are of.
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Preamble | Malformed | None:
        """Takes the next bytes; None as long as more are needed. Holds at most 64 KiB and a read."""
        self._data = data = self._data + data
        if data.startswith(_V1):
            return _version_1(data)
        if data.startswith(_V2):
            return _version_2(data)
        if _V1.startswith(data) or _V2.startswith(data):
            return None
        return Malformed("it begins with something else")


def _version_1(data: bytes) -> Preamble | Malformed | None:
    """§2.1: a line of text."""
    end = data.find(b"\r\n", 0, _V1_MOST)
    if end < 0:
        return Malformed(f"its line is longer than {_V1_MOST} bytes") if len(data) >= _V1_MOST else None
    line, rest = data[len(_V1) : end].decode("latin-1"), data[end + 2 :]
    family, *fields = line.split(" ")
    if family == "UNKNOWN":  # the rest of the line is to be ignored
        return Preamble(None, rest)
    if family not in ("TCP4", "TCP6") or len(fields) != 4:
        return Malformed("its line has other fields")
    try:
        kind = IPv4Address if family == "TCP4" else IPv6Address
        source, _ = kind(fields[0]), kind(fields[1])
    except ValueError:
        return Malformed("it has a malformed address")
    if "%" in line or not all(_PORT.fullmatch(port) and int(port) < 65536 for port in fields[2:]):
        return Malformed("it has a malformed port or address")
    return Preamble(Peer(str(parse_address(str(source))), int(fields[2])), rest)


def _version_2(data: bytes) -> Preamble | Malformed | None:
    """§2.2: binary, with a length that spans the addresses and whatever TLVs follow them."""
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or family > 3 or transport > 2:
        return Malformed("its version, command or family is unknown")
    if len(data) < 16 + length:
        return None
    body, rest = data[16 : 16 + length], data[16 + length :]
    if command == 0 or family in (0, 3):  # LOCAL, e.g. a health check; AF_UNSPEC; AF_UNIX
        return Preamble(None, rest)
    size = 4 if family == 1 else 16
    if length < 2 * size + 4:
        return Malformed("it is too short for its addresses")
    source = ipaddress.ip_address(body[:size])
    port = int.from_bytes(body[2 * size : 2 * size + 2], "big")
    return Preamble(Peer(str(parse_address(str(source))), port), rest)
