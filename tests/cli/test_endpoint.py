"""Where a server listens."""

import socket
from pathlib import Path

import pytest

from theater.cli.endpoint import Endpoint


@pytest.mark.parametrize(
    ("host", "secure", "shown"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:{}"),
        ("127.0.0.1", True, "https://127.0.0.1:{}"),
        ("localhost", False, "http://localhost:{}"),
        ("::1", True, "https://[::1]:{}"),
    ],
)
def test_tcp(host: str, secure: bool, shown: str) -> None:
    endpoint = Endpoint(host, 0)
    assert str(endpoint) == f"{host}:0"
    with endpoint.bound() as sock:
        port = sock.getsockname()[1]
        assert endpoint.shown(sock, secure) == shown.format(port)
    assert sock.fileno() < 0


def test_ports_are_shared_only_if_wanted() -> None:
    for reuse_port in (False, True):
        with Endpoint("127.0.0.1", 0, reuse_port).bound() as sock:
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) is reuse_port


@pytest.mark.parametrize("gone", [False, True])
def test_unix(gone: bool, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    endpoint = Endpoint("127.0.0.1", 0, path=str(path))
    with endpoint.bound() as sock:
        assert path.is_socket()
        assert endpoint.shown(sock, False) == endpoint.shown(sock, True) == str(endpoint) == str(path)
        if gone:
            path.unlink()
    assert not path.exists()
    assert sock.fileno() < 0


def test_only_the_own_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Endpoint("", 0, path=str(path)).bound():
        path.rename(tmp_path / "moved")
        path.write_text("another's")
    assert path.read_text() == "another's"
