"""The stand-in for `calls`: the same values, in calls that hold their thread."""

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import wasmtime
from tests.long import IS_LONG
from tests.server.actors import resident
from tests.wasm.crossing import COMPUTING_FUNCTIONS, MEMORY, NOTHING, TEXTS, Guest, Later, never, passes_on
from tests.wasm.values import VALUES

from theater.contract import Binary, Close, Closed, Headers, Received, Text
from theater.errors import InvalidHeader
from theater.wasm.calls import HostFunction
from theater.wasm.contracts import ACTOR_ERROR, CONNECTION_EVENT, DATA, EVENT, LEVEL, MESSAGE, PEER
from theater.wasm.memory import ITEM
from theater.wasm.shapes import (
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    Failure,
    FunctionShape,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    ValueTooLarge,
    VariantOf,
)

COMPUTING = f"""(component
  (core module $m {MEMORY}
    {COMPUTING_FUNCTIONS}
    (func (export "after") (param i32) (global.set $top (i32.const 4096))))
  (core instance $i (instantiate $m))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "count") (param "to" u32) (result u32) (canon lift (core func $i "count")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "deep") (canon lift (core func $i "deep")))
  (func (export "long") (param "size" u32) (result string)
    (canon lift (core func $i "long")
      (memory (core memory $i "memory")) (post-return (core func $i "after")))))"""


def passing_on(shape: Shape, between: Callable[[Any], Any] = lambda value: value, **options: Any) -> Guest:
    both = FunctionShape((shape,), shape)
    host = HostFunction(both, lambda owner, value: between(value), waits=True)
    return Guest(passes_on(shape), {"g": both}, {"f": host}, **options)


@pytest.mark.parametrize(("shape", "value"), [*VALUES, (ListOf(EVENT), [Received(Text("x"))] * 9)])
def test_a_value_comes_back_as_it_went(shape: Shape, value: object) -> None:
    guest = passing_on(shape)
    for _ in range(3):
        assert guest.run("g", value) == value


def test_a_case_without_payload_leaves_the_fields_behind() -> None:
    assert passing_on(CONNECTION_EVENT).run("g", Closed(1000, "bye")) == Closed()


class Refusal:
    """Stands for an actor's error that can be made without arguments, so that it can be seen to arrive."""


def test_the_error_of_a_result_with_an_option_arrives() -> None:
    # As of `request`. wasmtime-py's own conversion takes it for the option.
    cases = tuple(case._replace(cls=type(case.name, (Refusal,), {})) for case in ACTOR_ERROR.cases[:2])
    shape = ResultOf(OptionOf(DATA), VariantOf(cases))
    for case in cases:
        found = passing_on(shape).run("g", Failure(case.cls()))
        assert type(found.error) is case.cls


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (U8, 256),
        (U16, -1),
        (U32, 1 << 32),
        (U64, 1 << 64),
        (U64, 1.0),
        (F64, "1.0"),
        (STRING, b"text"),
        (STRING, "\ud800"),
        (BYTES, 5),
        (ListOf(STRING), ["fine", 5]),
        (ListOf(TupleOf((STRING, STRING))), [("fine", "fine"), ("one",)]),
        (OptionOf(STRING), 1),
        (LEVEL, "loud"),
        (DATA, "text"),
        (MESSAGE, Close(1000, "\udfff")),
        (PEER, "localhost"),
        (ResultOf(None, STRING), "text"),
        (ResultOf(STRING, None), Failure("text")),
    ],
)
def test_what_does_not_fit_is_refused(shape: Shape, value: object) -> None:
    guest = passing_on(shape)
    for _ in range(2):
        with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
            guest.run("g", value)
    assert not guest.context.busy


def test_what_a_host_function_returns_is_checked_as_well() -> None:
    with pytest.raises(UnicodeEncodeError):
        passing_on(MESSAGE, lambda value: Text("\ud800")).run("g", Text("x"))


def test_types_and_numbers_of_arguments_are_checked() -> None:
    guest = passing_on(U8)
    with pytest.raises(TypeError, match="expected 1 arguments, not 2"):
        guest.run("g", 1, 2)
    with pytest.raises(TypeError, match="parameter 1: expected type string, found u8"):
        Guest(passes_on(U8), {"g": TEXTS}, {"f": HostFunction(FunctionShape((U8,), U8), never)})
    with pytest.raises(TypeError, match="f: parameter 1: expected type string, found u8"):
        Guest(passes_on(U8), {}, {"f": HostFunction(TEXTS, never)})


