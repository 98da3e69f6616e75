"""Values of Python from a guest's memory and its core values.

What reads the values of a shape is written as source, once: see `source`. Nothing of what a guest says is
trusted. An address is read from when what lies there, all of its size, is known to lie in the guest's
memory; lengths are held against the limit before anything is copied.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final

from theater.wasm.blocks import FORMATS, NUMBERS, layout
from theater.wasm.canonical import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    PAGE,
    PAGES,
    ROOM,
    SLOTS,
    WORD,
    InvalidValue,
    case_size,
    flatten,
    offsets,
    parts,
    payload_offset,
    payloads,
    size_align,
)
from theater.wasm.capi import MEM, MEMORY
from theater.wasm.memory import ITEM, Guest, misplaced
from theater.wasm.shapes import (
    BOOL,
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
from theater.wasm.source import Source

_32_BITS: Final = 0xFFFF_FFFF
_MASKS: Final = {U8: 0xFF, U16: 0xFFFF, U32: _32_BITS}
_to_bytes: Final = struct.Struct("<Q").pack
_to_double: Final = struct.Struct("<d").unpack


@cache
def compile_arguments(shapes: tuple[Shape, ...]) -> Callable[[Guest, memoryview], tuple[Any, ...]]:
    """Compiles what reads the arguments that a guest calls a function of the host with, given its memory and
    staging memory.

    It raises:
        InvalidValue: the guest handed over what is no value of the shape.
        ValueTooLarge: more would be copied than may.
        Exception: what the shape's classes raise over values that they do not take.
    """
    code = Source()
    whole = TupleOf(shapes)
    count = len(flatten(shapes))
    if count <= MAX_FLAT_PARAMS:
        _begin(code, count, ())
        numbers: _Numbers = _Words(code, 0)
    else:
        _begin(code, 1, ())
        size, align = size_align(whole)
        at = code.local(f"w0 & {_32_BITS}")
        _check(code, at, str(size), align)
        numbers = _read(code, whole, f"base + {at}", 0)
    code.add(f"return {_value(code, whole, numbers)}")
    return code.function("guest, view")


@cache
def compile_result(shape: Shape | None) -> Callable[[Guest, memoryview], Any]:
    """Compiles what reads the result of a guest's function, given the same. It raises the same."""
    code = Source()
    if shape is not None:
        if len(flatten((shape,))) <= MAX_FLAT_RESULTS:
            _begin(code, 1, ())
            numbers: _Numbers = _Words(code, 0)
        else:
            places = list(_numbers(shape, 0))
            names = _begin(code, 1, [(ROOM + offset, form) for offset, form in places])
            at = code.local(f"w0 & {_32_BITS}")
            _check_alignment(code, at, size_align(shape)[1])
            read = [(offset, name) for (offset, _), name in zip(places, names, strict=True)]
            numbers = _Block(code, f"base + {at}", read)
        code.add("if pages >= guest.full: guest.is_full = True")
        code.add(f"return {_value(code, shape, numbers)}")
    return code.function("guest, view")


def _begin(code: Source, words: int, places: Sequence[tuple[int, str]]) -> list[str]:
    """Adds what reads staging memory, and begins to count what is copied.

    In the code, `base`, `size` and `limit` are those of the guest's memory, `left` are the bytes that may
    still be copied.

    Args:
        code: the function in the making.
        words: how many; they are variables then, `w0` and so on.
        places: and formats of other numbers.

    Returns:
        The names of these.
    """
    names = [code.local() for _ in places]
    slots = [(SLOTS + place * WORD, "Q") for place in range(words)]
    variables = ["pages", *(f"w{place}" for place in range(words)), *names]
    _unpack(code, "view", "0", [(PAGES, "I"), *slots, *places], variables)
    code.add("base = guest.base")
    code.add(f"size = pages * {PAGE}")
    code.add("left = limit = guest.limit")
    return names


def _unpack(
    code: Source, memory: str, at: str, places: Sequence[tuple[int, str]], names: Sequence[str]
) -> None:
    """Adds what reads numbers, which have these places from an address on, and these formats."""
    unpack = code.constant(layout(places).unpack_from, "unpack")
    code.add(f"{', '.join(names)}, = {unpack}({memory}, {at})")


