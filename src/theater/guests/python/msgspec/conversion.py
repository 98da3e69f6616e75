"""From what JSON has to values of a type, and back."""

import base64
import binascii
import enum
import math
import re
from collections.abc import Callable, Iterable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec.errors import ValidationError
from msgspec.struct import Meta, Struct

Convert = Callable[[Any], Any]

_KINDS: Final = {
    NoneType: "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "array",
    tuple: "array",
    dict: "object",
}


class _Mismatch(Exception):
    """A value is not of its type; `path` leads to it, from the inside out."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = [*path]


class _Plan(NamedTuple):
    """How values of a type are made.

    Attributes:
        expected: the type in the words of an error, each part once.
        converters: by the kind of what JSON has; those for any kind by the empty name.
    """

    expected: tuple[str, ...]
    converters: dict[str, Convert]

    def convert(self, value: Any) -> Any:
        kind = _KINDS.get(type(value), type(value).__name__)
        converter = self.converters.get(kind) or self.converters.get("")
        if converter is None:
            raise _Mismatch(f"Expected `{' | '.join(self.expected)}`, got `{kind}`")
        return converter(value)


def convert(value: Any, type: Any) -> Any:
    """Makes a value of a type from what JSON has: texts, numbers, booleans, None, lists, dictionaries.

    Raises:
        ValidationError: it is not of this type.
        TypeError: components do not support the type.
    """
    try:
        return plan(type).convert(value)
    except _Mismatch as error:
        where = "".join(reversed(error.path))
        if where.startswith("key"):
            where = f"`key` in `${where[3:]}`"
        elif where:
            where = f"`${where}`"
        raise ValidationError(f"{error.problem} - at {where}" if where else error.problem) from None


@cache
def plan(kind: Any) -> _Plan:
    """How values of a type are made.

    Raises:
        TypeError: components do not support the type.
    """
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _constrained(plan(arguments[0]), [each for each in arguments[1:] if isinstance(each, Meta)])
    if origin is Union or origin is UnionType:
        return _union(arguments)
    if origin is Literal:
        return _literal(arguments)
    if origin in _COLLECTIONS:
        return _collection(_COLLECTIONS[origin], plan(arguments[0] if arguments else Any))
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _mapping(*map(plan, arguments or (Any, Any)))
    if isinstance(origin, type) and issubclass(origin, Struct):
        return _Plan(("object",), {"object": _structs([origin])})
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return _literal([each.value for each in origin], origin)
    raise TypeError(f"Type '{kind!r}' is not supported inside a component")


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _Mismatch("Number out of range")
    return float(value)


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _Mismatch("Invalid base64 encoded string") from None


_SIMPLE: Final = {
    Any: _Plan(("any",), {"": _same}),
    object: _Plan(("any",), {"": _same}),
    None: _Plan(("null",), {"null": _same}),
    NoneType: _Plan(("null",), {"null": _same}),
    bool: _Plan(("bool",), {"bool": _same}),
    int: _Plan(("int",), {"int": _same}),
    float: _Plan(("float",), {"float": _finite, "int": float}),
    str: _Plan(("str",), {"str": _same}),
    bytes: _Plan(("bytes",), {"str": _binary}),
}

_COLLECTIONS: Final[dict[Any, Callable[[Iterable[Any]], Any]]] = {
    list: list,
    set: set,
    frozenset: frozenset,
}


def _item(converter: _Plan, value: Any, where: str) -> Any:
    try:
        return converter.convert(value)
    except _Mismatch as error:
        error.path.append(where)
        raise


def _collection(make: Callable[[Iterable[Any]], Any], items: _Plan) -> _Plan:
    def from_array(values: list[Any]) -> Any:
        return make([_item(items, value, f"[{index}]") for index, value in enumerate(values)])

    return _Plan(("array",), {"array": from_array})


def _tuple(arguments: tuple[Any, ...]) -> _Plan:
    if not arguments or arguments[-1] is Ellipsis:
        return _collection(tuple, plan(arguments[0] if arguments else Any))
    plans = [plan(each) for each in arguments]

    def from_array(values: list[Any]) -> Any:
        if len(values) != len(plans):
            raise _Mismatch(f"Expected `array` of length {len(plans)}")
        return tuple(_item(each, values[index], f"[{index}]") for index, each in enumerate(plans))

    return _Plan(("array",), {"array": from_array})


def _mapping(keys: _Plan, values: _Plan) -> _Plan:
    number = keys.converters.keys() <= {"int"}

    def from_object(pairs: dict[str, Any]) -> Any:
        made = {}
        for key, value in pairs.items():
            read = int(key) if number and re.fullmatch(r"-?[0-9]+", key) else key
            made[_item(keys, read, "key")] = _item(values, value, "[...]")
        return made

    return _Plan(("object",), {"object": from_object})


def _literal(values: Iterable[Any], make: Convert = _same) -> _Plan:
    known = list(values)

    def check(value: Any) -> Any:
        if value not in known:
            raise _Mismatch(f"Invalid enum value {value!r}")
        return make(value)

    kinds = dict.fromkeys(_KINDS.get(type(value), "str") for value in known)
    return _Plan(tuple(kinds), dict.fromkeys(kinds, check))


def _union(arguments: tuple[Any, ...]) -> _Plan:
    structs = [each for each in arguments if isinstance(each, type) and issubclass(each, Struct)]
    plans = [plan(each) for each in arguments if each not in structs]
    if structs:
        plans.append(_Plan(("object",), {"object": _structs(structs)}))
    converters: dict[str, Convert] = {}
    for each in plans:
        converters = {**each.converters, **converters}
    expected = dict.fromkeys(word for each in plans for word in each.expected)
    words = sorted(expected, key=lambda word: (word == "null", word == "object", word == "array"))
    return _Plan(tuple(words), converters)


def _constrained(base: _Plan, rules: list[Meta]) -> _Plan:
    """Adds the checks of `Meta` to a type."""

    def checked(converter: Convert) -> Convert:
        def convert(value: Any) -> Any:
            made = converter(value)
            for rule in rules:
                problem = _broken(rule, made, base.expected[0])
                if problem:
                    raise _Mismatch(f"Expected `{base.expected[0]}` {problem}")
            return made

        return convert

    converters = {
        kind: converter if kind == "null" else checked(converter)
        for kind, converter in base.converters.items()
    }
    return _Plan(base.expected, converters)


def _broken(rule: Meta, value: Any, kind: str) -> str | None:
    """What a value should be and is not."""
    if kind in ("int", "float"):
        whole = kind == "int"
        if rule.ge is not None and value < rule.ge:
            return f">= {rule.ge}"
        if rule.gt is not None and value <= rule.gt:
            return f">= {rule.gt + 1}" if whole else f"> {float(rule.gt)}"
        if rule.le is not None and value > rule.le:
            return f"<= {rule.le}"
        if rule.lt is not None and value >= rule.lt:
            return f"<= {rule.lt - 1}" if whole else f"< {float(rule.lt)}"
        if rule.multiple_of is not None and value % rule.multiple_of:
            return f"that's a multiple of {rule.multiple_of}"
        return None
    if rule.min_length is not None and len(value) < rule.min_length:
        return f"of length >= {rule.min_length}"
    if rule.max_length is not None and len(value) > rule.max_length:
        return f"of length <= {rule.max_length}"
    if rule.pattern is not None and not re.search(rule.pattern, value):
        return f"matching regex {rule.pattern!r}"
    return None


def _structs(structs: list[Any]) -> Convert:
    """Makes one of several structs, which their tags tell apart."""
    if len(structs) == 1 and structs[0].__struct_tag__ is None:
        return lambda pairs: _struct(structs[0], pairs)
    tags = {each.__struct_tag__: each for each in structs}
    fields = {each.__struct_tag_field__ for each in structs}
    if None in tags or len(tags) < len(structs) or len(fields) > 1:
        raise TypeError("Type unions may not contain more than one Struct, unless each has a tag of its own")
    tag_field: str = fields.pop()

    def from_object(pairs: dict[str, Any]) -> Any:
        if tag_field in pairs:
            tag = pairs[tag_field]
            if type(tag) is not type(next(iter(tags))):
                raise _Mismatch(f"Expected `{type(next(iter(tags))).__name__}`", f".{tag_field}")
            if tag not in tags:
                raise _Mismatch(f"Invalid value {tag!r}", f".{tag_field}")
            return _struct(tags[tag], pairs)
        if len(structs) > 1:
            raise _Mismatch(f"Object missing required field `{tag_field}`")
        return _struct(structs[0], pairs)

    return from_object


@cache
def _fields(struct: type[Struct]) -> list[tuple[str, str, _Plan]]:
    """A struct's fields: name, name in JSON, type."""
    types = get_type_hints(struct, include_extras=True)
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    return [(name, encoded, plan(types[name])) for name, encoded in names]


