"""Values of Python from a guest's memory and its core values.

A shape is compiled once into closures: one that reads a value from memory, one that makes it from words.
Nothing of what a guest says is trusted. An address is read from when what lies there, all of its size, is
known to lie in the guest's memory; lengths are held against the limit before anything is copied.
"""

# ruff: noqa: ARG005  all converters are called alike

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from theater.wasm.canonical import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    InvalidValue,
    case_size,
    flatten,
    offsets,
    parts,
    payload_offset,
    payloads,
    size_align,
)
from theater.wasm.capi import MEMORY
from theater.wasm.memory import ITEM, Guest
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
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)

_32_BITS: Final = 0xFFFF_FFFF
_MASKS: Final = {U8: 0xFF, U16: 0xFFFF, U32: _32_BITS, U64: 0xFFFF_FFFF_FFFF_FFFF}
_FORMATS: Final = {BOOL: "B", U8: "B", U16: "H", U32: "I", U64: "Q", F64: "d"}
_NUMBERS: Final = {1: "B", 2: "H", 4: "I"}  # of cases, by their size
_to_bytes: Final = struct.Struct("<Q").pack
_to_double: Final = struct.Struct("<d").unpack

Load = Callable[[Guest, int], Any]
"""Called with the address, that of the process, of a value whose bytes lie in the guest's memory.

Raises:
    InvalidValue: the guest handed over what is no value of the shape.
    ValueTooLarge: more would be copied than may.
    Exception: what the shape's classes raise over values that they do not take.
"""

Copy = Callable[[Guest, int, int], Any]
"""Called with the address in the guest's memory and the length of a text, of bytes or a list. Raises the
same."""

Take = Callable[[Guest, Sequence[int]], Any]
"""Called with words, of which a value takes those that its place among them says. Raises the same."""


def compile_arguments(shapes: Sequence[Shape]) -> Callable[[Guest, Sequence[int]], tuple[Any, ...]]:
    """Compiles what reads the arguments that a guest calls a function of the host with, given the words of
    its core values: without the address for a result, which comes behind them.
    """
    whole = TupleOf(tuple(shapes))
    if len(flatten(shapes)) > MAX_FLAT_PARAMS:
        load = _compile_pointed(whole)
        return lambda guest, words: load(guest, words[0])
    takes = _take_parts(whole, 0)
    return lambda guest, words: tuple([take(guest, words) for take in takes])


def compile_result(shape: Shape | None) -> Callable[[Guest, int], Any]:
    """Compiles what reads the result of a guest's function, given the word that it returned, if any."""
    if shape is None:
        return lambda guest, word: None
    if len(flatten((shape,))) > MAX_FLAT_RESULTS:
        return _compile_pointed(shape)
    take = compile_take(shape, 0)
    return lambda guest, word: take(guest, (word,))


def _compile_pointed(shape: Shape) -> Callable[[Guest, int], Any]:
    """What reads a value from memory, given the word with its address."""
    load = compile_load(shape)
    size, align = size_align(shape)

    def load_pointed(guest: Guest, word: int) -> Any:
        at = word & _32_BITS
        if at % align or at + size > guest.size:
            raise guest.misplaced(at, size, align)
        return load(guest, guest.base + at)

    return load_pointed


def compile_load(shape: Shape, offset: int = 0) -> Load:
    """Compiles what reads a value from memory.

    Args:
        offset: where it lies from the address that will be given, in bytes.
    """
    if payloads(shape) is not None:
        return _load_case(shape, offset)
    match shape:
        case Scalar() if shape in _FORMATS:
            return _load_scalar(shape, offset)
        case TupleOf():
            return _load_tuple(shape, offset)
        case RecordOf(make):
            fields = _load_parts(shape, offset)
            return lambda guest, at: make(*[load(guest, at) for load in fields])
        case Adapted(inner, make):
            inner_load = compile_load(inner, offset)
            return lambda guest, at: make(inner_load(guest, at))
        case _:
            copy = _copier(shape)
            read = _reader(offset, "II")
            return lambda guest, at: copy(guest, *read(MEMORY, at))


_COPIES: Final[dict[Shape, Copy]] = {STRING: Guest.text, BYTES: Guest.data}


def _copier(shape: Shape) -> Copy:
    return _list(shape.item) if isinstance(shape, ListOf) else _COPIES[shape]


def _reader(offset: int, form: str) -> Callable[[memoryview, int], tuple[Any, ...]]:
    return struct.Struct(f"<{offset}x{form}").unpack_from


def _load_scalar(shape: Scalar, offset: int) -> Load:
    read = _reader(offset, _FORMATS[shape])
    if shape == BOOL:
        return lambda guest, at: read(MEMORY, at)[0] != 0
    return lambda guest, at: read(MEMORY, at)[0]


def _load_tuple(shape: TupleOf, offset: int) -> Load:
    if shape.items == (STRING, STRING):  # a header field
        return _load_texts(offset)
    items = _load_parts(shape, offset)
    return lambda guest, at: tuple([load(guest, at) for load in items])


def _load_texts(offset: int) -> Load:
    read = _reader(offset, "IIII")

    def load(guest: Guest, at: int) -> tuple[str, str]:
        one, size, other, length = read(MEMORY, at)
        return guest.text(one, size), guest.text(other, length)

    return load