def _check(code: Source, at: str, length: str, align: int) -> None:
    """Adds what refuses an address that is not aligned, or from which too few bytes follow."""
    _check_alignment(code, at, align)
    code.add(f"if {at} + {length} > size: raise {code.constant(misplaced)}({at}, {length}, size)")


def _check_alignment(code: Source, at: str, align: int) -> None:
    if align > 1:
        code.add(f"if {at} & {align - 1}: raise {code.constant(_not_aligned)}({at}, {align})")


def _not_aligned(at: int, align: int) -> InvalidValue:
    return InvalidValue(f"the address {at} is not a multiple of {align}")


def _copy(code: Source, bytes: str) -> None:
    """Adds what refuses to copy more than may be."""
    code.add(f"left -= {bytes}")
    code.add(f"if left < 0: raise {code.constant(ValueTooLarge)}(limit, limit - left)")


class _Words:
    """Where the numbers are that a value consists of, one after the other: here words.

    Args:
        code: the function in the making.
        place: of the first one.
    """

    def __init__(self, code: Source, place: int) -> None:
        self._code = code
        self._place = place

    def _next(self) -> str:
        self._place += 1
        return f"w{self._place - 1}"

    def number(self, shape: Scalar) -> str:
        """The next one: an expression."""
        word = self._next()
        if shape == F64:
            return f"{self._code.constant(_to_double)}({self._code.constant(_to_bytes)}({word}))[0]"
        return word if shape == U64 else f"({word} & {_MASKS.get(shape, _32_BITS)})"

    def pointer(self) -> tuple[str, str]:
        """Address and length, which come next: names of variables."""
        code = self._code
        return code.local(f"{self._next()} & {_32_BITS}"), code.local(f"{self._next()} & {_32_BITS}")

    def case(self, shape: Shape) -> tuple[str, "_Payload"]:
        """The number of a case, which comes next: the name of a variable, and what tells where the payload
        of a case is, in the branch of that case.
        """
        first = self._place + 1
        number = self._code.local(f"{self._next()} & {_32_BITS}")
        self._place = first - 1 + len(flatten((shape,)))
        return number, lambda _: _Words(self._code, first)


class _Block:
    """The same for numbers that have been read from memory.

    Args:
        code: the function in the making.
        at: an address in the process, an expression.
        numbers: their offsets from there, and the names of the variables.
    """

    def __init__(self, code: Source, at: str, numbers: Sequence[tuple[int, str]]) -> None:
        self._code = code
        self._at = at
        self._numbers = iter(numbers)

    def number(self, shape: Scalar) -> str:
        return next(self._numbers)[1]

    def pointer(self) -> tuple[str, str]:
        return next(self._numbers)[1], next(self._numbers)[1]

    def case(self, shape: Shape) -> tuple[str, "_Payload"]:
        offset, number = next(self._numbers)
        cases = payloads(shape) or ()
        inside = offset + payload_offset(cases)[0]
        read = [next(self._numbers) for _ in list(_numbers(shape, 0))[1:]]

        def payload(case: Shape) -> _Block:
            if list(_numbers(case, inside)) == [(inside, "I"), (inside + 4, "I")]:
                return _Block(self._code, self._at, read)
            return _read(self._code, case, self._at, inside)

        return number, payload


_Numbers = _Words | _Block
_Payload = Callable[[Shape], _Numbers]


def _read(code: Source, shape: Shape, at: str, offset: int) -> _Block:
    """Adds what reads the numbers that a value in memory consists of.

    Args:
        code: the function in the making.
        shape: of the value.
        at: an address in the process, an expression.
        offset: of the value from there.
    """
    places = list(_numbers(shape, offset))
    names = [code.local() for _ in places]
    _unpack(code, code.constant(MEMORY, "MEMORY"), at, places, names)
    read = [(start, name) for (start, _), name in zip(places, names, strict=True)]
    return _Block(code, at, read)


def _numbers(shape: Shape, offset: int) -> Iterator[tuple[int, str]]:
    """The places and formats of the numbers that are read for a value at once.

    Of one with cases it is that of the case, and the address and length that most payloads consist of,
    if there is room for them.
    """
    if (cases := payloads(shape)) is not None:
        yield offset, NUMBERS[case_size(len(cases))]
        start, _ = payload_offset(cases)
        if start + 8 <= size_align(shape)[0]:
            yield from _pointer(offset + start)
        return
    match shape:
        case Scalar() if shape in FORMATS:
            yield offset, FORMATS[shape]
        case RecordOf() | TupleOf():
            for part, start in zip(parts(shape), offsets(shape), strict=False):
                yield from _numbers(part, offset + start)
        case Adapted(inner):
            yield from _numbers(inner, offset)
        case _:
            yield from _pointer(offset)


