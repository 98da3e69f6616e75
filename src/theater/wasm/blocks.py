"""Values of Python into the form that they have in memory, with a block for each text and each list.

A shape is compiled once into a closure. Where an address belongs, 0 is written: the glue puts it there when
the guest has provided the memory.
"""

import struct
from collections.abc import Callable, Iterable
from operator import index
from typing import Any, Final

from theater.wasm.canonical import case_size, offsets, parts, payload_offset, payloads, size_align
from theater.wasm.memory import LARGE, Staging
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

Store = Callable[[Staging, Any, int], None]
"""Called with a value and the offset of its bytes in staging memory, which are zeros.

Raises:
    TypeError, ValueError, OverflowError, AttributeError: the value does not have the shape.
"""

Add = Callable[[Staging, Any, int], int]
"""Called with a text, bytes or a list, and the offset where its address belongs; adds its block and returns
its length. Raises the same."""

Choose = Callable[[Any], tuple[int, Any]]
"""Called with a value of a shape with cases; returns the number of its case, and its payload. Raises the
same."""

_BITS: Final = {U8: 8, U16: 16, U32: 32, U64: 64}
FORMATS: Final = {BOOL: "<B", U8: "<B", U16: "<H", U32: "<I", U64: "<Q", F64: "<d"}
"""Of numbers in memory."""

_NUMBERS: Final = {1: "<B", 2: "<H", 4: "<I"}  # of cases, by their size
_LENGTH: Final = 4  # offset of a length: the address is before it
_write_length: Final = struct.Struct("<I").pack_into
_write_texts: Final = struct.Struct("<4xI4xI").pack_into


def compile_store(shape: Shape) -> Store:
    """Compiles what writes a value to staging memory."""
    match shape:
        case OptionOf() | ResultOf() | VariantOf():
            return _store_case(shape)
        case EnumOf(names):
            return _store_number(number(shape), _NUMBERS[case_size(len(names))])
        case Scalar() if shape in FORMATS:
            return _store_number(number(shape), FORMATS[shape])
        case TupleOf():
            return _store_tuple(shape)
        case RecordOf():
            return _store_record(shape)
        case Adapted(inner, _, get):
            store = compile_store(inner)
            return store if get is None else lambda staging, value, at: store(staging, get(value), at)
        case _:
            add = adder(shape)
            return lambda staging, value, at: _write_length(
                staging.view, at + _LENGTH, add(staging, value, at)
            )


def _store_number(convert: Callable[[Any], float], form: str) -> Store:
    write = struct.Struct(form).pack_into
    return lambda staging, value, at: write(staging.view, at, convert(value))


def _store_tuple(shape: TupleOf) -> Store:
    if shape.items == (STRING, STRING):  # a header field
        return _store_texts
    items = list(zip(map(compile_store, shape.items), offsets(shape), strict=False))

    def store(staging: Staging, value: Any, at: int) -> None:
        check_count(value, len(items))
        for (write, offset), each in zip(items, value, strict=True):
            write(staging, each, at + offset)

    return store


def _store_texts(staging: Staging, value: Any, at: int) -> None:
    check_count(value, 2)
    one, other = value
    size = _add_text(staging, one, at)
    _write_texts(staging.view, at, size, _add_text(staging, other, at + 8))


def check_count(value: Any, count: int) -> None:
    """Refuses a tuple of another length.

    Raises:
        ValueError: it is one.
    """
    if len(value) != count:
        raise ValueError(f"expected a tuple of {count}, not of {len(value)}")


def _store_record(shape: RecordOf) -> Store:
    attributes = [field.attribute for field in shape.fields]
    fields = list(zip(attributes, map(compile_store, parts(shape)), offsets(shape), strict=False))

    def store(staging: Staging, value: Any, at: int) -> None:
        for attribute, write, offset in fields:
            write(staging, getattr(value, attribute), at + offset)

    return store


