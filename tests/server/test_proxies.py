"""Who a client is behind proxies."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theater.contract import Headers, Peer
from theater.server.proxies import Malformed, Preamble, PreambleParser, Proxies, Source, parse_address

PROXY = Peer("10.0.0.1", 4711)
V2 = b"\r\n\r\n\0\r\nQUIT\n"


# Which proxies are trusted


@pytest.mark.parametrize(
    ("trusted", "peer", "answer"),
    [
        ((), "10.0.0.1", False),
        ((), None, False),
        (("unix",), None, True),
        (("unix",), "10.0.0.1", False),
        (("10.0.0.1",), "10.0.0.1", True),
        (("10.0.0.1",), "10.0.0.2", False),
        (("10.0.0.1",), None, False),
        (("10.0.0.0/8", "unix"), "10.9.8.7", True),
        (("10.0.0.0/8",), "::ffff:10.9.8.7", True),
        (("fd00::/8",), "fd12::1", True),
        (("fd00::/8",), "2001:db8::1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("10.0.0.0/8",), "no address", False),
    ],
)
def test_trusted_peers(trusted: tuple[str, ...], peer: str | None, answer: bool) -> None:
    assert Proxies(trusted).trusts(None if peer is None else Peer(peer, 1)) is answer


@pytest.mark.parametrize("text", ["", "proxy.example.org", "10.0.0.1/8", "10.0.0.0/33", "UNIX", "10.0.0"])
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Proxies(["10.0.0.1", text])


# What they say in header fields


FORWARDED = [
    # Forwarded, X-Forwarded-For, the client; None for the proxy itself
    ([], ["192.0.2.1"], "192.0.2.1"),
    ([], ["192.0.2.1:5678"], "192.0.2.1"),
    ([], ["2001:db8::1"], "2001:db8::1"),
    ([], ["[2001:db8::1]:5678"], "2001:db8::1"),
    ([], ["::ffff:192.0.2.1"], "192.0.2.1"),
    ([], [" 192.0.2.1 "], "192.0.2.1"),
    ([], ["198.51.100.1, 192.0.2.1"], "192.0.2.1"),  # the first is whatever the client wrote
    ([], ["198.51.100.1", "192.0.2.1"], "192.0.2.1"),
    ([], ["192.0.2.1, 10.0.0.7"], "192.0.2.1"),
    ([], ["10.0.0.9, 10.0.0.7"], "10.0.0.9"),
    ([], ["nonsense, 192.0.2.1"], "192.0.2.1"),
    ([], ["nonsense, 10.0.0.7"], None),
    ([], ["192.0.2.1, nonsense"], None),
    ([], ["192.0.2.1,"], None),
    ([], [""], None),
    ([], ["unknown"], None),
    ([], ["192.0.2.256"], None),
    ([], ["fe80::1%eth0"], None),
    (["for=192.0.2.1"], [], "192.0.2.1"),
    (["For=192.0.2.1; proto=https;by=10.0.0.1"], [], "192.0.2.1"),
    (['for="192.0.2.1:5678"'], [], "192.0.2.1"),
    (['proto=https; for="[2001:db8::1]:5678"'], [], "2001:db8::1"),
    (['for="[2001:db8::1]"'], [], "2001:db8::1"),
    (["for=198.51.100.1, for=192.0.2.1"], [], "192.0.2.1"),
    (["for=198.51.100.1", "for=192.0.2.1"], [], "192.0.2.1"),
    (["for=192.0.2.1,for=10.0.0.7"], [], "192.0.2.1"),
    (['for="a\\"b, for=1", for=192.0.2.1'], [], "192.0.2.1"),
    (["for=192.0.2.1, proto=https"], [], None),
    (["for=_hidden"], [], None),
    (["for=unknown"], [], None),
    (["192.0.2.1"], [], None),
    (['for="192.0.2.1'], [], None),
    (["for=192.0.2.1;;"], [], None),
    (["for=192.0.2.1, nonsense"], [], None),
    ([""], [], None),
    (["for=192.0.2.1"], ["192.0.2.1"], "192.0.2.1"),
    (["for=198.51.100.1"], ["192.0.2.1"], None),  # one of them is the client's own
    (["nonsense"], ["192.0.2.1"], None),
]


@pytest.mark.parametrize(("forwarded", "x_forwarded_for", "client"), FORWARDED)
def test_header_fields(forwarded: list[str], x_forwarded_for: list[str], client: str | None) -> None:
    fields = [("forwarded", value) for value in forwarded]
    fields += [("x-forwarded-for", value) for value in x_forwarded_for]
    source = Proxies(["10.0.0.0/8"]).source(Source(PROXY), Headers(fields))
    assert source == Source(PROXY if client is None else Peer(client, 0), told=True)


def test_without_header_fields_a_proxy_speaks_for_itself() -> None:
    assert Proxies(["10.0.0.0/8"]).source(Source(PROXY), Headers()) == Source(PROXY)


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for"])
def test_nobody_else_is_believed(name: str) -> None:
    stranger = Source(Peer("192.0.2.9", 4711))
    headers = Headers({name: "for=192.0.2.1" if name == "forwarded" else "192.0.2.1"})
    assert Proxies(["10.0.0.0/8", "unix"]).source(stranger, headers) == stranger
    assert Proxies(["unix"]).source(Source(None), headers).peer == Peer("192.0.2.1", 0)
    assert Proxies(["10.0.0.0/8"]).source(Source(None), headers) == Source(None)


FIELD = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
SHAPED = st.text(st.sampled_from('for=";,\\[]: .0123456789ab_'), max_size=60)


@given(st.lists(FIELD | SHAPED, max_size=3), st.lists(FIELD | SHAPED, max_size=3))
def test_any_header_fields_have_an_answer(forwarded: list[str], x_forwarded_for: list[str]) -> None:
    fields = [("forwarded", value) for value in forwarded]
    fields += [("x-forwarded-for", value) for value in x_forwarded_for]
    source = Proxies(["10.0.0.0/8"]).source(Source(PROXY), Headers(fields))
    assert source.peer is not None
    ipaddress.ip_address(source.peer.address)


ADDRESS = st.ip_addresses()


@given(st.lists(ADDRESS, min_size=1, max_size=5))
def test_the_nearest_stranger_counts_in_both_fields(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    proxies = Proxies(["10.0.0.0/8", "fd00::/8"])
    strangers = [address for address in map(_plain, addresses) if not proxies.trusts(Peer(address, 1))]
    expected = strangers[-1] if strangers else _plain(addresses[0])
    plain = ", ".join(map(str, addresses))
    quoted = ", ".join(f'for="[{each}]"' if each.version == 6 else f"for={each}" for each in addresses)
    for name, value in (("x-forwarded-for", plain), ("forwarded", quoted)):
        source = proxies.source(Source(PROXY), Headers({name: value}))
        assert source == Source(Peer(expected, 0), told=True)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(parse_address(str(address)))


# PROXY protocol


def version_1(line: str) -> bytes:
    return f"PROXY {line}\r\n".encode("latin-1")


def version_2(command: int = 0x21, family: int = 0x11, body: bytes = b"", length: int | None = None) -> bytes:
    return V2 + struct.pack(">BBH", command, family, len(body) if length is None else length) + body


def addresses(source: str, port: int, tlvs: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(source).packed
    return packed + b"\xff" * len(packed) + struct.pack(">HH", port, 443) + tlvs


GOOD = [
    (version_1("TCP4 192.0.2.1 198.51.100.1 5678 443"), Peer("192.0.2.1", 5678)),
    (version_1("TCP6 2001:db8::1 2001:db8::2 5678 443"), Peer("2001:db8::1", 5678)),
    (version_1("TCP6 ::ffff:192.0.2.1 ::1 5678 443"), Peer("192.0.2.1", 5678)),
    (version_1("TCP4 255.255.255.255 255.255.255.255 65535 65535"), Peer("255.255.255.255", 65535)),
    (version_1("TCP4 192.0.2.1 198.51.100.1 0 0"), Peer("192.0.2.1", 0)),
    (version_1("UNKNOWN"), None),
    (version_1("UNKNOWN " + "f" * 88), None),
    (version_2(body=addresses("192.0.2.1", 5678)), Peer("192.0.2.1", 5678)),
    (version_2(family=0x12, body=addresses("192.0.2.1", 5678)), Peer("192.0.2.1", 5678)),
    (version_2(family=0x21, body=addresses("2001:db8::1", 5678)), Peer("2001:db8::1", 5678)),
    (version_2(family=0x21, body=addresses("::ffff:192.0.2.1", 5678)), Peer("192.0.2.1", 5678)),
    (version_2(body=addresses("192.0.2.1", 5678, b"\x04\x00\x05GET /")), Peer("192.0.2.1", 5678)),
    (version_2(body=addresses("192.0.2.1", 5678, b"\0" * 3000)), Peer("192.0.2.1", 5678)),
    (version_2(0x20, 0x00), None),  # LOCAL
    (version_2(0x20, 0x11, addresses("192.0.2.1", 5678)), None),
    (version_2(0x21, 0x00, b"whatever"), None),  # AF_UNSPEC
    (version_2(0x21, 0x31, b"\0" * 216), None),  # AF_UNIX
]
REST = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(("data", "peer"), GOOD)
def test_preamble_says_whom_a_proxy_speaks_for(data: bytes, peer: Peer | None) -> None:
    assert PreambleParser().feed(data + REST) == Preamble(peer, REST)
    assert PreambleParser().feed(data) == Preamble(peer, b"")


@pytest.mark.parametrize("data", [data for data, _ in GOOD])
def test_preamble_in_pieces_is_the_same(data: bytes) -> None:
    whole = PreambleParser().feed(data)
    for size in (1, 2, 7, 15, 16, 17):
        parser = PreambleParser()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [parser.feed(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [whole]


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"PROX ",
    b"PROXYTCP4",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"\0",
    version_1(""),
    version_1("TCP4"),
    version_1("TCP5 192.0.2.1 198.51.100.1 5678 443"),
    version_1("tcp4 192.0.2.1 198.51.100.1 5678 443"),
    version_1("TCP4 192.0.2.1 198.51.100.1 5678"),
    version_1("TCP4 192.0.2.1 198.51.100.1 5678 443 1"),
    version_1("TCP4  192.0.2.1 198.51.100.1 5678 443"),
    version_1("TCP4 192.0.2.1 198.51.100.1 5678 443 "),
    version_1("TCP4 192.0.2.1 198.51.100.1 65536 443"),
    version_1("TCP4 192.0.2.1 198.51.100.1 5678 -1"),
    version_1("TCP4 192.0.2.1 198.51.100.1 05678 443"),
    version_1("TCP4 192.0.2.1 198.51.100.1 \xb2 443"),
    version_1("TCP4 192.0.2.256 198.51.100.1 5678 443"),
    version_1("TCP4 2001:db8::1 2001:db8::2 5678 443"),
    version_1("TCP6 192.0.2.1 198.51.100.1 5678 443"),
    version_1("TCP6 fe80::1%1 ::1 5678 443"),
    version_1("UNKNOWN " + "f" * 92),  # 108 bytes
    b"PROXY TCP4 192.0.2.1 198.51.100.1 5678 443\n" + b" " * 100,
    b"PROXY " + b"x" * 200,
    version_2(0x11, body=addresses("192.0.2.1", 1)),  # version 1
    version_2(0x31, body=addresses("192.0.2.1", 1)),
    version_2(0x22, body=addresses("192.0.2.1", 1)),  # no such command
    version_2(0x21, 0x41, addresses("192.0.2.1", 1)),
    version_2(0x21, 0x13, addresses("192.0.2.1", 1)),
    version_2(body=addresses("192.0.2.1", 1)[:-1]),
    version_2(family=0x21, body=addresses("192.0.2.1", 1)),
    version_2(body=b""),
]


@pytest.mark.parametrize("data", BAD)
def test_malformed_preamble(data: bytes) -> None:
    assert isinstance(PreambleParser().feed(data), Malformed)
    parser = PreambleParser()
    answers = [parser.feed(data[index : index + 1]) for index in range(len(data))]
    assert isinstance(next(answer for answer in answers if answer is not None), Malformed)


@pytest.mark.parametrize("length", [13, 3000, 65535])
def test_the_length_of_the_second_version_is_waited_for(length: int) -> None:
    data = version_2(body=addresses("192.0.2.1", 1, b"\0" * (length - 12)))
    assert PreambleParser().feed(data[:-1]) is None
    assert PreambleParser().feed(data) == Preamble(Peer("192.0.2.1", 1), b"")


@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(lambda data: b"PROXY " + data)
    | st.binary(max_size=200).map(lambda data: V2 + data)
    | st.sampled_from([data for data, _ in GOOD]).flatmap(
        lambda data: st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)).map(
            lambda change: data[: change[0]] + bytes([change[1]]) + data[change[0] + 1 :]
        )
    ),
    st.integers(1, 20),
)
def test_any_bytes_have_an_answer_however_they_are_split(data: bytes, size: int) -> None:
    whole = PreambleParser().feed(data)
    assert whole is None or isinstance(whole, Preamble | Malformed)
    parser = PreambleParser()
    found = None
    for start in range(0, len(data), size):
        found = parser.feed(data[start : start + size])
        if found is not None:
            rest = data[start + size :]
            if isinstance(found, Preamble):
                found = found._replace(rest=found.rest + rest)
            break
    assert type(found) is type(whole)
    if isinstance(whole, Preamble):
        assert found == whole
