"""What crosses the boundary between host and component, as values of Python.

A shape is a WIT type together with the Python values that stand for it. Converters are compiled from
shapes alone; `mismatch` tells whether the type of a component's own function is the one meant.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from wasmtime import component as types


class Scalar(msgspec.Struct, frozen=True):
    """A type without parts; `wit` is its name in WIT."""

    wit: str


BOOL = Scalar("bool")
U8 = Scalar("u8")
U16 = Scalar("u16")
U32 = Scalar("u32")
U64 = Scalar("u64")
F64 = Scalar("f64")
STRING = Scalar("string")
BYTES = Scalar("list<u8>")
"""`bytes`; on the way to a component anything with the buffer protocol."""


class ListOf(msgspec.Struct, frozen=True):
    """`list`; on the way to a component anything that has a length and can be iterated over."""

    item: "Shape"


class OptionOf(msgspec.Struct, frozen=True):
    """The item's value, or None; so an option of an option is not told from an option."""

    item: "Shape"


class TupleOf(msgspec.Struct, frozen=True):
    """`tuple`."""

    items: "tuple[Shape, ...]"


class ResultOf(msgspec.Struct, frozen=True):
    """The value of `ok`, None if it has none; or a `Failure`, which the value of `ok` cannot be."""

    ok: "Shape | None"
    error: "Shape | None"


class Field(NamedTuple):
    """A field of a record: its name in WIT, the attribute it is read from, and its shape."""

    name: str
    attribute: str
    shape: "Shape"


class RecordOf(msgspec.Struct, frozen=True):
    """An object with attributes.

    Attributes:
        make: is called with the fields' values in order.
        fields: in the order of WIT.
    """

    make: Callable[..., Any]
    fields: tuple[Field, ...]


class Case(NamedTuple):
    """A case of a variant.

    Attributes:
        name: in WIT.
        cls: an instance of exactly this class stands for the case. One without payload is made by
            calling it without arguments.
        shape: of the payload, if there is one.
        get: the attribute that holds the payload, or what takes it out of an instance. An instance is made
            by calling `cls` with the payload; if there is no `get`, the payload is the instance itself.
    """

    name: str
    cls: type
    shape: "Shape | None" = None
    get: str | Callable[[Any], Any] | None = None

    def payload(self, value: Any) -> Any:
        """The payload of an instance."""
        if self.get is None:
            return value
        return getattr(value, self.get) if isinstance(self.get, str) else self.get(value)


class VariantOf(msgspec.Struct, frozen=True):
    """An instance of the class of one of the cases."""

    cases: tuple[Case, ...]


class EnumOf(msgspec.Struct, frozen=True):
    """One of the names, as `str`."""

    names: tuple[str, ...]


class Adapted(msgspec.Struct, frozen=True):
    """A value of another class in place of the shape's own.

    Attributes:
        shape: what crosses the boundary.
        make: makes the value from that of the shape.
        get: does the reverse; if there is none, the shape takes the value as it is.
    """

    shape: "Shape"
    make: Callable[[Any], Any]
    get: Callable[[Any], Any] | None = None


Shape = Scalar | ListOf | OptionOf | TupleOf | ResultOf | RecordOf | VariantOf | EnumOf | Adapted


class FunctionShape(NamedTuple):
    """Of a function: its parameters in order, and its result, if it has one."""

    parameters: tuple[Shape, ...]
    result: Shape | None


class Failure(msgspec.Struct, frozen=True):
    """The error of a `result`."""

    error: Any = None


class ValueTooLarge(ValueError):
    """A component hands over more than it may; nothing of it was copied that is beyond the limit.

    Args:
        limit: bytes that the values of one call may have.
        size: bytes of those that were looked at.
    """

    def __init__(self, limit: int, size: int) -> None:
        super().__init__(limit, size)
        self.limit = limit
        self.size = size

    def __str__(self) -> str:
        return f"the component handed over at least {self.size} bytes at once, {self.limit} are allowed"


