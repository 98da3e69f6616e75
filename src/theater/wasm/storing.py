"""Values of Python into the form in which a guest is given them: words, and blocks of memory.

What writes the values of a shape is written as source, once: see `source` and `blocks`.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from theater.wasm.blocks import FORMATS, Writes, adapted, add, choose, items, number, write
from theater.wasm.canonical import (
    COUNT,
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    ROOM,
    SLOTS,
    WORD,
    flatten,
    offsets,
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
from theater.wasm.source import Source

_to_bytes: Final = struct.Struct("<d").pack
_to_word: Final = struct.Struct("<Q").unpack


@cache
def compile_arguments(shapes: tuple[Shape, ...]) -> Callable[[Staging, Sequence[Any]], None]:
    """Compiles what writes the arguments that a function of a guest is called with.

    It raises TypeError, ValueError, OverflowError or AttributeError if a value does not have its shape.
    """
    code = Source()
    wrong = code.constant(_wrong_count)
    code.add(f"if len(values) != {len(shapes)}: raise {wrong}(values, {len(shapes)})")
    values = [code.local() for _ in shapes]
    if values:
        code.add(f"{', '.join(values)}, = values")
    _give_all(code, shapes, values)
    return code.function("staging, values")


@cache
def compile_result(shape: Shape | None) -> Callable[[Staging, Any], None]:
    """Compiles what writes the result of a function of the host: to the first slot, or to `ROOM`.

    It raises the same.
    """
    code = Source()
    if shape is not None:
        if len(flatten((shape,))) <= MAX_FLAT_RESULTS:
            _give_all(code, (shape,), ["value"])
        else:
            _give_in_room(code, shape)
    return code.function("staging, value")


def _give_all(code: Source, shapes: tuple[Shape, ...], values: Sequence[str]) -> None:
    """Adds what gives arguments, or a result that is one word."""
    code.add("staging.begin()")
    count = len(flatten(shapes))
    if count <= MAX_FLAT_PARAMS:
        place = 0
        for shape, value in zip(shapes, values, strict=True):
            _give(code, shape, value, place)
            place += len(flatten((shape,)))
    else:
        whole = TupleOf(shapes)
        size, align = size_align(whole)
        writes = Writes(code, code.local(f"staging.add({align}, bytes({size}), {SLOTS})"))
        for shape, value, offset in zip(shapes, values, offsets(whole), strict=False):
            write(code, shape, value, writes, offset)
        writes.end()
        code.add("w0 = 0")
        count = 1
    pack = code.constant(struct.Struct(f"<III{count}Q").pack_into, "pack")
    words = "".join(f", w{place}" for place in range(count))
    code.add(f"{pack}(staging.view, {COUNT}, staging.count, {ROOM}, len(staging.held){words})")


def _give_in_room(code: Source, shape: Shape) -> None:
    size, _ = size_align(shape)
    first = (ROOM + size + 7) & -8
    code.add(f"staging.begin({first})")
    writes = Writes(code, str(ROOM))
    write(code, shape, "value", writes, 0)
    writes.end()
    pack = code.constant(struct.Struct("<IIIQ").pack_into, "pack")  # and the first slot
    code.add(f"{pack}(staging.view, {COUNT}, staging.count, {first}, len(staging.held), 0)")


def _wrong_count(values: Sequence[Any], count: int) -> TypeError:
    return TypeError(f"expected {count} arguments, not {len(values)}")


def _give(code: Source, shape: Shape, value: str, place: int) -> None:
    """Adds what puts a value's words into the variables `w0`, `w1` and so on.

    Args:
        code: the function in the making.
        shape: of the value.
        value: where it is.
        place: of the first word.
    """
    match shape:
        case OptionOf() | ResultOf() | VariantOf():
            _give_case(code, shape, value, place)
        case Scalar() if shape == F64:
            double = number(code, shape, value)
            to_word, to_bytes = code.constant(_to_word), code.constant(_to_bytes)
            code.add(f"w{place}, = {to_word}({to_bytes}({double}))")
        case EnumOf() | Scalar() if isinstance(shape, EnumOf) or shape in FORMATS:
            code.add(f"w{place} = {number(code, shape, value)}")
        case RecordOf() | TupleOf():
            for part, each in zip(parts(shape), items(code, shape, value), strict=True):
                _give(code, part, each, place)
                place += len(flatten((part,)))
        case Adapted(inner):
            _give(code, inner, adapted(code, shape, value), place)
        case _:
            length = add(code, shape, value, str(SLOTS + place * WORD))
            code.add(f"w{place} = 0")
            code.add(f"w{place + 1} = {length}")


def _give_case(code: Source, shape: OptionOf | ResultOf | VariantOf, value: str, place: int) -> None:
    cases = payloads(shape) or ()
    words = range(place + 1, place + len(flatten((shape,))))
    if words:
        code.add("".join(f"w{each} = " for each in words) + "0")
    for case, (each, payload) in zip(cases, enumerate(choose(code, shape, value)), strict=True):
        code.add(f"w{place} = {each}")
        if case is not None:
            _give(code, case, payload, place + 1)
