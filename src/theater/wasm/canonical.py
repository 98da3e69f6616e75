"""How values of shapes look to core code: their sizes in memory, and the core values they come down to.

Both are those of the canonical ABI, with texts in UTF-8:
<https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>. `loading` reads what
a guest hands over, `storing` writes what it is given.

Core values are handed on as *words*: unsigned integers of 64 bits. An i32 is the lower half of one, an f64
the bits of one, so a value of any type fits where the cases of a variant share a place.

# Staging memory

The host writes what it hands to a guest into a memory of its own, the staging memory; code between host
and guest, the glue, asks the guest for memory with `cabi_realloc` and copies it there. The host may write
before each call of a function of the guest, and before each return of a function of the host; the glue
reads it once, before the guest goes on. All numbers in it are little-endian and unsigned.

| offset  | bytes | what it is                                                                          |
|---------|-------|-------------------------------------------------------------------------------------|
| `PAGES` | 4     | pages of 64 KiB that the guest's memory has; the glue writes it before the host runs |
| `COUNT` | 4     | number of blocks                                                                     |
| `FIRST` | 4     | offset of the first block, a multiple of 8                                           |
| `HELD`  | 4     | number of blocks whose contents the host holds back                                  |
| `SLOTS` | 8 × 16 | words: the core values of a function's arguments, or the one of its result          |
| `ROOM`  |       | a result in its form in memory, if it comes down to more than one core value         |

A block is memory that the guest has to provide: for a text, the items of a list, or arguments that are
too many for core values. It begins at a multiple of 8 with a head of `HEAD` bytes, which are four numbers
of 4 bytes:

1. `align`: the alignment of the memory, a power of two;
2. `size`: its bytes, to be asked for even if there are none;
3. `here`: how many of these bytes follow the head, from where they are to be copied: all, or none if the
   host holds them back;
4. `patch`: the offset in staging memory of the 4 bytes where the address of the memory belongs.

The next block begins at the next multiple of 8 behind the head and those bytes. So the glue goes through
the `COUNT` blocks twice: first it calls `cabi_realloc(0, 0, align, size)` for each and writes the address
it got at `patch`; then it copies `here` bytes of each to that address, now that the addresses within them
are known. A `patch` lies in a slot, in `ROOM`, or in the contents of a block before. Then, if `HELD` is not
0, the host copies what it holds back (`Staging.deliver`), for which it reads the addresses at `patch`.

Slots are loaded, and `ROOM` is copied to where the guest wants a result, after that. A result of a guest's
function is copied to `ROOM` in turn, so that the host reads it together with all else; texts and lists stay
where they are. The size of a result in `ROOM` is that of its shape (`size_align`).
"""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Final, NamedTuple

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
    FunctionShape,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)
from theater.wasm.wat import CoreFunction

MAX_FLAT_PARAMS: Final = 16
MAX_FLAT_RESULTS: Final = 1
PAGE: Final = 65_536
"""Bytes."""

PAGES: Final = 0
COUNT: Final = 4
FIRST: Final = 8
HELD: Final = 12
SLOTS: Final = 16
WORD: Final = 8
ROOM: Final = SLOTS + MAX_FLAT_PARAMS * WORD
HEAD: Final = 16

_SIZES: Final = {BOOL: 1, U8: 1, U16: 2, U32: 4, U64: 8, F64: 8}
_WORDS: Final = {U64: "i64", F64: "f64"}
_POINTED: Final = (STRING, BYTES)