def _struct(struct: type[Struct], pairs: dict[str, Any]) -> Any:
    given = {}
    for name, encoded, kind in _fields(struct):
        if encoded in pairs:
            given[name] = _item(kind, pairs[encoded], f".{encoded}")
        elif name not in struct.__struct_factories__:
            raise _Mismatch(f"Object missing required field `{encoded}`")
    if struct.__struct_config__.forbid_unknown_fields:
        for key in pairs:
            if key not in struct.__struct_encode_fields__ and key != struct.__struct_tag_field__:
                raise _Mismatch(f"Object contains unknown field `{key}`")
    try:
        return struct(**given)
    except (TypeError, ValueError) as error:  # of `__post_init__`
        raise _Mismatch(str(error)) from error


def to_builtins(value: Any) -> Any:
    """The reverse of `convert`.

    Raises:
        TypeError: JSON has nothing for a value.
    """
    match value:
        case None | bool() | str() | int() | float() if not isinstance(value, enum.Enum):
            return value
        case list() | set() | frozenset():
            return [to_builtins(each) for each in value]
        case tuple():
            return tuple(map(to_builtins, value))
        case dict():
            return {_key(key): to_builtins(each) for key, each in value.items()}
        case Struct():
            return _pairs(value)
        case enum.Enum():
            return to_builtins(value.value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def _key(key: Any) -> Any:
    if isinstance(key, enum.Enum):
        key = key.value
    if type(key) is not bool and isinstance(key, str | int | float):
        return key
    raise TypeError("Only dicts with str-like or number-like keys are supported")


def _pairs(struct: Struct) -> dict[str, Any]:
    pairs = {}
    if struct.__struct_tag_field__ is not None:
        pairs[struct.__struct_tag_field__] = struct.__struct_tag__
    omits = struct.__struct_config__.omit_defaults
    for name, encoded in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        value = getattr(struct, name)
        factory = struct.__struct_factories__.get(name) if omits else None
        if factory is None or factory() != value:
            pairs[encoded] = to_builtins(value)
    return pairs
