"""Core modules linked to the host: whether they can be, and what happens when they are instantiated."""

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import pytest
import wasmtime
from tests.wasm.core import IMPORTS, Guest, compiled
from tests.wasm.crossing import Later, engine, finish
from tests.wasm.guests import counter

from theater.contract import Received, Text
from theater.limits import ActorLimits
from theater.wasm.binary import read
from theater.wasm.calls import HostFunction, Registry
from theater.wasm.contracts import V0_2
from theater.wasm.engine import RESERVATION
from theater.wasm.linking import Linked
from theater.wasm.plan import Export, Lifted, Lowered, Plan, Step
from theater.wasm.sections import Unsupported
from theater.wasm.shapes import STRING, U32, U64, FunctionShape
from theater.wasm.wat import assemble

NOTHING = FunctionShape((), None)
NUMBER = FunctionShape((), U32)
EMPTY = Plan((), (), {})
MEMORY_OF_3 = """(memory (export "memory") 3)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable) (func (export "reset"))"""


def linked(
    made: Plan,
    host: Mapping[tuple[str, str], HostFunction] | None = None,
    exports: Mapping[tuple[str, str], FunctionShape] | None = None,
    limits: ActorLimits | None = None,
) -> Linked:
    return Linked(made, host or {}, exports or {}, compiled, engine(), Registry(), limits or ActorLimits())


def single(code: str, imports: Any = None, **exports: Lifted) -> Plan:
    """A guest of one core module."""
    functions = {("guest", name): each for name, each in exports.items()}
    return Plan((assemble(f"(module {code})"),), (Step(0, imports or {}),), functions)


def lifted(name: str, memory: str = "", realloc: str = "", after: str = "") -> Lifted:
    return Lifted(*(Export(0, each) if each else None for each in (name, memory, realloc, after)))  # type: ignore[arg-type]


# Components that wasmtime would run as such


def test_components_of_the_contract() -> None:
    made = read(counter())
    state: list[str | None] = [None]
    functions: dict[str, Any] = {
        "get-state": lambda owner: state[0],
        "set-state": lambda owner, value: state.__setitem__(0, value),
    }
    host = {
        ("state", name): HostFunction(V0_2.imports["state"][name], function)
        for name, function in functions.items()
    }
    shapes = {key: V0_2.exports[key[0]][key[1]] for key in made.exports}
    registry = Registry()
    program = Linked(made, host, shapes, compiled, engine(), registry, ActorLimits())
    store = wasmtime.Store(engine())
    store.set_epoch_deadline(10**9)
    handle = finish(program.instantiate(registry.add(store, None)))["handle-websocket"]
    arguments = 1, Received(Text("x"))
    assert [handle.run(arguments) for _ in range(3)] == [[Text("1")], [Text("2")], [Text("3")]]
    assert state == ["3"]


# What cannot be linked


@pytest.mark.parametrize(
    ("code", "imports", "handler", "shape", "words"),
    [
        ("", {}, lifted("g"), NOTHING, "imports g of 0 as () -> (), not None"),
        ('(func (export "g") (result i64) (i64.const 0))', {}, lifted("g"), NUMBER, "not () -> (i64)"),
        ('(memory (export "g") 1)', {}, lifted("g"), NOTHING, "imports g of 0 as () -> ()"),
        (
            '(func (export "g") (result i32) (i32.const 0)) (memory (export "m") i64 1)',
            {},
            lifted("g", memory="m"),
            NUMBER,
            "imports m of 0",
        ),
        (
            '(func (export "g") (param i32 i32)) (memory (export "m") 1) (func (export "r"))',
            {},
            lifted("g", memory="m", realloc="r"),
            FunctionShape((STRING,), None),
            "imports r of 0 as (i32, i32, i32, i32) -> (i32), not () -> ()",
        ),
        (
            '(func (export "g") (result i32) (i32.const 0)) (func (export "a"))',
            {},
            lifted("g", after="a"),
            NUMBER,
            "imports a of 0 as (i32) -> (), not () -> ()",
        ),
        ('(import "a" "b" (func))', {}, None, None, "imports b of a, which is not there"),
        (
            '(import "a" "b" (func))',
            {("a", "b"): Lowered("host", "f", None, None)},
            None,
            None,
            "has no host#f",
        ),
        ("", {}, None, NOTHING, "has no guest#g"),
    ],
)
def test_what_does_not_fit(
    code: str, imports: Any, handler: Lifted | None, shape: FunctionShape | None, words: str
) -> None:
    made = single(code, imports, **({"g": handler} if handler else {}))
    with pytest.raises(Unsupported) as error:
        linked(made, exports={("guest", "g"): shape} if shape else {})
    assert words in str(error.value)


