"""Holds the WIT files and the Python mirror of the contract together."""

import hashlib
import importlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pytest

import theater
from theater import Actor, Address, Connection, contract, errors
from theater.contract import Accept, ConnectionInfo, Headers, Query, Response, Stream
from theater.runtime.ports import Behaviour

T = TypeVar("T")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"

# A WIT parser, as far as the two files need one


@dataclass(frozen=True)
class Function:
    """Parameters, a name and a type each, and the type of the result."""

    parameters: tuple[tuple[str, str], ...]
    result: str | None


@dataclass
class Interface:
    """What one interface defines; types are text with one space behind each comma."""

    aliases: dict[str, str] = field(default_factory=dict)
    records: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    variants: dict[str, dict[str, str | None]] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    @property
    def types(self) -> set[str]:
        return {*self.aliases, *self.records, *self.variants, *self.enums}


@dataclass
class Package:
    """One file, which has one world."""

    name: str
    interfaces: dict[str, Interface]
    world: str
    imports: list[str]
    exports: list[str]

    def functions(self, interfaces: list[str]) -> dict[str, Function]:
        """The functions of some interfaces, by name."""
        found: dict[str, Function] = {}
        for interface in interfaces:
            found |= self.interfaces[interface].functions
        return found


class WitError(ValueError):
    """Text that is no WIT, or more than this parser knows."""


class Parser:
    """Reads one file."""

    TOKEN = re.compile(r"(?:\s|//.*)*(->|%?[a-z][a-z0-9-]*|[0-9][0-9.]*|\S|$)")
    NAME = re.compile(r"%?([a-z][a-z0-9-]*)")
    PLAIN = frozenset(("u8", "u16", "u32", "u64", "f64", "bool", "string"))
    GENERIC = frozenset(("list", "option", "result", "tuple"))

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._token = ""
        self._interfaces: dict[str, Interface] = {}
        self._known: set[str] = set()
        self._used: dict[str, int] = {}
        self._next()

    def package(self) -> Package:
        self._expect("package")
        name = f"{self._name()}:"
        self._expect(":")
        name += f"{self._name()}@"
        self._expect("@")
        name += self._next()
        self._expect(";")
        while self._accept("interface"):
            interface = self._name()
            self._interfaces[interface] = self._interface()
        self._expect("world")
        world = self._name()
        imports, exports = self._world()
        self._expect("")
        return Package(name, self._interfaces, world, imports, exports)

    def _interface(self) -> Interface:
        interface = Interface()
        self._known = set()
        self._used = {}
        self._expect("{")
        while not self._accept("}"):
            self._item(interface)
        self._known |= interface.types
        for name, line in self._used.items():
            if name not in self._known:
                raise WitError(f"line {line}: unknown type {name}")
        return interface

    def _item(self, interface: Interface) -> None:
        if self._accept("use"):
            source = self._interfaces.get(self._name(), Interface())
            self._expect(".")
            for name in self._several("{", "}", self._name):
                if name not in source.types:
                    raise self._error(f"a type to use, found {name}")
                self._known.add(name)
            self._expect(";")
        elif self._accept("record"):
            name = self._name()
            interface.records[name] = tuple(self._several("{", "}", self._typed))
        elif self._accept("variant"):
            name = self._name()
            interface.variants[name] = dict(self._several("{", "}", self._case))
        elif self._accept("enum"):
            name = self._name()
            interface.enums[name] = tuple(self._several("{", "}", self._name))
        elif self._accept("type"):
            name = self._name()
            self._expect("=")
            interface.aliases[name] = self._type()
            self._expect(";")
        else:
            name = self._name()
            if not self._accept(":"):
                raise self._error(f"a colon behind {name}, if that is a function: unknown items are not read")
            self._expect("func")
            parameters = tuple(self._several("(", ")", self._typed))
            interface.functions[name] = Function(parameters, self._type() if self._accept("->") else None)
            self._expect(";")

    def _world(self) -> tuple[list[str], list[str]]:
        found: dict[str, list[str]] = {"import": [], "export": []}
        self._expect("{")
        while not self._accept("}"):
            if self._token not in found:
                raise self._error("import or export")
            direction = found[self._next()]
            if self._token not in self._interfaces:
                raise self._error("an interface")
            direction.append(self._name())
            self._expect(";")
        return found["import"], found["export"]

    def _case(self) -> tuple[str, str | None]:
        name = self._name()
        if not self._accept("("):
            return name, None
        payload = self._type()
        self._expect(")")
        return name, payload

    def _typed(self) -> tuple[str, str]:
        name = self._name()
        self._expect(":")
        return name, self._type()

    def _type(self) -> str:
        if self._accept("_"):
            return "_"
        name = self._name()
        if name in self.GENERIC:
            return f"{name}<{', '.join(self._several('<', '>', self._type))}>"
        if name not in self.PLAIN:
            self._used[name] = self._line
        return name

    def _several(self, start: str, end: str, one: Callable[[], T]) -> list[T]:
        found = []
        self._expect(start)
        while not self._accept(end):
            found.append(one())
            if self._token != end:
                self._expect(",")
        return found

    def _name(self) -> str:
        found = self.NAME.fullmatch(self._token)
        if found is None:
            raise self._error("a name")
        self._next()
        return found[1]

    def _accept(self, token: str) -> bool:
        if self._token != token:
            return False
        self._next()
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise self._error(repr(token) if token else "nothing more")

    def _next(self) -> str:
        token = self._token
        found = self.TOKEN.match(self._text, self._place)
        assert found is not None  # it takes any character, and the end
        self._place = found.end()
        self._token = found[1]
        return token

    @property
    def _line(self) -> int:
        return self._text.count("\n", 0, self._place) + 1

    def _error(self, expected: str) -> WitError:
        return WitError(f"line {self._line}: expected {expected}, found {self._token!r}")


