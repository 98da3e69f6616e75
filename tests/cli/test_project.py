"""`theater new`: what it makes runs, and its tests pass."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
