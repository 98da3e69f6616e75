"""Calls of core code: how they end, wait, are left and taken up again, and what becomes of their memory."""

import gc
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
import wasmtime
from tests.long import IS_LONG
from tests.server.actors import resident
from tests.wasm.core import IMPORTS, Guest, passes_on, passing_on
from tests.wasm.crossing import COMPUTING_FUNCTIONS, NOTHING, TEXTS, Later, engine, finish

from theater.contract import Binary, Connected, Received, Text
from theater.limits import ActorLimits
from theater.wasm.calls import HostFunction, Pending
from theater.wasm.canonical import InvalidValue
from theater.wasm.contracts import EVENT, MESSAGE
from theater.wasm.fibers import OutOfMemory
from theater.wasm.shapes import (
    BYTES,
    STRING,
    U32,
    FunctionShape,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    ValueTooLarge,
)

CALLS = 1_000_000 if IS_LONG else 200_000

MIB = 1024 * 1024


def waiting(shape: Shape = STRING) -> Guest:
    """A guest whose function `g` waits in the host for its answer."""
    both = FunctionShape((shape,), shape)
    return Guest(passes_on(shape), {"g": both}, {"f": HostFunction(both, lambda owner, value: Later(), True)})


COMPUTING = f"""{IMPORTS}
  {COMPUTING_FUNCTIONS}
  (func (export "after long") (param i32) (call $reset))
  (func (export "fill") (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable)
  (func (export "place") (param i32 i32) (result i32)
    (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))"""


def computing(max_value: int = 64 * MIB) -> Guest:
    shapes = {
        "spin": NOTHING,
        "count": FunctionShape((U32,), U32),
        "trap": NOTHING,
        "deep": NOTHING,
        "long": FunctionShape((U32,), STRING),
        "fill": NOTHING,
        "place": FunctionShape((U32, U32), STRING),
    }
    return Guest(COMPUTING, shapes, limits=ActorLimits(max_value=max_value, max_memory=64 * MIB))


# How a call ends


def test_started_calls_run_when_they_are_polled() -> None:
    seen: list[str] = []

    def see(value: str) -> str:
        seen.append(value)
        return value

    guest = passing_on(STRING, see)
    call = guest.functions["g"].start(("text",))
    assert not seen
    assert call.poll()
    assert call.poll()  # it is done, and stays so
    assert call.result() == "text"
    call.drop()
    call.drop()
    assert guest.run("g", "more") == "more"
    assert seen == ["text", "more"]


def test_a_call_that_cannot_be_started_leaves_its_store_free() -> None:
    guest = passing_on(STRING)
    with pytest.raises(UnicodeEncodeError):
        guest.functions["g"].start(("\ud800",))
    assert finish(guest.functions["g"].start(("text",))) == "text"


def test_a_call_that_is_wrongly_made_does_not_begin() -> None:
    guest = computing()
    for arguments in ((), (1, 2), (-1,), ("1",)):
        with pytest.raises((TypeError, OverflowError)):
            guest.run("count", *arguments)
    assert guest.run("count", 2) == 2


@pytest.mark.parametrize("size", [64 * 1024, 16 * MIB, 0xFFFF_FFFF])
def test_a_result_that_lies_outside_is_a_trap(size: int) -> None:
    guest = computing()
    assert guest.run("place", 65_536, 0) == ""
    assert guest.run("place", 0, 65_536)
    with pytest.raises(InvalidValue, match="reach out of a memory of 65536"):
        guest.run("place", 1, size)


def test_a_result_may_be_too_large() -> None:
    guest = computing(max_value=1000)
    assert guest.run("long", 1000) == "\0" * 1000
    with pytest.raises(ValueTooLarge):
        guest.run("long", 1001)


def test_a_guest_that_traps_with_all_its_memory_has_too_little() -> None:
    guest = computing()
    with pytest.raises(OutOfMemory, match="unreachable"):
        guest.run("fill")
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter"):
        guest.run("count", 1)
    with pytest.raises(wasmtime.WasmtimeError) as trap:
        computing().run("trap")
    assert not isinstance(trap.value, OutOfMemory)


