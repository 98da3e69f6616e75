"""Sockets to listen on, of TCP and Unix."""

import os
import socket
from pathlib import Path

import pytest

from theater.errors import StartupError
from theater.server.sockets import bind, bind_unix


def test_bind_picks_a_free_port() -> None:
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as two:
        assert one.getsockname()[1] != two.getsockname()[1]
        assert not one.getblocking()


def test_bind_without_a_host_is_every_address() -> None:
    with bind("", 0) as sock:
        assert sock.getsockname()[0] in ("0.0.0.0", "::")


def test_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as error:
            bind("127.0.0.1", port)
    assert str(error.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "bad..name", "a" * 70])
def test_address_that_is_not_here(host: str) -> None:
    with pytest.raises(StartupError, match=f"cannot listen on {host}:0: ."):
        bind(host, 0)


def test_port_can_be_bound_again_at_once() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        sock.listen()
        with socket.create_connection(("127.0.0.1", port)):
            sock.setblocking(True)
            accepted, _ = sock.accept()
            accepted.close()  # ours is the end that waits in TIME_WAIT
    bind("127.0.0.1", port).close()


def test_several_may_listen_on_a_port() -> None:
    with bind("127.0.0.1", 0, reuse_port=True) as one:
        port = one.getsockname()[1]
        one.listen()
        with bind("127.0.0.1", port, reuse_port=True) as two:
            two.listen()
        with pytest.raises(StartupError, match="already in use"):
            bind("127.0.0.1", port)


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind_unix(str(path)) as sock:
        assert not sock.getblocking()
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert path.is_socket()  # it is the caller's to remove


def test_what_an_earlier_server_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bind_unix(str(path)).close()
    with bind_unix(str(path)) as sock:
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind_unix(str(path)) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.listen(0)
        for _ in range(2):  # the second one finds the queue full
            with pytest.raises(StartupError) as error:
                bind_unix(str(path))
            assert str(error.value) == f"cannot listen on {path}: Address already in use"
            client.setblocking(False)
            if client.fileno() >= 0 and not client.getsockname():
                client.connect_ex(str(path))
        assert path.is_socket()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("file", "there is a file that is no socket"),
        (".", "there is a file that is no socket"),
        ("nowhere/socket", "No such file or directory"),
        ("x" * 200, "AF_UNIX path too long"),
    ],
)
def test_path_that_cannot_be_one_of_a_socket(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StartupError) as error:
        bind_unix(str(tmp_path / name))
    assert str(error.value) == f"cannot listen on {tmp_path / name}: {problem}"
    assert (tmp_path / "file").read_text() == "kept"


def test_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o117)
    try:
        bind_unix(str(tmp_path / "socket")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o660