def _store_case(shape: OptionOf | ResultOf | VariantOf) -> Store:
    cases = payloads(shape) or ()
    stores = [None if case is None else compile_store(case) for case in cases]
    offset, _ = payload_offset(cases)
    write_number = struct.Struct(_NUMBERS[case_size(len(cases))]).pack_into
    choose = chooser(shape)

    def store(staging: Staging, value: Any, at: int) -> None:
        case, payload = choose(value)
        write_number(staging.view, at, case)
        write = stores[case]
        if write is not None:
            write(staging, payload, at + offset)

    return store


def chooser(shape: OptionOf | ResultOf | VariantOf) -> Choose:
    """What tells the number of a value's case, and its payload."""
    match shape:
        case OptionOf():
            return lambda value: (0, None) if value is None else (1, value)
        case ResultOf(ok, error):
            return _result_chooser(ok is None, error is None)
        case VariantOf():
            return _variant_chooser(shape)


def _result_chooser(no_ok: bool, no_error: bool) -> Choose:
    def choose(value: Any) -> tuple[int, Any]:
        if type(value) is Failure:
            case, empty, value = 1, no_error, value.error
        else:
            case, empty = 0, no_ok
        if empty and value is not None:
            raise TypeError(f"{value!r} is given where the result holds nothing")
        return case, value

    return choose


def _variant_chooser(shape: VariantOf) -> Choose:
    cases = {
        case.cls: (number, case.get if case.shape is not None else None)
        for number, case in enumerate(shape.cases)
    }

    def choose(value: Any) -> tuple[int, Any]:
        try:
            case, get = cases[type(value)]
        except KeyError:
            raise wrong_class(value, cases) from None
        return case, value if get is None else get(value)

    return choose


def wrong_class(value: Any, cases: Iterable[type]) -> TypeError:
    """The exception for a value of none of a variant's classes."""
    expected = ", ".join(cls.__name__ for cls in cases)
    return TypeError(f"expected one of {expected}, not {type(value).__name__}")


def number(shape: Scalar | EnumOf) -> Callable[[Any], Any]:
    """What makes a number of a value that is one, or a name of an enum."""
    if isinstance(shape, EnumOf):
        return _enum(shape.names)
    if shape == BOOL:
        return lambda value: 1 if value else 0
    if shape == F64:
        return lambda value: value if type(value) is float else float(index(value))
    bits = _BITS[shape]
    end = 1 << bits

    def convert(value: Any) -> int:
        if type(value) is not int or not 0 <= value < end:
            raise OverflowError(f"{value!r} is not an unsigned integer of {bits} bits")
        return value

    return convert


def _enum(names: tuple[str, ...]) -> Callable[[Any], int]:
    numbers = {name: number for number, name in enumerate(names)}

    def convert(value: Any) -> int:
        number = numbers.get(value)
        if number is None:
            raise ValueError(f"{value!r} is none of {', '.join(names)}")
        return number

    return convert


def adder(shape: Shape) -> Add:
    """What adds the block of a text or a list, given where its address belongs, and returns its length."""
    if isinstance(shape, ListOf):
        return _list(shape.item)
    return _ADDERS[shape]


def _add_text(staging: Staging, value: Any, patch: int) -> int:
    data = str.encode(value)  # refuses what is no text, and surrogates
    size = len(data)
    if size < LARGE:
        staging.add(1, data, patch)
    else:
        staging.hold(data, patch)
    return size


def _add_bytes(staging: Staging, value: Any, patch: int) -> int:
    data = value if type(value) is bytes else bytes(memoryview(value))
    size = len(data)
    if size < LARGE:
        staging.add(1, data, patch)
    else:
        staging.hold(data, patch)
    return size


_ADDERS: Final[dict[Shape, Add]] = {
    STRING: _add_text,
    BYTES: _add_bytes,
}


def _list(shape: Shape) -> Add:
    store = compile_store(shape)
    size, align = size_align(shape)

    def add(staging: Staging, value: Any, patch: int) -> int:
        count = len(value)
        at = staging.add(align, bytes(count * size), patch)
        end = at + count * size
        for each in value:
            if at == end:
                raise ValueError("the list grew while it was read")
            store(staging, each, at)
            at += size
        if at != end:
            raise ValueError("the list shrank while it was read")
        return count

    return add