def test_what_does_not_fit_into_staging_memory_is_not_handed_over() -> None:
    guest = Guest(
        f"""{IMPORTS} (func (export "g") (param i32 i32) (result i32) (local.get 1))""",
        {"g": FunctionShape((ListOf(U32),), U32)},
        limits=ActorLimits(max_memory=8 * MIB),
    )
    with pytest.raises(OutOfMemory):
        guest.run("g", range(3 * MIB))
    assert guest.run("g", range(100_000)) == 100_000


@pytest.mark.parametrize(("name", "words"), [("trap", "unreachable"), ("deep", "call stack exhausted")])
def test_a_trap_is_raised_and_ends_the_store(name: str, words: str) -> None:
    guest = computing()
    with pytest.raises(wasmtime.WasmtimeError, match=words):
        guest.run(name)
    for _ in range(3):
        with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
            guest.run("count", 1)
    assert computing().run("count", 1) == 1


def test_a_trap_of_a_started_call_is_its_result() -> None:
    call = computing().functions["trap"].start(())
    assert call.poll()
    with pytest.raises(wasmtime.WasmtimeError, match="unreachable"):
        call.result()
    call.drop()


def test_a_result_is_not_there_before_the_call_is_done() -> None:
    call = computing().functions["count"].start((1,))
    with pytest.raises(RuntimeError, match="is not done"):
        call.result()
    assert finish(call) == 1


def test_a_call_that_was_dropped_cannot_go_on() -> None:
    call = computing().functions["count"].start((1,))
    call.drop()
    with pytest.raises(RuntimeError, match="left by an exception"):
        call.poll()


# Host functions


def test_what_a_host_function_raises_is_what_the_call_raises() -> None:
    error = KeyError("mine")

    def fail(value: str) -> str:
        raise error

    guest = passing_on(STRING, fail)
    with pytest.raises(KeyError) as caught:
        guest.run("g", "text")
    assert caught.value is error
    assert guest.context.raised is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError()])
def test_no_exception_passes_through_the_component(error: BaseException) -> None:
    def fail(value: str) -> str:
        raise error

    with pytest.raises(type(error)) as caught:
        passing_on(STRING, fail).run("g", "text")
    assert caught.value is error


def test_host_functions_are_given_the_owner_of_the_store() -> None:
    host = {"f": HostFunction(TEXTS, lambda owner, value: f"{owner} {value}")}
    guest = Guest(passes_on(STRING), {"g": TEXTS}, host, "one")
    context, functions = guest.instance("two")
    assert [each["g"].run(("text",)) for each in (guest.functions, functions)] == ["one text", "two text"]
    context.owner = "three"
    assert functions["g"].run(("text",)) == "three text"
    guest.close()
    assert guest.registry.contexts == {context.address: context}


def test_a_host_function_that_knows_no_store_traps() -> None:
    guest = passing_on(STRING)
    guest.registry.remove(guest.context)
    with pytest.raises(wasmtime.WasmtimeError, match="a host function failed"):
        guest.run("g", "text")


def test_a_host_function_may_call_another_store() -> None:
    inner = passing_on(STRING, str.upper)
    outer = passing_on(STRING, lambda value: f"<{inner.run('g', value)}>")
    assert passing_on(STRING, lambda value: outer.run("g", value) + "!").run("g", "text") == "<TEXT>!"


def test_errors_of_nested_calls_are_told_apart() -> None:
    def fail(value: str) -> str:
        raise KeyError(value)

    inner = passing_on(STRING, fail)

    expected: list[Any] = [KeyError, wasmtime.WasmtimeError]  # the second time it has trapped already

    def forgive(value: str) -> str:
        with pytest.raises(expected.pop(0)):
            inner.run("g", value)
        return "forgiven"

    outer = passing_on(STRING, forgive)
    assert outer.run("g", "text") == "forgiven"
    assert outer.run("g", "text") == "forgiven"


