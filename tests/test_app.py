"""The composition root."""

import socket

import pytest

from theater.app import bind, new_ids
from theater.errors import StartupError


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


def test_ids_differ_and_are_exact_in_every_language() -> None:
    sources = [new_ids() for _ in range(10)]
    ids = [source() for source in sources for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert all(0 < each < 2**53 for each in ids)


def test_ids_count_up_within_a_process() -> None:
    source = new_ids()
    first = source()
    assert [source() - first for _ in range(3)] == [1, 2, 3]
