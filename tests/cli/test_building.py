"""`theater build`: from the source of an actor to a component that is served."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from theater.build.javascript import COMPILER, VERSION, _cache
from theater.cli.building import Steps
from theater.wasm.wat import assemble

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[..., tuple["subprocess.Popen[str]", int]]

no_node = shutil.which("node") is None or shutil.which("npm") is None
needs_node = pytest.mark.skipif(no_node, reason="node or npm is missing: JavaScript is not built")
no_zig = importlib.util.find_spec("ziglang") is None
needs_zig = pytest.mark.skipif(no_zig, reason="ziglang is missing: Zig and C are not built")

JAVASCRIPT = """
import { Actor } from "theater";
export default class Echo extends Actor {
  handleWebsocket(connection, event) {
    return event.type === "received" ? event.message : null;
  }
}
"""
ZIG = """
const theater = @import("theater");
pub fn init() !void {}
"""
TEXT = """
(module
  (memory (export "memory") 1)
  (func (export "theater:websocket/lifecycle@0.2.0#init") (result i32) i32.const 8))
"""
MANIFEST = """
name = "echo"
component = "echo.wasm"

[[handlers]]
type = "websocket-server"
path = "/"
"""


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment of the commands, with the compiler that has been installed before."""
    installed = _cache() / f"{COMPILER}-{VERSION}"
    if installed.is_dir():
        cache = Path(environment["HOME"], ".cache", "theater")
        cache.mkdir(parents=True)
        (cache / installed.name).symlink_to(installed)
    return {name: value for name, value in environment.items() if name != "XDG_CACHE_HOME"}


@pytest.fixture
def theater(tmp_path: Path, environment: dict[str, str]) -> Theater:
    """Runs `theater` to its end, which may take a compiler's time."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "theater", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)

    return run


@needs_node
@pytest.mark.timeout(200)
def test_javascript_is_built_and_served(
    theater: Theater, serve: Serve, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "echo.js").write_text(JAVASCRIPT)
    (tmp_path / "theater.toml").write_text(MANIFEST)
    built = theater("build", "echo.js")
    assert built.returncode == 0
    first, *lines = built.stdout.decode().splitlines()
    assert first.startswith("echo.wasm: 1.")
    assert first.endswith(" MiB, theater:websocket@0.2.0")
    assert lines == [
        "  exports  lifecycle, websocket-actor",
        "  imports  actors, host, state, websocket",
        "Its line in theater.toml:",
        '  component = "echo.wasm"',
    ]
    steps = [line.split(maxsplit=2) for line in built.stderr.decode().splitlines()]
    assert [step for _, _, step in steps][-3:] == [
        "reading echo.js",
        "compiling echo.js",
        "checking the component",
    ]
    assert all(unit == "s" and float(seconds) < 200 for seconds, unit, _ in steps)
    assert list(Path(environment["HOME"], ".cache/theater/components").glob("*.cwasm"))  # ready to be served
    _, port = serve(".")
    answer = theater("connect", f"ws://127.0.0.1:{port}/", "--once", "--send", "hello")
    assert answer.stdout == b"hello\n"


@needs_node
@pytest.mark.timeout(200)
def test_mistakes_in_the_source(theater: Theater, tmp_path: Path) -> None:
    (tmp_path / "echo.js").write_text("let = 1;")
    built = theater("build", "echo.js")
    assert (built.returncode, built.stdout) == (2, b"")
    assert "theater build: echo.js cannot be built\n" in built.stderr.decode()
    assert "echo.js:1" in built.stderr.decode()
    assert not (tmp_path / "echo.wasm").exists()


@needs_zig
@pytest.mark.timeout(200)
def test_zig_is_built(theater: Theater, tmp_path: Path) -> None:
    (tmp_path / "room.zig").write_text(ZIG)
    built = theater("build", "room.zig", "--output", "other.wasm")
    assert built.returncode == 0, built.stderr
    assert "  exports  lifecycle\n  imports  nothing\n" in built.stdout.decode()
    assert (tmp_path / "other.wasm").exists()


@pytest.mark.parametrize(
    ("name", "output"), [("room.wat", "room.wasm"), ("room.wasm", "room.component.wasm")]
)
def test_core_modules_are_wrapped(theater: Theater, tmp_path: Path, name: str, output: str) -> None:
    binary = assemble(TEXT)
    (tmp_path / name).write_bytes(binary if name.endswith(".wasm") else TEXT.encode())
    built = theater("build", name)
    assert built.returncode == 0, built.stderr
    assert built.stdout.decode().splitlines()[1:] == [
        "  exports  lifecycle",
        "  imports  nothing",
        "Its line in theater.toml:",
        f'  component = "{output}"',
    ]
    again = theater("build", output, "-o", "x.wasm")
    assert again.returncode == 2
    assert again.stderr.decode().endswith("theater build: this is a component already, not a core module\n")


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        (
            "room.rs",
            "",
            "theater build: SOURCE: found 'room.rs', expected a Python package, or a file",
        ),
        ("gone.js", None, "gone.js: found no file, expected the source of an actor"),
        ("gone.py:Room", None, "gone.py: found no file, expected the source of an actor"),
        ("room.wat", "(module", "theater build: room.wat cannot be built\n"),
        ("room.wat", "(module)", "theater build: the module has nothing of the contract"),
        ("room.wat", "(component)", "theater build: the component exports no interface of theater:websocket"),
        ("room.wasm", "x", "theater build: this is no WebAssembly module"),
    ],
)
def test_mistakes(theater: Theater, tmp_path: Path, source: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / source).write_text(content)
    before = set(tmp_path.iterdir())
    built = theater("build", source)
    assert (built.returncode, built.stdout) == (2, b"")
    assert said in built.stderr.decode()
    assert "Traceback" not in built.stderr.decode()
    assert set(tmp_path.iterdir()) == before


def test_a_place_that_cannot_be_written(theater: Theater, tmp_path: Path) -> None:
    (tmp_path / "room.wat").write_text(TEXT)
    built = theater("build", "room.wat", "-o", "no/where.wasm")
    assert built.returncode == 2
    assert built.stderr.decode().endswith(
        "no/where.wasm: found no such file or directory, expected a file that can be written\n"
    )


def test_a_step_that_fails_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Steps() as progress:
            progress("first [step]")
            progress("second")
            raise ValueError("as told")

    with pytest.raises(ValueError, match="as told"):
        fail()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" s  first [step]")
