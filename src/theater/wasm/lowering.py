"""Values of Python into wasmtime's cells, in memory that wasmtime only reads.

A shape is compiled once into a closure. What a value needs beside its own cell, such as the cell of a
payload, has a place that is known from the shape alone: only lists, whose length is not known, take
memory of their own, one block for each, however deep their items are. So nothing is allocated for an
event with a text, and a list of header fields costs one allocation.

Everything is checked before wasmtime sees it, since it aborts the process over text that is no Unicode.
"""

# ruff: noqa: ARG001  all converters are called alike

import ctypes
from binascii import hexlify
from collections.abc import Callable
from operator import index
from typing import Any, Final, NamedTuple

from theater.wasm.layout import (
    BYTES_HEADER,
    CELL,
    FIELD,
    KIND_BOOL,
    KIND_ENUM,
    KIND_F64,
    KIND_LIST,
    KIND_OPTION,
    KIND_RECORD,
    KIND_RESULT,
    KIND_STRING,
    KIND_TUPLE,
    KIND_U8,
    KIND_U16,
    KIND_U32,
    KIND_U64,
    KIND_VARIANT,
    MEMORY,
    write_1,
    write_2,
    write_3,
    write_double,
)
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
    VariantOf,
)

Lower = Callable[[Any, int, int, list[Any]], None]
"""Called with a value, the address of its cell, the address of the `extra` bytes of its shape, and a list
to which is added what must live as long as the cell is read.

Raises:
    TypeError, ValueError, OverflowError, AttributeError: the value does not have the shape.
"""


class Lowering(NamedTuple):
    """A compiled shape.

    Attributes:
        lower: writes a value.
        extra: bytes that a value needs beside its cell.
    """

    lower: Lower
    extra: int


_UNSIGNED: Final = {U8: (KIND_U8, 8), U16: (KIND_U16, 16), U32: (KIND_U32, 32), U64: (KIND_U64, 64)}
_U8_CELL: Final = KIND_U8.to_bytes(CELL, "little")
_WORD: Final = 8  # where a cell's first word lies
_DANGLING: Final = 8  # the address of a list without items: it may not be 0


def compile_lowering(shape: Shape) -> Lowering:
    """Compiles a shape."""
    match shape:
        case Scalar():
            return Lowering(_scalar(shape), 0)
        case ListOf(item):
            return Lowering(_list(item), 0)
        case OptionOf(item):
            return _option(item)
        case TupleOf(items):
            return _tuple(items)
        case ResultOf(ok, error):
            return _result(ok, error)
        case RecordOf():
            return _record(shape)
        case VariantOf():
            return _variant(shape)
        case EnumOf(names):
            return Lowering(_enum(names), 0)
        case Adapted(inner, _, get):
            return _adapted(inner, get)


def _scalar(shape: Scalar) -> Lower:
    if shape in _UNSIGNED:
        return _unsigned(*_UNSIGNED[shape])
    return {BOOL: _bool, F64: _double, STRING: _string, BYTES: _bytes, DIGITS: _digits}[shape]


