"""Values from a guest's memory: what they become, how large they may be, and what is refused."""

import struct
from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, Final

import pytest
from tests.wasm.staged import LIMIT, SHAPES, Memories
from tests.wasm.values import VALUES

from theater.contract import Binary, Close, ConnectionInfo, Drained, Headers, Query, Text
from theater.errors import InvalidHeader
from theater.wasm import loading
from theater.wasm.canonical import PAGE, PAGES, InvalidValue, flatten, size_align
from theater.wasm.capi import MEM, MEMORY
from theater.wasm.contracts import CONNECTION, EVENT, LEVEL, MESSAGE
from theater.wasm.memory import ITEM
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    EnumOf,
    Failure,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    ValueTooLarge,
)

ONES = (1 << 64) - 1


def taken(shape: Shape, words: Sequence[int], data: bytes = b"") -> Any:
    """What a guest with this at 0 in its memory hands over, as words of an argument."""
    memories = Memories(pages=1)
    memories.memory[: len(data)] = data
    (found,) = memories.taken((shape,), words)
    return found


def loaded(shape: Shape, data: bytes, at: int = 0) -> Any:
    """What a guest returns with this at an address in its memory."""
    memories = Memories(pages=1)
    memories.memory[at : at + len(data)] = data
    return memories.loaded(shape, at)


@pytest.mark.parametrize(("shape", "value"), VALUES)
def test_a_value_comes_back_as_it_went(shape: Shape, value: object) -> None:
    assert Memories().there_and_back(shape, value) == value
    assert Memories().back_and_there(shape, value) == value


def test_facts_of_connections_come_back() -> None:
    facts = ConnectionInfo(7, "/", {"a": "b"}, Query("q"), Headers([("a", "b")]), "chat", None)
    found = Memories().there_and_back(CONNECTION, facts)
    assert all(getattr(found, name) == getattr(facts, name) for name in ConnectionInfo.__slots__)


def test_a_case_without_payload_is_made_once() -> None:
    memories = Memories()
    words = memories.give([EVENT], [Drained()])
    assert memories.taken((EVENT,), words)[0] is memories.taken((EVENT,), words)[0]