class InvalidValue(ValueError):
    """A guest handed over what is no value of its type: an address outside of its memory, a case that there
    is not, a text that is not in UTF-8. It counts as a trap.

    Args:
        problem: a sentence.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Signature(NamedTuple):
    """What a function is between core modules.

    Attributes:
        core: its type.
        spilled: its arguments are too many for core values: their tuple lies where the only one leads to.
        returned: its result lies in memory. A guest's function returns the address; one of the host gets it
            as its last argument.
    """

    core: CoreFunction
    spilled: bool
    returned: bool


def signature(shape: FunctionShape, *, lowered: bool) -> Signature:
    """What a function comes down to: one of the host (`canon lower`), or one of a guest (`canon lift`)."""
    return signature_of(flatten(shape.parameters), flatten((shape.result,)), lowered=lowered)


def signature_of(parameters: tuple[str, ...], results: tuple[str, ...], *, lowered: bool) -> Signature:
    """The same by the core values that its parameters and its result come down to."""
    spilled = len(parameters) > MAX_FLAT_PARAMS
    returned = len(results) > MAX_FLAT_RESULTS
    if spilled:
        parameters = ("i32",)
    if returned:
        parameters += ("i32",) if lowered else ()
        results = () if lowered else ("i32",)
    return Signature(CoreFunction(parameters, results), spilled, returned)


def payloads(shape: Shape) -> tuple[Shape | None, ...] | None:
    """What the cases of a shape carry, in the order of their numbers; none if it has no cases."""
    match shape:
        case OptionOf(item):
            return (None, item)
        case ResultOf(ok, error):
            return (ok, error)
        case VariantOf(cases):
            return tuple(case.shape for case in cases)
        case EnumOf(names):
            return (None,) * len(names)
        case _:
            return None


def size_align(shape: Shape) -> tuple[int, int]:
    """The size of a value in memory, without what its addresses lead to, and its alignment, in bytes."""
    if (cases := payloads(shape)) is not None:
        start, align = payload_offset(cases)
        return _up(start + max(size_align(case)[0] if case else 0 for case in cases), align), align
    match shape:
        case Adapted(inner):
            return size_align(inner)
        case RecordOf() | TupleOf():
            align = max((size_align(part)[1] for part in parts(shape)), default=1)
            return _up(offsets(shape)[-1], align), align
        case Scalar() if shape in _SIZES:
            return _SIZES[shape], _SIZES[shape]
        case _:
            return 8, 4  # address and length


def parts(shape: RecordOf | TupleOf) -> tuple[Shape, ...]:
    """The shapes of fields or items."""
    return shape.items if isinstance(shape, TupleOf) else tuple(field.shape for field in shape.fields)


def offsets(shape: RecordOf | TupleOf) -> tuple[int, ...]:
    """Where the fields or items of a value lie from its start, and where the last one ends."""
    found = []
    end = 0
    for size, align in map(size_align, parts(shape)):
        found.append(_up(end, align))
        end = found[-1] + size
    return (*found, end)


def case_size(count: int) -> int:
    """Bytes of the number of one of so many cases."""
    return 1 if count <= 1 << 8 else 2 if count <= 1 << 16 else 4


def payload_offset(cases: tuple[Shape | None, ...]) -> tuple[int, int]:
    """Where the payload of a value with cases lies from its start, and the alignment of both."""
    number = case_size(len(cases))
    inner = max(size_align(case)[1] if case else 1 for case in cases)
    return _up(number, inner), max(number, inner)


def flatten(shapes: Iterable[Shape | None]) -> tuple[str, ...]:
    """The types of the core values that values of these shapes come down to, one after the other."""
    return tuple(value for shape in shapes if shape is not None for value in _flatten(shape))


def _flatten(shape: Shape) -> tuple[str, ...]:
    if (cases := payloads(shape)) is not None:
        return flat_cases(flatten((case,)) for case in cases)
    match shape:
        case Adapted(inner):
            return _flatten(inner)
        case RecordOf() | TupleOf():
            return flatten(parts(shape))
        case Scalar() if shape not in _POINTED:
            return (_WORDS.get(shape, "i32"),)
        case _:
            return ("i32", "i32")


def flat_cases(payloads: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The number of a case, and room for the core values of any payload."""
    room: tuple[str, ...] = ()
    for payload in payloads:
        room = tuple(_join(*pair) for pair in zip_longest(room, payload))
    return ("i32", *room)


def _join(one: str | None, other: str | None) -> str:
    """The type that holds both; no shape has f32."""
    if one is None or other is None or one == other:
        return one or other or "i32"
    return "i64"


def _up(size: int, align: int) -> int:
    """The next multiple of an alignment."""
    return -(-size // align) * align
