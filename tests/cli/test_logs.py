"""What the log looks like."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from websockets.sync.client import connect

Serve = Callable[..., tuple["subprocess.Popen[str]", int]]


def run_through(serve: Serve, project: Path, *options: str) -> str:
    """Makes a server log a few things, and returns them, but for what depends on the machine."""
    process, port = serve(project, *options)
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        for text in ("log", "raise", "done"):
            client.send(text)
        assert client.recv(5) == "done"
    process.terminate()
    assert process.wait(10) == 0
    lines = (project.parent / "log").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if " files may be open" not in line)


def test_text(serve: Serve, project: Path) -> None:
    log = run_through(serve, project)
    lines = log.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    said so", lines[0])
    assert re.match(r"\d\d:\d\d:\d\d ERROR   .*parrot", lines[1])
    assert lines[2] == "Traceback (most recent call last):"
    assert "ValueError: as told" in lines
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    stopping; once more to stop at once", lines[-1])


def test_json(serve: Serve, project: Path) -> None:
    log = run_through(serve, project, "--log-format", "json")
    said, failed, stopping = map(json.loads, log.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("time"))
    assert said == {"level": "info", "logger": "parrot", "message": "said so"}
    assert failed["level"] == "error"
    assert failed["actor"] == "parrot"
    assert failed["exception"].endswith("ValueError: as told")
    assert stopping["message"].startswith("stopping")


def test_the_least_that_is_logged(serve: Serve, project: Path) -> None:
    log = run_through(serve, project, "--log-format", "json", "--log-level", "error")
    (failed,) = map(json.loads, log.splitlines())
    assert failed["level"] == "error"
