"""Which components are taken apart, and which are run as such."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.wasm import guests
from tests.wasm.guests import EVENT, guest
from tests.wasm.served import component

from theater.client import connect
from theater.contract import Received, Text
from theater.errors import End, InstanceEnded, InvalidComponent
from theater.limits import ActorLimits
from theater.testing import serve
from theater.wasm.cache import Cache
from theater.wasm.engine import RESERVATION, Engine
from theater.wasm.instance import instance
from theater.wasm.program import Program
from theater.wasm.wat import assemble

FILLS = guest(
    {
        "handle-websocket": f"""{EVENT}
        (loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)"""
    }
)


# Valid but for its code, which is left out when its types are looked at.
VALID = guest({"handle-websocket": f"{EVENT} (i32.const 0x7654321)"})
_NUMBER = b"\xa1\x86\x95\x3b"
BROKEN = VALID.replace(_NUMBER + b"\x0b", _NUMBER + b"\x1a")  # `drop` in place of `end`


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(512 * 1024, 10)
    yield engine
    engine.close()


def load(folder: Path, engine: Engine, code: bytes, limits: ActorLimits | None = None) -> Program:
    path = folder / "guest.wasm"
    path.write_bytes(code)
    return Program(path, (), limits or ActorLimits(), engine, Cache(folder / "cache"))


async def echoes(program: Program) -> bool:
    made = instance(program, False)
    made.adopt(None, "guest", 0)
    await made.start()
    answer = made.call("handle-websocket", (1, Received(Text("text"))))
    made.end()
    return (answer if isinstance(answer, list) else await answer) == [Text("text")]


async def test_a_component_is_taken_apart(tmp_path: Path, engine: Engine) -> None:
    program = load(tmp_path, engine, guests.echo())
    assert program.linked is not None
    assert program.functions == {"handle-websocket"}
    assert program.exports == {"websocket-actor"}
    assert await echoes(program)


async def test_its_core_modules_are_compiled_once(tmp_path: Path, engine: Engine) -> None:
    load(tmp_path, engine, guests.echo())
    files = {file: file.stat().st_ino for file in (tmp_path / "cache").iterdir()}
    assert len(files) == 4  # staging memory, the module, glue, and what was looked at
    assert await echoes(load(tmp_path, engine, guests.echo()))
    assert {file: file.stat().st_ino for file in (tmp_path / "cache").iterdir()} == files


async def test_much_memory_needs_a_component(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "theater")
    program = load(tmp_path, engine, guests.echo(), ActorLimits(max_memory=2 * RESERVATION))
    assert program.linked is None
    assert "guest.wasm is run as a component: may have so much memory" in caplog.text
    assert await echoes(program)


async def test_where_calls_hold_threads_it_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEATER_STOCK_WASM", "1")
    engine = Engine(512 * 1024, 10)
    program = load(tmp_path, engine, guests.echo())
    assert program.linked is None
    assert await echoes(program)
    engine.close()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (b"", "is empty"),
        (guests.echo()[:-10], "is no valid component"),
        (assemble("(component)"), "exports no interface of theater:websocket"),
        (BROKEN, "is no valid component"),
    ],
)
def test_what_is_no_good_is_refused(tmp_path: Path, engine: Engine, code: bytes, problem: str) -> None:
    with pytest.raises(InvalidComponent) as error:
        load(tmp_path, engine, code)
    assert str(error.value).startswith(f"{tmp_path}/guest.wasm {problem}")


async def test_a_guest_that_takes_all_its_memory(tmp_path: Path, engine: Engine) -> None:
    made = instance(load(tmp_path, engine, FILLS, ActorLimits(max_memory=8 * 1024 * 1024)), False)
    made.adopt(None, "guest", 0)
    await made.start()
    with pytest.raises(InstanceEnded) as error:
        made.call("handle-websocket", (1, Received(Text("text"))))
    assert error.value.end is End.MEMORY
    assert made.has_ended


LARGE = {"max_memory": 512 * 1024 * 1024}
"""More than a component may have that is taken apart."""


async def test_components_that_are_run_as_a_whole_can_wait_for_each_other(tmp_path: Path) -> None:
    asker = component(tmp_path, guests.asker(), name="asker", limits=LARGE)
    answerer = component(tmp_path, guests.answerer(), name="answerer", path="/answerer", limits=LARGE)
    async with serve(asker, answerer) as server, await connect(server.url()) as client:
        await client.send(Text("hello"))
        assert await client.receive() == Text("hello")


# Answers every event with a text, of as many bytes as the clock of WASI stands still.
CLOCK = """(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
  (core module $code
    (import "clock" "now" (func $now (result i64)))
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (local $before i64)
      (local.set $before (call $now))
      (i32.store8 (i32.const 0) (i32.const 1))
      (i32.store (i32.const 8) (i32.const 64))
      (i32.store (i32.const 12) (i32.eq (i64.gt_u (local.get $before) (call $now)) (i32.const 1)))
      (i32.const 0)))
  (core func $now (canon lower (func $clock "now")))
  (core instance $host (export "now" (func $now)))
  (core instance $made (instantiate $code (with "clock" (instance $host))))
  (type $message' (variant
    (case "text" string) (case "binary" (list u8)) (case "ping") (case "pong") (case "close")))
  (export $message "message-type" (type $message'))
  (type $event' (variant
    (case "connected") (case "message" $message) (case "error" string) (case "closed")))
  (export $event "connection-event" (type $event'))
  (func $handle (param "event" $event) (result (option $message))
    (canon lift (core func $made "handle") (memory (core memory $made "memory"))
      (realloc (core func $made "cabi_realloc"))))
  (instance $actor
    (export "message-type" (type $message)) (export "connection-event" (type $event))
    (export "handle-websocket" (func $handle)))
  (export "theater:websocket/websocket-actor@0.1.0" (instance $actor)))"""


async def test_what_is_granted_of_wasi_is_there(tmp_path: Path) -> None:
    clock = component(tmp_path, assemble(CLOCK), grants=("wasi:clocks",))
    async with serve(clock) as server, await connect(server.url()) as client:
        assert await client.receive() == Text("")
