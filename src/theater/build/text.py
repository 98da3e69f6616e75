"""The text of a component around a core module.

It has the form that wit-component gives to one built from the WIT file: interfaces of which only types
are in use are imported too, a type has its name in each instance that it crosses, and what is exported
passes through a component of its own that gives the types their names once more.

In the outermost scope the type `t` of the interface `i` is `$i.t`, in all others `$t`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from theater.build.flat import Flat
from theater.build.wit import Alias, Definition, Enum, Function, Package, Record, Type, Variant

POST_RETURN: Final = "cabi_post_"
REALLOC: Final = "cabi_realloc"
INITIALIZE: Final = "_initialize"  # what has to run before all else, such as constructors of C++

Scope = Callable[[str], str]
"""The identifier of the type with a name."""


class Used(NamedTuple):
    """A function of the contract that the core module imports or exports.

    Attributes:
        symbol: the name of an export in the core module.
    """

    interface: str
    name: str
    function: Function
    flat: Flat
    symbol: str

    @property
    def options(self) -> str:
        """How values pass between the core module and the host."""
        if self.flat.realloc:
            return "(memory $memory) (realloc $realloc)"
        return "(memory $memory)" if self.flat.memory else ""


def component_text(
    package: Package, imports: Sequence[Used], exports: Sequence[Used], exported: Collection[str]
) -> str:
    """Writes a component around an empty core module, the first one in it: the place of the real one.

    Args:
        package: the contract.
        imports: what the core module calls.
        exports: what it has for the host to call.
        exported: all that it exports, by name.
    """
    types = _types(package, (*imports, *exports))
    parts = ["(component", "(core module $main)"]
    for interface in package.interfaces:
        if not _of(interface, exports):
            parts += _import(package, interface, types, _of(interface, imports))
    parts += _instantiate(package, imports, exported)
    for interface in package.interfaces:
        if functions := _of(interface, exports):
            parts += _export(package, interface, functions, exported)
    return "\n".join((*parts, ")"))


def _of(interface: str, functions: Iterable[Used]) -> list[Used]:
    return [each for each in functions if each.interface == interface]


# Types


def _types(package: Package, functions: Iterable[Used]) -> list[tuple[str, str]]:
    """The types that functions mention, as interface and name, each behind those that it consists of."""
    found: dict[tuple[str, str], None] = {}

    def add(interface: str, types: Iterable[Type | None]) -> None:
        for name in _mentions(types):
            home, definition = package.definition(interface, name)
            add(home, definition.parts)
            found[home, name] = None

    for each in functions:
        add(each.interface, each.function.parts)
    return list(found)


def _mentions(types: Iterable[Type | None]) -> Iterator[str]:
    return (name for each in types if each for name in each.mentions)


def _outer(package: Package, interface: str) -> Scope:
    return lambda name: f"${package.home(interface, name)}.{name}"


def _inner(name: str) -> str:
    return f"${name}"


def _exported(name: str) -> str:
    return f"$exported.{name}"


def _definition(definition: Definition, scope: Scope) -> str:
    match definition:
        case Alias(type):
            return _type(type, scope)
        case Record(fields):
            texts = [f'(field "{name}" {_type(each, scope)})' for name, each in fields]
            return f"(record {_join(texts)})"
        case Variant(cases):
            texts = [f'(case "{name}" {_type(each, scope)})' for name, each in cases]
            return f"(variant {_join(texts)})"
        case Enum(names):
            texts = [f'"{name}"' for name in names]
            return f"(enum {_join(texts)})"


def _type(type: Type | None, scope: Scope) -> str:
    if type is None:
        return ""
    if type.is_defined:
        return scope(type.name)
    if not type.arguments:
        return type.name
    first, *rest = (_type(each, scope) for each in type.arguments)
    if type.name == "result":
        rest = [f"(error {each})" for each in rest if each]
    return f"({_join((type.name, first, *rest))})"


def _function(function: Function, scope: Scope) -> str:
    texts = [f'(param "{name}" {_type(each, scope)})' for name, each in function.parameters]
    return _join((*texts, f"(result {_type(function.result, scope)})" if function.result else ""))


def _join(texts: Iterable[str]) -> str:
    return " ".join(filter(None, texts))


# What the component imports


def _import(
    package: Package, interface: str, types: Sequence[tuple[str, str]], functions: Sequence[Used]
) -> Iterator[str]:
    """An interface of the host: types of others that it uses, its own types, and functions."""
    own = [name for home, name in types if home == interface]
    if not own and not functions:
        return
    source = package.interfaces[interface]
    mentioned = {name for each in functions for name in _mentions(each.function.parts)}
    yield f'(import "{package.qualified(interface)}" (instance ${interface}'
    for name, home in source.uses.items():
        if name in mentioned:
            yield f'(export "{name}" (type ${name} (eq ${home}.{name})))'
    for name in own:
        yield f"(type $definition.{name} {_definition(source.types[name], _inner)})"
        yield f'(export "{name}" (type ${name} (eq $definition.{name})))'
    for each in functions:
        yield f'(export "{each.name}" (func {_function(each.function, _inner)}))'
    yield "))"
    for name in own:
        yield f'(alias export ${interface} "{name}" (type ${interface}.{name}))'


# The core module, and what it imports


def _instantiate(package: Package, imports: Sequence[Used], exported: Collection[str]) -> Iterator[str]:
    """The instance of the core module.

    A function of the host that uses its memory exists only after it; so it is given a shim, which calls
    through a table that is filled afterwards.
    """
    late = [each for each in imports if each.flat.memory]
    if late:
        yield from _shim(late)
    for each in imports:
        yield f'(alias export ${each.interface} "{each.name}" (func ${each.interface}.{each.name}))'
        if each not in late:
            symbol = f"${each.interface}.{each.name}"
            yield f"(core func {symbol} (canon lower (func {symbol})))"
    yield "(core instance $main (instantiate $main"
    for interface in package.interfaces:
        if functions := _of(interface, imports):
            texts = (f'(export "{each.name}" (func ${interface}.{each.name}))' for each in functions)
            yield f'(with "{package.qualified(interface)}" (instance {_join(texts)}))'
    yield "))"
    if "memory" in exported:
        yield '(alias core export $main "memory" (core memory $memory))'
    if REALLOC in exported:
        yield f'(alias core export $main "{REALLOC}" (core func $realloc))'
    if late or INITIALIZE in exported:
        yield from _fixup(late, initialize=INITIALIZE in exported)


def _shim(late: Sequence[Used]) -> Iterator[str]:
    yield f'(core module $shim (table $functions (export "table") {len(late)} {len(late)} funcref)'
    for number, each in enumerate(late):
        arguments = _join(f"(local.get {place})" for place in range(len(each.flat.core.parameters)))
        core = _core(each)
        yield f'(func (export "{number}") {core} {arguments} (i32.const {number}) (call_indirect {core}))'
    yield ")"
    yield "(core instance $shim (instantiate $shim))"
    for number, each in enumerate(late):
        yield f'(alias core export $shim "{number}" (core func ${each.interface}.{each.name}))'


def _fixup(late: Sequence[Used], *, initialize: bool) -> Iterator[str]:
    """A module that does its work when it is instantiated."""
    yield "(core module $fixup"
    for number, each in enumerate(late):
        yield f'(import "late" "{number}" (func $late.{number} {_core(each)}))'
    if initialize:
        yield f'(import "main" "{INITIALIZE}" (func $initialize)) (start $initialize)'
    if late:
        yield f'(import "shim" "table" (table {len(late)} {len(late)} funcref))'
        yield f"(elem (i32.const 0) func {_join(f'$late.{number}' for number in range(len(late)))})"
    yield ")"
    for number, each in enumerate(late):
        yield f"(core func $late.{number} (canon lower (func ${each.interface}.{each.name}) {each.options}))"
    yield "(core instance (instantiate $fixup"
    if late:
        texts = (f'(export "{number}" (func $late.{number}))' for number in range(len(late)))
        yield f'(with "late" (instance {_join(texts)})) (with "shim" (instance $shim))'
    yield '(with "main" (instance $main))))' if initialize else "))"


def _core(function: Used) -> str:
    parameters, results = function.flat.core
    return f"(param {_join(parameters)}) (result {_join(results)})"


# What the component exports


def _export(
    package: Package, interface: str, functions: Sequence[Used], exported: Collection[str]
) -> Iterator[str]:
    """An interface for the host to call."""
    source = package.interfaces[interface]
    types = _types(package, functions)
    outer = _outer(package, interface)
    for home, name in types:
        if home == interface:
            yield f"(type ${interface}.{name} {_definition(source.types[name], outer)})"
    for each in functions:
        options = each.options
        yield f'(alias core export $main "{each.symbol}" (core func ${each.symbol}))'
        if (after := POST_RETURN + each.symbol) in exported:
            yield f'(alias core export $main "{after}" (core func ${after}))'
            options += f" (post-return ${after})"
        lifted = f"(canon lift (core func ${each.symbol}) {options})"
        yield f"(func ${interface}.{each.name} {_function(each.function, outer)} {lifted})"
    yield f"(component ${interface}"
    for home, name in types:
        definition = package.interfaces[home].types[name]
        yield f"(type $definition.{name} {_definition(definition, _inner)})"
        yield f'(import "import-type-{name}" (type ${name} (eq $definition.{name})))'
    for each in functions:
        yield f'(import "import-func-{each.name}" (func ${each.name} {_function(each.function, _inner)}))'
    known = [name for home, name in types if home == interface or name in source.uses]
    for name in known:
        yield f'(export $exported.{name} "{name}" (type ${name}))'
    for each in functions:
        yield f'(export "{each.name}" (func ${each.name}) (func {_function(each.function, _exported)}))'
    yield ")"
    yield f"(instance ${interface} (instantiate ${interface}"
    for home, name in types:
        yield f'(with "import-type-{name}" (type ${home}.{name}))'
    for each in functions:
        yield f'(with "import-func-{each.name}" (func ${interface}.{each.name}))'
    yield "))"
    yield f'(export "{package.qualified(interface)}" (instance ${interface}))'
