"""`theater connect` in a script: what comes out is what was received, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_lines_in_and_lines_out(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, input='hello\n{"a": "\\n"}\n\nGrüße'.encode())
    assert done.stdout.decode() == 'hello\n{"a": "\\n"}\n\nGrüße\n'
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_locale_without_the_characters(theater: Theater, peer: str, environment: dict[str, str]) -> None:
    environment["PYTHONIOENCODING"] = "ascii"
    done = theater("connect", peer, "--once", "--send", "Grüße")
    assert (done.returncode, done.stdout) == (0, b"Gr\\xfc\\xdfe\n")


def test_binary_comes_as_hexadecimal(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--send", "bytes", "--send", "hello")
    assert done.stdout.decode() == f"{bytes(range(20)).hex()}\nhello\n"
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_cannot_drive_the_terminal_or_pass_for_two(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--send", "evil", "--once")
    assert done.stdout.decode() == "\\x1b]0;owned\\x07\\u202e\\r\\n< not this\\x9b2J\n"
    done = theater("connect", peer, "--send", "close 4000")
    assert done.stderr.decode() == "theater: closed cleanly with code 4000: as told\\x1b[2J\n"
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_comes_later_is_awaited(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--linger", "2", input=b"later")
    assert done.stdout == b"at last\n"


def test_a_large_input_is_taken_as_fast_as_it_goes(theater: Theater, peer: str) -> None:
    lines = b"".join(b"%07d" % number * 20 + b"\n" for number in range(5000))
    done = theater("connect", peer, input=lines)
    assert done.stdout == lines
    assert done.returncode == 0


def test_once_takes_one_answer_to_each(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--once", input=b"twice\nhello\n")
    assert done.stdout == b"first\nsecond\n"
    assert (done.returncode, done.stderr) == (0, b"")


def test_once_wants_an_answer(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--once", "--send", "silence", "--timeout", "0.2")
    assert done.stderr == b"theater: no answer within 0.2 s\n"
    assert (done.returncode, done.stdout) == (1, b"")
    done = theater("connect", peer, "--once", "--send", "close 1011")
    assert done.stderr.startswith(
        b"theater: no answer: closed cleanly with code 1011 (internal error): as told"
    )
    assert done.returncode == 1


def test_input_must_be_utf_8(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, input=b"fine\nnot \xff\n")
    assert done.stderr == b"theater: line 2 of standard input is not UTF-8\n"
    assert done.returncode == 1


@pytest.mark.parametrize(("code", "expected"), [("1000", 0), ("1008", 1)])
def test_the_server_may_end_it_while_input_is_awaited(
    peer: str, environment: dict[str, str], code: str, expected: int
) -> None:
    with client(peer, environment) as process:
        assert process.stdin is not None
        process.stdin.write(f"close {code}\n")
        process.stdin.flush()
        assert process.wait(10) == expected


def test_messages_come_out_at_once_and_ctrl_c_ends_it(peer: str, environment: dict[str, str]) -> None:
    with client(peer, environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("one\n", "two\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline() == text
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_nobody_listens(peer: str, environment: dict[str, str]) -> None:
    with client(peer, environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def client(peer: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "theater", "connect", peer],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
