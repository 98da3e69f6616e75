"""Core code that turns bytes into hexadecimal digits and back, wherever they stand in a function's values.

A text and a list of bytes look alike to a core module: address and length. So the values of a function
stay where they are, as the canonical ABI has laid them out, and only the addresses and lengths of bytes
are replaced. <https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from wasmtime import component as wasm

MAX_FLAT_PARAMS: Final = 16
MAX_FLAT_RESULTS: Final = 1

_Type = wasm.ValType | None

_SIZES: Final[dict[type[Any], tuple[int, str]]] = {  # in memory, and what it is as a value
    wasm.Bool: (1, "i32"),
    wasm.U8: (1, "i32"),
    wasm.U16: (2, "i32"),
    wasm.U32: (4, "i32"),
    wasm.U64: (8, "i64"),
    wasm.F64: (8, "f64"),
}
_POINTERS: Final = (wasm.String, wasm.ListType)  # address and length

_DIGITS: Final = f"(v128.const i8x16 {' '.join(map(str, b'0123456789abcdef'))})"


def _values(digits: str) -> str:
    """What digits stand for, each in its byte."""
    letters = f"(i8x16.gt_s {digits} (i8x16.splat (i32.const {ord('9')})))"
    return f"""(i8x16.add
        (v128.and {digits} (i8x16.splat (i32.const 15)))
        (v128.and {letters} (i8x16.splat (i32.const 9))))"""


def _octets(values: str) -> str:
    """Two values each, the more significant one first, as one in the place of both."""
    return f"""(v128.and (i16x8.splat (i32.const 255)) (v128.or
        (i16x8.shl {values} (i32.const 4)) (i16x8.shr_u {values} (i32.const 8))))"""


MEMORY: Final = f"""
(core module $adapter
  (memory (export "memory") 0)
  (global $heap (mut i32) (i32.const 16))
  (func $reset (export "reset") (global.set $heap (i32.const 16)))
  (func $allocate (export "allocate") (param $size i32) (result i32)
    (local $at i32)
    (local $end i32)
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    ;; pages, and 32 bytes more: what unpacks reads as many at once
    (local.set $end (i32.shr_u (i32.add (global.get $heap) (i32.const {65535 + 32})) (i32.const 16)))
    (if (i32.gt_u (local.get $end) (memory.size)) (then
      (if (i32.eq (memory.grow (i32.sub (local.get $end) (memory.size))) (i32.const -1))
        (then (call $full)))))
    (local.get $at))
  (func $full (unreachable))  ;; this name is in the error then
  (func (export "realloc")
      (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (if (i32.and (i32.ne (local.get $old) (i32.const 0)) (i32.le_u (local.get $size) (local.get $old-size)))
      (then (return (local.get $old))))
    (local.set $at (call $allocate (local.get $size)))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-size))
    (local.get $at))
  (func $pack (export "pack") (param $at i32) (param $size i32) (result i32 i32)
    (local $digits i32) (local $left i32)
    (local $bytes v128) (local $high v128) (local $low v128)
    (local.set $left (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -16)))
    (if (i32.eq (i32.add (local.get $at) (local.get $left)) (global.get $heap))
      (then  ;; nothing lies behind them
        (local.set $digits (local.get $at))
        (drop (call $allocate (local.get $size))))
      (else (local.set $digits (call $allocate (i32.shl (local.get $left) (i32.const 1))))))
    (block $done (loop $next  ;; from the end, since there may be digits where there are bytes
      (br_if $done (i32.eqz (local.get $left)))
      (local.set $left (i32.sub (local.get $left) (i32.const 16)))
      (local.set $bytes (v128.load (i32.add (local.get $at) (local.get $left))))
      (local.set $high (i8x16.swizzle {_DIGITS} (i8x16.shr_u (local.get $bytes) (i32.const 4))))
      (local.set $low (i8x16.swizzle {_DIGITS}
        (v128.and (local.get $bytes) (i8x16.splat (i32.const 15)))))
      (v128.store (i32.add (local.get $digits) (i32.shl (local.get $left) (i32.const 1)))
        (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $high) (local.get $low)))
      (v128.store offset=16 (i32.add (local.get $digits) (i32.shl (local.get $left) (i32.const 1)))
        (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $high) (local.get $low)))
      (br $next)))
    (local.get $digits)
    (i32.shl (local.get $size) (i32.const 1)))
  (func $unpack (export "unpack") (param $at i32) (param $size i32) (result i32 i32)
    (local $from i32) (local $to i32) (local $end i32)
    (local $one v128) (local $other v128)
    (local.set $from (local.get $at))
    (local.set $to (local.get $at))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
      (local.set $one (v128.load (local.get $from)))
      (local.set $one {_values("(local.get $one)")})
      (local.set $other (v128.load offset=16 (local.get $from)))
      (local.set $other {_values("(local.get $other)")})
      (v128.store (local.get $to) (i8x16.narrow_i16x8_u
        {_octets("(local.get $one)")}
        {_octets("(local.get $other)")}))
      (local.set $from (i32.add (local.get $from) (i32.const 32)))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (br $next)))
    (local.get $at)
    (i32.shr_u (local.get $size) (i32.const 1)))
  (func (export "pack-at") (param $at i32)
    (call $pack (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))
    (call $keep (local.get $at)))
  (func (export "unpack-at") (param $at i32)
    (call $unpack (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))
    (call $keep (local.get $at)))
  (func $keep (param $address i32) (param $size i32) (param $at i32)
    (i32.store (local.get $at) (local.get $address))
    (i32.store offset=4 (local.get $at) (local.get $size)))
)"""
"""A module with memory that is given out until it is reset, in blocks of 16 bytes, and with what packs bytes
and unpacks digits, in place if it can. It has no page at first: who is never called should cost nothing."""

FULL: Final = "adapter!full"
"""In the error of a call for which there is not enough memory."""


def is_bytes(type: _Type) -> bool:
    return isinstance(type, wasm.ListType) and isinstance(type.element, wasm.U8)


def carries_bytes(type: _Type) -> bool:
    """Whether there are bytes somewhere in a value of this type."""
    if isinstance(type, wasm.ListType):
        return is_bytes(type) or carries_bytes(type.element)
    return type is not None and any(map(carries_bytes, _parts(type)[1]))


def _parts(type: wasm.ValType) -> tuple[bool, Sequence[_Type]]:
    """What a type consists of: whether a value has one of them or all, and their types."""
    match type:
        case wasm.RecordType():
            return False, [each for _, each in type.fields]
        case wasm.TupleType():
            return False, type.elements
        case wasm.VariantType():
            return True, [each for _, each in type.cases]
        case wasm.EnumType():
            return True, [None for _ in type.names]
        case wasm.OptionType():
            return True, [None, type.payload]
        case wasm.ResultType():
            return True, [type.ok, type.err]
        case _:
            return False, []


def flat(type: _Type) -> tuple[str, ...]:
    """The core values that stand for one of this type."""
    if type is None:
        return ()
    if isinstance(type, _POINTERS):
        return "i32", "i32"
    if type.__class__ in _SIZES:
        return (_SIZES[type.__class__][1],)
    one_of, parts = _parts(type)
    if not one_of:
        return tuple(core for each in parts for core in flat(each))
    room: tuple[str, ...] = ()
    for each in parts:
        room = tuple(_join(*pair) for pair in zip_longest(room, flat(each)))
    return ("i32", *room)


def _join(one: str | None, other: str | None) -> str:
    """The core type that holds both; there is no f32."""
    return one or other or "" if one is None or other is None or one == other else "i64"


def layout(type: _Type) -> tuple[int, int]:
    """Bytes that a value takes up in memory, and what its address is a multiple of."""
    if type is None:
        return 0, 1
    if isinstance(type, _POINTERS):
        return 8, 4
    if type.__class__ in _SIZES:
        size, _ = _SIZES[type.__class__]
        return size, size
    one_of, parts = _parts(type)
    if not one_of:
        *_, (end, _) = _places(parts)
        return end, max(layout(each)[1] for each in parts)
    start = _payload(parts)
    align = max(1, *(layout(each)[1] for each in parts))
    return _up(start + max(layout(each)[0] for each in parts), align), align


def _places(parts: Sequence[_Type]) -> Iterator[tuple[int, _Type]]:
    """Where the parts of a record lie, and where it ends."""
    place = 0
    for each in parts:
        size, align = layout(each)
        place = _up(place, align)
        yield place, each
        place += size
    yield _up(place, max(layout(each)[1] for each in parts)), None


def _payload(parts: Sequence[_Type]) -> int:
    """Where the payload of a variant lies; its case is one byte, since it has few."""
    return max(1, *(layout(each)[1] for each in parts))


def _up(place: int, align: int) -> int:
    return -(-place // align) * align


class Signature(NamedTuple):
    """A function of a component, in a core module on both sides of it.

    Attributes:
        parameters: core values, those that `canon lower` and `canon lift` give it alike.
        spilled: the only parameter is the address of a tuple of all of them.
        results: of it, if it is lifted.
        returned: bytes of the result in memory, to which there is an address; 0 if it is a core value.
    """

    parameters: tuple[str, ...]
    spilled: bool
    results: tuple[str, ...]
    returned: int


def signature(type: wasm.FuncType) -> Signature:
    """Flattens a function's type."""
    parameters = tuple(core for _, each in type.params for core in flat(each))
    spilled = len(parameters) > MAX_FLAT_PARAMS
    results = flat(type.result)
    returned = layout(type.result)[0] if len(results) > MAX_FLAT_RESULTS else 0
    return Signature(
        ("i32",) if spilled else parameters, spilled, ("i32",) if returned else results, returned
    )


