"""`theater run --reload`: a change is served, on the same port, and nobody is refused meanwhile."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[..., tuple["subprocess.Popen[str]", int]]
Eventually = Callable[[Callable[[], bool]], None]


def version(port: int) -> str | bytes:
    """Asks the actor; waits in the queue of the port while there is no process that serves."""
    with connect(f"ws://127.0.0.1:{port}/", compression=None, open_timeout=20) as client:
        client.send("version")
        return client.recv(5)


def change(project: Path, before: str, after: str) -> None:
    """Changes the actor at one stroke, so that no half-written file is ever loaded."""
    actor = project / "parrot.py"
    new = project.parent / "new.py"
    new.write_text(actor.read_text().replace(before, after))
    new.replace(actor)


def test_a_change_is_served_on_the_same_port(serve: Serve, project: Path) -> None:
    process, port = serve(project, "--reload")
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        client.send("version")
        assert client.recv(5) == "one"
        change(project, '"one"', '"two"')
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(20)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1012
    assert version(port) == "two"  # at once, before it is ready
    assert process.stdout is not None
    assert process.stdout.readline().endswith(f" listening on http://127.0.0.1:{port}\n")
    process.terminate()
    assert process.wait(10) == 0


def test_a_mistake_is_waited_out(serve: Serve, project: Path, tmp_path: Path, eventually: Eventually) -> None:
    process, port = serve(project, "--reload")
    log = tmp_path / "log"
    change(project, "class Parrot(Actor):", "class Parrot(Actor:")
    eventually(lambda: "waiting for a change" in log.read_text())
    assert re.search(
        r"theater\.toml: python: found 'parrot\.py', which fails to load: .* \(line \d+\)", log.read_text()
    )
    assert process.poll() is None
    change(project, "class Parrot(Actor:", "class Parrot(Actor):")
    assert version(port) == "one"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_it_ends_while_it_waits_for_a_change(
    serve: Serve, project: Path, tmp_path: Path, eventually: Eventually
) -> None:
    process, _ = serve(project, "--reload")
    (project / "theater.toml").write_text("name = ")
    eventually(lambda: "waiting for a change" in (tmp_path / "log").read_text())
    process.terminate()
    assert process.wait(10) == 0


def test_a_process_that_hangs_is_replaced(serve: Serve, project: Path) -> None:
    process, port = serve(project, "--reload")
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        client.send("sleep")
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        change(project, '"one"', '"two"')
        with pytest.raises(ConnectionClosed):
            client.recv(20)
    assert version(port) == "two"


def test_ctrl_c_reaches_both_processes_and_counts_once(serve: Serve, project: Path, tmp_path: Path) -> None:
    process, port = serve(project, "--reload")
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        client.send("version")
        assert client.recv(5) == "one"
        _ctrl_c(process)
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(10)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001
    assert process.wait(10) == 0
    assert (tmp_path / "log").read_text().count("stopping") == 1


def test_a_second_signal_ends_both_at_once(
    serve: Serve, project: Path, tmp_path: Path, eventually: Eventually
) -> None:
    process, port = serve(project, "--reload")
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        client.send("sleep")
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        _ctrl_c(process)
        eventually(lambda: "stopping" in (tmp_path / "log").read_text())
        _ctrl_c(process)
        assert process.wait(5) == 128 + signal.SIGINT
        with pytest.raises(ConnectionClosed):
            client.recv(5)


def test_the_child_does_not_outlive_its_parent(serve: Serve, project: Path) -> None:
    process, port = serve(project, "--reload")
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        process.kill()
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(10)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001


def test_a_path_that_leads_nowhere_ends_with_2(theater: Theater, project: Path) -> None:
    done = theater("run", project, "nowhere", "--reload")
    assert done.stderr.decode().startswith("nowhere: found no such file, expected ")
    assert (done.returncode, done.stdout) == (2, b"")


def _ctrl_c(process: "subprocess.Popen[str]") -> None:
    """What a terminal does: the signal goes to all processes of the group."""
    os.killpg(process.pid, signal.SIGINT)
