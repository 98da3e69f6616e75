"""Holds the WIT files and the Python mirror of the contract together."""

import hashlib
import importlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest

import theater
from theater import Actor, Address, Connection, contract, errors
from theater.build import wit as parser
from theater.build.wit import Alias, Enum, Interface, Package, Record, Type, Variant
from theater.contract import Accept, ConnectionInfo, Headers, Query, Response, Stream
from theater.runtime.ports import Behaviour

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"


class Function(NamedTuple):
    """A function in the words of WIT: parameters, a name and a type each, and the type of the result."""

    parameters: tuple[tuple[str, str], ...]
    result: str | None


# The Python mirror in the words of WIT


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", "-", name).lower()


HANDLERS = [name for name in vars(Behaviour) if not name.startswith("_")]
CONTRACT = [getattr(contract, name) for name in contract.__all__]
UNIONS: dict[frozenset[Any], str] = {
    frozenset({Accept, Response}): "decision",
    **{
        frozenset(get_args(value)): kebab(name)
        for name, value in zip(contract.__all__, CONTRACT, strict=True)
        if isinstance(value, UnionType)
    },
}
ALIASES: dict[Any, Callable[[Any], Any]] = {Headers: Headers.__iter__, Query: Query.__str__}
CLASSES = [
    Address,
    *(Connection if value is ConnectionInfo else value for value in CONTRACT if isinstance(value, type)),
]
CLASSES.remove(Stream)
PIECE = (("conn", "int"), ("chunk", "data"), ("last", "bool"))
STREAMS_OUT = {"send-chunk": Function(PIECE, "result<_, string>")}  # for Connection.stream
STREAMS_IN = {  # for Stream: a guest is called with each piece, where Python iterates over them
    "handle-chunk": Function((("connection", "int"), *PIECE[1:]), "result<list<message>, string>")
}
ERRORS: set[type[errors.TheaterError]] = {errors.InvalidAddress, *errors.GuestError.__subclasses__()}
# They stand in the log and in the event `error`, nobody catches them.
ERRORS -= {errors.HandlerTimeout, errors.CallFailed, errors.InstanceEnded, errors.InvalidComponent}
NAMES_OF_0_1_0: dict[Any, str] = {Connection.send: "send-message", Connection.close: "close-connection"}
INFALLIBLE = {Connection.drained}
PLAIN: dict[Any, str] = {
    bool: "bool",
    str: "string",
    bytes: "list<u8>",
    int: "int",
    float: "f64",
    NoneType: "_",
    object: "option<string>",  # plain data, as JSON
    Any: "option<string>",
}


