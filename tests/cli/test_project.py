"""`theater new`: what it makes runs, and its tests pass."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.long import long

from theater.cli.project import class_name

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[..., tuple["subprocess.Popen[str]", int]]


def test_a_new_project_is_served_and_passes_its_tests(
    theater: Theater, serve: Serve, tmp_path: Path, environment: dict[str, str]
) -> None:
    made = theater("new", "chat-room")
    assert made.returncode == 0
    files = ("theater.toml", "actor.py", "test_actor.py", "README.md")
    said = made.stdout.decode()
    assert said.splitlines()[:4] == [f"made chat-room/{file}" for file in files]
    assert "\n  cd chat-room\n  theater run . --reload\n" in said

    checked = theater("check", "chat-room")
    assert checked.stdout.decode().startswith("chat-room/theater.toml: chat-room 0.1.0\n")
    assert checked.returncode == 0

    _, port = serve("chat-room")
    answer = theater("connect", f"ws://127.0.0.1:{port}/rooms/lobby", "--once", "--send", "hello")
    assert answer.stdout == b"welcome; others here: 0\n"

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"],
        cwd=tmp_path / "chat-room",
        env={name: value for name, value in environment.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout

    for arguments in (["check", "--select", "E,F,I,UP,B,N,RUF,ANN"], ["format", "--check"]):
        linted = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", "--isolated", "."],
            cwd=tmp_path / "chat-room",
            capture_output=True,
            text=True,
            check=False,
        )
        assert linted.returncode == 0, linted.stdout


no_node = shutil.which("node") is None or shutil.which("npm") is None
no_zig = importlib.util.find_spec("ziglang") is None
no_python = importlib.util.find_spec("componentize_py") is None


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("language", "source"),
    [
        pytest.param(
            "javascript",
            "actor.js",
            marks=[long, pytest.mark.skipif(no_node, reason="node is missing")],
        ),
        pytest.param("zig", "actor.zig", marks=pytest.mark.skipif(no_zig, reason="ziglang is missing")),
        pytest.param(
            "python",
            "actor.py",
            marks=[long, pytest.mark.skipif(no_python, reason="componentize-py is missing")],
        ),
    ],
)
def test_a_new_project_is_built_and_served(
    theater: Theater,
    serve: Serve,
    tmp_path: Path,
    environment: dict[str, str],
    language: str,
    source: str,
) -> None:
    """In the way that its README says."""
    made = theater("new", "chat-room", "--language", language)
    assert made.returncode == 0
    readme = (tmp_path / "chat-room/README.md").read_text()
    assert f"\n    theater build {source}\n" in readme
    manifest = tmp_path / "chat-room/theater.toml"
    if language == "python":
        assert 'component = "actor.wasm"' in readme
        native = 'python = "actor.py:ChatRoom"'
        manifest.write_text(manifest.read_text().replace(native, 'component = "actor.wasm"'))
    else:
        said = made.stdout.decode()
        assert f"\n  cd chat-room\n  theater build {source}\n  theater run . --reload\n" in said
        assert (tmp_path / "chat-room/.gitignore").read_text().startswith("*.wasm\n")
    assert theater("check", "chat-room").returncode == 2  # it is not built yet
    built = subprocess.run(
        [sys.executable, "-m", "theater", "build", f"chat-room/{source}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert '  component = "actor.wasm"\n' in built.stdout
    assert theater("check", "chat-room").returncode == 0

    _, port = serve("chat-room")
    url = f"ws://127.0.0.1:{port}/rooms/lobby"
    answers = theater("connect", url, "--send", "hello", "--send", "there", "--linger", "3")
    assert answers.stdout == b"welcome; others here: 0\nmessage 1\nmessage 2\n"
    again = theater("connect", url, "--once", "--send", "hello")
    assert again.stdout == b"welcome; others here: 0\n"


def test_an_unknown_language(theater: Theater, tmp_path: Path) -> None:
    done = theater("new", "chat", "--language", "cobol")
    assert done.returncode == 2
    assert not (tmp_path / "chat").exists()


def test_the_folder_can_be_chosen_but_not_overwritten(theater: Theater, tmp_path: Path) -> None:
    folder = tmp_path / "a folder/deep"
    made = theater("new", "chat", "--path", folder)
    assert made.returncode == 0
    assert f"  cd '{folder}'\n" in made.stdout.decode()
    before = (folder / "actor.py").read_bytes()
    again = theater("new", "other", "--path", folder)
    assert (
        again.stderr.decode() == f"{folder}: found a folder that is not empty, expected a new or empty one\n"
    )
    assert (again.returncode, again.stdout) == (2, b"")
    assert (folder / "actor.py").read_bytes() == before


def test_a_folder_that_cannot_be_made(theater: Theater, tmp_path: Path) -> None:
    (tmp_path / "chat").write_text("a file")
    done = theater("new", "chat")
    assert done.stderr == b"chat: found a file, expected a folder that can be made\n"
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["Chat", "../up"])
def test_the_name_must_be_one_for_an_actor(theater: Theater, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.iterdir())
    done = theater("new", name)
    assert done.stderr.decode().startswith(f"theater new: NAME: found {name!r}, expected lower-case letters")
    assert done.returncode == 2
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chat", "Chat"),
        ("chat-room-2", "ChatRoom2"),
        ("x--y-", "XY"),
        ("none", "NoneActor"),  # keywords
        ("true", "TrueActor"),
        ("actor", "ActorActor"),  # and what the template imports
        ("text", "TextActor"),
    ],
)
def test_names_of_classes(name: str, expected: str) -> None:
    assert class_name(name) == expected
