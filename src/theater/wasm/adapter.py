"""Components in which bytes cross the boundary as text.

wasmtime's C interface hands over a list of bytes as one value of 32 bytes for each of them, and refuses
large ones; a text it copies at once. So a component is put into another one, where its functions meet
others of almost the same types: bytes are texts of hexadecimal digits there, which is what core code
inside of it changes them into and back. (The digits of base64 would be fewer, but Python is five times
as slow at reading these.)

    host <-digits-> incoming <-bytes-> component <-bytes-> outgoing <-digits-> host

What stands between has a memory of its own on each side, since no component may call one that it is
called by. Nothing in there outlives a call.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from wasmtime import component as wasm

from theater.wasm.nesting import COMPONENT_SECTION, fill
from theater.wasm.packing import MEMORY, Crossing, carries_bytes, is_bytes
from theater.wasm.shapes import NAMES
from theater.wasm.wat import assemble

_OPTIONS: Final = "(memory $memory) (realloc $realloc)"

Items = Mapping[str, object]
"""Types of an interface's functions, and its types, by name."""


def adapt(code: bytes, imports: Mapping[str, Items], exports: Mapping[str, Items]) -> bytes:
    """Puts a component into one with the same interfaces, but for bytes that are digits.

    Args:
        code: the component.
        imports: all that it imports, by the interface's whole name.
        exports: what the other one is to export, likewise.
    """
    types = _Types(item for items in (*imports.values(), *exports.values()) for item in items.values())
    outgoing = _Between("outgoing", types, packs=True)
    incoming = _Between("incoming", types, packs=False)
    for number, items in enumerate(imports.values()):
        for name, kind in _crossing(items):
            outgoing.add(f'$host{number} "{name}"', kind)
    for number, items in enumerate(exports.values()):
        for name, kind in _crossing(items):
            incoming.add(f'$handlers{number} "{name}"', kind)
    text = "\n".join(
        (
            "(component",
            *types.defined(),
            *_host(imports, types),
            "(component $guest)",
            *outgoing.text(),
            *_guest(imports, types, outgoing),
            *(f'(alias export $guest "{name}" (instance $handlers{n}))' for n, name in enumerate(exports)),
            *incoming.text(),
            *_handlers(exports, types, incoming),
            ")",
        )
    )
    return fill(assemble(text), COMPONENT_SECTION, code)


def _functions(items: Items) -> Iterator[tuple[str, wasm.FuncType]]:
    return ((name, item) for name, item in items.items() if isinstance(item, wasm.FuncType))


def _crossing(items: Items) -> Iterator[tuple[str, wasm.FuncType]]:
    """The functions with bytes in their types."""
    for name, kind in _functions(items):
        if any(map(carries_bytes, (*(each for _, each in kind.params), kind.result))):
            yield name, kind


def _host(imports: Mapping[str, Items], types: "_Types") -> Iterator[str]:
    """What the host offers."""
    for number, (interface, items) in enumerate(imports.items()):
        functions = dict(_functions(items))
        if functions:
            yield f'(import "{interface}" (instance $host{number}'
            yield from types.named("export")
            for name, kind in functions.items():
                yield f'(export "{name}" (func {types.function(kind, True)}))'
            yield "))"


def _guest(imports: Mapping[str, Items], types: "_Types", outgoing: "_Between") -> Iterator[str]:
    """The instance of the component itself."""
    yield "(instance $guest (instantiate $guest"
    for number, (interface, items) in enumerate(imports.items()):
        yield f'(with "{interface}" (instance'
        for name, item in items.items():
            if isinstance(item, wasm.FuncType):
                function = outgoing.function(f'$host{number} "{name}"')
                yield f'(export "{name}" (func {function}))'
            elif isinstance(item, wasm.ValType):
                yield f'(export "{name}" (type {types.index(item)}))'
        yield "))"
    yield "))"


def _handlers(exports: Mapping[str, Items], types: "_Types", incoming: "_Between") -> Iterator[str]:
    """What the host calls."""
    for number, (interface, items) in enumerate(exports.items()):
        handlers = f"$handlers{number}"
        if any(_crossing(items)):
            handlers = f"$offered{number}"
            functions = dict(_functions(items))
            yield f"(component {handlers}"
            yield from types.named("import")
            for name, kind in functions.items():
                yield f'(import "{name}" (func ${name} {types.function(kind, True)}))'
            yield from types.exported()
            for name, kind in functions.items():
                yield f'(export "{name}" (func ${name}) (func {types.function(kind, True, "e")}))'
            yield f") (instance {handlers} (instantiate {handlers}"
            yield from types.given()
            for name in functions:
                function = incoming.function(f'$handlers{number} "{name}"')
                yield f'(with "{name}" (func {function}))'
            yield "))"
        yield f'(export "{interface}" (instance {handlers}))'


