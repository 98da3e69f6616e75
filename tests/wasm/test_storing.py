"""Arguments of a guest's functions, and results of the host's: what is refused, and what arrives."""

import array
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wasm.crossing import Guest, Types
from tests.wasm.staged import RESULT, SHAPES, START, Memories, values
from tests.wasm.values import VALUES

from theater.contract import Close, Closed, Congested, Connected, Received, Text
from theater.errors import LocalError
from theater.wasm import storing
from theater.wasm.calls import HostFunction
from theater.wasm.canonical import COUNT, ROOM, SLOTS, flatten, signature, size_align
from theater.wasm.contracts import ACTOR_ERROR, DATA, EVENT, LEVEL, MESSAGE, PEER
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


@pytest.mark.parametrize(
    ("shapes", "arguments", "words"),
    [
        ([], [], []),
        ([BOOL, U8, U64], [True, 255, (1 << 64) - 1], [1, 255, (1 << 64) - 1]),
        ([F64], [-2.0], [0xC000_0000_0000_0000]),
        ([LEVEL], ["error"], [3]),
        ([STRING, BYTES], ["é", b"abc"], [START, 2, START + 2, 3]),
        ([ListOf(U16)], [[1, 2, 3]], [START, 3]),
        ([OptionOf(STRING), U8], [None, 7], [0, 0, 0, 7]),
        ([OptionOf(STRING), U8], ["x", 7], [1, START, 1, 7]),
        ([ResultOf(U32, F64)], [5], [0, 5]),
        ([ResultOf(U32, F64)], [Failure(1.0)], [1, 0x3FF0_0000_0000_0000]),
        ([ResultOf(None, STRING)], [None], [0, 0, 0]),
        ([TupleOf((U8, PEER))], [(1, type("Peer", (), {"address": "::1", "port": 80}))], [1, START, 3, 80]),
        ([U64, EVENT], [7, Connected()], [7, 0, 0, 0, 0]),
        ([U64, EVENT], [7, Congested(1 << 63)], [7, 3, 1 << 63, 0, 0]),
        ([U64, EVENT], [7, Received(Text("hello"))], [7, 1, 0, START, 5]),
        ([U64, EVENT], [7, Closed(1001, "bye")], [7, 5, 1001, START, 3]),
        ([MESSAGE, BOOL], [Close(1000, "bye"), True], [4, 1000, START, 3, 1]),
    ],
)
def test_arguments_are_words_in_the_slots(
    shapes: list[Shape], arguments: list[object], words: list[int]
) -> None:
    assert list(Memories().give(shapes, arguments)) == words


def test_arguments_that_are_too_many_are_a_block() -> None:
    memories = Memories()
    assert memories.give([U8, *[U64] * 15, STRING], [1, *range(15), "text"]) == (START,)
    assert memories.asked == [(8, 136), (1, 4)]
    assert struct.unpack_from("<B7x15QII", memories.memory, START) == (1, *range(15), START + 136, 4)


@pytest.mark.parametrize("shapes", [[U8], [U64] * 17])
def test_the_number_of_arguments_is_checked(shapes: list[Shape]) -> None:
    count = len(shapes)
    with pytest.raises(TypeError, match=f"expected {count} arguments, not {count + 1}"):
        Memories().give(shapes, [0] * (count + 1))


@pytest.mark.parametrize(
    ("shape", "value", "word"),
    [
        (U64, (1 << 64) - 1, (1 << 64) - 1),
        (F64, 1.0, 0x3FF0_0000_0000_0000),
        (BOOL, True, 1),
        (ResultOf(None, None), Failure(), 1),
    ],
)
def test_a_result_of_one_core_value_is_in_the_first_slot(shape: Shape, value: object, word: int) -> None:
    assert Memories().answer(shape, value) == word


def test_a_result_of_more_than_one_core_value_is_in_its_room() -> None:
    memories = Memories()
    storing.compile_result(OptionOf(STRING))(memories.staging, "text")
    assert memories.read(COUNT, 3) == (1, ROOM + 16, 0)
    assert memories.read(ROOM, 3) == (1, 0, 4)
    memories.glue()
    assert memories.read(ROOM, 3) == (1, START, 4)