def read(version: str) -> Package:
    return Parser(
        files("theater").joinpath("wit", version, "theater-websocket.wit").read_text("utf-8")
    ).package()


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
ERRORS.remove(errors.HandlerTimeout)  # stands in the log and in the event `error`, nobody catches it
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
    """The same with Python's one kind of whole number, which stands for a connection's id too."""
    match value:
        case str():
            return re.sub(r"\b(u16|u64|connection-id)\b", "int", value)
        case tuple():
            return tuple(map(plain, value))
        case dict():
            return {name: plain(each) for name, each in value.items()}
        case Function(parameters, result):
            return Function(plain(parameters), plain(result))
        case _:
            return value


@pytest.fixture
def package() -> Package:
    return read("0.2.0")


@pytest.fixture
def types(package: Package) -> Interface:
    return package.interfaces["types"]


def test_0_1_0_is_the_proposal_word_for_word() -> None:
    text = files("theater").joinpath("wit", "0.1.0", "theater-websocket.wit").read_bytes()
    expected = "398458568903c8fa12c74a9732a5b014dfc382aa5a354c4d2c10425ebf244e5f"
    assert hashlib.sha256(text).hexdigest() == expected


def test_0_1_0_can_be_read() -> None:
    package = read("0.1.0")
    assert (package.name, package.world) == ("theater:websocket@0.1.0", "actor")
    assert package.imports == ["websocket"]
    assert package.exports == ["websocket-upgrade", "websocket-actor", "http-actor"]
    assert package.interfaces["websocket"].variants["connection-event"] == {
        "connected": None,
        "message": "message-type",
        "error": "string",
        "closed": None,
    }


def test_one_world_holds_it_all(package: Package) -> None:
    assert (package.name, package.world) == ("theater:websocket@0.2.0", "actor")
    assert ["types", *package.imports, *package.exports] == list(package.interfaces)
    assert all(not package.interfaces[name].types for name in package.imports + package.exports)


def test_records_are_the_classes_with_several_fields(types: Interface) -> None:
    expected = {kebab(cls.__name__): fields for cls in CLASSES if len(fields := wit_fields(cls)) > 1}
    assert plain(types.records) == expected


def test_variants_are_the_unions_and_errors(types: Interface) -> None:
    expected = {
        name: {kebab(cls.__name__): wit_payload(cls) for cls in members} for members, name in UNIONS.items()
    }
    expected["actor-error"] = {kebab(error.__name__): None for error in ERRORS} | {"local-error": "string"}
    assert plain(types.variants) == expected


def test_aliases_are_the_classes_that_read_as_plain_values(types: Interface) -> None:
    expected = {
        kebab(cls.__name__): wit(get_type_hints(reading)["return"]) for cls, reading in ALIASES.items()
    }
    assert plain(types.aliases) == expected | {"connection-id": wit(get_type_hints(ConnectionInfo)["id"])}


def test_levels_are_those_of_the_log(types: Interface) -> None:
    levels = [logging.getLevelName(number).lower() for number in range(10, 50, 10)]
    assert types.enums == {"level": tuple(levels)}


def test_no_class_is_left_out() -> None:
    cases = frozenset[Any]().union(*UNIONS)
    assert [cls for cls in CLASSES if len(wit_fields(cls)) < 2 and cls not in cases] == list(ALIASES)


def test_exports_are_the_handlers(package: Package) -> None:
    assert plain(package.functions(package.exports)) == wit_exports()


def test_imports_are_what_an_actor_can_do(package: Package) -> None:
    package.imports.remove("host")  # Python has that in its standard library
    assert plain(package.functions(package.imports)) == wit_imports()


def test_the_page_names_everything(package: Package, types: Interface) -> None:
    (names,) = re.findall(r"^## Names.*?(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([a-z-]+)` \| `([\w.]+)`", names, re.MULTILINE)
    functions = package.functions([*package.imports, *package.exports])
    assert sorted(name for name, _ in rows) == sorted([*types.types, *functions])
    for _, name in rows:
        first, *rest = name.split(".")
        modules = (module for module in (theater, contract, errors) if first in vars(module))
        found = getattr(next(modules, None), first, None) or importlib.import_module(first)
        assert all(hasattr(found, attribute) for attribute in rest), name


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("interface a { flags b { c } }", "line 1: expected a colon behind flags"),
        ("interface a {\n  type b = c;\n}", "line 2: unknown type c"),
        ("interface a { use b.{c}; }", "line 1: expected a type to use"),
        ("interface a { type b = list<u8> }", "line 1: expected ';', found '}'"),
        ("interface a { type B = u8; }", "line 1: expected a name, found 'B'"),
        ("interface a {", "line 1: expected a colon behind world"),
    ],
)
def test_what_the_parser_does_not_know_is_an_error(body: str, problem: str) -> None:
    with pytest.raises(WitError, match=re.escape(problem)):
        Parser(f"package a:b@1.0.0; {body} world c {{}}").package()
