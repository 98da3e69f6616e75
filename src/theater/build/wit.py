"""A parser for WIT, as far as the contract's own files need one.

Grammar: <https://github.com/WebAssembly/component-model/blob/main/design/mvp/WIT.md>.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

T = TypeVar("T")

Version: TypeAlias = Literal["0.1.0", "0.2.0"]

PLAIN: Final = frozenset(("u8", "u16", "u32", "u64", "f64", "bool", "string"))
GENERIC: Final = frozenset(("list", "option", "result", "tuple"))


class Type(msgspec.Struct, frozen=True):
    """A type expression, such as `u64`, `result<_, string>` or the name of a type.

    Attributes:
        name: of a plain, generic or defined type.
        arguments: of a generic one; none stands for `_`.
    """

    name: str
    arguments: tuple["Type | None", ...] = ()

    @property
    def is_defined(self) -> bool:
        """Whether it is the name of a type that an interface defines."""
        return self.name not in PLAIN and self.name not in GENERIC

    @property
    def mentions(self) -> Iterator[str]:
        """The names of defined types in it."""
        if self.is_defined:
            yield self.name
        for each in self.arguments:
            if each:
                yield from each.mentions

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}<{', '.join(str(each or '_') for each in self.arguments)}>"


class Field(NamedTuple):
    """A field of a record, or a parameter of a function."""

    name: str
    type: Type


class Case(NamedTuple):
    """A case of a variant."""

    name: str
    payload: Type | None


class Alias(msgspec.Struct, frozen=True):
    """Another name for a type."""

    type: Type

    @property
    def parts(self) -> tuple[Type | None, ...]:
        """The types that it is made of."""
        return (self.type,)


class Record(msgspec.Struct, frozen=True):
    """Fields, in order."""

    fields: tuple[Field, ...]

    @property
    def parts(self) -> tuple[Type | None, ...]:
        """The types of its fields."""
        return tuple(each.type for each in self.fields)


class Variant(msgspec.Struct, frozen=True):
    """Cases, in order."""

    cases: tuple[Case, ...]

    @property
    def parts(self) -> tuple[Type | None, ...]:
        """What its cases carry."""
        return tuple(each.payload for each in self.cases)


class Enum(msgspec.Struct, frozen=True):
    """Names, in order."""

    names: tuple[str, ...]

    @property
    def parts(self) -> tuple[Type | None, ...]:
        """What its names carry: nothing."""
        return (None,) * len(self.names)


Definition: TypeAlias = Alias | Record | Variant | Enum


class Function(msgspec.Struct, frozen=True):
    """Parameters and result."""

    parameters: tuple[Field, ...]
    result: Type | None

    @property
    def parts(self) -> tuple[Type | None, ...]:
        """The types of its parameters, and of its result."""
        return (*(each.type for each in self.parameters), self.result)


class Interface(msgspec.Struct, frozen=True):
    """What one interface defines, each in the order of the file.

    Attributes:
        uses: names of types that other interfaces define, and which interface that is.
        types: its own.
        functions: by name.
    """

    uses: Mapping[str, str] = {}
    types: Mapping[str, Definition] = {}
    functions: Mapping[str, Function] = {}


class Package(msgspec.Struct, frozen=True):
    """One file, which has one world.

    Attributes:
        name: without the version, such as `theater:websocket`.
        version: such as `0.2.0`.
        interfaces: by name.
        world: its name.
        imports: names of the interfaces that it imports.
        exports: names of those that it exports.
    """

    name: str
    version: str
    interfaces: Mapping[str, Interface]
    world: str
    imports: tuple[str, ...]
    exports: tuple[str, ...]

    def qualified(self, interface: str) -> str:
        """An interface's name in a component, such as `theater:websocket/types@0.2.0`."""
        return f"{self.name}/{interface}@{self.version}"

    def home(self, interface: str, name: str) -> str:
        """The interface that defines a type which is known in another."""
        return self.interfaces[interface].uses.get(name, interface)

    def definition(self, interface: str, name: str) -> tuple[str, Definition]:
        """What a name stands for in an interface, and the interface that says so."""
        home = self.home(interface, name)
        return home, self.interfaces[home].types[name]


class WitError(ValueError):
    """Text that is no WIT, or more than this parser knows."""


@cache
def contract(version: Version) -> Package:
    """One version of the contract between Theater and its actors."""
    return parse(files("theater").joinpath("wit", version, "theater-websocket.wit").read_text("utf-8"))