def test_nothing_is_returned_where_there_is_no_result() -> None:
    memories = Memories()
    before = bytes(memories.reserved)
    storing.compile_result(None)(memories.staging, "anything")
    assert memories.reserved == before


UNFIT: list[tuple[Shape, Any]] = [
    (U8, 256),
    (U16, -1),
    (U32, 1 << 32),
    (U64, 1 << 64),
    (U64, 1.0),
    (U64, "1"),
    (F64, "1.0"),
    (F64, 10**400),
    (STRING, b"text"),
    (STRING, "\ud800"),
    (STRING, None),
    (BYTES, "text"),
    (BYTES, 5),
    (BYTES, None),
    (ListOf(STRING), 5),
    (ListOf(STRING), ["fine", 5]),
    (ListOf(TupleOf((STRING, STRING))), [("fine", "fine"), ("one",)]),
    (TupleOf((U8, STRING)), (1,)),
    (OptionOf(U8), "1"),
    (LEVEL, "loud"),
    (DATA, "text"),
    (DATA, Close(1000, "")),
    (MESSAGE, Close(1 << 16, "")),
    (MESSAGE, Close(1000, "\udfff")),
    (EVENT, Received(Close())),  # type: ignore[arg-type]
    (PEER, "localhost"),
    (ResultOf(None, STRING), "text"),
    (ResultOf(None, STRING), Failure(5)),
    (ResultOf(U8, None), Failure("text")),
]


@pytest.mark.parametrize(("shape", "value"), UNFIT)
@pytest.mark.parametrize("inside", [False, True])
def test_what_does_not_fit_is_refused(shape: Shape, value: object, inside: bool) -> None:
    """As a word, and in memory."""
    memories = Memories()
    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
        memories.give([ListOf(shape) if inside else shape], [[value] if inside else value])
    assert memories.there_and_back(STRING, "fine") == "fine"


class Growing(list[str]):
    """A list whose length is not that of what it gives."""

    def __init__(self, items: list[str], length: int) -> None:
        super().__init__(items)
        self._length = length

    def __len__(self) -> int:
        return self._length