@pytest.mark.parametrize("kind", [Text, Binary])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 125, 126, 16_383, 16_384, 65_536, 1024 * 1024])
def test_messages_of_any_size_come_back(kind: Any, size: int) -> None:
    message = Text("é" * (size // 2) + "x" * (size % 2)) if kind is Text else Binary(bytes(size))
    assert Memories(pages=20).there_and_back(ListOf(MESSAGE), [message]) == [message]


@pytest.mark.parametrize(
    ("shape", "words", "value"),
    [
        # what does not belong to the value is left aside
        (BOOL, [ONES << 32 & ONES], False),
        (BOOL, [2], True),
        (U8, [ONES], 255),
        (U16, [ONES], 65_535),
        (U32, [ONES], (1 << 32) - 1),
        (U64, [ONES], ONES),
        (F64, [0x3FF0_0000_0000_0000], 1.0),
        (LEVEL, [ONES << 32 & ONES | 2], "warning"),
        (OptionOf(U8), [ONES << 32 & ONES, 5], None),
        (STRING, [ONES << 32 & ONES | 4, ONES << 32 & ONES | 2], "xy"),
        (ResultOf(F64, U32), [1, ONES], Failure((1 << 32) - 1)),
        (TupleOf((U8, OptionOf(U64), U8)), [1, 1, 2, 3], (1, 2, 3)),
    ],
)
def test_words(shape: Shape, words: list[int], value: object) -> None:
    assert taken(shape, words, b"....xy") == value


@pytest.mark.parametrize(
    ("shape", "data", "value"),
    [
        (TupleOf((BOOL, BOOL)), "0002", (False, True)),
        (TupleOf((U8, U16, U32)), "01ff02000300000000", (1, 2, 3)),
        (TupleOf((U64, F64)), "0100000000000000000000000000f83f", (1, 1.5)),
        (OptionOf(U8), "0005", None),
        (OptionOf(U8), "0105", 5),
        (OptionOf(EnumOf(tuple(map(str, range(300))))), "0100 2b01", "299"),
        (ResultOf(U16, OptionOf(U8)), "01000100", Failure(0)),
    ],
)
def test_values_in_memory(shape: Shape, data: str, value: object) -> None:
    assert loaded(shape, bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("shape", "words", "problem"),
    [
        (LEVEL, [4], "there is no case 4 among 4"),
        (LEVEL, [0xFFFF_FFFF], "there is no case 4294967295 among 4"),
        (OptionOf(U8), [2, 0], "there is no case 2 among 2"),
        (ResultOf(U8, None), [2, 0], "there is no case 2 among 2"),
        (MESSAGE, [5, 0, 0, 0], "there is no case 5 among 5"),
        (STRING, [65_536, 1], "1 bytes at 65536 reach out of a memory of 65536"),
        (STRING, [1, 0xFFFF_FFFF], "4294967295 bytes at 1 reach out of a memory of 65536"),
        (BYTES, [65_535, 2], "2 bytes at 65535 reach out of a memory of 65536"),
        (ListOf(U64), [65_528, 2], "16 bytes at 65528 reach out of a memory of 65536"),
        (ListOf(U64), [0, 0xFFFF_FFFF], "34359738360 bytes at 0 reach out of a memory of 65536"),
        (ListOf(U64), [4, 1], "the address 4 is not a multiple of 8"),
        (ListOf(STRING), [2, 0], "the address 2 is not a multiple of 4"),
        (TupleOf((U64,) * 17), [4], "the address 4 is not a multiple of 8"),
        (TupleOf((U64,) * 17), [65_408], "136 bytes at 65408 reach out of a memory of 65536"),
    ],
)
def test_what_is_no_value_is_refused(shape: Shape, words: list[int], problem: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        taken(shape, words)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("shape", "data", "at", "problem"),
    [
        (OptionOf(U8), "02", 0, "there is no case 2 among 2"),
        (TupleOf((U8, LEVEL)), "00ff", 0, "there is no case 255 among 4"),
        (
            TupleOf((U8, EnumOf(tuple(map(str, range(300)))))),
            "0000 2c01",
            0,
            "there is no case 300 among 300",
        ),
        (STRING, "ffff000002000000", 0, "2 bytes at 65535 reach out of a memory of 65536"),
        (ListOf(U16), "0100000001000000", 0, "the address 1 is not a multiple of 2"),
        (STRING, "", 2, "the address 2 is not a multiple of 4"),
        (STRING, "08000000 01000000 ff", 0, "a text is not in UTF-8: invalid start byte"),
    ],
)
def test_what_is_no_value_in_memory_is_refused(shape: Shape, data: str, at: int, problem: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        loaded(shape, bytes.fromhex(data), at)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("shape", "value", "size"),
    [
        (STRING, "12345678é", 10),
        (BYTES, b"0123456789", 10),
        (ListOf(BOOL), [True, False], 2 * ITEM),
        (ListOf(STRING), ["1234"], ITEM + 4),
        (ListOf(STRING), ["1234", "5678", "9"], 3 * ITEM + 9),
        (TupleOf((STRING, BYTES)), ("12345", b"67890"), 10),
        (ListOf(TupleOf((STRING, STRING))), [("12345", "67890")], ITEM + 10),
        (ResultOf(STRING, BYTES), Failure(b"0123456789"), 10),
        (MESSAGE, Close(1000, "0123456789"), 10),
    ],
)
def test_a_value_may_be_as_large_as_the_limit(shape: Shape, value: object, size: int) -> None:
    assert Memories(limit=size).there_and_back(shape, value) == value
    assert Memories(limit=size).back_and_there(shape, value) == value
    memories = Memories(limit=size - 1)
    for way in (memories.there_and_back, memories.back_and_there) * 2:
        with pytest.raises(ValueTooLarge) as caught:
            way(shape, value)
        assert (caught.value.limit, caught.value.size) == (size - 1, size)


def test_texts_and_bytes_may_lie_up_to_the_end_of_the_memory() -> None:
    memories = Memories(pages=1)
    memories.memory[-3:] = b"\xc3\xa9!"
    assert memories.taken((STRING, BYTES, BYTES), (PAGE - 3, 3) * 2 + (PAGE, 0)) == ("é!", b"\xc3\xa9!", b"")


def test_a_memory_that_has_grown_can_be_read() -> None:
    memories = Memories(pages=3)
    memories.write(PAGES, 2)
    with pytest.raises(InvalidValue, match="1 bytes at 131072 reach out of a memory of 131072"):
        memories.taken((BYTES,), (2 * PAGE, 1))
    memories.write(PAGES, 3)
    assert memories.taken((BYTES,), (2 * PAGE, 1)) == (b"\0",)


@pytest.mark.parametrize("data", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"])
def test_a_text_is_in_utf_8(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="a text is not in UTF-8"):
        taken(STRING, (0, len(data)), data)


def test_a_value_that_is_handed_over_many_times_counts_as_often() -> None:
    # A list of texts that are all the same one takes little memory, and would fill that of the host.
    size, count = 1000, 100
    items = struct.pack("<II", 0, size) * count
    memories = Memories(limit=(ITEM + size) * count - 1)
    memories.memory[1024 : 1024 + len(items)] = items
    with pytest.raises(ValueTooLarge):
        memories.taken((ListOf(STRING),), (1024, count))


def test_all_arguments_together_have_the_limit() -> None:
    memories = Memories(limit=9)
    words = memories.give([STRING, STRING], ["12345", "67890"])
    with pytest.raises(ValueTooLarge):
        memories.taken((STRING, STRING), words)


def test_what_a_class_decodes_is_not_the_guests_text() -> None:
    def make(text: str) -> str:
        return text.encode("latin-1").decode()

    shape = Adapted(STRING, make, str)
    with pytest.raises(UnicodeDecodeError):
        Memories().there_and_back(shape, "\xff")


def test_what_a_class_does_not_take_is_raised() -> None:
    pairs = ListOf(TupleOf((STRING, STRING)))
    memories = Memories()
    words = memories.give([pairs], [[("not a token", "x")]])
    with pytest.raises(InvalidHeader):
        memories.taken((Adapted(pairs, Headers),), words)


def test_a_function_without_result_returns_nothing() -> None:
    assert Memories().loaded(None, ONES) is None


class Bounded(bytearray):
    """Memory at the address 0, with nothing around it: whoever reads there fails."""

    def __getitem__(self, place: Any) -> Any:
        assert 0 <= place.start <= place.stop <= len(self), place
        return bytes(super().__getitem__(place))


SIZE: Final = PAGE
HOSTILE: Final = (1 << 31, 0xFFFF_FFFF, 0xFFFF_FFFC, 1 << 16, 0x0101_0101)


def hostile_number(random: Random) -> int:
    """One that may be the number of a case, an address, or neither."""
    return random.choice(
        (
            random.randrange(8),
            random.randrange(8),
            random.randrange(0, SIZE, 4),
            random.randrange(SIZE - 32, SIZE + 8),
            random.choice(HOSTILE),
        )
    )


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_that_a_guest_hands_over_does_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES[name]
    random = Random(name)
    memories = Memories(pages=1)
    guest = memories.guest
    guest.base = 0
    take, load = loading.compile_arguments((shape,)), loading.compile_result(shape)
    size, align = size_align(shape)
    count = len(flatten([shape]))
    outcomes = Counter[type]()
    excess: list[int] = []
    for limit in (40, 200, LIMIT) * 80:
        part = struct.pack("<128I", *(hostile_number(random) for _ in range(128)))
        memories.memory = content = Bounded(part * (SIZE // len(part)))
        guest.limit = limit
        for names in (take.__globals__, load.__globals__):
            for each, value in list(names.items()):
                if value is MEM or value is MEMORY or isinstance(value, Bounded):
                    monkeypatch.setitem(names, each, content)
        words = [hostile_number(random) for _ in range(count)]
        start = random.randrange(0, SIZE - size + 1, align)
        for attempt in (partial(memories.taken, (shape,), words), partial(memories.loaded, shape, start)):
            try:
                attempt()
            except (InvalidValue, ValueTooLarge) as error:
                outcomes[type(error)] += 1
                if isinstance(error, ValueTooLarge):
                    excess.append(error.size - limit)
    assert outcomes[InvalidValue] or count == 1  # any number is one
    assert min(excess, default=1) > 0
