"""What comes between host and guest: memory that the guest provides, what it may do then, how values lie."""

from typing import Any

import pytest
import wasmtime
from tests.wasm.core import IMPORTS, Guest, passing_on, plan

from theater.contract import Binary, Close, Connected, Headers, Peer, Query, Received, Request
from theater.wasm.calls import HostFunction
from theater.wasm.canonical import PAGE, InvalidValue
from theater.wasm.contracts import EVENT, MESSAGE, REQUEST
from theater.wasm.memory import LARGE
from theater.wasm.plan import Export, Lifted, Lowered, Plan, Step
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Failure,
    FunctionShape,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
)
from theater.wasm.wat import assemble

REQUESTED = Request(
    method="POST",
    path="/a",
    parameters={"room": "é"},
    query=Query("a=b"),
    headers=Headers([("x", "y"), ("z", "")]),
    body=b"body" * LARGE,
    peer=Peer("::1", 80),
)
HEAPLESS = """
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) {})
  (func (export "reset"))
"""
"""Memory of a guest with a `realloc` of its own."""


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (BOOL, True),
        (U8, 255),
        (U16, 65_535),
        (U32, 0xFFFF_FFFF),
        (U64, 0xFFFF_FFFF_FFFF_FFFF),
        (F64, -0.5),
        (STRING, "é\0"),
        (STRING, ""),
        (BYTES, bytes(range(256))),
        (BYTES, b"x" * LARGE),
        (ListOf(STRING), []),
        (ListOf(STRING), ["", "a", "b" * LARGE, "c"]),
        (ListOf(ListOf(U16)), [[1], [], [2, 3]]),
        (ListOf(TupleOf((STRING, STRING))), [(str(number), "v" * number) for number in range(1000)]),
        (OptionOf(BYTES), None),
        (ResultOf(STRING, U32), Failure(7)),
        (ResultOf(None, None), Failure()),
        (TupleOf((U8, U64, U8)), (1, 2, 3)),
        (EVENT, Connected()),
        (EVENT, Received(Binary(b"binary"))),
        (MESSAGE, Close(1000, "bye")),
        (REQUEST, REQUESTED),  # more than 16 core values
    ],
)
def test_values_cross_four_times(shape: Shape, value: Any) -> None:
    guest = passing_on(shape)
    for _ in range(2):
        assert guest.run("g", value) == value


def test_functions_are_told_apart() -> None:
    parameters = (U8, STRING, F64, OptionOf(U64))
    shapes = {
        "one": FunctionShape(parameters, U32),
        "two": FunctionShape((), F64),
        "three": FunctionShape((U64,), None),
    }
    seen: list[Any] = []

    def note(owner: object, *values: object) -> None:
        seen.append(values)

    guest = Guest(
        f"""(import "h" "note" (func $note (param i32 i32 i32 f64 i32 i64))) {IMPORTS}
        (func (export "one") (param i32 i32 i32 f64 i32 i64) (result i32)
          (call $note (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5))
          (local.get 2))
        (func (export "two") (result f64) (f64.const 1.5))
        (func (export "three") (param i64)
          (if (i64.ne (local.get 0) (i64.const -1)) (then (unreachable))))""",
        shapes,
        {"note": HostFunction(FunctionShape(parameters, None), note)},
    )
    assert guest.run("one", 3, "text", -0.25, 2**63) == 4
    assert guest.run("two") == 1.5
    assert guest.run("three", 2**64 - 1) is None
    assert seen == [(3, "text", -0.25, 2**63)]


def test_a_guest_may_use_any_names() -> None:
    name = 'a "quoted"\\ name\n\x00é'
    written = "".join(f"\\{byte:02x}" for byte in name.encode())
    code = f'{IMPORTS} (func (export "{written}") (result i32) (i32.const 1))'
    shapes = {"g": FunctionShape((), U32)}
    made = plan(code, shapes, {})._replace(
        exports={("guest", "g"): Lifted(Export(1, name), None, None, None)}
    )
    assert Guest(code, shapes, by=made).run("g") == 1


def counting(post: str = "") -> Guest:
    """A guest that counts how often it has cleaned up."""
    return Guest(
        f"""{IMPORTS} (global $cleaned (mut i32) (i32.const 0))
        (func (export "text") (result i32) (i64.store (i32.const 8) (i64.const 0)) (i32.const 8))
        (func (export "after text") (param i32)
          (if (i32.ne (local.get 0) (i32.const 8)) (then (unreachable)))
          {post} (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 1))))
        (func (export "number") (result i64) (i64.const -2))
        (func (export "after number") (param i64)
          (if (i64.ne (local.get 0) (i64.const -2)) (then (unreachable)))
          (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 10))))
        (func (export "cleaned") (result i32) (global.get $cleaned))""",
        {
            "text": FunctionShape((), STRING),
            "number": FunctionShape((), U64),
            "cleaned": FunctionShape((), U32),
        },
    )


def test_what_is_behind_a_call_is_cleaned_up_at_the_next_one() -> None:
    guest = counting()
    assert guest.run("cleaned") == 0
    assert guest.run("text") == ""
    assert guest.run("cleaned") == 1
    assert guest.run("cleaned") == 1
    assert guest.run("number") == 2**64 - 2
    assert guest.run("text") == ""
    assert guest.run("cleaned") == 12


def test_a_guest_that_traps_when_it_cleans_up() -> None:
    guest = counting("(unreachable)")
    assert guest.run("text") == ""
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        guest.run("cleaned")


