"""Values of Python into the form in which a guest is given them: words, and blocks of memory.

A shape is compiled once into a closure that adds a value's words to those of all.
"""

# ruff: noqa: ARG001, ARG005  all converters are called alike

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from theater.wasm.blocks import FORMATS, Add, adder, check_count, chooser, compile_store, number, wrong_class
from theater.wasm.canonical import (
    COUNT,
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    ROOM,
    SLOTS,
    WORD,
    flatten,
    parts,
    payloads,
    size_align,
)
from theater.wasm.memory import Staging
from theater.wasm.shapes import (
    F64,
    Adapted,
    EnumOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)

Give = Callable[[Staging, Any, list[int]], None]
"""Called with a value and a list, to which it adds as many words as the shape has core values. Raises the
same."""

_write_counts: Final = struct.Struct("<IIIQ").pack_into  # and the first slot
_to_bytes: Final = struct.Struct("<d").pack
_to_word: Final = struct.Struct("<Q").unpack


def compile_arguments(shapes: Sequence[Shape]) -> Callable[[Staging, Sequence[Any]], None]:
    """Compiles what writes the arguments that a function of a guest is called with."""
    count, words = len(shapes), len(flatten(shapes))
    if words > MAX_FLAT_PARAMS:
        return _compile_spilled(TupleOf(tuple(shapes)))
    gives = _gives(shapes, 0)
    write = struct.Struct(f"<III{words}Q").pack_into

    def store(staging: Staging, values: Sequence[Any]) -> None:
        if len(values) != count:
            raise _wrong_count(values, count)
        staging.begin()
        given: list[int] = []
        for give, value in zip(gives, values):  # noqa: B905  checked, and that costs
            give(staging, value, given)
        write(staging.view, COUNT, staging.count, ROOM, len(staging.held), *given)

    return store


def _wrong_count(values: Sequence[Any], count: int) -> TypeError:
    return TypeError(f"expected {count} arguments, not {len(values)}")


def _compile_spilled(shape: TupleOf) -> Callable[[Staging, Sequence[Any]], None]:
    """The same for arguments in a block, whose address is the only core value."""
    count = len(shape.items)
    write = compile_store(shape)
    size, align = size_align(shape)

    def store(staging: Staging, values: Sequence[Any]) -> None:
        if len(values) != count:
            raise _wrong_count(values, count)
        staging.begin()
        write(staging, values, staging.add(align, bytes(size), SLOTS))
        _write_counts(staging.view, COUNT, staging.count, ROOM, len(staging.held), 0)

    return store


def compile_result(shape: Shape | None) -> Callable[[Staging, Any], None]:
    """Compiles what writes the result of a function of the host: to the first slot, or to `ROOM`."""
    if shape is None:
        return lambda staging, value: None
    if len(flatten((shape,))) <= MAX_FLAT_RESULTS:
        store_word = compile_arguments((shape,))
        return lambda staging, value: store_word(staging, (value,))
    write = compile_store(shape)
    size, _ = size_align(shape)
    first = (ROOM + size + 7) & -8

    def store(staging: Staging, value: Any) -> None:
        staging.begin(first)
        write(staging, value, ROOM)
        _write_counts(staging.view, COUNT, staging.count, first, len(staging.held), 0)

    return store


def compile_give(shape: Shape, place: int) -> Give:
    """Compiles what gives a value's words.

    Args:
        place: of the first of them among all.
    """
    match shape:
        case VariantOf():
            return _give_variant(shape, place)
        case OptionOf() | ResultOf():
            return _give_case(shape, place)
        case EnumOf():
            return _give_number(number(shape))
        case Scalar() if shape in FORMATS:
            return _give_double if shape == F64 else _give_number(number(shape))
        case TupleOf():
            return _give_tuple(shape, place)
        case RecordOf():
            return _give_record(shape, place)
        case Adapted(inner, _, get):
            give = compile_give(inner, place)
            return give if get is None else lambda staging, value, words: give(staging, get(value), words)
        case _:
            return _give_length(adder(shape), SLOTS + place * WORD)


def _give_number(convert: Callable[[Any], Any]) -> Give:
    return lambda staging, value, words: words.append(convert(value))


_to_double: Final = number(F64)


def _give_double(staging: Staging, value: Any, words: list[int]) -> None:
    words += _to_word(_to_bytes(_to_double(value)))


def _give_length(add: Add, patch: int) -> Give:
    def give(staging: Staging, value: Any, words: list[int]) -> None:
        words += (0, add(staging, value, patch))

    return give


def _give_tuple(shape: TupleOf, place: int) -> Give:
    gives = _gives(shape.items, place)

    def give(staging: Staging, value: Any, words: list[int]) -> None:
        check_count(value, len(gives))
        for each, item in zip(gives, value, strict=True):
            each(staging, item, words)

    return give


def _give_record(shape: RecordOf, place: int) -> Give:
    fields = list(zip([field.attribute for field in shape.fields], _gives(parts(shape), place), strict=True))

    def give(staging: Staging, value: Any, words: list[int]) -> None:
        for attribute, each in fields:
            each(staging, getattr(value, attribute), words)

    return give


def _gives(shapes: Sequence[Shape], place: int) -> list[Give]:
    gives = []
    for shape in shapes:
        gives.append(compile_give(shape, place))
        place += len(flatten((shape,)))
    return gives


def _give_variant(shape: VariantOf, place: int) -> Give:
    cases = {
        case.cls: (number, case.get, inner, rest)
        for number, (case, (inner, rest)) in enumerate(zip(shape.cases, _cases(shape, place), strict=True))
    }

    def give(staging: Staging, value: Any, words: list[int]) -> None:
        try:
            number, get, inner, rest = cases[type(value)]
        except KeyError:
            raise wrong_class(value, cases) from None
        words.append(number)
        if inner is not None:
            inner(staging, value if get is None else get(value), words)
        if rest:
            words += rest

    return give


def _give_case(shape: OptionOf | ResultOf, place: int) -> Give:
    cases = _cases(shape, place)
    choose = chooser(shape)

    def give(staging: Staging, value: Any, words: list[int]) -> None:
        number, payload = choose(value)
        inner, rest = cases[number]
        words.append(number)
        if inner is not None:
            inner(staging, payload, words)
        if rest:
            words += rest

    return give


def _cases(shape: OptionOf | ResultOf | VariantOf, place: int) -> list[tuple[Give | None, tuple[int, ...]]]:
    """Of each case, what gives the words of its payload, and the zeros that make up for fewer words."""
    room = len(flatten((shape,))) - 1
    return [
        (None if case is None else compile_give(case, place + 1), (0,) * (room - len(flatten((case,)))))
        for case in payloads(shape) or ()
    ]
