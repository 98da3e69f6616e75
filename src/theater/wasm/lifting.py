"""wasmtime's cells into values of Python.

A shape is compiled once into a closure that is called with the words of a cell. It copies what it needs,
so that the cells may be released afterwards, and no more than is allowed: lengths are looked at first.
"""

# ruff: noqa: ARG001, ARG005  all converters are called alike

import struct
from binascii import unhexlify
from collections.abc import Callable
from typing import Any, Final

from theater.wasm.layout import CELL, FIELD, MEM, MEMORY, read_cell, read_cells, read_fields
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    DIGITS,
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
    ValueTooLarge,
    VariantOf,
)

Meter = list[int]
"""How many bytes may still be copied, and how many might at first: those of texts and binary data, and a
cell for each item of a list."""

Lift = Callable[[Meter, int, int, int], Any]
"""Called with a meter and the three words of a cell.

Raises:
    ValueTooLarge: more would be copied than may.
    Exception: what the shape's classes raise over values that they do not take.
"""

_MASKS: Final = {U8: 0xFF, U16: 0xFFFF, U32: 0xFFFF_FFFF, U64: 0xFFFF_FFFF_FFFF_FFFF}
_to_bytes: Final = struct.Struct("<Q").pack
_to_double: Final = struct.Struct("<d").unpack


def compile_lifting(shape: Shape) -> Lift:
    """Compiles a shape."""
    match shape:
        case Scalar():
            return _scalar(shape)
        case ListOf(item):
            return _list(item)
        case OptionOf(item):
            return _option(item)
        case TupleOf(items):
            return _tuple(items)
        case ResultOf(ok, error):
            return _result(ok, error)
        case RecordOf(make, fields):
            return _record(make, tuple(field.shape for field in fields))
        case VariantOf():
            return _variant(shape)
        case EnumOf(names):
            return _enum(names)
        case Adapted(inner, make):
            return _adapted(inner, make)


def _scalar(shape: Scalar) -> Lift:
    if shape in _MASKS:
        mask = _MASKS[shape]
        return lambda meter, a, b, c: a & mask
    return {BOOL: _bool, F64: _double, STRING: _string, BYTES: _bytes, DIGITS: _digits}[shape]


def too_large(meter: Meter, size: int) -> ValueTooLarge:
    """The exception for so many bytes, of which there are fewer left."""
    left, limit = meter
    return ValueTooLarge(limit, limit - left + size)


def _bool(meter: Meter, a: int, b: int, c: int) -> bool:
    return a & 0xFF != 0  # what lies beside the byte is not defined, here and in other narrow values


def _double(meter: Meter, a: int, b: int, c: int) -> float:
    (value,) = _to_double(_to_bytes(a))
    return value  # type: ignore[no-any-return]


def _string(meter: Meter, size: int, start: int, c: int) -> str:
    left = meter[0] - size
    if left < 0:
        raise too_large(meter, size)
    meter[0] = left
    return MEM[start : start + size].decode()  # type: ignore[no-any-return]


def _bytes(meter: Meter, size: int, start: int, c: int) -> bytes:
    left = meter[0] - size
    if left < 0:
        raise too_large(meter, size)
    meter[0] = left
    first = start + 8
    return MEM[first : first + size * CELL : CELL] if size else b""


def _digits(meter: Meter, size: int, start: int, c: int) -> bytes:
    left = meter[0] - (size >> 1)
    if left < 0:
        raise too_large(meter, size >> 1)
    meter[0] = left
    return unhexlify(MEMORY[start : start + size])


def _enum(names: tuple[str, ...]) -> Lift:
    decoded = {name.encode(): name for name in names}
    return lambda meter, size, start, c: decoded[MEM[start : start + size]]


def _list(shape: Shape) -> Lift:
    item = compile_lifting(shape)

    def lift(meter: Meter, count: int, start: int, _: int) -> list[Any]:
        if not count:
            return []
        size = count * CELL
        left = meter[0] - size
        if left < 0:
            raise too_large(meter, size)
        meter[0] = left
        if count == 1:  # the usual answer of an actor
            a, b, c = read_cell(MEMORY, start)
            return [item(meter, a, b, c)]
        return [item(meter, a, b, c) for a, b, c in read_cells(MEM[start : start + size])]

    return lift


def _option(shape: Shape) -> Lift:
    item = compile_lifting(shape)

    def lift(meter: Meter, payload: int, b: int, c: int) -> Any:
        if not payload:
            return None
        a, b, c = read_cell(MEMORY, payload)
        return item(meter, a, b, c)

    return lift


def _tuple(shapes: tuple[Shape, ...]) -> Lift:
    items = [compile_lifting(shape) for shape in shapes]
    size = len(items) * CELL

    def lift(meter: Meter, count: int, start: int, _: int) -> tuple[Any, ...]:
        cells = read_cells(MEM[start : start + size])
        return tuple([item(meter, a, b, c) for item, (a, b, c) in zip(items, cells, strict=True)])

    return lift


def _record(make: Callable[..., Any], shapes: tuple[Shape, ...]) -> Lift:
    items = [compile_lifting(shape) for shape in shapes]
    size = len(items) * FIELD

    def lift(meter: Meter, count: int, start: int, _: int) -> Any:
        fields = read_fields(MEM[start : start + size])
        return make(*[item(meter, a, b, c) for item, (a, b, c) in zip(items, fields, strict=True)])

    return lift


def _result(ok: Shape | None, error: Shape | None) -> Lift:
    good = compile_lifting(ok) if ok is not None else None
    bad = compile_lifting(error) if error is not None else None
    nothing = Failure()

    def lift(meter: Meter, flag: int, payload: int, c: int) -> Any:
        if flag & 0xFF:
            if good is None:
                return None
            a, b, c = read_cell(MEMORY, payload)
            return good(meter, a, b, c)
        if bad is None:
            return nothing
        a, b, c = read_cell(MEMORY, payload)
        return Failure(bad(meter, a, b, c))

    return lift


def _variant(shape: VariantOf) -> Lift:
    cases: dict[bytes, tuple[Callable[[Any], Any] | None, Lift | None, Any]] = {}
    for case in shape.cases:
        if case.shape is None:
            cases[case.name.encode()] = (None, None, case.cls())
        else:
            cases[case.name.encode()] = (case.cls if case.get else None, compile_lifting(case.shape), None)

    def lift(meter: Meter, size: int, start: int, payload: int) -> Any:
        make, inner, constant = cases[MEM[start : start + size]]
        if inner is None:
            return constant
        a, b, c = read_cell(MEMORY, payload)
        return inner(meter, a, b, c) if make is None else make(inner(meter, a, b, c))

    return lift


def _adapted(shape: Shape, make: Callable[[Any], Any]) -> Lift:
    inner = compile_lifting(shape)
    return lambda meter, a, b, c: make(inner(meter, a, b, c))