# What a guest must not do


@pytest.mark.parametrize("where", ["realloc", "after"])
def test_a_guest_may_not_call_the_host_meanwhile(where: str) -> None:
    calls = {each: "(drop (call $now))" if each == where else "" for each in ("realloc", "after")}
    code = f"""(module (import "h" "now" (func $now (result f64)))
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) {calls["realloc"]} (i32.const 64))
      (func (export "now") (result f64) (call $now))
      (func (export "take") (param i32 i32) (result i32)
        (i64.store (i32.const 8) (i64.const 0))
        (i32.const 8))
      (func (export "after") (param i32) {calls["after"]}))"""
    memory, realloc, after = (Export(0, name) for name in ("memory", "realloc", "after"))
    made = Plan(
        (assemble(code),),
        (Step(0, {("h", "now"): Lowered("host", "now", None, None)}),),
        {
            ("guest", "now"): Lifted(Export(0, "now"), None, None, None),
            ("guest", "take"): Lifted(Export(0, "take"), memory, realloc, after),
        },
    )
    now = FunctionShape((), F64)
    guest = Guest(
        "",
        {"now": now, "take": FunctionShape((STRING,), STRING)},
        {"now": HostFunction(now, lambda owner: 2.5)},
        by=made,
    )
    assert guest.run("now") == 2.5
    if where == "after":
        assert guest.run("take", "text") == ""
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        guest.run("take", "text")


@pytest.mark.parametrize(
    ("body", "size", "error", "words"),
    [
        ("(i32.const -1)", 1, wasmtime.WasmtimeError, "out of bounds memory access"),
        (f"(i32.const {PAGE - 3})", 4, wasmtime.WasmtimeError, "out of bounds memory access"),
        (f"(i32.const {PAGE + 1})", 0, wasmtime.WasmtimeError, "out of bounds memory access"),
        ("(unreachable)", 1, wasmtime.WasmtimeError, "unreachable"),
        ("(i32.const -1)", LARGE, wasmtime.WasmtimeError, "out of bounds memory access"),
        (f"(i32.const {PAGE - LARGE + 1})", LARGE, InvalidValue, "reach out of a memory of 65536"),
    ],
)
def test_memory_that_is_no_memory(body: str, size: int, error: type[Exception], words: str) -> None:
    guest = Guest(
        f'{IMPORTS} (func (export "g") (param i32 i32))',
        {"g": FunctionShape((BYTES,), None)},
        memory=HEAPLESS.format(body),
    )
    with pytest.raises(error, match=words):
        guest.run("g", bytes(size))


def test_memory_up_to_the_end() -> None:
    guest = Guest(
        f'{IMPORTS} (func (export "g") (param i32 i32) (result i32) (i32.load8_u (i32.const {PAGE - 1})))',
        {"g": FunctionShape((BYTES,), U32)},
        memory=HEAPLESS.format(f"(i32.sub (i32.const {PAGE}) (local.get 3))"),
    )
    for size in (1, LARGE - 1, LARGE, PAGE):
        assert guest.run("g", b"x" * (size - 1) + b"y") == ord("y")


def test_memory_that_is_not_aligned() -> None:
    guest = Guest(
        f'{IMPORTS} (func (export "g") (param i32 i32))',
        {"g": FunctionShape((ListOf(U32),), None)},
        memory=HEAPLESS.format("(i32.const 2)"),
    )
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        guest.run("g", [1])


@pytest.mark.parametrize("place", [2, PAGE - 4, -8])
def test_no_place_for_a_result(place: int) -> None:
    guest = Guest(
        f'(import "h" "f" (func $f (param i32))) {IMPORTS} (func (export "g") (call $f (i32.const {place})))',
        {"g": FunctionShape((), None)},
        {"f": HostFunction(FunctionShape((), STRING), lambda owner: "text")},
    )
    with pytest.raises(wasmtime.WasmtimeError, match=r"unreachable|out of bounds"):
        guest.run("g")


def test_nothing_is_handed_over_before_the_clean_up() -> None:
    """Which may free all that was allocated: what is handed over then would lie where the next lies."""
    code = f"""(import "h" "f" (func $f (param i32))) {IMPORTS}
      (func (export "g") (param i32 i32) (result i32)
        (call $f (i32.const 64))
        (i32.store (i32.const 64) (local.get 0))
        (i32.store (i32.const 68) (local.get 1))
        (i32.const 64))
      (func (export "after g") (param i32) (call $reset))"""
    answers = iter(("", "y" * 64))
    answer = HostFunction(FunctionShape((), STRING), lambda owner: next(answers))
    guest = Guest(code, {"g": FunctionShape((STRING,), STRING)}, {"f": answer})
    assert guest.run("g", "x" * 16) == "x" * 16
    assert guest.run("g", "z" * 16) == "z" * 16


@pytest.mark.parametrize("place", [PAGE - 4, PAGE, -8])
def test_a_result_outside_of_the_memory(place: int) -> None:
    guest = Guest(
        f'{IMPORTS} (func (export "g") (result i32) (i32.const {place}))',
        {"g": FunctionShape((), STRING)},
    )
    with pytest.raises(wasmtime.WasmtimeError, match="out of bounds memory access"):
        guest.run("g")
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
        guest.run("g")


def test_memory_may_grow_for_what_is_handed_over() -> None:
    guest = passing_on(BYTES)
    for size in (1 << 20, 3 << 20):
        assert guest.run("g", b"x" * size) == b"x" * size
