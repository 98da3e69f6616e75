"""A guest that is nothing but memory, with what the glue does between it and the host, in Python."""

import ctypes
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from theater.wasm import loading, storing
from theater.wasm.canonical import COUNT, HEAD, PAGE, PAGES, ROOM, SLOTS, flatten, size_align
from theater.wasm.contracts import V0_1, V0_2
from theater.wasm.memory import Guest, Staging
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
    Case,
    EnumOf,
    Failure,
    FunctionShape,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)

LIMIT: Final = 64 * 1024 * 1024
START: Final = 4096
"""Where the first memory is that the guest gives out."""
RESULT: Final = 64
"""Where it wants a result."""


class Memories:
    """The memory of a guest, and a staging memory.

    Args:
        pages: of the guest's memory.
        limit: bytes that values may have.
        reserved: bytes up to which the staging memory can grow.
    """

    def __init__(self, pages: int = 2, limit: int = LIMIT, reserved: int = 16 * PAGE) -> None:
        self.memory = bytearray(pages * PAGE)
        self.reserved = bytearray(b"\xaa") * reserved
        self.grown: list[int] = []
        self.staging = Staging(_address(self.reserved), PAGE, self._grow)
        self.guest = Guest(_address(self.memory), limit)
        self.top = START
        self.asked: list[tuple[int, int]] = []
        self.write(PAGES, pages)

    def _grow(self, needed: int) -> int:
        if needed > len(self.reserved):
            raise OverflowError("the staging memory has no more pages")
        self.grown.append(needed)
        return -(-needed // PAGE) * PAGE

    def read(self, at: int, count: int = 1) -> tuple[int, ...]:
        """Numbers of 4 bytes in the staging memory."""
        return struct.unpack_from(f"<{count}I", self.reserved, at)

    def write(self, at: int, number: int) -> None:
        struct.pack_into("<I", self.reserved, at, number)

    def words(self, count: int) -> tuple[int, ...]:
        """Those in the slots."""
        return struct.unpack_from(f"<{count}Q", self.reserved, SLOTS)

    def realloc(self, align: int, size: int) -> int:
        """What a guest's `cabi_realloc` does, here one that never takes anything back."""
        self.asked.append((align, size))
        start = -(-self.top // align) * align
        self.top = start + size
        assert self.top <= len(self.memory)
        return start

    def glue(self) -> None:
        """Gets memory for all blocks, and copies them there."""
        count, head, held = self.read(COUNT, 3)
        assert head % 8 == 0
        blocks = []
        for _ in range(count):
            align, size, here, patch = self.read(head, 4)
            assert here == size or (here == 0 and held)
            assert patch + 4 <= head
            self.write(patch, self.realloc(align, size))
            blocks.append((head + HEAD, here, patch))
            head = -(-(head + HEAD + here) // 8) * 8
        for start, here, patch in blocks:
            (at,) = self.read(patch)
            self.memory[at : at + here] = self.reserved[start : start + here]
        if held:
            self.staging.deliver(self.guest)

    def give(self, shapes: Sequence[Shape], values: Sequence[Any]) -> tuple[int, ...]:
        """Hands arguments to the guest; returns the words of its function's core values."""
        storing.compile_arguments(tuple(shapes))(self.staging, values)
        self.glue()
        count = len(flatten(shapes))
        return self.words(count if count <= 16 else 1)

    def answer(self, shape: Shape, value: Any) -> int:
        """Hands a result to the guest; returns the word of its core value, or the address of all of it."""
        storing.compile_result(shape)(self.staging, value)
        self.glue()
        if len(flatten([shape])) == 1:
            return self.words(1)[0]
        size, _ = size_align(shape)
        self.memory[RESULT : RESULT + size] = self.reserved[ROOM : ROOM + size]
        return RESULT

    def there_and_back(self, shape: Shape, value: Any) -> Any:
        """Hands a value to the guest as an argument, and takes it back as one of a function of the host."""
        words = self.give([shape], [value])
        (found,) = self.taken((shape,), words)
        return found

    def back_and_there(self, shape: Shape, value: Any) -> Any:
        """Hands a value to the guest as a result, and takes it back as one."""
        return self.loaded(shape, self.answer(shape, value))

    def taken(self, shapes: tuple[Shape, ...], words: Sequence[int]) -> tuple[Any, ...]:
        """What the guest calls a function of the host with, as words."""
        struct.pack_into(f"<{len(words)}Q", self.reserved, SLOTS, *words)
        return loading.compile_arguments(shapes)(self.guest, self.staging.view)

    def loaded(self, shape: Shape | None, word: int) -> Any:
        """What a function of the guest returns, as a word, which may be an address."""
        struct.pack_into("<Q", self.reserved, SLOTS, word)
        if len(flatten([shape])) > 1:
            assert shape is not None
            at, (size, _) = word & 0xFFFF_FFFF, size_align(shape)
            content = self.memory[at : at + size]
            self.reserved[ROOM : ROOM + len(content)] = content
        return loading.compile_result(shape)(self.guest, self.staging.view)


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def functions() -> Iterator[tuple[str, str, str, bool, FunctionShape]]:
    """All functions of the contracts: version, interface, name, whether components export them, shape."""
    for contract in (V0_1, V0_2):
        for exported, interfaces in enumerate((contract.imports, contract.exports)):
            for interface, each in interfaces.items():
                for name, shape in each.items():
                    yield contract.version, interface, name, bool(exported), shape


def plain(shape: Shape) -> Shape:
    """A shape of the same type, whose values are of classes that take anything and can be compared."""
    match shape:
        case Adapted(inner):
            return plain(inner)
        case ListOf(item):
            return ListOf(plain(item))
        case OptionOf(item):
            return OptionOf(plain(item))
        case TupleOf(items):
            return TupleOf(tuple(map(plain, items)))
        case ResultOf(ok, error):
            return ResultOf(ok and plain(ok), error and plain(error))
        case RecordOf(_, fields):
            made = msgspec.defstruct("Record", [field.attribute for field in fields], frozen=True)
            return RecordOf(made, tuple(field._replace(shape=plain(field.shape)) for field in fields))
        case VariantOf(cases):
            return VariantOf(tuple(map(_plain_case, cases)))
        case _:
            return shape


def _plain_case(case: Case) -> Case:
    if case.shape is None:
        return Case(case.name, msgspec.defstruct("Empty", [], frozen=True))
    made = msgspec.defstruct("Full", ["payload"], frozen=True)
    return Case(case.name, made, plain(case.shape), "payload")


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_SCALARS: Final[dict[Shape, st.SearchStrategy[Any]]] = {
    BOOL: st.booleans(),
    U8: st.integers(0, (1 << 8) - 1),
    U16: st.integers(0, (1 << 16) - 1),
    U32: st.integers(0, (1 << 32) - 1),
    U64: st.integers(0, (1 << 64) - 1),
    F64: st.floats(allow_nan=False),
    STRING: _texts,
    BYTES: st.binary(max_size=10),
}


def values(shape: Shape | None) -> st.SearchStrategy[Any]:
    """Values of a shape that is `plain`."""
    match shape:
        case None:
            return st.none()
        case ListOf(item):
            return st.lists(values(item), max_size=4)
        case OptionOf(item):
            return st.none() | values(item)
        case TupleOf(items):
            return st.tuples(*map(values, items))
        case ResultOf(ok, error):
            return values(ok) | st.builds(Failure, values(error))
        case RecordOf(make, fields):
            return st.builds(make, *[values(field.shape) for field in fields])
        case VariantOf(cases):
            return st.one_of([st.builds(case.cls, *_payload(case)) for case in cases])
        case EnumOf(names):
            return st.sampled_from(names)
        case Scalar():
            return _SCALARS[shape]
        case Adapted():
            raise AssertionError(shape)


def _payload(case: Case) -> tuple[st.SearchStrategy[Any], ...]:
    return () if case.shape is None else (values(case.shape),)


def shapes() -> Iterator[tuple[str, Shape]]:
    """The shapes of all results, and of all parameters of a function together; of both kinds of contract."""
    for version, interface, name, exported, (parameters, result) in functions():
        label = f"{version} {interface} {name}" + (" (exported)" if exported else "")
        if parameters:
            yield f"{label} parameters", plain(TupleOf(parameters))
        if result is not None:
            yield f"{label} result", plain(result)


SHAPES: Final = dict(shapes())
