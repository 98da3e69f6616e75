"""Actors in Zig and C, which use all that there is."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.build.host import Case, Host

from theater.build.errors import BuildError
from theater.build.zig import build

pytest.importorskip("ziglang", reason='ziglang is missing: pip install "theater[build]"')

HERE = Path(__file__).parent
SDKS = Path(__file__).parents[2] / "src" / "theater" / "guests"
EXAMPLE = Path(__file__).parents[2] / "examples" / "zig" / "counter.zig"
CONNECTION = 2**53 - 1
INFO = {
    "id": CONNECTION,
    "path": "/päth",
    "parameters": [("room", "lobby")],
    "query": "q",
    "headers": [("first", "värde"), ("second", "")],
    "subprotocol": "chat",
    "peer": {"address": "::1", "port": 65535},
}
UPGRADE = {
    "path": "/path",
    "parameters": [("room", "lobby")],
    "query": "q",
    "headers": [("first", "one"), ("second", "two")],
    "subprotocols": ["soap", "chat"],
    "peer": {"address": "::1", "port": 444},
}
REQUEST = {name: UPGRADE[name] for name in ("path", "parameters", "query", "headers")} | {
    "method": "PUT",
    "body": b"\x00\xff" * 100_000,
    "peer": None,
}
ANSWERS = {
    "get-waiting": 2**40,
    "get-tags": ["red", "ünï"],
    "get-attachment": '{"a":1}',
    "find-connection": INFO,
    "get-connections": [CONNECTION, 8],
    "get-address": {"type": "room", "key": "lobby"},
    "request": "answer",
    "get-state": '"kept"',
    "now": 1.0,
    "monotonic": 0.5,
    "random": b"abcd",
}


@cache
def witness(language: str) -> bytes:
    return build(HERE / f"witness.{language}", lambda _: None)


@pytest.fixture(params=["zig", "c"])
def language(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def host(language: str) -> Host:
    return Host(witness(language), ANSWERS)


def test_calls_of_the_host(host: Host) -> None:
    answer = host.call("handle-websocket", CONNECTION, Case("received", Case("text", "all")))
    assert answer == [Case("text", "answer"), Case("pong", "värde".encode())]
    away = {"code": 1001, "reason": "away"}
    address = {"type": "room", "key": "lobby"}
    assert host.calls == [
        ("send-message", CONNECTION, Case("text", "one"), "key", False),
        ("send-now", CONNECTION, Case("close", away), None, True),
        ("send-chunk", CONNECTION, b"piece", True),
        ("drained", CONNECTION),
        ("get-waiting", CONNECTION),
        ("close-connection", CONNECTION, 1000, "done"),
        ("get-tags", CONNECTION),
        ("set-tags", CONNECTION, ["red", "ünï"]),
        ("get-attachment", CONNECTION),
        ("set-attachment", CONNECTION, '{"a":1}'),
        ("find-connection", CONNECTION),
        ("get-connections",),
        ("broadcast", Case("ping", b"x"), [CONNECTION, 8], "/päth", "", True),
        ("get-address",),
        ("send", address, "note"),
        ("request", address, b"ask", 1.5),
        ("get-state",),
        ("set-state", '"kept"'),
        ("now",),
        ("monotonic",),
        ("random", 4),
        ("log", "warning", "abcd"),
    ]


@pytest.mark.parametrize(
    ("event", "reply"),
    [
        (Case("received", Case("text", "hällo")), [Case("text", "hällo")]),
        (Case("received", Case("text", "")), [Case("text", "")]),
        (Case("received", Case("binary", b"\x00")), "no bytes"),
        (Case("received", Case("ping", b"")), []),
        (Case("received", Case("pong", b"x")), []),
        (Case("error", "böse"), [Case("text", "böse")]),
        (Case("congested", 2**40), [Case("text", "much")]),
        (Case("congested", 2**41), [Case("text", "little")]),
        (Case("drained"), [Case("close", {"code": 1013, "reason": "slow"})]),
        (Case("closed", {"code": 1001, "reason": "bye"}), [Case("text", "bye")]),
        (Case("closed", {"code": 1006, "reason": ""}), [Case("text", "other")]),
    ],
)
def test_events(host: Host, event: Case, reply: Any) -> None:
    assert host.call("handle-websocket", CONNECTION, event) == reply
    assert host.calls == []


def test_what_the_host_refuses_is_an_error(language: str) -> None:
    host = Host(witness(language), {"set-tags": "too many tags"})
    assert host.call("handle-websocket", 1, Case("connected")) == "too many tags"
    assert host.calls == [("set-tags", 1, ["red", "blue"])]


def test_upgrades(host: Host) -> None:
    accept = {"subprotocol": "chat", "headers": UPGRADE["headers"], "tags": ["q", "tag"], "attachment": "::1"}
    assert host.call("upgrade-connection", UPGRADE) == Case("accept", accept)
    response = {"status": 444, "headers": [("room", "lobby")], "body": b"/path"}
    assert host.call("upgrade-connection", UPGRADE | {"subprotocols": []}) == Case("response", response)
    assert host.call("upgrade-connection", UPGRADE | {"peer": None}) is None


def test_the_other_handlers(host: Host) -> None:
    assert host.call("init") is None
    assert host.call("handle-batch", [(1, Case("connected")), (2, Case("connected"))]) is None
    assert host.call("handle-batch", [(1, Case("received", Case("binary", b"x")))]) == "no bytes"
    assert host.call("handle-chunk", 1, "text", False) == [Case("text", "text")]
    assert host.call("handle-chunk", 1, b"bytes", True) == [Case("binary", b"bytes")]
    response = {"status": 201, "headers": REQUEST["headers"], "body": REQUEST["body"]}
    assert host.call("handle-request", REQUEST) == response
    assert host.call("handle-request", REQUEST | {"peer": INFO["peer"]}) == "TooBusy"
    address = {"type": "room", "key": "lobby"}
    assert host.call("handle-message", "text", address) == Case("ok", "text")
    assert host.call("handle-message", b"bytes", address) == Case("ok", b"bytes")
    assert host.call("handle-message", "text", address | {"key": "quiet"}) == Case("ok")
    assert host.calls == [
        ("log", "info", "started"),
        *(
            call
            for each in (1, 2)
            for call in (("set-tags", each, ["red", "blue"]), ("set-attachment", each, "1"))
        ),
    ]


def test_memory_does_not_grow(language: str) -> None:
    host = Host(witness(language), memory=4 * 1024 * 1024)
    text = "x" * 500_000
    for _ in range(100):
        assert host.call("handle-chunk", 1, text, False) == [Case("text", text)]


def test_the_example() -> None:
    host = Host(build(EXAMPLE, lambda _: None), {"get-state": "41"})
    assert host.call("handle-websocket", 1, Case("connected")) == []
    assert host.calls == []
    assert host.call("handle-websocket", 1, Case("received", Case("text", "+"))) == []
    assert host.calls == [
        ("get-state",),
        ("set-state", "42"),
        ("broadcast", Case("text", "42"), [], None, None, True),
    ]
    with pytest.raises(LookupError):
        host.call("handle-request", REQUEST)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("bad.zig", "pub fn handleWebsocket() void {", "bad.zig:1:"),
        ("none.zig", "fn handleWebsocket() void {}", "the actor handles nothing"),
        ("bad.c", '#define THEATER_INIT\n#include "theater.h"\nint f() { return x; }', "bad.c:3:"),
        ("none.c", '#include "theater.h"', "the actor handles nothing"),
    ],
)
def test_mistakes_are_told_by_the_compiler(tmp_path: Path, name: str, text: str, problem: str) -> None:
    source = tmp_path / name
    source.write_text(text)
    told: list[str] = []
    with pytest.raises(BuildError) as caught:
        build(source, told.append)
    assert caught.value.problem == f"{source} cannot be built"
    assert problem in caught.value.output
    assert told == [f"compiling {name}"]
    assert [*tmp_path.iterdir()] == [source]


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(BuildError, match=r"pip install \"theater\[build\]\""):
        build(EXAMPLE, lambda _: None)


def test_the_guests_files_are_formatted() -> None:
    files = [*(SDKS / "zig").iterdir(), HERE / "witness.zig", EXAMPLE]
    command = [sys.executable, "-m", "ziglang", "fmt", "--check", *map(str, files)]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stdout == ""