def parse(text: str) -> Package:
    """Reads one file.

    Raises:
        WitError: it says in which line.
    """
    return _Parser(text).package()


class _Parser:
    """Reads one file, in which an interface stands above those that use its types."""

    TOKEN = re.compile(r"(?:\s|//.*)*(->|%?[a-z][a-z0-9-]*|[0-9][0-9.]*|\S|$)")
    NAME = re.compile(r"%?([a-z][a-z0-9-]*)")

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._token = ""
        self._interfaces: dict[str, Interface] = {}
        self._mentioned: dict[str, int] = {}  # type names of this interface, with a line
        self._next()

    def package(self) -> Package:
        self._expect("package")
        space = self._name()
        self._expect(":")
        name = f"{space}:{self._name()}"
        self._expect("@")
        version = self._next()
        self._expect(";")
        while self._accept("interface"):
            interface = self._name()
            self._interfaces[interface] = self._interface()
        self._expect("world")
        world = self._name()
        imports, exports = self._world()
        self._expect("")
        return Package(name, version, self._interfaces, world, imports, exports)

    def _interface(self) -> Interface:
        uses: dict[str, str] = {}
        types: dict[str, Definition] = {}
        functions: dict[str, Function] = {}
        self._mentioned = {}
        self._expect("{")
        while not self._accept("}"):
            if self._accept("use"):
                uses |= self._use()
            elif self._token in self.DEFINITIONS:
                read = self.DEFINITIONS[self._next()]
                name = self._name()
                types[name] = read(self)
            else:
                name = self._name()
                functions[name] = self._function(name)
        for name, line in self._mentioned.items():
            if name not in types and name not in uses:
                raise WitError(f"line {line}: unknown type {name}")
        return Interface(uses, types, functions)

    def _use(self) -> dict[str, str]:
        home = self._name()
        source = self._interfaces.get(home, Interface())
        self._expect(".")
        names = self._several("{", "}", self._name)
        for name in names:
            if name not in source.types:
                raise self._error(f"a type to use, found {name}")
        self._expect(";")
        return dict.fromkeys(names, home)

    def _alias(self) -> Alias:
        self._expect("=")
        found = self._type()
        self._expect(";")
        return Alias(found)

    def _record(self) -> Record:
        return Record(self._several("{", "}", self._field))

    def _variant(self) -> Variant:
        return Variant(self._several("{", "}", self._case))

    def _enum(self) -> Enum:
        return Enum(self._several("{", "}", self._name))

    DEFINITIONS: Final[Mapping[str, Callable[["_Parser"], Definition]]] = {
        "type": _alias,
        "record": _record,
        "variant": _variant,
        "enum": _enum,
    }

    def _function(self, name: str) -> Function:
        if not self._accept(":"):
            raise self._error(f"a colon behind {name}, if that is a function: unknown items are not read")
        self._expect("func")
        parameters = self._several("(", ")", self._field)
        result = self._type() if self._accept("->") else None
        self._expect(";")
        return Function(parameters, result)

    def _world(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
        return tuple(found["import"]), tuple(found["export"])

    def _case(self) -> Case:
        name = self._name()
        if not self._accept("("):
            return Case(name, None)
        payload = self._type()
        self._expect(")")
        return Case(name, payload)

    def _field(self) -> Field:
        name = self._name()
        self._expect(":")
        return Field(name, self._type())

    def _type(self) -> Type:
        name = self._name()
        found = Type(name, self._several("<", ">", self._argument) if name in GENERIC else ())
        if found.is_defined:
            self._mentioned[name] = self._line
        return found

    def _argument(self) -> Type | None:
        return None if self._accept("_") else self._type()

    def _several(self, start: str, end: str, one: Callable[[], T]) -> tuple[T, ...]:
        found = []
        self._expect(start)
        while not self._accept(end):
            found.append(one())
            if self._token != end:
                self._expect(",")
        return tuple(found)

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
        found = cast(re.Match[str], self.TOKEN.match(self._text, self._place))  # takes any character, or none
        self._place = found.end()
        self._token = found[1]
        return token

    @property
    def _line(self) -> int:
        return self._text.count("\n", 0, self._place) + 1

    def _error(self, expected: str) -> WitError:
        return WitError(f"line {self._line}: expected {expected}, found {self._token!r}")