def _pointer(offset: int) -> Iterator[tuple[int, str]]:
    return iter(((offset, "I"), (offset + 4, "I")))


def _value(code: Source, shape: Shape, numbers: _Numbers) -> str:
    """Adds what makes a value of numbers: an expression, to be evaluated once."""
    if payloads(shape) is not None:
        return _case(code, shape, numbers)
    match shape:
        case Scalar() if shape in FORMATS:
            found = numbers.number(shape)
            return f"{found} != 0" if shape == BOOL else found
        case TupleOf(items):
            return f"({''.join(f'{_value(code, item, numbers)}, ' for item in items)})"
        case RecordOf(make, fields):
            found = ", ".join(_value(code, field.shape, numbers) for field in fields)
            return f"{code.constant(make)}({found})"
        case Adapted(inner, make):
            return f"{code.constant(make)}({_value(code, inner, numbers)})"
        case ListOf(item):
            return _list(code, item, *numbers.pointer())
        case _:
            at, length = numbers.pointer()
            _check(code, at, length, 1)
            _copy(code, length)
            start = code.local(f"base + {at}")
            data = f"{code.constant(MEM, 'MEM')}[{start} : {start} + {length}]"
            return _text(code, data) if shape == STRING else code.local(data)


def _text(code: Source, data: str) -> str:
    """Adds what decodes a text: the name of a variable."""
    found = code.local()
    with code.block("try:"):
        code.add(f"{found} = {data}.decode()")
    with code.block("except UnicodeDecodeError as error:"):
        code.add(f"raise {code.constant(_no_text)}(error) from None")
    return found


def _no_text(error: UnicodeDecodeError) -> InvalidValue:
    return InvalidValue(f"a text is not in UTF-8: {error.reason}")


def _list(code: Source, item: Shape, at: str, count: str) -> str:
    """Adds what makes a list from the address and the number of its items: the name of a variable."""
    size, align = size_align(item)
    whole = code.local(f"{count} * {size}")
    _check(code, at, whole, align)
    _copy(code, f"{count} * {ITEM}")
    start = code.local(f"base + {at}")
    found = code.local("[]")
    each = code.local()
    # An actor's usual answer is one message, for which a range would take as long as the loop.
    with code.block(
        f"for {each} in ({start},) if {count} == 1 else range({start}, {start} + {whole}, {size}):"
    ):
        code.add(f"{found}.append({_value(code, item, _read(code, item, each, 0))})")
    return found


def _case(code: Source, shape: Shape, numbers: _Numbers) -> str:
    """Adds what makes a value with cases: the name of a variable."""
    number, payload = numbers.case(shape)
    cases = payloads(shape) or ()
    wrong = f"raise {code.constant(_no_case)}({number}, {len(cases)})"
    if isinstance(shape, EnumOf):
        code.add(f"if {number} >= {len(cases)}: {wrong}")
        return code.local(f"{code.constant(shape.names)}[{number}]")
    found = code.local()
    for each, (case, (make, constant)) in enumerate(zip(cases, _makes(shape), strict=True)):
        with code.block(f"{'elif' if each else 'if'} {number} == {each}:"):
            if case is None:
                code.add(f"{found} = {code.constant(constant)}")
            else:
                value = _value(code, case, payload(case))
                code.add(f"{found} = {value if make is None else f'{code.constant(make)}({value})'}")
    code.add(f"else: {wrong}")
    return found


def _no_case(number: int, count: int) -> InvalidValue:
    return InvalidValue(f"there is no case {number} among {count}")


def _makes(shape: Shape) -> list[tuple[Callable[[Any], Any] | None, Any]]:
    """What makes the value of each case: from that of its payload, if it is not the same; or a constant."""
    match shape:
        case OptionOf():
            return [(None, None), (None, None)]
        case ResultOf():
            return [(None, None), (Failure, Failure())]
        case VariantOf(cases):
            return [
                (None, case.cls()) if case.shape is None else (None if case.get is None else case.cls, None)
                for case in cases
            ]
        case _:
            raise AssertionError(shape)
