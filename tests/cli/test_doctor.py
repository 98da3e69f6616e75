"""`theater doctor`: tables that can be read, also where there is no terminal."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from theater.limits import ActorLimits, Limits

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]

SETTINGS = """
origins = ["*"]
max_message = 65536

[limits]
handler_timeout = 600

[server]
hosts = ["example.org", "*.example.org"]

[server.limits]
max_body = 5000
"""


@pytest.fixture
def set_up(project: Path) -> Path:
    manifest = project / "theater.toml"
    manifest.write_text(manifest.read_text() + SETTINGS)
    return project


def tables(output: str) -> dict[str, dict[str, list[str]]]:
    """The rows of every table: what stands behind the name of a limit, by name and title."""
    found: dict[str, dict[str, list[str]]] = {}
    rows: dict[str, list[str]] = {}
    for line in output.splitlines():
        if title := re.fullmatch(r"((?:server|actor|path)[^:]*?) *", line):
            rows = found.setdefault(title[1], {})
        elif row := re.fullmatch(r" (?:!| ) (\w+) +(.*?) *", line):
            rows[row[1]] = re.split(r" {2,}", row[2])
    return found


def test_every_limit_is_shown_once(theater: Theater, project: Path) -> None:
    done = theater("doctor", project, "--strict")
    shown = tables(done.stdout.decode())
    assert set(shown) == {"server", "actor parrot"}
    actor = set(ActorLimits.__struct_fields__)
    assert set(shown["actor parrot"]) - {"limit"} == actor
    assert set(shown["server"]) - {"limit"} == set(Limits.__struct_fields__) - actor
    assert shown["server"]["max_body"] == ["1_048_576", "bytes"]
    assert "Nothing is marked." in done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_set_and_what_to_think_of_it(theater: Theater, set_up: Path) -> None:
    done = theater("doctor", set_up)
    output = done.stdout.decode()
    shown = tables(output)
    assert shown["server"]["max_body"] == ["1_048_576", "5_000", "bytes"]
    assert shown["server"]["hosts"] == ["example.org, *.example.org"]
    assert shown["actor parrot"]["handler_timeout"] == ["30", "600", "seconds"]
    assert shown["path /"] == {
        "limit": ["actor's", "set", "unit"],
        "max_message": ["1_048_576", "65_536", "bytes"],
        "origins": ["*"],
    }
    assert re.findall(r"^ ! (\w+)", output, re.MULTILINE) == ["handler_timeout", "origins"]
    assert [line.partition(": ")[0] for line in output.splitlines() if line.startswith("! ")] == [
        "! actor parrot",
        "! path /",
    ]
    assert "\x1b" not in output
    assert (done.returncode, done.stderr) == (0, b"")


def test_strict(theater: Theater, set_up: Path) -> None:
    assert theater("doctor", set_up, "--strict").returncode == 1


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 200])
def test_tables_fit(columns: int, theater: Theater, set_up: Path, environment: dict[str, str]) -> None:
    environment["COLUMNS"] = str(columns)
    output = theater("doctor", set_up).stdout.decode()
    lines = [line.rstrip() for line in output.splitlines() if not line.startswith("! ")]
    assert all(len(line) <= columns for line in lines)
    assert "…" not in output
    assert re.search(r"max_address_connections +1_000", output)
    assert re.search(r"^ ! handler_timeout .*\b600\b", output, re.MULTILINE)


def test_several_manifests_are_one_server(theater: Theater, set_up: Path) -> None:
    (set_up / "more.toml").write_text(
        'name = "other"\npython = "parrot.py:Parrot"\n[[handlers]]\ntype = "websocket-server"\npath = "/o"\n'
    )
    shown = tables(theater("doctor", set_up, set_up / "more.toml").stdout.decode())
    assert list(shown) == ["server", "actor parrot", "actor other", "path /"]
    assert shown["actor other"]["handler_timeout"] == ["30", "seconds"]


def test_mistakes_come_first(theater: Theater, set_up: Path) -> None:
    manifest = set_up / "theater.toml"
    manifest.write_text(manifest.read_text().replace("600", "0"))
    done = theater("doctor", set_up)
    assert done.stderr.decode().startswith(
        f"{manifest}: limits.handler_timeout: found 0 (a number), expected "
    )
    assert (done.returncode, done.stdout) == (2, b"")
