"""How the functions of the contract look to a core module.

Flattening as in the canonical ABI: what a caller passes as values, and what through memory.
<https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md#flattening>
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from theater.build.wit import Enum, Function, Package, Type, Variant
from theater.wasm.canonical import flat_cases, signature_of
from theater.wasm.wat import CoreFunction

PLAIN: Final = {
    **dict.fromkeys(("bool", "u8", "u16", "u32"), ("i32",)),
    "u64": ("i64",),
    "f64": ("f64",),
    "string": ("i32", "i32"),  # address, and length in bytes
    "list": ("i32", "i32"),  # address, and number of items
}


class Flat(NamedTuple):
    """What the canonical ABI makes of a function.

    Attributes:
        core: the type that the core module's import or export has.
        memory: whether values pass through the core module's memory.
        realloc: whether the host asks the core module for memory to put values in.
    """

    core: CoreFunction
    memory: bool
    realloc: bool

    @property
    def post_return(self) -> CoreFunction:
        """Type of the export that may clean up when the host has read the result of this one."""
        return CoreFunction(self.core.results, ())


def flatten(package: Package, interface: str, function: Function, *, exported: bool) -> Flat:
    """What a function is in a core module that imports or exports it."""
    within = _Interface(package, interface)
    parameters = within.flat_all(each.type for each in function.parameters)
    results = within.flat(function.result)
    core, spilled, returned = signature_of(parameters, results, lowered=not exported)
    given = spilled or any(within.points(each.type) for each in function.parameters)
    taken = within.points(function.result)
    return Flat(core, given or taken or returned, given if exported else taken)


class _Interface(NamedTuple):
    """Types as one interface knows them."""

    package: Package
    name: str

    def points(self, type: Type | None) -> bool:
        """Whether there is a string or a list in it."""
        if type is None:
            return False
        if type.is_defined:
            home, definition = self.package.definition(self.name, type.name)
            return any(map(_Interface(self.package, home).points, definition.parts))
        return type.name in ("string", "list") or any(map(self.points, type.arguments))

    def flat(self, type: Type | None) -> tuple[str, ...]:
        """The values that stand for one of this type."""
        if type is None:
            return ()
        if type.name in PLAIN:
            return PLAIN[type.name]
        if type.name == "tuple":
            return self.flat_all(type.arguments)
        if type.name in ("option", "result"):
            return flat_cases(map(self.flat, type.arguments))
        home, definition = self.package.definition(self.name, type.name)
        inside = _Interface(self.package, home)
        if isinstance(definition, Variant | Enum):
            return flat_cases(map(inside.flat, definition.parts))
        return inside.flat_all(definition.parts)

    def flat_all(self, types: Iterable[Type | None]) -> tuple[str, ...]:
        """Those of several, one after the other."""
        return tuple(value for each in types for value in self.flat(each))
