"""`theater run`: from the ready line to the end."""

import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from tests.cli.conftest import Tls
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect, unix_connect

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[..., tuple["subprocess.Popen[str]", int]]
Eventually = Callable[[Callable[[], bool]], None]


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


def open_tls_client(port: int, tls: Tls) -> ClientConnection:
    return connect(f"wss://127.0.0.1:{port}/", compression=None, ssl=tls.context)


def test_tls(serve: Serve, project: Path, tls: Tls) -> None:
    process, port = serve(project, *tls.options)
    with open_tls_client(port, tls) as client:
        client.send("hello")
        assert client.recv(5) == "hello"
        process.terminate()
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(10)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001
    assert process.wait(10) == 0


@pytest.mark.parametrize("reload", [False, True])
def test_hangup_reads_the_certificate_again(
    reload: bool, serve: Serve, project: Path, tls: Tls, tmp_path: Path, eventually: Eventually
) -> None:
    process, port = serve(project, *tls.options, *["--reload"][: int(reload)])
    log = tmp_path / "log"
    with open_tls_client(port, tls) as old:
        tls.key.write_text("none")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "the certificate stays as it was" in log.read_text())
        assert f"{tls.key}: found no private key, expected a private key in PEM" in log.read_text()
        with open_tls_client(port, tls):
            pass
        authority = trustme.CA()
        made = authority.issue_cert("127.0.0.1")
        made.cert_chain_pems[0].write_to_path(tls.chain)
        made.private_key_pem.write_to_path(tls.key)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "new connections get the certificate as it is now" in log.read_text())
        with pytest.raises(ssl.SSLCertVerificationError), open_tls_client(port, tls):
            pass
        authority.configure_trust(tls.context)
        with open_tls_client(port, tls):
            pass
        old.send("hello")
        assert old.recv(5) == "hello"
    assert "Traceback" not in log.read_text()
    process.terminate()
    assert process.wait(10) == 0


def test_certificates_that_cannot_be_used_end_with_2(theater: Theater, project: Path, tls: Tls) -> None:
    for options, said in (
        (["--tls-cert", "none.pem", "--tls-key", tls.key], "none.pem: found no such file, expected a certif"),
        (["--tls-cert", tls.key, "--tls-key", tls.key], f"{tls.key}: found no certificate, expected a certi"),
    ):
        done = theater("run", project, "--port", 0, *options)
        assert done.stderr.decode().splitlines()[-1].startswith(said)
        assert (done.returncode, done.stdout) == (2, b"")
        assert "Traceback" not in done.stderr.decode()


def test_a_proxy_cannot_speak_before_tls(theater: Theater, project: Path, tls: Tls) -> None:
    manifest = project / "theater.toml"
    table = '[server]\ntrusted_proxies = ["::1"]\nproxy_protocol = true\n'
    manifest.write_text(manifest.read_text() + table)
    done = theater("run", project, "--port", 0, *tls.options)
    assert done.stderr.decode().startswith(f"{manifest}: server.proxy_protocol: found true, and TLS, which ")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("reload", [False, True])
def test_unix_socket(reload: bool, serve: Serve, project: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    process, _ = serve(project, "--uds", path, *["--reload"][: int(reload)])
    with unix_connect(str(path), compression=None) as client:
        client.send("peer")
        assert client.recv(5) == "None"
    process.terminate()
    assert process.wait(10) == 0
    assert not path.exists()


def test_unix_socket_of_a_server_that_was_killed_is_replaced(
    serve: Serve, theater: Theater, project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    process, _ = serve(project, "--uds", path)
    done = theater("run", project, "--uds", path)
    assert done.stderr.decode() == f"theater: cannot listen on {path}: Address already in use\n"
    assert done.returncode == 3
    process.kill()
    process.wait()
    assert path.exists()
    serve(project, "--uds", path)
    with unix_connect(str(path), compression=None):
        pass


def test_unix_socket_that_another_server_has_made_meanwhile_is_left(
    serve: Serve, project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    process, _ = serve(project, "--uds", path)
    path.unlink()
    serve(project, "--uds", path)
    process.terminate()
    assert process.wait(10) == 0
    with unix_connect(str(path), compression=None):
        pass


def test_several_servers_on_one_port(serve: Serve, project: Path) -> None:
    one, port = serve(project, "--reuse-port")
    _, same = serve(project, "--reuse-port", "--port", port)
    assert same == port
    one.terminate()
    assert one.wait(10) == 0
    with open_client(port):
        pass


def test_as_many_files_as_the_system_allows(serve: Serve, project: Path) -> None:
    process, _ = serve(project)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


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
