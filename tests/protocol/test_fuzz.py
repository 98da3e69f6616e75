"""Some thousands of the streams of `scripts/fuzz`, and whether it finds what it is to find."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from theater.contract.messages import Binary
from theater.protocol import handshake
from theater.protocol.machine import Machine

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # where `scripts` is

from scripts.fuzzing import heads, machines  # noqa: E402
from scripts.fuzzing.setups import Broken, Setup  # noqa: E402

ECHOES = Setup("server", "whole", "echoes", "plain", "roomy")
HELLO = bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455 §5.7
PING = bytes.fromhex("898537fa213d7f9f4d5158")
CLOSE = bytes.fromhex("888037fa213d")
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def fuzz(*options: str, path: Path = ROOT) -> tuple[int, str]:
    """Runs the script, with modules from `path`; returns its exit code and what it says."""
    command = [sys.executable, "scripts/fuzz", *options]
    environment = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def test_some_streams() -> None:
    code, said = fuzz("--count", "2000", "--seed", "1")
    assert code == 0, said
    assert "no promise is broken" in said
    for reason in (1002, 1007, 1008, 1009):
        assert f"failed, {reason}" in said


def test_a_stream_can_be_fed_again() -> None:
    code, said = fuzz("--setup", "-".join(ECHOES), "--replay", HELLO.hex())
    assert (code, said) == (0, "no promise is broken; open\n")
    code, said = fuzz("--setup", "server-whole", "--replay", HELLO.hex())
    assert code == 2
    assert "expected {server,client}-{whole,stream}-" in said


PLANTED = "from theater.protocol.machine import Machine\ndef receive(*_): {}\nMachine.receive = receive\n"


def test_what_is_raised_is_reported_and_can_be_fed_again(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(PLANTED.format("raise ValueError('planted')"))
    code, said = fuzz("--count", "500", "--seed", "7", path=tmp_path)
    assert code == 1
    assert "of seed 7 breaks a promise" in said
    *_, command = said.splitlines()
    assert command.startswith("uv run scripts/fuzz --setup ")
    code, said = fuzz(*command.split()[3:], path=tmp_path)
    assert code == 1
    assert "ValueError: planted" in said


def test_a_process_that_dies_is_reported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(PLANTED.format("__import__('os')._exit(3)"))
    code, said = fuzz("--count", "500", path=tmp_path)
    assert code == 1
    assert "the process ended with code 3" in said


def nothing(*_: object) -> None:
    """Takes the place of what a machine does."""


@pytest.mark.parametrize(
    ("place", "fault", "wire", "problem"),
    [
        pytest.param(
            "receive_whole",
            lambda machine, *_: None if machine.over else Binary(b""),
            HELLO,
            "not read at once",
            id="cut",
        ),
        pytest.param("restore_state", nothing, HELLO * 50, "not read at once", id="move"),
        pytest.param("_frame", nothing, PING, "pings are answered", id="pong"),
        pytest.param("finish", nothing, CLOSE, "something goes out after the end", id="close"),
        pytest.param("send", nothing, HELLO, "the peer hears something else", id="echo"),
        pytest.param("receive", lambda *_: [Binary(b"")], CLOSE, "something comes after", id="silence"),
    ],
)
def test_faults_are_found(
    monkeypatch: pytest.MonkeyPatch, place: str, fault: Callable[..., object], wire: bytes, problem: str
) -> None:
    machines.check_frames(ECHOES, wire)
    monkeypatch.setattr(Machine, place, fault)
    with pytest.raises(Broken, match=problem):
        machines.check_frames(ECHOES, wire)


def test_too_much_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = ECHOES._replace(limits="tiny")
    machines.check_frames(setup, HELLO[:3])
    monkeypatch.setattr(machines, "SLACK", 100)
    with pytest.raises(Broken, match="more bytes are kept"):
        machines.check_frames(setup, HELLO[:3])


def test_an_answer_that_the_client_does_not_understand_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heads.check_head("request", REQUEST) == "request accepted"
    monkeypatch.setattr(handshake, "format_extensions", lambda _: "")
    with pytest.raises(Broken, match="only one end compresses"):
        heads.check_head("request", REQUEST)