@pytest.mark.parametrize(("length", "word"), [(1, "grew"), (3, "shrank")])
def test_a_list_has_as_many_items_as_it_says(length: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Memories().give([ListOf(STRING)], [Growing(["a", "b"], length)])


@pytest.mark.parametrize(
    "value",
    [
        bytearray(b"\0\1\xff"),
        memoryview(b"\0\1\xff"),
        memoryview(b"\0.\1.\xff.")[::2],
        array.array("B", b"\0\1\xff"),
    ],
)
def test_anything_with_a_buffer_is_binary_data(value: Any) -> None:
    assert Memories().there_and_back(BYTES, value) == b"\0\1\xff"


def test_a_list_may_be_anything_that_is_counted_and_iterated_over() -> None:
    memories = Memories()
    assert memories.there_and_back(ListOf(STRING), ("a", "b")) == ["a", "b"]
    assert memories.there_and_back(ListOf(STRING), {"a": 1}.keys()) == ["a"]
    assert memories.there_and_back(ListOf(STRING), frozenset({"a"})) == ["a"]


@pytest.mark.parametrize("name", SHAPES)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_whatever_the_contracts_have_arrives(name: str, data: st.DataObject) -> None:
    shape = SHAPES[name]
    value = data.draw(values(shape))
    assert Memories(pages=1).there_and_back(shape, value) == value
    assert Memories(pages=1).back_and_there(shape, value) == value


def test_the_slots_are_all_that_is_needed_for_words() -> None:
    memories = Memories()
    assert memories.give([U64] * 16, range(16)) == tuple(range(16))
    assert memories.staging.top == ROOM == SLOTS + 128


# Beside wasmtime, which hands the same values to a component

WORDS = 1024
PLACE = 2048
END = START + 4096
_TO_WORD = {"i32": "(i64.extend_i32_u {})", "i64": "{}", "f64": "(i64.reinterpret_f64 {})"}


def _keep(at: int, type: str, value: str) -> str:
    return f"(i64.store (i32.const {at}) {_TO_WORD[type].format(value)})"


def keeping(shape: Shape) -> str:
    """A component whose memory can be looked at, after its function `take` was called with a value, and after
    `fetch`, which asks the host for one.
    """
    types = Types()
    kind = types.write(shape)
    given = signature(FunctionShape((shape,), None), lowered=False).core.parameters
    asked, _, returned = signature(FunctionShape((), shape), lowered=True)
    take = " ".join(_keep(WORDS + 8 * n, each, f"(local.get {n})") for n, each in enumerate(given))
    fetch = f"(call $f (i32.const {PLACE}))" if returned else _keep(PLACE, asked.results[0], "(call $f)")
    return f"""(component
      {" ".join(types.lines)}
      (import "host" (instance $host (export "f" (func (result {kind})))))
      (core module $memory
        (memory (export "memory") 2)
        (global $top (mut i32) (i32.const {START}))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $start i32)
          (local.set $start (i32.and (i32.sub (i32.const 0) (local.get 2))
            (i32.add (global.get $top) (i32.sub (local.get 2) (i32.const 1)))))
          (global.set $top (i32.add (local.get $start) (local.get 3)))
          (local.get $start)))
      (core instance $memory (instantiate $memory))
      (alias core export $memory "memory" (core memory $memory))
      (alias core export $memory "realloc" (core func $realloc))
      (core func $f (canon lower (func $host "f") (memory $memory) (realloc $realloc)))
      (core module $m
        (import "m" "memory" (memory 2))
        (import "h" "f" (func $f (param {" ".join(asked.parameters)}) (result {" ".join(asked.results)})))
        (func (export "take") (param {" ".join(given)}) {take})
        (func (export "fetch") {fetch})
        (func (export "look") (result i32)
          (i32.store (i32.const 0) (i32.const {WORDS}))
          (i32.store (i32.const 4) (i32.const {END - WORDS}))
          (i32.const 0)))
      (core instance $i (instantiate $m
        (with "h" (instance (export "f" (func $f)))) (with "m" (instance $memory))))
      (func (export "take") (param "v" {kind})
        (canon lift (core func $i "take") (memory $memory) (realloc $realloc)))
      (func (export "fetch") (canon lift (core func $i "fetch")))
      (func (export "look") (result (list u8)) (canon lift (core func $i "look") (memory $memory))))"""


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        *VALUES,
        (
            ListOf(TupleOf((U8, EVENT))),
            [(1, Connected()), (2, Received(Text("text"))), (3, Closed(1, "bye"))],
        ),
        (TupleOf((U8, *[U64] * 15, STRING)), (1, *range(15), "text")),
        (ACTOR_ERROR, LocalError("a sentence")),
    ],
)
def test_the_guest_finds_what_wasmtime_would_give_it(shape: Shape, value: Any) -> None:
    shapes = {
        "take": FunctionShape((shape,), None),
        "fetch": FunctionShape((), None),
        "look": FunctionShape((), BYTES),
    }
    host = {"f": HostFunction(FunctionShape((), shape), lambda owner: value)}
    guest = Guest(keeping(shape), shapes, host)
    memories = Memories()
    guest.run("take", value)
    words = memories.give([shape], [value])
    found = guest.run("look")
    assert struct.unpack_from(f"<{len(words)}Q", found) == words
    assert found[START - WORDS :] == memories.memory[START:END]
    guest.run("fetch")
    word = memories.answer(shape, value)
    found = guest.run("look")[PLACE - WORDS :]
    assert found[START - PLACE :] == memories.memory[START:END]
    if len(flatten([shape])) > 1:
        size, _ = size_align(shape)
        assert found[:size] == memories.memory[RESULT : RESULT + size]
    else:
        assert struct.unpack_from("<Q", found) == (word,)
