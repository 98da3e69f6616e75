"""Values of Python into the form that they have in memory, with a block for each text and each list.

Here the statements are written that do so, see `source`. What belongs where an address does is left 0: the
glue puts it there when the guest has provided the memory.

In the code, `staging` is the staging memory. A value is given as the name of a variable.
"""

import struct
from collections.abc import Callable, Iterable
from operator import index
from typing import Any, Final

from theater.wasm.canonical import case_size, offsets, parts, payload_offset, payloads, size_align
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
from theater.wasm.source import Source

_BITS: Final = {U8: 8, U16: 16, U32: 32, U64: 64}
FORMATS: Final = {BOOL: "B", U8: "B", U16: "H", U32: "I", U64: "Q", F64: "d"}
"""Of numbers in memory, in the letters of `struct`."""

NUMBERS: Final = {1: "B", 2: "H", 4: "I"}
"""Of the numbers of cases, by their size."""


def layout(places: Iterable[tuple[int, str]], start: int = 0) -> struct.Struct:
    """Numbers in memory, by their places and formats in order, from a start on."""
    form = "<"
    for place, each in places:
        form += f"{place - start}x{each}"
        start = place + struct.calcsize(each)
    return struct.Struct(form)


class Writes:
    """What is to be written at an address in staging memory, as few calls as may be.

    Args:
        code: the function in the making.
        at: the address, an expression.
    """

    def __init__(self, code: Source, at: str) -> None:
        self._code = code
        self._at = at
        self._values: list[tuple[int, str, str]] = []

    def place(self, offset: int) -> str:
        """The address of something behind the first one."""
        return f"{self._at} + {offset}" if offset else self._at

    def add(self, offset: int, form: str, value: str) -> None:
        """Writes a number: its place from the address, its format, an expression.

        Those that are added one after the other must be in order.
        """
        self._values.append((offset, form, value))

    def end(self) -> None:
        """No more is to be written, until there is a branch or an end."""
        if self._values:
            first = self._values[0][0]
            values = ", ".join(value for _, _, value in self._values)
            numbers = layout([(offset, form) for offset, form, _ in self._values], first)
            pack = self._code.constant(numbers.pack_into, "pack")
            self._code.add(f"{pack}(staging.view, {self.place(first)}, {values})")
            self._values = []


def write(code: Source, shape: Shape, value: str, writes: Writes, offset: int) -> None:
    """Adds what writes a value to staging memory, whose bytes there are zeros.

    The code raises TypeError, ValueError, OverflowError or AttributeError if the value does not have the
    shape.

    Args:
        code: the function in the making.
        shape: of the value.
        value: where it is.
        writes: what writes where it belongs.
        offset: from there.
    """
    match shape:
        case OptionOf() | ResultOf() | VariantOf():
            _write_case(code, shape, value, writes, offset)
        case EnumOf(names):
            writes.add(offset, NUMBERS[case_size(len(names))], number(code, shape, value))
        case Scalar() if shape in FORMATS:
            writes.add(offset, FORMATS[shape], number(code, shape, value))
        case RecordOf() | TupleOf():
            for part, start, each in zip(
                parts(shape), offsets(shape), items(code, shape, value), strict=False
            ):
                write(code, part, each, writes, offset + start)
        case Adapted(inner):
            write(code, inner, adapted(code, shape, value), writes, offset)
        case _:
            writes.add(offset + 4, "I", add(code, shape, value, writes.place(offset)))


def items(code: Source, shape: RecordOf | TupleOf, value: str) -> Iterable[str]:
    """Adds what takes a value to pieces, and tells where they are, one by one."""
    if isinstance(shape, RecordOf):
        return (code.local(f"{value}.{field.attribute}") for field in shape.fields)
    names = [code.local() for _ in shape.items]
    code.add(f"if len({value}) != {len(names)}: raise {code.constant(_wrong_count)}({value}, {len(names)})")
    if names:
        code.add(f"{', '.join(names)}, = {value}")
    return names


def _wrong_count(value: Any, count: int) -> ValueError:
    return ValueError(f"expected a tuple of {count}, not of {len(value)}")


def adapted(code: Source, shape: Adapted, value: str) -> str:
    """Adds what makes the shape's own value of one of another class."""
    return value if shape.get is None else code.local(f"{code.constant(shape.get)}({value})")


def _write_case(
    code: Source, shape: OptionOf | ResultOf | VariantOf, value: str, writes: Writes, offset: int
) -> None:
    cases = payloads(shape) or ()
    form = NUMBERS[case_size(len(cases))]
    inside, _ = payload_offset(cases)
    writes.end()
    for case, (each, payload) in zip(cases, enumerate(choose(code, shape, value)), strict=True):
        writes.add(offset, form, str(each))
        if case is not None:
            write(code, case, payload, writes, offset + inside)
        writes.end()


