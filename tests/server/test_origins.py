"""Which origins and hosts are let through."""

import pytest

from theater.server.origins import Origin, host_allowed, origin_allowed


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.org", Origin("https", "example.org", 443)),
        ("HTTPS://Example.ORG:443", Origin("https", "example.org", 443)),
        ("http://example.org:8080", Origin("http", "example.org", 8080)),
        ("http://example.org.", Origin("http", "example.org", 80)),
        ("http://[::1]:8080", Origin("http", "[::1]", 8080)),
        ("chrome-extension://abcdef", Origin("chrome-extension", "abcdef", None)),
    ],
)
def test_origins_are_read(text: str, origin: Origin) -> None:
    assert Origin.parse(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "example.org",
        "https://",
        "https://example.org/",
        "https://example.org/path",
        "https://user@example.org",
        "https://example.org:",
        "https://example.org:123456",
        "https://*.example.org",
        "https://a.example https://b.example",
        "https://example.org\t",
        "file://",
    ],
)
def test_what_is_no_origin_with_a_host(text: str) -> None:
    assert Origin.parse(text) is None


SAME = [
    # origin, authority, whether it came over TLS, whether it is the same
    ("http://example.org", "example.org", False, True),
    ("https://example.org", "example.org", False, True),  # a proxy may have ended TLS
    ("https://example.org", "example.org", True, True),
    ("http://example.org", "example.org", True, False),
    ("https://example.org", "example.org:443", False, True),
    ("http://example.org", "example.org:80", False, True),
    ("http://example.org", "example.org:443", False, False),
    ("https://example.org", "example.org:80", False, False),
    ("http://example.org:80", "example.org", False, True),
    ("http://example.org:8080", "example.org:8080", False, True),
    ("http://example.org:8080", "example.org", False, False),
    ("http://example.org", "example.org:8080", False, False),
    ("HTTP://EXAMPLE.org", "Example.ORG", False, True),
    ("http://example.org", "example.org.", False, True),
    ("http://[::1]:8080", "[::1]:8080", False, True),
    ("http://127.0.0.1:8080", "localhost:8080", False, False),
    ("http://www.example.org", "example.org", False, False),
    ("http://example.org.evil.example", "example.org", False, False),
    ("http://evil.example", "example.org", False, False),
    ("ws://example.org", "example.org", False, False),
    ("chrome-extension://example.org", "example.org", False, False),
    ("null", "example.org", False, False),
    ("null", "null", False, False),
    ("", "", False, False),
    ("http://example.org", "", False, False),
    ("http://example.org", "example.org, evil.example", False, False),
]


@pytest.mark.parametrize(("origin", "authority", "secure", "same"), SAME)
def test_pages_of_the_same_host_may_connect_by_default(
    origin: str, authority: str, secure: bool, same: bool
) -> None:
    assert origin_allowed(origin, (), authority, secure) is same


LISTED = [
    ("https://example.org", "https://example.org", True),
    ("https://example.org:443", "https://example.org", True),
    ("https://example.org", "HTTPS://EXAMPLE.ORG:443", True),
    ("http://example.org", "https://example.org", False),
    ("https://example.org:8443", "https://example.org", False),
    ("https://example.org:8443", "https://example.org:8443", True),
    ("https://a.example.org", "https://example.org", False),
    ("https://a.example.org", "https://*.example.org", True),
    ("https://a.b.example.org", "https://*.example.org", True),
    ("https://example.org", "https://*.example.org", False),
    ("https://.example.org", "https://*.example.org", False),
    ("https://evilexample.org", "https://*.example.org", False),
    ("https://a.example.org.evil.example", "https://*.example.org", False),
    ("http://a.example.org", "https://*.example.org", False),
    ("https://a.example.org:8443", "https://*.example.org", False),
    ("https://a.example.org:8443", "https://*.example.org:8443", True),
    ("https://anything.example", "*", True),
    ("null", "*", True),
    ("null", "null", True),
    ("null", "https://example.org", False),
    ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
    ("chrome-extension://abcdeg", "chrome-extension://abcdef", False),
    ("file://", "file://", True),
    ("", "https://example.org", False),
]


@pytest.mark.parametrize(("origin", "pattern", "allowed"), LISTED)
def test_listed_origins(origin: str, pattern: str, allowed: bool) -> None:
    assert origin_allowed(origin, (pattern,), "ignored.example", False) is allowed
    assert origin_allowed(origin, ("https://other.example", pattern), "ignored.example", True) is allowed


def test_a_list_takes_the_place_of_the_same_origin() -> None:
    assert not origin_allowed("https://example.org", ("https://other.example",), "example.org", False)


@pytest.mark.parametrize(
    ("authority", "allowed", "answer"),
    [
        ("anything.example", (), True),
        ("", (), True),
        ("example.org", ("example.org",), True),
        ("EXAMPLE.org:8080", ("Example.ORG",), True),
        ("example.org.", ("example.org",), True),
        ("a.example.org", ("example.org",), False),
        ("a.example.org", ("*.example.org",), True),
        ("a.b.example.org:80", ("*.example.org",), True),
        ("example.org", ("*.example.org",), False),
        ("evilexample.org", ("*.example.org",), False),
        ("example.org", ("*.example.org", "example.org"), True),
        ("example.org.evil.example", ("example.org",), False),
        ("[::1]:8080", ("[::1]",), True),
        ("127.0.0.1", ("example.org",), False),
        ("", ("example.org",), False),
        ("example.org/", ("example.org",), False),
        ("user@example.org", ("example.org",), False),
        ("example.org:port", ("example.org",), False),
    ],
)
def test_hosts(authority: str, allowed: tuple[str, ...], answer: bool) -> None:
    assert host_allowed(authority, allowed) is answer