def _load_parts(shape: RecordOf | TupleOf, offset: int) -> list[Load]:
    return [
        compile_load(part, offset + start) for part, start in zip(parts(shape), offsets(shape), strict=False)
    ]


def _load_case(shape: Shape, offset: int) -> Load:
    cases = payloads(shape) or ()
    inside = offset + payload_offset(cases)[0]
    read = _case_reader(shape, offset)
    known = [(*_payload(case, inside), *makes) for case, makes in zip(cases, _makes(shape), strict=True)]

    def load_case(guest: Guest, at: int) -> Any:
        number, start, length = read(MEMORY, at)
        if number >= len(known):
            raise _no_case(number, len(known))
        copy, load, make, constant = known[number]
        if copy is not None:
            value = copy(guest, start, length)
        elif load is not None:
            value = load(guest, at)
        else:
            return constant
        return value if make is None else make(value)

    return load_case


def _payload(shape: Shape | None, offset: int) -> tuple[Copy | None, Load | None]:
    """What makes a payload of its address and length, if it consists of these, or else from memory."""
    if shape is None:
        return None, None
    if isinstance(shape, ListOf) or shape in _COPIES:
        return _copier(shape), None
    return None, compile_load(shape, offset)


def _case_reader(shape: Shape, offset: int) -> Callable[[memoryview, int], tuple[int, ...]]:
    """What reads the number of a case, and at once the address and length that most payloads consist of."""
    cases = payloads(shape) or ()
    form = f"{offset}x{_NUMBERS[case_size(len(cases))]}"
    start, _ = payload_offset(cases)
    if start + 8 <= size_align(shape)[0]:
        return struct.Struct(f"<{form}{start - case_size(len(cases))}xII").unpack_from
    read = struct.Struct(f"<{form}").unpack_from
    return lambda memory, at: (*read(memory, at), 0, 0)


def _no_case(number: int, count: int) -> InvalidValue:
    return InvalidValue(f"there is no case {number} among {count}")


def _makes(shape: Shape) -> list[tuple[Callable[[Any], Any] | None, Any]]:
    """What makes the value of each case: from that of its payload, if it is not the same; or a constant."""
    match shape:
        case OptionOf():
            return [(None, None), (None, None)]
        case ResultOf():
            return [(None, None), (Failure, Failure())]
        case EnumOf(names):
            return [(None, name) for name in names]
        case VariantOf(cases):
            return [
                (None, case.cls()) if case.shape is None else (case.cls if case.get else None, None)
                for case in cases
            ]
        case _:
            raise AssertionError(shape)


def _list(shape: Shape) -> Copy:
    """What makes a list from the address and the number of its items."""
    item = compile_load(shape)
    size, align = size_align(shape)

    def load_list(guest: Guest, at: int, count: int) -> list[Any]:
        whole = count * size
        if at % align or at + whole > guest.size:
            raise guest.misplaced(at, whole, align)
        left = guest.left - count * ITEM
        if left < 0:
            raise guest.too_large(left)
        guest.left = left
        start = guest.base + at
        if count == 1:  # the usual answer of an actor
            return [item(guest, start)]
        return [item(guest, each) for each in range(start, start + whole, size)]

    return load_list


def compile_take(shape: Shape, place: int) -> Take:
    """Compiles what makes a value of words.

    Args:
        place: of the first of its own among all of them.
    """
    if payloads(shape) is not None:
        return _take_case(shape, place)
    match shape:
        case Scalar() if shape in _FORMATS:
            return _take_scalar(shape, place)
        case TupleOf():
            items = _take_parts(shape, place)
            return lambda guest, words: tuple([take(guest, words) for take in items])
        case RecordOf(make):
            fields = _take_parts(shape, place)
            return lambda guest, words: make(*[take(guest, words) for take in fields])
        case Adapted(inner, make):
            inner_take = compile_take(inner, place)
            return lambda guest, words: make(inner_take(guest, words))
        case _:
            copy = _copier(shape)
            after = place + 1
            return lambda guest, words: copy(guest, words[place] & _32_BITS, words[after] & _32_BITS)


def _take_scalar(shape: Scalar, place: int) -> Take:
    if shape == BOOL:
        return lambda guest, words: words[place] & _32_BITS != 0
    if shape == F64:
        return lambda guest, words: _to_double(_to_bytes(words[place]))[0]
    mask = _MASKS[shape]
    return lambda guest, words: words[place] & mask


def _take_parts(shape: RecordOf | TupleOf, place: int) -> list[Take]:
    takes = []
    for part in parts(shape):
        takes.append(compile_take(part, place))
        place += len(flatten((part,)))
    return takes


def _take_case(shape: Shape, place: int) -> Take:
    """All cases have their payload at the same place."""
    cases = payloads(shape) or ()
    known = [
        (None if case is None else compile_take(case, place + 1), make, constant)
        for case, (make, constant) in zip(cases, _makes(shape), strict=True)
    ]

    def take_case(guest: Guest, words: Sequence[int]) -> Any:
        number = words[place] & _32_BITS
        if number >= len(known):
            raise _no_case(number, len(known))
        take, make, constant = known[number]
        if take is None:
            return constant
        value = take(guest, words)
        return value if make is None else make(value)

    return take_case