class Crossing:
    """A core module whose functions call others of the same types, with bytes in another form.

    Args:
        packs: bytes of parameters become digits and those of results bytes again; or the reverse.
    """

    def __init__(self, packs: bool) -> None:
        self._way, self._back = ("pack", "unpack") if packs else ("unpack", "pack")
        self._imports: list[str] = []
        self._functions: list[str] = []
        self._walks = 0

    def add(self, name: str, type: wasm.FuncType) -> None:
        """Adds a function that calls the import of the same name."""
        parameters, spilled, results, returned = signature(type)
        given = [each for _, each in type.params]
        arguments = " ".join(f"(local.get {place})" for place in range(len(parameters)))
        core = f"(param {' '.join(parameters)})"
        result = f"(result {' '.join(results)})"
        lowered = f"{core} (param i32)" if returned else f"{core} {result}"
        self._imports.append(f'(import "inner" "{name}" (func ${name} {lowered}))')
        body = [f'(func (export "{name}") {core} {result} (local $at i32)']
        if spilled:
            body += ["(local.set $at (local.get 0))", *self._in_record(self._way, given, 0)]
        else:
            body += self._in_locals(self._way, given, 0, parameters)
        body.append("(call $reset)")  # what was allocated is read before more is
        if returned:
            body.append(f"(local.set $at (call $allocate (i32.const {returned})))")
            body.append(f"(call ${name} {arguments} (local.get $at))")
            body += self._in_memory(self._back, type.result, 0)
            body.append("(local.get $at)")
        else:
            body.append(f"(call ${name} {arguments})")
        after = f"(param {' '.join(results)})"
        self._functions += [*body, ")", f'(func (export "after-{name}") {after} (call $reset))']

    def text(self) -> str:
        """The module."""
        return "\n".join(
            (
                "(core module $main",
                '(import "memory" "memory" (memory 0))',
                '(import "memory" "reset" (func $reset))',
                '(import "memory" "allocate" (func $allocate (param i32) (result i32)))',
                '(import "memory" "pack" (func $pack (param i32 i32) (result i32 i32)))',
                '(import "memory" "unpack" (func $unpack (param i32 i32) (result i32 i32)))',
                '(import "memory" "pack-at" (func $pack-at (param i32)))',
                '(import "memory" "unpack-at" (func $unpack-at (param i32)))',
                *self._imports,
                *self._functions,
                ")",
            )
        )

    def _in_locals(self, way: str, types: Iterable[_Type], place: int, cores: Sequence[str]) -> Iterator[str]:
        """Converts the bytes of values that stand in locals, one after the other.

        Args:
            way: `pack` or `unpack`.
            types: of the values.
            place: of the first one's first local.
            cores: types of all locals, which may be wider, since cases of a variant share them.
        """
        for each in types:
            if each is not None and carries_bytes(each):
                yield from self._in_local(way, each, place, cores)
            place += len(flat(each))

    def _in_local(self, way: str, type: wasm.ValType, place: int, cores: Sequence[str]) -> Iterator[str]:
        first = _narrow(place, cores)
        if is_bytes(type):
            yield f"(call ${way} {first} {_narrow(place + 1, cores)})"
            for local in (place + 1, place):
                yield "i64.extend_i32_u" if cores[local] == "i64" else ""
                yield f"local.set {local}"
        elif isinstance(type, wasm.ListType):
            yield f"(call {self._walk(way, type.element)} {first} {_narrow(place + 1, cores)})"
        else:
            one_of, parts = _parts(type)
            if not one_of:
                yield from self._in_locals(way, parts, place, cores)
                return
            for number, each in enumerate(parts):
                if carries_bytes(each):
                    yield f"(if (i32.eq {first} (i32.const {number})) (then"
                    yield from self._in_locals(way, [each], place + 1, cores)
                    yield "))"

    def _in_record(self, way: str, types: Sequence[_Type], offset: int) -> Iterator[str]:
        for place, each in _places(types):
            yield from self._in_memory(way, each, offset + place)

    def _in_memory(self, way: str, type: _Type, offset: int) -> Iterator[str]:
        """Converts the bytes of a value that lies in memory, from `$at` on."""
        if type is None or not carries_bytes(type):
            return
        if is_bytes(type):
            yield f"(call ${way}-at (i32.add (local.get $at) (i32.const {offset})))"
        elif isinstance(type, wasm.ListType):
            start, count = (f"(i32.load offset={offset + more} (local.get $at))" for more in (0, 4))
            yield f"(call {self._walk(way, type.element)} {start} {count})"
        else:
            one_of, parts = _parts(type)
            if not one_of:
                yield from self._in_record(way, parts, offset)
                return
            case = f"(i32.load8_u offset={offset} (local.get $at))"
            for number, each in enumerate(parts):
                if carries_bytes(each):
                    yield f"(if (i32.eq {case} (i32.const {number})) (then"
                    yield from self._in_memory(way, each, offset + _payload(parts))
                    yield "))"

    def _walk(self, way: str, item: wasm.ValType) -> str:
        """The name of a function that converts the bytes of a list's items."""
        name = f"$walk-{self._walks}"
        self._walks += 1
        body = list(self._in_memory(way, item, 0))
        self._functions += [
            f"(func {name} (param $at i32) (param $count i32) (block $done (loop $next",
            "(br_if $done (i32.eqz (local.get $count)))",
            *body,
            f"(local.set $at (i32.add (local.get $at) (i32.const {layout(item)[0]})))",
            "(local.set $count (i32.sub (local.get $count) (i32.const 1)))",
            "(br $next))))",
        ]
        return name


def _narrow(place: int, cores: Sequence[str]) -> str:
    """A local's lower half, if it is wider than an address."""
    return f"(i32.wrap_i64 (local.get {place}))" if cores[place] == "i64" else f"(local.get {place})"