@pytest.mark.parametrize(
    ("shape", "value", "size"),
    [(STRING, "12345678é", 10), (BYTES, b"0123456789", 10), (ListOf(STRING), ["1234", "5"], 2 * ITEM + 5)],
)
def test_a_value_may_be_as_large_as_the_limit(shape: Shape, value: object, size: int) -> None:
    assert passing_on(shape, max_value=size).run("g", value) == value
    with pytest.raises(ValueTooLarge) as caught:
        passing_on(shape, max_value=size - 1).run("g", value)
    assert (caught.value.limit, caught.value.size) == (size - 1, size)


def test_what_a_class_does_not_take_is_raised() -> None:
    shape = Adapted(ListOf(TupleOf((STRING, STRING))), Headers)
    guest = passing_on(shape)
    with pytest.raises(InvalidHeader):
        guest.run("g", [("not a token", "x")])


def test_a_trap_is_raised_and_ends_the_store() -> None:
    guest = Guest(COMPUTING, {"trap": NOTHING, "count": FunctionShape((U32,), U32)})
    assert guest.run("count", 5) == 5
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        guest.run("trap")
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
        guest.run("count", 5)


def test_an_instance_that_cannot_be_made_is_an_error() -> None:
    text = """(component (core module $m (func $start unreachable) (start $start))
      (core instance (instantiate $m)))"""
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        Guest(text, {})


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()])
def test_what_a_host_function_raises_is_what_the_call_raises(error: BaseException) -> None:
    def fail(value: str) -> str:
        raise error

    with pytest.raises(type(error)) as caught:
        passing_on(STRING, fail).run("g", "text")
    assert caught.value is error


def test_what_starts_an_instance_may_fail_in_the_host() -> None:
    text = """(component
      (import "host" (instance $host (export "f" (func))))
      (core func $f (canon lower (func $host "f")))
      (core module $m (import "h" "f" (func $f)) (start $f))
      (core instance (instantiate $m (with "h" (instance (export "f" (func $f)))))))"""

    def fail(owner: object) -> None:
        raise KeyError(owner)

    with pytest.raises(KeyError, match="owner"):
        Guest(text, {}, {"f": HostFunction(NOTHING, fail)})


def test_a_host_function_may_wait() -> None:
    waited: list[Awaitable[Any]] = []

    def wait(awaitable: Awaitable[Any]) -> str:
        waited.append(awaitable)
        return "answer"

    assert passing_on(STRING, lambda value: Later(), wait=wait).run("g", "text") == "answer"
    assert isinstance(waited[0], Later)


def test_a_host_function_may_call_another_store_but_not_its_own() -> None:
    inner = passing_on(STRING, str.upper)
    outer = passing_on(STRING, lambda value: inner.run("g", value) + "!")
    assert outer.run("g", "text") == "TEXT!"
    guests: list[Guest] = []
    guests.append(passing_on(STRING, lambda value: guests[0].run("g", value)))
    with pytest.raises(RuntimeError, match="one call at a time"):
        guests[0].run("g", "text")


def test_a_host_function_that_knows_no_store_traps() -> None:
    guest = passing_on(STRING)
    guest.registry.remove(guest.context)
    with pytest.raises(wasmtime.WasmtimeError, match="a host function failed"):
        guest.run("g", "text")


def test_memory_does_not_grow() -> None:
    results = passing_on(ResultOf(ListOf(MESSAGE), STRING))
    pairs = passing_on(ListOf(TupleOf((STRING, OptionOf(STRING)))))
    messages = [Text("x" * 300), Binary(b"y" * 200), Close(1000, "bye" * 30)]
    headers = [("name", "value" * 20), ("other", None)] * 5

    def turns(count: int) -> None:
        for _ in range(count):
            assert results.run("g", messages) == messages
            assert results.run("g", Failure("x" * 200)) == Failure("x" * 200)
            assert pairs.run("g", headers) == headers
            with pytest.raises(UnicodeEncodeError):
                pairs.run("g", [("fine" * 10, "\ud800")])

    turns(100)
    gc.collect()
    before = resident()
    turns(10_000 if IS_LONG else 2000)
    gc.collect()
    assert resident() - before < 1024 * 1024
