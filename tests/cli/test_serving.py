"""`theater run`: from the ready line to the end."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[..., tuple["subprocess.Popen[str]", int]]


def open_client(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/", compression=None)


@pytest.mark.parametrize("what", ["parrot/theater.toml", "parrot/parrot.py:Parrot"])
def test_it_serves_what_it_is_given(serve: Serve, project: Path, what: str) -> None:
    _, port = serve(what)
    with open_client(port) as client:
        client.send("hello")
        assert client.recv(5) == "hello"


def test_a_taken_port_ends_with_3(theater: Theater, project: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = theater("run", project, "--port", port)
    assert done.stderr.decode() == f"theater: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (done.returncode, done.stdout) == (3, b"")


def test_an_address_of_another_machine_ends_with_3(theater: Theater, project: Path) -> None:
    done = theater("run", project, "--host", "192.0.2.1", "--port", 0)
    assert done.stderr.decode().startswith("theater: cannot listen on 192.0.2.1:0: ")
    assert done.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_goodbye_to_clients(serve: Serve, project: Path, number: signal.Signals) -> None:
    process, port = serve(project)
    with open_client(port) as client:
        client.send("hello")
        assert client.recv(5) == "hello"
        process.send_signal(number)
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(10)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001
    assert process.wait(10) == 0
    with pytest.raises(ConnectionRefusedError):
        open_client(port)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_second_signal_ends_a_server_whose_handler_hangs(
    serve: Serve, project: Path, tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    process, port = serve(project)
    with open_client(port) as client:
        client.send("sleep")  # blocks the event loop too
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.terminate()
        # The first signal has been taken when SIGTERM is no longer caught.
        status = Path(f"/proc/{process.pid}/status")
        eventually(lambda: not _catches(status.read_text(), signal.SIGTERM))
        assert process.poll() is None
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM


def _catches(status: str, number: signal.Signals) -> bool:
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)