def wit(hint: Any) -> str:
    """The WIT type that stands for a type of Python."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin in (Union, UnionType):
        return wit_of_union(frozenset(arguments))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"tuple<{', '.join(map(wit, arguments))}>"
    if origin in (tuple, frozenset, Iterable, Iterator, Sequence):
        return f"list<{wit(arguments[0])}>"
    if origin is Mapping:
        return f"list<tuple<{', '.join(map(wit, arguments))}>>"
    return kebab(hint.__name__)


def wit_of_union(members: frozenset[Any]) -> str:
    members = frozenset(member for member in members if get_origin(member) is not Awaitable) - {Stream}
    for member in members:
        if get_origin(member) is Iterable:  # nothing, one or several
            (one,) = get_args(member)
            assert members - {member, NoneType} == frozenset(get_args(one) or [one])
            return wit(member)
    if Address in members:  # may be written as text
        members -= {str}
    if len(members) == 1:
        return wit(*members)
    if NoneType in members:
        return f"option<{wit_of_union(members - {NoneType})}>"
    return UNIONS[members]


def wit_fields(cls: type) -> tuple[tuple[str, str], ...]:
    return tuple((kebab(name), wit(hint)) for name, hint in get_type_hints(cls).items() if name[0] != "_")


def wit_payload(cls: type) -> str | None:
    """What a case of a variant carries: nothing, the one field, or a record of them."""
    match wit_fields(cls):
        case []:
            return None
        case [(_, only)]:
            return only
        case _:
            return kebab(cls.__name__)


def wit_function(function: Any, *, of_connection: bool = False, fails: str | None = None) -> Function:
    """The WIT function that stands for a method; what is done to a connection names it first."""
    hints = get_type_hints(function)
    result = wit(hints.pop("return"))
    parameters = [("conn", "connection")] if of_connection else []
    parameters += [(kebab(name), wit(hint)) for name, hint in hints.items()]
    return Function(tuple(parameters), f"result<{result}, {fails}>" if fails else result)


def wit_exports() -> dict[str, Function]:
    """The handlers. Here too a connection is named by its id, since its facts are not free to copy."""
    functions = {kebab(name): wit_function(getattr(Actor, name), fails="string") for name in HANDLERS}
    by_ids = {name: Function(by_id(each.parameters), each.result) for name, each in functions.items()}
    return by_ids | STREAMS_IN


def wit_imports() -> dict[str, Function]:
    """What an actor can do. A connection is named by its id; reading a property never fails."""
    found: dict[str, Function] = {}
    for cls in (Connection, Actor):
        for name, member in vars(cls).items():
            if name.startswith("_") or name in HANDLERS:
                continue
            if isinstance(member, property):
                found |= wit_property(name, member, of_connection=cls is Connection)
            elif member is Connection.stream:
                found |= STREAMS_OUT
            elif member in INFALLIBLE:
                parameters = wit_function(member, of_connection=True).parameters
                found[kebab(name)] = Function(parameters, None)
            elif isinstance(member, FunctionType):
                fails = "actor-error" if "address" in get_type_hints(member) else "string"
                function = wit_function(member, of_connection=cls is Connection, fails=fails)
                found[NAMES_OF_0_1_0.get(member, kebab(name))] = function
    return {name: Function(by_id(function.parameters), function.result) for name, function in found.items()}


def by_id(parameters: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, kind.replace("connection", "int")) for name, kind in parameters)


def wit_property(name: str, member: property, *, of_connection: bool) -> dict[str, Function]:
    getter = wit_function(member.fget, of_connection=of_connection)
    hint = get_type_hints(member.fget)["return"]
    if get_origin(hint) is Mapping:  # its keys, and a look-up
        key, value = map(wit, get_args(hint))
        return {
            f"get-{kebab(name)}": Function((), f"list<{key}>"),
            f"find-{value}": Function((("conn", key),), f"option<{value}>"),
        }
    found = {f"get-{kebab(name)}": getter}
    if member.fset is not None:
        setter = wit_function(member.fset, of_connection=of_connection, fails="string")
        *before, (_, kind) = setter.parameters
        found[f"set-{kebab(name)}"] = Function((*before, (kebab(name), kind)), setter.result)
    return found


def plain(value: Any) -> Any:
    """The same in text, with Python's one kind of whole number, which stands for a connection's id too."""
    match value:
        case str():
            return re.sub(r"\b(u16|u64|connection-id)\b", "int", value)
        case Type():
            return plain(str(value))
        case Function(parameters, result) | parser.Function(parameters, result):
            return Function(plain(parameters), plain(result))
        case tuple():
            return tuple(map(plain, value))
        case dict():
            return {name: plain(each) for name, each in value.items()}
        case Alias(whole) | Enum(whole) | Record(whole):
            return plain(whole)
        case Variant(cases):
            return dict(plain(cases))
        case _:
            return value


def defined(interface: Interface, kind: type) -> dict[str, Any]:
    """The types of one kind."""
    return {name: plain(each) for name, each in interface.types.items() if isinstance(each, kind)}


def functions(package: Package, interfaces: Iterable[str]) -> dict[str, Any]:
    """The functions of some interfaces."""
    found: dict[str, Any] = {}
    for interface in interfaces:
        found |= plain(package.interfaces[interface].functions)
    return found


@pytest.fixture
def package() -> Package:
    return parser.contract("0.2.0")


@pytest.fixture
def types(package: Package) -> Interface:
    return package.interfaces["types"]


def test_0_1_0_is_the_proposal_word_for_word() -> None:
    text = files("theater").joinpath("wit", "0.1.0", "theater-websocket.wit").read_bytes()
    expected = "398458568903c8fa12c74a9732a5b014dfc382aa5a354c4d2c10425ebf244e5f"
    assert hashlib.sha256(text).hexdigest() == expected


def test_one_world_holds_it_all(package: Package) -> None:
    assert ["types", *package.imports, *package.exports] == list(package.interfaces)
    assert all(not package.interfaces[name].types for name in package.imports + package.exports)


def test_records_are_the_classes_with_several_fields(types: Interface) -> None:
    expected = {kebab(cls.__name__): fields for cls in CLASSES if len(fields := wit_fields(cls)) > 1}
    assert defined(types, Record) == expected


def test_variants_are_the_unions_and_errors(types: Interface) -> None:
    expected = {
        name: {kebab(cls.__name__): wit_payload(cls) for cls in members} for members, name in UNIONS.items()
    }
    expected["actor-error"] = {kebab(error.__name__): None for error in ERRORS} | {"local-error": "string"}
    assert defined(types, Variant) == expected


def test_aliases_are_the_classes_that_read_as_plain_values(types: Interface) -> None:
    expected = {
        kebab(cls.__name__): wit(get_type_hints(reading)["return"]) for cls, reading in ALIASES.items()
    }
    assert defined(types, Alias) == expected | {"connection-id": wit(get_type_hints(ConnectionInfo)["id"])}


def test_levels_are_those_of_the_log(types: Interface) -> None:
    levels = [logging.getLevelName(number).lower() for number in range(10, 50, 10)]
    assert defined(types, Enum) == {"level": tuple(levels)}


def test_no_class_is_left_out() -> None:
    cases = frozenset[Any]().union(*UNIONS)
    assert [cls for cls in CLASSES if len(wit_fields(cls)) < 2 and cls not in cases] == list(ALIASES)


def test_exports_are_the_handlers(package: Package) -> None:
    assert functions(package, package.exports) == wit_exports()


def test_imports_are_what_an_actor_can_do(package: Package) -> None:
    imports = [name for name in package.imports if name != "host"]  # Python has that in its standard library
    assert functions(package, imports) == wit_imports()


def test_the_page_names_everything(package: Package, types: Interface) -> None:
    (names,) = re.findall(r"^## Names.*?(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([a-z-]+)` \| `([\w.]+)`", names, re.MULTILINE)
    known = functions(package, [*package.imports, *package.exports])
    assert sorted(name for name, _ in rows) == sorted([*types.types, *known])
    for _, name in rows:
        first, *rest = name.split(".")
        modules = (module for module in (theater, contract, errors) if first in vars(module))
        found = getattr(next(modules, None), first, None) or importlib.import_module(first)
        assert all(hasattr(found, attribute) for attribute in rest), name