def test_a_host_function_cannot_call_the_store_that_called_it() -> None:
    guests: list[Guest] = []
    guest = passing_on(STRING, lambda value: guests[0].run("g", value))
    guests.append(guest)
    with pytest.raises(RuntimeError, match="one call at a time"):
        guest.run("g", "text")


# Waiting


def test_a_host_function_may_wait() -> None:
    guest = waiting()
    call = guest.run("g", "text")
    assert isinstance(call, Pending)
    first = call.waiting
    assert isinstance(first, Later)
    assert not call.poll()  # nobody has answered yet
    assert call.waiting is first
    call.resume("answer")
    assert guest.context.waiting is None
    assert call.poll()
    assert call.result() == "answer"
    call.drop()
    again = guest.run("g", "text")
    again.resume("more")
    assert finish(again) == "more"


def test_a_host_function_that_may_wait_need_not() -> None:
    both = FunctionShape((STRING,), STRING)
    host = {"f": HostFunction(both, lambda owner, value: value, waits=True)}
    assert Guest(passes_on(STRING), {"g": both}, host).run("g", "text") == "text"


def test_calls_that_wait_go_on_in_any_order() -> None:
    guests = [waiting() for _ in range(5)]
    pending = [guest.run("g", str(number)) for number, guest in enumerate(guests)]
    for number in (3, 0, 4, 2, 1):
        pending[number].resume(f"answer {number}")
        assert pending[number].poll()
    assert [call.result() for call in pending] == [f"answer {number}" for number in range(5)]
    for call in pending:
        call.drop()


def test_a_store_with_a_call_takes_no_other() -> None:
    guest = waiting()
    call = guest.run("g", "text")
    with pytest.raises(RuntimeError, match="one call at a time"):
        guest.run("g", "other")
    call.resume("answer")
    assert finish(call) == "answer"


def test_what_waits_can_fail() -> None:
    guest = waiting()
    call = guest.run("g", "text")
    error = KeyError("late")
    call.fail(error)
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            call.poll()
        assert caught.value is error
    call.drop()
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
        guest.run("g", "text")


def test_an_answer_that_does_not_fit_is_a_failure() -> None:
    call = waiting().run("g", "text")
    call.resume("\ud800")
    with pytest.raises(UnicodeEncodeError):
        call.poll()
    call.drop()


@pytest.mark.parametrize("answer", [lambda call: call.resume("x"), lambda call: call.fail(KeyError())])
def test_there_is_one_answer(answer: Callable[[Pending], None]) -> None:
    guest = waiting()
    call = guest.functions["g"].start(("text",))
    with pytest.raises(RuntimeError, match="no host function of this call waits"):
        answer(call)
    assert not call.poll()
    call.resume("answer")
    with pytest.raises(RuntimeError, match="no host function of this call waits"):
        answer(call)
    assert finish(call) == "answer"
    with pytest.raises(RuntimeError, match="no host function of this call waits"):
        answer(call)


def test_a_call_that_waits_can_be_dropped() -> None:
    guest = waiting()
    call = guest.run("g", "text")
    call.drop()
    assert guest.context.waiting is None
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
        guest.run("g", "text")
    guest.close()


def test_a_nested_call_may_wait_while_the_outer_one_waits_for_it() -> None:
    inner = waiting()
    begun: list[Pending] = []

    def begin(owner: object, value: str) -> Later:
        begun.append(inner.run("g", value))
        return Later()

    outer = Guest(passes_on(STRING), {"g": TEXTS}, {"f": HostFunction(TEXTS, begin, True)})
    call = outer.run("g", "text")
    (nested,) = begun
    nested.resume("inner")
    call.resume(finish(nested) + " outer")
    assert finish(call) == "inner outer"


# Computing


