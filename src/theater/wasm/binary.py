"""Component binaries taken apart: their core modules, and how these hang together.

A component says step by step which core modules are instantiated, with what, and which of their functions
the host can call, each definition by its number in one of several index spaces. So it is read by doing what
it says. Types are left out, since no other index space depends on theirs: what crosses the boundary has been
checked against the contract.

Sections and codes: <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from theater.wasm.plan import (
    Assembly,
    Between,
    Builtin,
    Export,
    Lifted,
    Lowered,
    Place,
    Plan,
    Source,
)
from theater.wasm.sections import Part, Unsupported

COMPONENT: Final = b"\0asm\x0d\0\1\0"

MAX_DEPTH: Final = 16
"""Components inside of each other."""

_CONTRACT: Final = re.compile(r"theater:websocket/([a-z0-9-]+)(?:@.+)?")


def read(component: bytes) -> Plan:
    """Takes a component apart. All that it uses has one memory, and texts are in UTF-8.

    Args:
        component: in binary form; wasmtime has found it valid.

    Raises:
        Unsupported: it cannot be taken apart in this way.
    """
    assembly = Assembly(component)
    scope = _Scope(assembly)
    scope.read(Part(component, 0, len(component)))
    exports = {}
    for name, instance in scope.exports.items():
        interface = _short(name)
        if interface is None:
            continue
        if isinstance(instance, _HostInstance):
            raise Unsupported(f"exports {name}, which it imports")
        for function, value in _expect(instance, _Instance).items():
            exports[interface, function] = _expect(value, Lifted)
    return assembly.plan(exports)


def _short(name: str) -> str | None:
    """The short name of an interface, if it is one of the contract."""
    found = _CONTRACT.fullmatch(name)
    return found and found[1]


# What has a number in an index space


class _Component(NamedTuple):
    """A component: where it begins and ends in the file, and what it is inside of."""

    at: int
    end: int
    outer: "_Scope"


class _HostFunction(NamedTuple):
    """A function of the host; the interface has its whole name."""

    interface: str
    function: str


class _Instance(dict[str, "_Value"]):
    """What an instance exports, but for types."""

    def __missing__(self, name: str) -> "_Value":
        raise Unsupported(f"uses an export {name} that is not there")


class _CoreInstance(_Instance):
    """An instance of a core module."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __missing__(self, name: str) -> "_Value":
        return Export(self._number, name)


class _HostInstance(_Instance):
    """What the host has for an import."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def __missing__(self, name: str) -> "_Value":
        return _HostFunction(self._interface, name)


_Value = Source | Between | Builtin | Lifted | Place | _Component | _HostFunction | _Instance
_T = TypeVar("_T", bound=_Value)


def _expect(value: _Value, kind: type[_T]) -> _T:
    if isinstance(value, kind):
        return value
    raise Unsupported(f"uses {_describe(type(value))} as {_describe(kind)}")


def _describe(kind: type) -> str:
    words: list[str] = re.findall("[A-Z][a-z]+", kind.__name__)
    return " ".join(words).lower()


# Index spaces, by the codes of their sorts

_CORE_FUNCTION: Final = "core function"
_MEMORY: Final = "memory"
_CORE_MODULE: Final = "core module"
_CORE_INSTANCE: Final = "core instance"
_FUNCTION: Final = "function"
_TYPE: Final = "type"
_COMPONENT: Final = "component"
_INSTANCE: Final = "instance"

_CORE_SORTS: Final = {
    0x00: _CORE_FUNCTION,
    0x01: "table",
    0x02: _MEMORY,
    0x03: "global",
    0x10: _TYPE,
    0x11: _CORE_MODULE,
    0x12: _CORE_INSTANCE,
}
_SORTS: Final = {0x01: _FUNCTION, 0x03: _TYPE, 0x04: _COMPONENT, 0x05: _INSTANCE}
_BUILTINS: Final = {0x02: "resource.new", 0x03: "resource.drop", 0x04: "resource.rep"}


def _sort(content: Part) -> str:
    code = content.byte()
    return _core_sort(content) if code == 0x00 else _known(_SORTS, code)


def _core_sort(content: Part) -> str:
    return _known(_CORE_SORTS, content.byte())


def _known(names: Mapping[int, str], code: int) -> str:
    if code not in names:
        raise Unsupported(f"has a definition that is not known: {code:#04x}")
    return names[code]


def _external_name(content: Part) -> str:
    """The name of an import or export, behind a byte that had a meaning once."""
    if content.byte() > 0x01:
        raise Unsupported("has a name that is not known")
    return content.name()


def _described(content: Part) -> str:
    """The sort of an import or export, by the description of its type."""
    sort = _sort(content)
    if sort != _TYPE or content.byte() == 0x00:  # a type equals another one, or is any resource
        content.number()
    return sort


class _Options(NamedTuple):
    """How values cross a component's boundary."""

    memory: Export | None
    realloc: Export | None
    post_return: Export | None