def test_a_host_function_of_another_type() -> None:
    made = single('(import "a" "b" (func (param i32)))', {("a", "b"): Lowered("host", "f", None, None)})
    host = {("host", "f"): HostFunction(FunctionShape((U64,), None), lambda owner, value: None)}
    with pytest.raises(Unsupported) as error:
        linked(made, host)
    assert "as (i32) -> (), not (i64) -> ()" in str(error.value)


def test_memory_that_would_have_to_move() -> None:
    linked(EMPTY, limits=ActorLimits(max_memory=RESERVATION))
    with pytest.raises(Unsupported, match="moved"):
        linked(EMPTY, limits=ActorLimits(max_memory=RESERVATION + 1))


# Instances


def starting(code: str, wait: HostFunction | None = None) -> Guest:
    """A guest with a start function."""
    host = {"f": wait} if wait else {}
    wanted = '(import "h" "f" (func $f (param i32)))' if wait else ""
    return Guest(
        f"""{wanted} {IMPORTS} (func $start {code}) (start $start)
        (func (export "g") (result i32) (i32.load (i32.const 4)))""",
        {"g": NUMBER},
        host,
    )


def test_start_functions_are_run_once() -> None:
    guest = starting("(i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 3)))")
    assert guest.run("g") == 3
    _, functions = guest.instance(None)
    assert functions["g"].run(()) == 3


def test_start_functions_may_call_the_host() -> None:
    text = HostFunction(FunctionShape((), STRING), lambda owner: "text")
    assert starting("(call $f (i32.const 0))", text).run("g") == 4  # bytes of it


def test_start_functions_may_wait() -> None:
    text = HostFunction(FunctionShape((), STRING), lambda owner: owner or "text", waits=True)
    guest = starting("(call $f (i32.const 0))", text)
    store = wasmtime.Store(engine())
    store.set_epoch_deadline(10**9)
    context = guest.registry.add(store, Later())
    call = guest.linked.instantiate(context)
    assert not call.poll()
    assert call.waiting is context.owner
    call.resume("longer")
    assert finish(call)["g"].run(()) == 6


def test_start_functions_may_trap() -> None:
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        starting("unreachable")


def test_what_start_functions_call_may_raise() -> None:
    error = KeyError("mine")

    def fail(owner: object) -> str:
        raise error

    with pytest.raises(KeyError) as caught:
        starting("(call $f (i32.const 0))", HostFunction(FunctionShape((), STRING), fail))
    assert caught.value is error


def test_an_instance_may_be_given_up() -> None:
    guest = starting("")
    store = wasmtime.Store(engine())
    store.set_epoch_deadline(10**9)
    context = guest.registry.add(store, None)
    call = guest.linked.instantiate(context)
    with pytest.raises(RuntimeError, match="one call at a time"):
        guest.linked.instantiate(context)
    call.drop()
    call.drop()
    assert finish(guest.linked.instantiate(context))["g"].run(()) == 0


def test_an_instance_that_begins_with_too_much_memory() -> None:
    with pytest.raises(wasmtime.WasmtimeError, match="exceeds memory limits"):
        Guest(IMPORTS, {}, memory=MEMORY_OF_3, limits=ActorLimits(max_memory=2 * 65_536))
    with pytest.raises(wasmtime.WasmtimeError, match="exceeds memory limits"):
        Guest(IMPORTS, {}, limits=ActorLimits(max_memory=1))


def test_a_store_is_closed_with_its_last_user() -> None:
    guest = starting("")
    gone: list[bool] = []
    gc.collect()
    gc.disable()
    try:
        context, functions = guest.instance(None)
        weakref.finalize(context.store, lambda: gone.append(True))
        assert functions["g"].run(()) == 0
        guest.registry.remove(context)
        del context, functions
        assert gone == [True]
    finally:
        gc.enable()
