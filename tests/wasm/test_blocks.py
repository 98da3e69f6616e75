"""Values of Python in the form that they have in memory."""

import struct
from typing import Any

import pytest
from tests.wasm.staged import RESULT, START, Memories

from theater.contract import Close, Closed, Congested, Connected, Headers, Received, Response, Text
from theater.errors import LocalError, NoSuchActor
from theater.wasm.blocks import Writes, write
from theater.wasm.canonical import ROOM, size_align
from theater.wasm.contracts import ACTOR_ERROR, EVENT, LEVEL, RESPONSE
from theater.wasm.memory import LARGE
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Case,
    EnumOf,
    Failure,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    VariantOf,
)
from theater.wasm.source import Source


def stored(shape: Shape, value: Any) -> tuple[bytes, Memories]:
    """The bytes that a value has in the guest's memory, at `RESULT`; texts and lists lie at `START`."""
    memories = Memories()
    size, _ = size_align(shape)
    memories.staging.begin(ROOM + -(-size // 8) * 8)
    code = Source()
    writes = Writes(code, str(ROOM))
    write(code, shape, "value", writes, 0)
    writes.end()
    code.function("staging, value")(memories.staging, value)
    struct.pack_into("<III", memories.reserved, 4, memories.staging.count, ROOM + -(-size // 8) * 8, 0)
    memories.glue()
    return bytes(memories.reserved[ROOM : ROOM + size]), memories


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        (BOOL, True, "01"),
        (BOOL, [], "00"),
        (U8, 0xFE, "fe"),
        (U16, 0xFEDC, "dcfe"),
        (U32, 0xFEDCBA98, "98badcfe"),
        (U64, 0xFEDCBA9876543210, "1032547698badcfe"),
        (F64, 1.5, "000000000000f83f"),
        (F64, 1, "000000000000f03f"),
        (LEVEL, "warning", "02"),
        (EnumOf(tuple(map(str, range(300)))), "299", "2b01"),
        (TupleOf((U8, U16, U8)), (1, 2, 3), "010002000300"),
        (OptionOf(U16), None, "00000000"),
        (OptionOf(U16), 5, "01000500"),
        (ResultOf(U8, U16), 7, "00000700"),
        (ResultOf(U8, U16), Failure(7), "01000700"),
        (ResultOf(None, None), None, "00"),
        (ResultOf(None, None), Failure(), "01"),
        (VariantOf((Case("a", int, U8, int), Case("b", str))), "b", "0100"),
        (EVENT, Connected(), "00" * 24),
        (EVENT, Congested(5), "03" + "00" * 7 + "05" + "00" * 15),
        (ACTOR_ERROR, NoSuchActor("chat"), "01" + "00" * 11),
    ],
)
def test_values_without_texts(shape: Shape, value: object, expected: str) -> None:
    data, memories = stored(shape, value)
    assert data.hex() == expected
    assert memories.asked == []


def test_a_text_is_address_and_length() -> None:
    data, memories = stored(STRING, "é!")
    assert struct.unpack("<II", data) == (START, 3)
    assert memories.memory[START : START + 3] == "é!".encode()
    assert memories.asked == [(1, 3)]


@pytest.mark.parametrize(("shape", "value"), [(STRING, ""), (BYTES, b""), (ListOf(U64), [])])
def test_memory_is_asked_for_even_if_it_has_no_bytes(shape: Shape, value: object) -> None:
    data, memories = stored(shape, value)
    assert struct.unpack("<II", data) == (START, 0)
    assert memories.asked == [(8 if shape == ListOf(U64) else 1, 0)]


def test_a_list_lies_before_what_its_items_lead_to() -> None:
    data, memories = stored(ListOf(TupleOf((U8, STRING))), [(1, "one"), (2, "two")])
    assert struct.unpack("<II", data) == (START, 2)
    assert memories.asked == [(4, 24), (1, 3), (1, 3)]
    assert struct.unpack_from("<B3xIIB3xII", memories.memory, START) == (1, START + 24, 3, 2, START + 27, 3)
    assert memories.memory[START + 24 : START + 30] == b"onetwo"


def test_an_event_with_a_text() -> None:
    data, memories = stored(EVENT, Received(Text("hello")))
    assert struct.unpack("<B7xB3xII4x", data) == (1, 0, START, 5)
    assert memories.memory[START : START + 5] == b"hello"


def test_a_case_whose_payload_is_the_value_itself() -> None:
    data, _ = stored(EVENT, Closed(1001, "bye"))
    assert struct.unpack("<B7xH2xII4x", data) == (5, 1001, START, 3)


def test_an_error_with_a_sentence() -> None:
    data, memories = stored(ACTOR_ERROR, LocalError("a sentence"))
    assert struct.unpack("<B3xII", data) == (5, START, 10)
    assert memories.memory[START : START + 10] == b"a sentence"


def test_large_data_is_not_copied_through_staging_memory() -> None:
    memories = Memories()
    text, data = "x" * LARGE, b"y" * (LARGE + 1)
    (found,) = memories.give([OptionOf(TupleOf((STRING, STRING, BYTES)))], [(text, "small", data)])[:1]
    assert found == 1
    assert memories.asked == [(1, LARGE), (1, 5), (1, LARGE + 1)]
    assert memories.memory[START:].startswith(text.encode() + b"small" + data)
    assert b"x" not in memories.reserved
    assert b"y" not in memories.reserved


def test_a_list_may_be_larger_than_staging_memory_was() -> None:
    memories = Memories(pages=10)
    pairs = [(str(number), "x" * (number % 50)) for number in range(3000)]
    assert memories.there_and_back(ListOf(TupleOf((STRING, STRING))), pairs) == pairs
    assert memories.grown


def test_headers_are_pairs() -> None:
    memories = Memories()
    response = Response(404, Headers([("a", "b"), ("a", "c")]), b"none")
    assert memories.there_and_back(RESPONSE, response) == response
    assert memories.memory[RESULT : RESULT + 8] == bytes(8)


def test_a_case_is_found_by_exactly_its_class() -> None:
    with pytest.raises(TypeError, match=r"^expected one of Connected, Received, .*, Closed, not Close$"):
        stored(EVENT, Close(1000, ""))
