"""Turns a core module into a component of the contract.

Any compiler's will do, if its boundary has the names that wit-bindgen gives and the types of the canonical
ABI: imports such as `send-message` of `theater:websocket/websocket@0.2.0`, exports such as
`theater:websocket/websocket-actor@0.2.0#handle-websocket` and, to clean up after that,
`cabi_post_theater:websocket/websocket-actor@0.2.0#handle-websocket`; besides `memory` and `cabi_realloc`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, get_args

from theater.build.errors import BuildError
from theater.build.flat import flatten
from theater.build.text import INITIALIZE, POST_RETURN, REALLOC, Used, component_text
from theater.build.wit import Package, Version, contract
from theater.wasm.binary import COMPONENT
from theater.wasm.nesting import fill
from theater.wasm.sections import CORE
from theater.wasm.wat import CoreFunction, assemble, read_core

HELPERS: Final = {  # exports that are not of the contract, but matter to the component
    "memory": "memory",
    REALLOC: CoreFunction(("i32",) * 4, ("i32",)),
    INITIALIZE: CoreFunction((), ()),
}
VERSIONS: Final[tuple[Version, ...]] = get_args(Version)
EXAMPLE: Final = "theater:websocket/websocket-actor@0.2.0#handle-websocket"
NOTHING_ELSE: Final = "a guest has only the contract, no WASI and no JavaScript"

Core = Mapping[str, CoreFunction | str]
"""Imports or exports of a core module, by symbol."""


def wrap(core: bytes, version: Version | None = None) -> bytes:
    """Turns a core module into a component, which has what the module imports and exports, and no more.

    Args:
        core: the module in its binary form.
        version: of the contract; left out, the one in the names on the module's boundary.

    Raises:
        BuildError: it is no core module, or does not fit the contract.
    """
    if core.startswith(COMPONENT):
        raise BuildError("this is a component already, not a core module")
    if not core.startswith(CORE):
        raise BuildError("this is no WebAssembly module")
    try:
        module = read_core(core)
    except ValueError as error:
        raise BuildError("this is no valid core module", str(error)) from None
    imported = {f"{place}#{name}": found for (place, name), found in module.imports.items()}
    package = contract(version or _version([*imported, *module.exports]))
    offered = _functions(package, package.imports, exported=False)
    handled = _functions(package, package.exports, exported=True)
    imports = [each for symbol, each in offered.items() if symbol in imported]
    exports = [each for symbol, each in handled.items() if symbol in module.exports]
    mistakes = [
        *_wrong("import", imported, {symbol: each.flat.core for symbol, each in offered.items()}),
        *_wrong("export", _of_contract(module.exports), _exportable(handled)),
        *_missing(module.exports, imports, exports),
    ]
    if mistakes:
        raise BuildError(f"the module does not fit {package.name}@{package.version}", "\n".join(mistakes))
    text = component_text(package, imports, exports, module.exports)
    return fill(assemble(text), core)


def _version(symbols: Iterable[str]) -> Version:
    """The one in the names of imports and exports."""
    together = "\n".join(symbols)
    match [version for version in VERSIONS if f"@{version}#" in together]:
        case [version]:
            return version
        case []:
            raise BuildError(f"the module has nothing of the contract, such as an export {EXAMPLE}")
        case several:
            raise BuildError(f"the module mixes the versions {' and '.join(several)} of the contract")


def _functions(package: Package, interfaces: Iterable[str], *, exported: bool) -> dict[str, Used]:
    """All that a module can import, or export, by symbol."""
    found = {}
    for interface in interfaces:
        for name, function in package.interfaces[interface].functions.items():
            symbol = f"{package.qualified(interface)}#{name}"
            flat = flatten(package, interface, function, exported=exported)
            found[symbol] = Used(interface, name, function, flat, symbol)
    return found


def _exportable(handled: Mapping[str, Used]) -> dict[str, CoreFunction]:
    """The types of functions that the host may call, and of those that clean up after them."""
    cores = {symbol: each.flat.core for symbol, each in handled.items()}
    return cores | {POST_RETURN + symbol: each.flat.post_return for symbol, each in handled.items()}


def _of_contract(exports: Core) -> Core:
    """Without what a compiler exports for reasons of its own."""
    return {symbol: found for symbol, found in exports.items() if "#" in symbol}


def _wrong(kind: str, found: Core, known: Mapping[str, CoreFunction]) -> Iterator[str]:
    """Imports or exports that are not known, or have another type."""
    for symbol, core in found.items():
        if symbol not in known:
            near = get_close_matches(symbol, known, 1)
            yield f"{kind} {symbol} is unknown; " + (f"is {near[0]} meant?" if near else NOTHING_ELSE)
        elif core != known[symbol]:
            yield f"{kind} {symbol}: expected {known[symbol]}, found {core}"


def _missing(exported: Core, imports: Sequence[Used], exports: Sequence[Used]) -> Iterator[str]:
    """What else has to be exported."""
    if not exports:
        yield f"no export for the host to call, such as {EXAMPLE}"
    for symbol in exported:
        if symbol.startswith(POST_RETURN) and symbol.removeprefix(POST_RETURN) not in exported:
            yield f"export {symbol} cleans up after an export that is not there"
    needed = {"memory": [each for each in (*exports, *imports) if each.flat.memory]}
    needed[REALLOC] = [each for each in (*exports, *imports) if each.flat.realloc]
    for name, expected in HELPERS.items():
        if name not in exported:
            if users := needed.get(name):
                yield f"no export {name}, which {users[0].symbol} needs"
        elif exported[name] != expected:
            yield f"export {name}: expected {expected}, found {exported[name]}"
