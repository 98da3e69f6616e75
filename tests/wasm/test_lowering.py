"""Values on their way to a component: what is refused before wasmtime sees it, and what arrives."""

import array
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wasm.crossing import Guest, passing_on

from theater.contract import Binary, Close, Closed, Connected, Headers, Query, Received, Request, Text
from theater.errors import LocalError, NoSuchActor
from theater.wasm.contracts import ACTOR_ERROR, CONNECTION_EVENT, DATA, EVENT, LEVEL, MESSAGE, PEER, REQUEST
from theater.wasm.layout import BYTES_HEADER, CELL, MEM, MEMORY, read_cell
from theater.wasm.lowering import compile_lowering
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
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
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
    ],
)
def test_what_does_not_fit_is_refused(shape: Shape, value: object) -> None:
    guest = passing_on(shape)
    for _ in range(2):
        with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
            guest.run("g", value)
    assert not guest.context.busy  # the component was not entered


def test_what_a_host_function_returns_is_checked_as_well() -> None:
    guest = passing_on(STRING, lambda value: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        guest.run("g", "text")


def test_the_number_of_arguments_is_checked() -> None:
    guest = passing_on(U8)
    with pytest.raises(TypeError, match="expected 1 arguments, not 2"):
        guest.run("g", 1, 2)


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
        passing_on(ListOf(STRING)).run("g", Growing(["a", "b"], length))


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
    assert passing_on(BYTES).run("g", value) == b"\0\1\xff"


def test_a_list_may_be_anything_that_is_counted_and_iterated_over() -> None:
    guest = passing_on(ListOf(STRING))
    assert guest.run("g", ("a", "b")) == ["a", "b"]
    assert guest.run("g", {"a": 1}.keys()) == ["a"]
    assert guest.run("g", frozenset({"a"})) == ["a"]


def test_records_are_read_by_attribute_and_adapted() -> None:
    parameters: Mapping[str, str] = MappingProxyType({"room": "1", "user": "é"})
    request = Request("GET", "/", parameters, Query("a=b"), Headers([("a", "b"), ("c", "d"), ("a", "e")]))
    assert passing_on(REQUEST).run("g", request) == request


def test_a_case_without_payload_leaves_the_fields_behind() -> None:
    assert passing_on(CONNECTION_EVENT).run("g", Closed(1000, "bye")) == Closed()


def test_numbers_may_be_any_float() -> None:
    guest = passing_on(F64)
    assert math.isnan(guest.run("g", math.nan))
    assert guest.run("g", -math.inf) == -math.inf
    assert math.copysign(1, guest.run("g", -0.0)) == -1
    assert guest.run("g", 3) == 3.0


@pytest.fixture(scope="module")
def pairs() -> Guest:
    return passing_on(ListOf(TupleOf((STRING, STRING))))


@pytest.fixture(scope="module")
def nested() -> Guest:
    return passing_on(ListOf(ListOf(OptionOf(EVENT))))


@pytest.fixture(scope="module")
def results() -> Guest:
    return passing_on(ListOf(ResultOf(ListOf(BYTES), OptionOf(TupleOf((U8, BOOL, F64))))))


texts = st.text(st.characters(exclude_categories=["Cs"]))
events = st.one_of(
    st.just(Connected()),
    st.builds(lambda text: Received(Text(text)), texts),
    st.builds(lambda data: Received(Binary(data)), st.binary()),
    st.builds(Closed, st.integers(0, 65535), texts),
)


@given(value=st.lists(st.tuples(texts, texts), max_size=40))
@settings(deadline=None)
def test_pairs_arrive(pairs: Guest, value: list[tuple[str, str]]) -> None:
    assert pairs.run("g", value) == value


@given(value=st.lists(st.lists(st.none() | events, max_size=5), max_size=5))
@settings(deadline=None)
def test_lists_of_lists_arrive(nested: Guest, value: list[list[object]]) -> None:
    assert nested.run("g", value) == value


@given(
    value=st.lists(
        st.one_of(
            st.lists(st.binary()),
            st.builds(
                Failure,
                st.none() | st.tuples(st.integers(0, 255), st.booleans(), st.floats(allow_nan=False)),
            ),
        ),
        max_size=5,
    )
)
@settings(deadline=None)
def test_results_arrive(results: Guest, value: list[object]) -> None:
    assert results.run("g", value) == value


def test_a_long_list_arrives(pairs: Guest) -> None:
    value = [(str(number), "x" * (number % 50)) for number in range(20_000)]
    assert pairs.run("g", value) == value


@pytest.mark.parametrize("error", [NoSuchActor("chat"), LocalError("a sentence")])
def test_errors_of_actors_are_cases(error: LocalError) -> None:
    # The host alone makes them: nothing makes one of what a component says. So only the way there is seen,
    # on which a cell is a variant's with the name of the case.
    (case,) = (case for case in ACTOR_ERROR.cases if case.cls is type(error))
    lower, extra = compile_lowering(ACTOR_ERROR)
    keep: list[Any] = [bytes(CELL + extra)]
    cell = id(keep[0]) + BYTES_HEADER
    lower(error, cell, cell + CELL, keep)
    size, name, payload = read_cell(MEMORY, cell)
    assert MEM[name : name + size] == case.name.encode()
    assert bool(payload) == (case.shape is not None)