@pytest.fixture
def ticking() -> Generator[None]:
    """Lets the engine's epochs advance."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(0.002):
            engine().increment_epoch()

    thread = threading.Thread(target=tick)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("ticking")
def test_a_call_that_computes_long_is_left_and_goes_on() -> None:
    call = computing().run("count", 200_000_000)
    assert isinstance(call, Pending)
    assert call.waiting is None
    assert finish(call) == 200_000_000


def test_a_call_that_begins_at_the_end_of_a_slice_is_given_another() -> None:
    guest = computing()
    for _ in range(3):
        engine().increment_epoch()
        engine().increment_epoch()
        assert guest.run("count", 10) == 10


@pytest.mark.usefixtures("ticking")
def test_a_call_that_never_ends_can_be_dropped() -> None:
    guest = computing()
    call = guest.run("spin")
    assert not call.poll()
    call.drop()
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter component instance"):
        guest.run("count", 1)


@pytest.mark.usefixtures("ticking")
def test_another_thread_may_go_on_with_a_call() -> None:
    call = computing().run("count", 100_000_000)
    found: list[int] = []
    for _ in range(2):
        thread = threading.Thread(target=call.poll)
        thread.start()
        thread.join()
    thread = threading.Thread(target=lambda: found.append(finish(call)))
    thread.start()
    thread.join()
    assert found == [100_000_000]


def test_host_functions_wait_in_one_thread_and_go_on_in_another() -> None:
    guest = waiting()
    calls = []
    thread = threading.Thread(target=lambda: calls.append(guest.run("g", "text")))
    thread.start()
    thread.join()
    calls[0].resume("answer")
    assert finish(calls[0]) == "answer"


@pytest.mark.usefixtures("ticking")
def test_threads_poll_different_stores_at_once() -> None:
    found: list[tuple[str, int]] = []

    def finished(value: Any) -> Any:
        return finish(value) if isinstance(value, Pending) else value

    def work(number: int) -> None:
        guest = passing_on(STRING, lambda value: f"{number} {value}")
        other = computing()
        for turn in range(50):
            text = guest.run("g", str(turn))
            count = other.run("count", 3_000_000)
            found.append((finished(text), finished(count)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [(f"{number} {turn}", 3_000_000) for number in range(3) for turn in range(50)]
    assert sorted(found) == sorted(expected)


# Memory


@pytest.mark.timeout(600)
def test_memory_does_not_grow() -> None:
    pairs = ListOf(TupleOf((STRING, OptionOf(STRING))))
    plain = computing()
    events = passing_on(EVENT)
    lists = passing_on(pairs)
    results = passing_on(ResultOf(ListOf(MESSAGE), STRING))
    waits = waiting(BYTES)
    values = [Connected(), Received(Text("x" * 100)), Received(Binary(b"y" * 50))]
    headers = [("name", "value" * 20), ("other", None)] * 5
    messages = [Text("x" * 300), Binary(b"y" * 30)]

    def turn(number: int) -> None:
        assert plain.run("count", 1) == 1
        assert events.run("g", values[number % 3]) == values[number % 3]
        assert results.run("g", messages) == messages
        assert lists.run("g", headers) == headers
        if number % 100 == 0:
            assert len(plain.run("long", 100_000)) == 100_000
        call = waits.run("g", b"question")
        call.resume(b"answer" * 10)
        assert finish(call) == b"answer" * 10
        with pytest.raises(UnicodeEncodeError):
            lists.run("g", [("fine" * 10, "\ud800")])

    def turns(count: int) -> None:
        for number in range(count // 10):  # each enters a component, or comes from one, ten times
            turn(number)

    turns(20_000)
    before = resident()
    turns(CALLS)
    assert resident() - before < 2 * 1024 * 1024


def test_a_large_result_is_released_at_once() -> None:
    guest = computing()
    size = 32 * 1024 * 1024
    guest.run("long", size)  # the component's own memory has grown to that
    before = resident()
    guest.run("long", size)
    assert resident() - before < size / 2


def test_stores_are_made_and_closed_without_trace() -> None:
    def one() -> None:
        guest = passing_on(STRING)
        assert guest.run("g", "text") == "text"
        dropped = waiting()
        dropped.run("g", "text").drop()
        guest.close()
        dropped.close()

    for _ in range(100):
        one()
    gc.collect()
    before = resident()
    for _ in range(1000 if IS_LONG else 200):
        one()
    gc.collect()
    assert resident() - before < 4 * 1024 * 1024