def choose(code: Source, shape: OptionOf | ResultOf | VariantOf, value: str) -> Iterable[str]:
    """Adds a branch for each case of a value, to be filled as it is taken: it tells where the payload is."""
    match shape:
        case OptionOf():
            with code.block(f"if {value} is None:"):
                yield value
            with code.block("else:"):
                yield value
        case ResultOf(ok, error):
            with code.block(f"if type({value}) is not {code.constant(Failure)}:"):
                yield _filled(code, ok, value)
            with code.block("else:"):
                yield _filled(code, error, code.local(f"{value}.error"))
        case VariantOf(cases):
            kind = code.local(f"type({value})")
            word = "if"
            for case in cases:
                with code.block(f"{word} {kind} is {code.constant(case.cls)}:"):
                    if case.shape is None or case.get is None:
                        yield value
                    elif isinstance(case.get, str):
                        yield code.local(f"{value}.{case.get}")
                    else:
                        yield code.local(f"{code.constant(case.get)}({value})")
                word = "elif"
            classes = code.constant(tuple(case.cls for case in cases), "classes")
            code.add(f"else: raise {code.constant(_wrong_class)}({value}, {classes})")


def _filled(code: Source, shape: Shape | None, value: str) -> str:
    """Adds what refuses a payload where there is none."""
    if shape is None:
        code.add(f"if {value} is not None: raise {code.constant(_too_much)}({value})")
    return value


def _too_much(value: Any) -> TypeError:
    return TypeError(f"{value!r} is given where the result holds nothing")


def _wrong_class(value: Any, classes: Iterable[type]) -> TypeError:
    expected = ", ".join(cls.__name__ for cls in classes)
    return TypeError(f"expected one of {expected}, not {type(value).__name__}")


def number(code: Source, shape: Scalar | EnumOf, value: str) -> str:
    """Adds what refuses a value that is no such number, or none of the names of an enum: an expression."""
    if isinstance(shape, EnumOf):
        numbers = {name: number for number, name in enumerate(shape.names)}
        known = code.constant(numbers, "numbers")
        found = code.local(f"{known}.get({value})")
        code.add(f"if {found} is None: raise {code.constant(_wrong_name)}({value}, {known})")
        return found
    if shape == BOOL:
        return f"1 if {value} else 0"
    if shape == F64:
        return code.local(f"{code.constant(_double)}({value})")
    bits = _BITS[shape]
    code.add(
        f"if type({value}) is not int or not 0 <= {value} < {1 << bits}:"
        f" raise {code.constant(_out_of_range)}({value}, {bits})"
    )
    return value


def _double(value: Any) -> float:
    return value if isinstance(value, float) else float(index(value))


def _wrong_name(value: Any, names: Iterable[str]) -> ValueError:
    return ValueError(f"{value!r} is none of {', '.join(names)}")


def _out_of_range(value: Any, bits: int) -> OverflowError:
    return OverflowError(f"{value!r} is not an unsigned integer of {bits} bits")


def _bytes(value: Any) -> bytes:
    return value if type(value) is bytes else bytes(memoryview(value))


_CONVERTERS: Final[dict[Shape, Callable[[Any], bytes]]] = {STRING: str.encode, BYTES: _bytes}


def add(code: Source, shape: Shape, value: str, patch: str) -> str:
    """Adds what adds the block of a text, bytes or a list: where its length is.

    Args:
        code: the function in the making.
        shape: of the value.
        value: where it is.
        patch: where its address belongs.
    """
    if not isinstance(shape, ListOf):
        convert = code.constant(_CONVERTERS[shape])  # refuses surrogates, too
        return code.local(f"staging.put({convert}({value}), {patch})")
    size, align = size_align(shape.item)
    length = code.local(f"len({value})")
    at = code.local(f"staging.add({align}, bytes({length} * {size}), {patch})")
    end = code.local(f"{at} + {length} * {size}")
    each = code.local()
    changed = code.constant(_changed)
    with code.block(f"for {each} in {value}:"):
        code.add(f"if {at} == {end}: raise {changed}('grew')")
        writes = Writes(code, at)
        write(code, shape.item, each, writes, 0)
        writes.end()
        code.add(f"{at} += {size}")
    code.add(f"if {at} != {end}: raise {changed}('shrank')")
    return length


def _changed(how: str) -> ValueError:
    return ValueError(f"the list {how} while it was read")