class _Scope:
    """An instance of a component, while its definitions are followed.

    Args:
        assembly: takes the core instances.
        outer: what the component is inside of.
        arguments: what it gets for its imports, but for types; the outermost gets it from the host.
        group: of its core instances.
        depth: components that it is inside of.
    """

    def __init__(
        self,
        assembly: Assembly,
        outer: "_Scope | None" = None,
        arguments: Mapping[str, _Value] | None = None,
        group: int = Assembly.OUTERMOST,
        depth: int = 0,
    ) -> None:
        if depth > MAX_DEPTH:
            raise Unsupported(f"has more than {MAX_DEPTH} components inside of each other")
        self._assembly = assembly
        self._outer = outer
        self._arguments = arguments
        self._group = group
        self._depth = depth
        self._spaces: defaultdict[str, list[_Value]] = defaultdict(list)
        self.exports = _Instance()

    def read(self, component: Part) -> None:
        """Follows all definitions."""
        follow = {
            2: self._core_instance,
            5: self._instance,
            6: self._alias,
            8: self._canon,
            10: self._import,
            11: self._export,
        }
        for number, content in component.sections(COMPONENT):
            match number:
                case 0 | 3 | 7:  # custom, core types, types
                    pass
                case 1:
                    self._define(_CORE_MODULE, Place(content.at, content.end))
                case 4:
                    self._define(_COMPONENT, _Component(content.at, content.end, self))
                case _ if number in follow:
                    for _ in range(content.number()):
                        self._assembly.count()
                        follow[number](content)
                case _:  # 9: a function that is called in the end
                    raise Unsupported(f"has a section that is not known: {number}")

    def _define(self, sort: str, value: _Value) -> None:
        self._spaces[sort].append(value)

    def _find(self, sort: str, number: int) -> _Value:
        space = self._spaces[sort]
        if number >= len(space):
            raise Unsupported(f"uses {sort} {number}, which is not there")
        return space[number]

    def _gather(self, into: _Instance, name: str, sort: str, number: int) -> None:
        self._assembly.count()
        if sort != _TYPE:
            into[name] = self._find(sort, number)

    def _core_instance(self, content: Part) -> None:
        if content.byte() == 0x01:
            gathered = _Instance()
            for _ in range(content.number()):
                self._gather(gathered, content.name(), _core_sort(content), content.number())
            self._define(_CORE_INSTANCE, gathered)
            return
        place = _expect(self._find(_CORE_MODULE, content.number()), Place)
        arguments = _Instance()
        for _ in range(content.number()):
            self._gather(arguments, content.name(), _core_sort(content), content.number())
        imports: dict[tuple[str, str], Source | Between | Builtin] = {}
        for each in self._assembly.module(place).imports:
            self._assembly.count()
            source = _expect(arguments[each.module], _Instance)[each.name]
            if not isinstance(source, Source | Between | Builtin):
                raise Unsupported(f"gives a core module {_describe(type(source))}")
            imports[each.module, each.name] = source
        self._define(_CORE_INSTANCE, _CoreInstance(self._assembly.add(place, imports, self._group)))

    def _instance(self, content: Part) -> None:
        if content.byte() == 0x01:
            gathered = _Instance()
            for _ in range(content.number()):
                self._gather(gathered, _external_name(content), _sort(content), content.number())
            self._define(_INSTANCE, gathered)
            return
        component = _expect(self._find(_COMPONENT, content.number()), _Component)
        arguments = _Instance()
        for _ in range(content.number()):
            self._gather(arguments, content.name(), _sort(content), content.number())
        isolated = not arguments and self._group == Assembly.OUTERMOST
        group = self._assembly.new_group() if isolated else self._group
        scope = _Scope(self._assembly, component.outer, arguments, group, self._depth + 1)
        scope.read(Part(content.data, component.at, component.end))
        self._define(_INSTANCE, scope.exports)

    def _alias(self, content: Part) -> None:
        sort = _sort(content)
        target, number = content.byte(), content.number()
        if target == 0x02:
            scope, place = self._enclosing(number), content.number()
            if sort != _TYPE:
                self._define(sort, scope._find(sort, place))
            return
        name = content.name()
        if sort != _TYPE:
            instance = self._find(_INSTANCE if target == 0x00 else _CORE_INSTANCE, number)
            self._define(sort, _expect(instance, _Instance)[name])

    def _enclosing(self, count: int) -> "_Scope":
        scope = self
        for _ in range(count):
            if scope._outer is None:
                raise Unsupported("uses a component around it that is not there")
            scope = scope._outer
        return scope

    def _canon(self, content: Part) -> None:
        code = content.byte()
        if code in _BUILTINS:
            content.number()  # the type of the resource
            self._define(_CORE_FUNCTION, Builtin(_BUILTINS[code]))
            return
        if code > 0x01 or content.byte() != 0x00:
            raise Unsupported(f"has a canonical definition that is not known: {code:#04x}")
        number = content.number()
        options = self._options(content)
        if code == 0x00:
            content.number()  # the function's type
            function = _expect(self._find(_CORE_FUNCTION, number), Export)
            self._define(_FUNCTION, Lifted(function, *options))
        else:
            self._define(_CORE_FUNCTION, _lower(self._find(_FUNCTION, number), options))

    def _options(self, content: Part) -> _Options:
        options = _Options(None, None, None)
        for _ in range(content.number()):
            match content.byte():
                case 0x00:  # UTF-8
                    pass
                case 0x03:
                    options = options._replace(memory=self._option(_MEMORY, content))
                case 0x04:
                    options = options._replace(realloc=self._option(_CORE_FUNCTION, content))
                case 0x05:
                    options = options._replace(post_return=self._option(_CORE_FUNCTION, content))
                case code:  # other encodings, asynchronous functions
                    raise Unsupported(f"has a canonical option that is not known: {code:#04x}")
        return options

    def _option(self, sort: str, content: Part) -> Export:
        return _expect(self._find(sort, content.number()), Export)

    def _import(self, content: Part) -> None:
        name, sort = _external_name(content), _described(content)
        if sort == _TYPE:
            return
        if self._arguments is not None:
            self._define(sort, self._arguments[name])
        elif sort == _INSTANCE:
            self._define(sort, _HostInstance(name))
        else:
            raise Unsupported(f"imports {name}, which is no interface")

    def _export(self, content: Part) -> None:
        name, sort, number = _external_name(content), _sort(content), content.number()
        if content.byte() == 0x01:
            _described(content)
        if sort != _TYPE:
            self.exports[name] = self._find(sort, number)
            self._define(sort, self.exports[name])


def _lower(function: _Value, options: _Options) -> Lowered | Between:
    if isinstance(function, Lifted):
        return Between(function)
    interface, name = _expect(function, _HostFunction)
    short = _short(interface)
    if short is None:
        raise Unsupported(f"calls {name} of {interface}")
    return Lowered(short, name, options.memory, options.realloc)
