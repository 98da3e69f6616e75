"""`theater connect` at a terminal, through a pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Serve = Callable[..., tuple["subprocess.Popen[str]", int]]

_CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[=>])|\r|\x07")


class Terminal:
    """A command at a terminal of 100 columns; what it shows is read without its control sequences."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "theater", *arguments],
            env=environment | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self._raw = b""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def expect(self, text: str) -> None:
        """Waits until the text is shown behind what was expected before."""
        end = time.monotonic() + 20
        while text not in (shown := _CONTROL.sub("", self._raw.decode("utf-8", "ignore"))):
            ready, _, _ = select.select([self._terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} does not come, but {shown!r}"
            try:
                self._raw += os.read(self._terminal, 65536)
            except OSError:  # how Linux says that the other side has closed
                pytest.fail(f"it ended without {text!r}, but with {shown!r}")
        self._raw = shown.partition(text)[2].encode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.fixture
def at_terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Starts `theater connect` at a terminal."""
    terminals = []

    def start(*arguments: str) -> Terminal:
        terminals.append(Terminal(["connect", *arguments], environment))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def test_a_conversation(at_terminal: Callable[..., Terminal], peer: str, tmp_path: Path) -> None:
    terminal = at_terminal(peer)
    terminal.expect(f"* connected to {peer}, no subprotocol; /help for help\n")
    terminal.expect("> ")
    terminal.type("hello\r")
    terminal.expect("< hello\n")
    terminal.type("/help\r")
    terminal.expect("* Every line is sent as a text message")
    terminal.type("/ping\r")
    terminal.expect("* pong after ")
    terminal.type("/binary 00ff41\r")
    terminal.expect("< 3 bytes\n  00000000  00 ff 41")
    terminal.type("//slash\r")
    terminal.expect("< /slash\n")
    terminal.type("evil\r")
    terminal.expect("< \\x1b]0;owned\\x07\\u202e\n  < not this\\x9b2J\n")
    terminal.type("/dance\r")
    terminal.expect("* there is no command /dance; see /help")
    terminal.type("/close 1006\r")
    terminal.expect("* cannot close with code 1006")
    terminal.expect("> ")
    terminal.type("\x1b[A" * 8)  # arrow up, back to the first line
    terminal.expect("hello")
    terminal.type("\r")
    terminal.expect("< hello\n")
    terminal.type("/close 4000 so long\r")
    terminal.expect("* closed cleanly by us with code 4000\n")
    assert terminal.process.wait(10) == 0

    history = tmp_path / "home/.local/state/theater/connect-history"
    assert "+hello\n" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_close(at_terminal: Callable[..., Terminal], peer: str, key: str) -> None:
    terminal = at_terminal(peer, "--subprotocol", "chat", "--subprotocol", "talk")
    terminal.expect("the subprotocol is chat; /help for help\n")
    terminal.expect("> ")
    terminal.type(key)
    terminal.expect("* closed cleanly by us with code 1000 (normal closure)\n")
    assert terminal.process.wait(10) == 0


def test_the_server_closes(at_terminal: Callable[..., Terminal], peer: str) -> None:
    terminal = at_terminal(peer)
    terminal.expect("> ")
    terminal.type("close 1001\r")
    terminal.expect("* closed cleanly with code 1001 (going away): as told\\x1b[2J\n")
    assert terminal.process.wait(10) == 0


def test_the_server_vanishes_and_the_history_cannot_be_kept(
    at_terminal: Callable[..., Terminal], serve: Serve, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "home/.local").write_text("in the way")
    server, port = serve(project)
    terminal = at_terminal(f"ws://127.0.0.1:{port}")
    terminal.expect("> ")
    terminal.type("hello\r")
    terminal.expect("< hello\n")
    server.kill()
    terminal.expect("* the connection was lost: no closing handshake (code 1006)\n")
    assert terminal.process.wait(10) == 1
