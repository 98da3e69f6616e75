"""`theater run` with a component, which is replaced while clients are connected."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wasm import guests
from websockets.sync.client import connect

Serve = Callable[..., tuple["subprocess.Popen[str]", int]]
Eventually = Callable[[Callable[[], bool]], None]

MANIFEST = """\
name = "guest"
component = "guest.wasm"

[[handlers]]
type = "websocket-server"
path = "/"
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A folder with a component that counts messages."""
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "theater.toml").write_text(MANIFEST)
    (folder / "guest.wasm").write_bytes(guests.counter())
    return folder


def replace(guest: Path, wasm: bytes) -> None:
    """Puts another component in its place at one stroke."""
    new = guest.parent / "new.wasm"
    new.write_bytes(wasm)
    new.replace(guest / "guest.wasm")


@pytest.mark.parametrize("reload", [False, True])
def test_a_changed_component_takes_over_and_clients_stay(
    reload: bool, serve: Serve, guest: Path, tmp_path: Path, eventually: Eventually
) -> None:
    process, port = serve(guest, *["--reload"][: int(reload)])
    log = tmp_path / "log"

    def exchange(wasm: bytes, said: str, times: int) -> None:
        replace(guest, wasm)
        if not reload:
            process.send_signal(signal.SIGHUP)
        eventually(lambda: log.read_text().count(said) == times)

    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:

        def ask() -> str | bytes:
            client.send("hello")
            return client.recv(5)

        assert ask() == "1"
        exchange(guests.echo(), "guest.wasm has been replaced", 1)
        assert ask() == "hello"
        exchange(b"nothing", "guest.wasm stays as it was", 1)
        assert ask() == "hello"
        exchange(guests.counter(), "guest.wasm has been replaced", 2)
        assert ask() == "2"
    assert "Traceback" not in log.read_text()
    process.terminate()
    assert process.wait(10) == 0


def test_one_that_does_not_fit_ends_with_2(guest: Path, theater: Callable[..., object]) -> None:
    replace(guest, b"\0asm\1\0\0\0")
    done = theater("run", guest)
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 2
    assert done.stderr.decode().replace("\n", " ").count("which is a core module, not a component") == 1
