"""What a head must be like beyond what the parser checks."""

import pytest

from theater.contract import Headers
from theater.server.heads import asks_for_websocket, authority, check_head

HOST = ("host", "example.org")


@pytest.mark.parametrize(
    ("method", "version", "fields", "upgrading", "status"),
    [
        ("GET", "1.1", [HOST], False, None),
        ("GET", "1.0", [HOST], False, None),
        ("GET", "1.0", [], False, None),
        ("GET", "1.1", [], False, 400),
        ("GET", "1.1", [HOST, HOST], False, 400),
        ("GET", "1.0", [HOST, HOST], False, 400),
        ("GET", "2.0", [HOST], False, 505),
        ("GET", "0.9", [], False, 505),
        ("POST", "1.1", [HOST, ("transfer-encoding", "chunked")], False, None),
        ("POST", "1.1", [HOST, ("transfer-encoding", "Chunked")], False, None),
        ("POST", "1.1", [HOST, ("transfer-encoding", "gzip, chunked")], False, 501),
        (
            "POST",
            "1.1",
            [HOST, ("transfer-encoding", "identity"), ("transfer-encoding", "chunked")],
            False,
            501,
        ),
        ("POST", "1.0", [HOST, ("transfer-encoding", "chunked")], False, 400),
        ("CONNECT", "1.1", [HOST], True, 501),
        ("GET", "1.1", [HOST], True, None),
        ("GET", "1.1", [HOST, ("content-length", "0")], True, None),
        ("POST", "1.1", [HOST, ("content-length", "5")], True, 400),
        ("POST", "1.1", [HOST, ("content-length", "5")], False, None),
        ("POST", "1.1", [HOST, ("transfer-encoding", "chunked")], True, 400),
    ],
)
def test_check_head(
    method: str, version: str, fields: list[tuple[str, str]], upgrading: bool, status: int | None
) -> None:
    refusal = check_head(method, version, Headers(fields), upgrading)
    assert (refusal and refusal.status) == status


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", "here.example:81"),
        (b"*", "here.example:81"),
        (b"//there.example/", "here.example:81"),
        (b"http://there.example/", "there.example"),
        (b"http://there.example:8080/x?y", "there.example:8080"),
        (b"http://user@there.example/", "there.example"),
        (b"http://[::1]:8080/", "[::1]:8080"),
        (b"http://[::1]", "[::1]"),
    ],
)
def test_authority(target: bytes, expected: str) -> None:
    assert authority(target, Headers({"host": "here.example:81"})) == expected


@pytest.mark.parametrize(
    ("upgrade", "connection", "asks"),
    [
        ("websocket", "upgrade", True),
        ("WebSocket", "keep-alive, Upgrade", True),
        ("foo, websocket", "Upgrade", True),
        ("websocket/13", "upgrade", False),
        ("h2c", "upgrade", False),
        ("websocket", "close", False),
    ],
)
def test_asks_for_websocket(upgrade: str, connection: str, asks: bool) -> None:
    assert asks_for_websocket(Headers({"upgrade": upgrade, "connection": connection})) is asks