# In the words of WIT. Most of those that no shape has would make wasmtime's C interface abort the process.
NAMES: dict[type[Any], str] = {
    types.Bool: "bool",
    types.S8: "s8",
    types.U8: "u8",
    types.S16: "s16",
    types.U16: "u16",
    types.S32: "s32",
    types.U32: "u32",
    types.S64: "s64",
    types.U64: "u64",
    types.F32: "f32",
    types.F64: "f64",
    types.Char: "char",
    types.String: "string",
    types.ListType: "list",
    types.RecordType: "record",
    types.TupleType: "tuple",
    types.VariantType: "variant",
    types.EnumType: "enum",
    types.OptionType: "option",
    types.ResultType: "result",
    types.FlagsType: "flags",
    types.OwnType: "own",
    types.BorrowType: "borrow",
    types.FutureType: "future",
    types.StreamType: "stream",
    types.ErrorContext: "error-context",
}
_KINDS = {
    ListOf: "list",
    OptionOf: "option",
    TupleOf: "tuple",
    ResultOf: "result",
    RecordOf: "record",
    VariantOf: "variant",
    EnumOf: "enum",
}


def mismatch(type: types.FuncType, shape: FunctionShape) -> str | None:
    """Says in words where the type of a function differs from a shape, if it does.

    What differs may be a type that can have no shape: resources, futures, streams and error contexts
    cannot be handed over at all.
    """
    try:
        return _function_mismatch(type, shape)
    except TypeError as error:  # from wasmtime, which knows more types than its Python package
        return f"a type that cannot be handed over: {error}"


def _function_mismatch(type: types.FuncType, shape: FunctionShape) -> str | None:
    parameters = type.params
    if len(parameters) != len(shape.parameters):
        return f"expected {len(shape.parameters)} parameters, found {len(parameters)}"
    for number, ((_, found), expected) in enumerate(zip(parameters, shape.parameters, strict=True), 1):
        if problem := _mismatch(f"parameter {number}", found, expected):
            return problem
    return _optional_mismatch("the result", "result", type.result, shape.result)


def _name(type: types.ValType) -> str:
    name = NAMES.get(type.__class__, "something unknown")
    return f"list<{_name(type.element)}>" if isinstance(type, types.ListType) else name


def _kind(shape: Shape) -> str:
    if isinstance(shape, Scalar):
        return shape.wit
    if isinstance(shape, Adapted):
        return _kind(shape.shape)
    return _KINDS[shape.__class__]


def _optional_mismatch(where: str, what: str, type: types.ValType | None, shape: Shape | None) -> str | None:
    if type is None:
        return None if shape is None else f"{where}: expected a {what} of type {_kind(shape)}, found none"
    if shape is None:
        return f"{where}: expected no {what}, found one of type {_name(type)}"
    return _mismatch(where, type, shape)


def _mismatch(where: str, type: types.ValType, shape: Shape) -> str | None:
    if isinstance(shape, Adapted):
        return _mismatch(where, type, shape.shape)
    found = _name(type)
    if found != _kind(shape) and not (isinstance(shape, ListOf) and isinstance(type, types.ListType)):
        return f"{where}: expected type {_kind(shape)}, found {found}"
    if isinstance(shape, Scalar):
        return None
    return _parts_mismatch(where, type, shape)


def _parts_mismatch(where: str, type: Any, shape: Shape) -> str | None:
    match shape:
        case ListOf(item):
            return _mismatch(f"{where}, item", type.element, item)
        case OptionOf(item):
            return _mismatch(f"{where}, option", type.payload, item)
        case ResultOf(ok, error):
            found: list[Any] = [("ok", type.ok), ("error", type.err)]
            return _members_mismatch(where, "", found, [("ok", ok), ("error", error)])
        case TupleOf(items):
            found = list(enumerate(type.elements, 1))
            return _members_mismatch(where, "element", found, list(enumerate(items, 1)))
        case RecordOf(_, fields):
            expected = [(field.name, field.shape) for field in fields]
            return _members_mismatch(where, "field", type.fields, expected)
        case VariantOf(cases):
            return _members_mismatch(where, "case", type.cases, [(case.name, case.shape) for case in cases])
        case EnumOf(names):
            expected_names = [(name, None) for name in names]
            return _members_mismatch(where, "case", [(name, None) for name in type.names], expected_names)
        case _:
            raise AssertionError(shape)


def _members_mismatch(where: str, what: str, found: list[Any], expected: Sequence[Any]) -> str | None:
    """Compares what a type consists of: names or numbers, each with its type, if it has one."""
    if [name for name, _ in found] != [name for name, _ in expected]:
        found_names, expected_names = (", ".join(str(name) for name, _ in each) for each in (found, expected))
        return f"{where}: expected the {what}s {expected_names}, found {found_names}"
    for (name, kind), (_, shape) in zip(found, expected, strict=True):
        label = f"{where}, {what} '{name}'" if what else f"{where}, {name}"
        if problem := _optional_mismatch(label, "payload", kind, shape):
            return problem
    return None