class _Types:
    """Types in the text format.

    A record, variant or enum must have a name on every boundary; so all that there are have one in every
    scope, where `$t0` is the first of them. Behind an export it is `$e0`.

    Args:
        items: what will be written.
    """

    def __init__(self, items: Iterable[object]) -> None:
        self._numbers: dict[str, int] = {}  # by definition
        for item in items:
            if isinstance(item, wasm.FuncType):
                for digits in (False, True):
                    self.function(item, digits)
            elif isinstance(item, wasm.ValType):
                self.index(item)

    def defined(self) -> Iterator[str]:
        """In the outermost scope, which exports them too, so that they have names there."""
        for definition, number in self._numbers.items():
            yield f'(type $d{number} {definition}) (export $t{number} "t{number}" (type $d{number}))'

    def named(self, keyword: str) -> Iterator[str]:
        """The same in a scope that imports or exports them."""
        for definition, number in self._numbers.items():
            yield f'(type $d{number} {definition}) ({keyword} "t{number}" (type $t{number} (eq $d{number})))'

    def exported(self) -> Iterator[str]:
        """The same once more, behind their exports."""
        return (f'(export $e{number} "t{number}" (type $t{number}))' for number in self._numbers.values())

    def given(self) -> Iterator[str]:
        """For an instance of a component that imports them."""
        return (f'(with "t{number}" (type $t{number}))' for number in self._numbers.values())

    def index(self, type: wasm.ValType) -> str:
        """The identifier of any type."""
        text = self._text(type, False, "t")
        return text if text.startswith("$") else self._named(text, "t")

    def function(self, type: wasm.FuncType, digits: bool, letter: str = "t") -> str:
        """A function's parameters and result.

        Args:
            type: of the function.
            digits: write texts in the place of bytes.
            letter: of the types' identifiers.
        """
        texts = [f'(param "{name}" {self._text(each, digits, letter)})' for name, each in type.params]
        result = type.result
        texts.append("" if result is None else f"(result {self._text(result, digits, letter)})")
        return " ".join(texts)

    def _text(self, type: wasm.ValType, digits: bool, letter: str) -> str:
        def write(each: wasm.ValType | None) -> str:
            return "" if each is None else self._text(each, digits, letter)

        match type:
            case wasm.ListType():
                return "string" if digits and is_bytes(type) else f"(list {write(type.element)})"
            case wasm.TupleType():
                return f"(tuple {' '.join(map(write, type.elements))})"
            case wasm.OptionType():
                return f"(option {write(type.payload)})"
            case wasm.ResultType():
                error = write(type.err)
                return f"(result {write(type.ok)} {error and f'(error {error})'})"
        letter, own = "t", letter  # a definition refers to those of its scope
        match type:
            case wasm.RecordType():
                parts = [f'(field "{name}" {write(each)})' for name, each in type.fields]
                return self._named(f"(record {' '.join(parts)})", own)
            case wasm.VariantType():
                parts = [f'(case "{name}" {write(each)})' for name, each in type.cases]
                return self._named(f"(variant {' '.join(parts)})", own)
            case wasm.EnumType() | wasm.FlagsType():
                names = " ".join(f'"{name}"' for name in type.names)
                kind = "enum" if isinstance(type, wasm.EnumType) else "flags"
                return self._named(f"({kind} {names})", own)
        return NAMES[type.__class__]

    def _named(self, definition: str, letter: str) -> str:
        return f"${letter}{self._numbers.setdefault(definition, len(self._numbers))}"


class _Between:
    """A component between two others, whose functions are imported and exported by their numbers.

    Args:
        name: its identifier.
        types: in its functions.
        packs: it is called with bytes, and calls with digits; or the reverse.
    """

    def __init__(self, name: str, types: _Types, *, packs: bool) -> None:
        self._name = name
        self._types = types
        self._packs = packs
        self._functions: dict[str, wasm.FuncType] = {}

    def add(self, inner: str, type: wasm.FuncType) -> None:
        """Adds a function.

        Args:
            inner: what it calls: an instance's identifier and a name in there.
            type: with bytes.
        """
        self._functions[inner] = type

    def function(self, inner: str) -> str:
        """What to call in place of a function: that itself, if none was added for it."""
        if inner not in self._functions:
            return inner
        return f'${self._name} "f{list(self._functions).index(inner)}"'

    def text(self) -> Iterator[str]:
        """The component, and its instance."""
        if not self._functions:
            return
        yield f"(component ${self._name}"
        yield from self._types.named("import")
        for number, kind in enumerate(self._functions.values()):
            yield f'(import "f{number}" (func $f{number} {self._types.function(kind, self._packs)}))'
        yield from self._core()
        for number, kind in enumerate(self._functions.values()):
            yield f"(func $lifted{number} {self._types.function(kind, not self._packs)}"
            yield f'(canon lift (core func $main "f{number}") {_OPTIONS}'
            yield f'(post-return (core func $main "after-f{number}"))))'
        yield from self._types.exported()
        for number, kind in enumerate(self._functions.values()):
            outer = self._types.function(kind, not self._packs, "e")
            yield f'(export "f{number}" (func $lifted{number}) (func {outer}))'
        yield ")"
        yield f"(instance ${self._name} (instantiate ${self._name}"
        yield from self._types.given()
        yield from (f'(with "f{number}" (func {inner}))' for number, inner in enumerate(self._functions))
        yield "))"

    def _core(self) -> Iterator[str]:
        main = Crossing(self._packs)
        for number, kind in enumerate(self._functions.values()):
            main.add(f"f{number}", kind)
        yield MEMORY
        yield "(core instance $memory (instantiate $adapter))"
        yield '(alias core export $memory "memory" (core memory $memory))'
        yield '(alias core export $memory "realloc" (core func $realloc))'
        yield main.text()
        for number in range(len(self._functions)):
            yield f"(core func $lowered{number} (canon lower (func $f{number}) {_OPTIONS}))"
        yield '(core instance $main (instantiate $main (with "memory" (instance $memory))'
        yield '(with "inner" (instance'
        yield from (f'(export "f{number}" (func $lowered{number}))' for number in range(len(self._functions)))
        yield "))))"
