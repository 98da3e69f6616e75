"""Handlers that block the event loop, in a real server."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

Serve = Callable[..., tuple["subprocess.Popen[str]", int]]

MANIFEST = """\
name = "stuck"
python = "stuck.py:Stuck"

[limits]
handler_timeout = 1.0

[[handlers]]
type = "websocket-server"
path = "/{name}"
instance = "{name}"
"""

ACTOR = """\
from theater import Actor, Error, Received, Text


def spin(stubborn):
    while True:
        try:
            while True:
                pass
        except ValueError if stubborn else ():
            pass


class Stuck(Actor):
    def handle_websocket(self, connection, event):
        match event:
            case Received(Text("spin")):
                spin(stubborn=False)
            case Received(Text("spin in a coroutine")):
                return self.later()
            case Received(Text() as text):
                return text
            case Error(problem):
                return Text(problem)
        return None

    async def later(self):
        spin(stubborn=True)
"""


@pytest.mark.parametrize("what", ["spin", "spin in a coroutine"])
def test_a_handler_that_blocks_the_loop_is_ended(serve: Serve, tmp_path: Path, what: str) -> None:
    (tmp_path / "theater.toml").write_text(MANIFEST)
    (tmp_path / "stuck.py").write_text(ACTOR)
    _, port = serve(tmp_path)
    with (
        connect(f"ws://127.0.0.1:{port}/one", compression=None) as stuck,
        connect(f"ws://127.0.0.1:{port}/other", compression=None) as other,
    ):
        other.send("hello")
        assert other.recv(5) == "hello"
        stuck.send(what)
        time.sleep(0.2)  # until it blocks: what comes then has to wait
        other.send("still there?")
        assert stuck.recv(10) == "HandlerTimeout: a handler of 'stuck/one' took longer than 1 s"
        assert other.recv(5) == "still there?"
        stuck.send("again")
        assert stuck.recv(5) == "again"
    assert (tmp_path / "log").read_text().count("errors.HandlerTimeout: ") == 1