def _bool(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
    write_1(MEMORY, cell, KIND_BOOL, 1 if value else 0)


def _double(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
    write_double(MEMORY, cell, KIND_F64, value if type(value) is float else float(index(value)))


def _string(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
    data = str.encode(value)  # refuses what is no text, and surrogates
    keep.append(data)
    write_2(MEMORY, cell, KIND_STRING, len(data), id(data) + BYTES_HEADER)


def _bytes(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
    data = value if type(value) is bytes else bytes(memoryview(value))
    if not data:
        write_2(MEMORY, cell, KIND_LIST, 0, _DANGLING)
        return
    cells = bytearray(_U8_CELL) * len(data)
    cells[_WORD::CELL] = data
    keep.append(cells)
    write_2(MEMORY, cell, KIND_LIST, len(data), ctypes.addressof(ctypes.c_char.from_buffer(cells)))


def _digits(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
    data = hexlify(value if type(value) is bytes else bytes(memoryview(value)))
    keep.append(data)
    write_2(MEMORY, cell, KIND_STRING, len(data), id(data) + BYTES_HEADER)


def _unsigned(kind: int, bits: int) -> Lower:
    end = 1 << bits

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        if type(value) is not int or not 0 <= value < end:
            raise OverflowError(f"{value!r} is not an unsigned integer of {bits} bits")
        write_1(MEMORY, cell, kind, value)

    return lower


def _enum(names: tuple[str, ...]) -> Lower:
    encoded = {name: name.encode() for name in names}

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        data = encoded.get(value)
        if data is None:
            raise ValueError(f"{value!r} is none of {', '.join(names)}")
        write_2(MEMORY, cell, KIND_ENUM, len(data), id(data) + BYTES_HEADER)

    return lower


def _list(shape: Shape) -> Lower:
    item, beside = compile_lowering(shape)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        count = len(value)
        if not count:
            write_2(MEMORY, cell, KIND_LIST, 0, _DANGLING)
            return
        block = bytes(count * (CELL + beside))
        keep.append(block)
        at = id(block) + BYTES_HEADER
        end = more = at + count * CELL
        write_2(MEMORY, cell, KIND_LIST, count, at)
        for each in value:
            if at == end:
                raise ValueError("the list grew while it was read")
            item(each, at, more, keep)
            at += CELL
            more += beside
        if at != end:
            raise ValueError("the list shrank while it was read")

    return lower


def _option(shape: Shape) -> Lowering:
    item, beside = compile_lowering(shape)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        if value is None:
            write_1(MEMORY, cell, KIND_OPTION, 0)
        else:
            write_1(MEMORY, cell, KIND_OPTION, extra)
            item(value, extra, extra + CELL, keep)

    return Lowering(lower, CELL + beside)


def _payload(shape: Shape | None) -> tuple[Lower | None, int]:
    """The converter of a payload, and the bytes beside the value's cell that it and its own need."""
    if shape is None:
        return None, 0
    lower, beside = compile_lowering(shape)
    return lower, CELL + beside


def _result(ok: Shape | None, error: Shape | None) -> Lowering:
    (good, good_extra), (bad, bad_extra) = _payload(ok), _payload(error)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        if type(value) is Failure:
            flag, inner, value = 0, bad, value.error
        else:
            flag, inner = 1, good
        if inner is not None:
            write_2(MEMORY, cell, KIND_RESULT, flag, extra)
            inner(value, extra, extra + CELL, keep)
        elif value is None:
            write_2(MEMORY, cell, KIND_RESULT, flag, 0)
        else:
            raise TypeError(f"{value!r} is given where the result holds nothing")

    return Lowering(lower, max(good_extra, bad_extra))


def _variant(shape: VariantOf) -> Lowering:
    cases: dict[type, Any] = {}
    extras = [0]
    for case in shape.cases:
        name = case.name.encode()
        inner, beside = _payload(case.shape)
        extras.append(beside)
        cases[case.cls] = (inner, case.get, len(name), id(name) + BYTES_HEADER, name)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        try:
            inner, get, size, address, _ = cases[type(value)]
        except KeyError:
            expected = ", ".join(cls.__name__ for cls in cases)
            raise TypeError(f"expected one of {expected}, not {type(value).__name__}") from None
        if inner is None:
            write_3(MEMORY, cell, KIND_VARIANT, size, address, 0)
        else:
            write_3(MEMORY, cell, KIND_VARIANT, size, address, extra)
            inner(value if get is None else get(value), extra, extra + CELL, keep)

    return Lowering(lower, max(extras))


def _record(shape: RecordOf) -> Lowering:
    fields = []
    beside = len(shape.fields) * FIELD
    for number, field in enumerate(shape.fields):
        name = field.name.encode()
        lower_field, more = compile_lowering(field.shape)
        fields.append(
            (field.attribute, lower_field, number * FIELD, beside, len(name), id(name) + BYTES_HEADER, name)
        )
        beside += more
    count = len(fields)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        write_2(MEMORY, cell, KIND_RECORD, count, extra)
        for attribute, inner, offset, more, size, address, _ in fields:
            write_1(MEMORY, extra + offset, size, address)
            inner(getattr(value, attribute), extra + offset + FIELD - CELL, extra + more, keep)

    return Lowering(lower, beside)


def _tuple(shapes: tuple[Shape, ...]) -> Lowering:
    items = []
    count = len(shapes)
    beside = count * CELL
    for number, shape in enumerate(shapes):
        lower_item, more = compile_lowering(shape)
        items.append((lower_item, number * CELL, beside))
        beside += more

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        if len(value) != count:
            raise ValueError(f"expected a tuple of {count}, not of {len(value)}")
        write_2(MEMORY, cell, KIND_TUPLE, count, extra)
        for (inner, offset, more), each in zip(items, value, strict=True):
            inner(each, extra + offset, extra + more, keep)

    return Lowering(lower, beside)


def _adapted(shape: Shape, get: Callable[[Any], Any] | None) -> Lowering:
    inner, beside = compile_lowering(shape)
    if get is None:
        return Lowering(inner, beside)

    def lower(value: Any, cell: int, extra: int, keep: list[Any]) -> None:
        inner(get(value), cell, extra, keep)

    return Lowering(lower, beside)
