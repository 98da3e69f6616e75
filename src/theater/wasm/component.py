"""Reading a component file: what it is built for, and whether it fits. Nothing of it is run."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from wasmtime import Engine, WasmtimeError, _ffi
from wasmtime import component as wasm

from theater.errors import InvalidComponent
from theater.wasm.cache import Cache
from theater.wasm.contracts import V0_1, V0_2, Contract
from theater.wasm.nesting import hollow
from theater.wasm.shapes import FunctionShape, mismatch

PACKAGE: Final = V0_2.package
CONTRACTS: Final = {contract.version: contract for contract in (V0_1, V0_2)}

WASI: Final = {
    "wasi:cli": (
        *("environment", "exit", "stdin", "stdout", "stderr"),
        *("terminal-input", "terminal-output", "terminal-stdin", "terminal-stdout", "terminal-stderr"),
    ),
    "wasi:clocks": ("monotonic-clock", "wall-clock"),
    "wasi:filesystem": ("preopens", "types"),
    "wasi:io": ("error", "poll", "streams"),
    "wasi:random": ("insecure", "insecure-seed", "random"),
    "wasi:sockets": (
        *("instance-network", "ip-name-lookup", "network"),
        *("tcp", "tcp-create-socket", "udp", "udp-create-socket"),
    ),
}
"""What a manifest can grant: packages, each with those of its interfaces that wasmtime has."""

Functions = Mapping[str, wasm.FuncType]

_INTERFACE: Final = re.compile(r"([a-z0-9-]+:[a-z0-9-]+)/([a-z0-9-]+)(?:@(.+))?")
_WASI_VERSION: Final = re.compile(r"0\.2\.\d+")  # of the same minor version, all fit each other
_CORE_LAYER: Final = b"\x00\x00"  # in place of a component's \x01\x00


class Inspection(msgspec.Struct, frozen=True):
    """What a component is.

    Attributes:
        contract: what it is built for.
        exports: the functions of the contract that it has, by interface and name.
        imports: those that it wants, likewise.
        foreign: names of the interfaces outside of the contract that it wants, all of them granted.
        size: bytes of the file.
        component: compiled, perhaps without its code.
    """

    contract: Contract
    exports: Mapping[str, Functions]
    imports: Mapping[str, Functions]
    foreign: tuple[str, ...]
    size: int
    component: wasm.Component


class _Unfit(Exception):
    """What is wrong with a component, as `InvalidComponent.problem` has it."""


class _Interface(NamedTuple):
    """An import or export of a component, its name taken apart.

    Attributes:
        name: all of it.
        package, short, version: its parts; all but the short name are empty if it is no interface's.
        items: types of what it has, by name; only of those of the contract. What is no instance has itself.
    """

    name: str
    package: str
    short: str
    version: str
    items: Mapping[str, object]


def inspect(
    source: Path | bytes,
    grants: Iterable[str] = (),
    *,
    engine: Engine | None = None,
    cache: Cache | None = None,
    settings: str = "",
    hollowed: bool = True,
) -> Inspection:
    """Compiles a component, and finds out whether it fits the contract.

    Args:
        source: its file, or what stands in it.
        grants: packages outside of the contract that it may import, such as `wasi:clocks`.
        engine: what it is compiled for; one of its own, if left out.
        cache: where it may lie compiled already, and is put otherwise.
        settings: the engine's, as `Cache.load` takes them.
        hollowed: compile it without its code, which takes no time, since that matters to no type.

    Raises:
        InvalidComponent: it does not fit, cannot be read, or is none.
    """
    engine = engine or Engine()
    try:
        code = source if isinstance(source, bytes) else _read(source)
        _check_preamble(code, source)
        component, imports, exports = _compile(hollow(code) if hollowed else code, engine, cache, settings)
        contract = _contract(exports)
        foreign = tuple(each.name for each in imports if each.package != PACKAGE)
        _check_grants(foreign, tuple(grants))
        offered, wanted = _exports(exports, contract), _imports(imports, contract)
        return Inspection(contract, offered, wanted, foreign, len(code), component)
    except _Unfit as error:
        path = "" if isinstance(source, bytes) else str(source)
        raise InvalidComponent(path, str(error)) from None


def _compile(
    code: bytes, engine: Engine, cache: Cache | None, settings: str
) -> tuple[wasm.Component, list["_Interface"], list["_Interface"]]:
    """A component, and what it imports and exports."""
    try:
        component = cache.load(engine, code, settings) if cache else wasm.Component(engine, code)
    except WasmtimeError as error:
        raise _Unfit(f"is no valid component: {_cause(error)}") from None
    types = component.type
    return component, _interfaces(types.imports(engine), engine), _interfaces(types.exports(engine), engine)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Unfit(f"cannot be read: {str(error.strerror).lower()}") from None


def _check_preamble(code: bytes, source: Path | bytes) -> None:
    """Looks at the first eight bytes: magic number, version, layer."""
    if not code:
        raise _Unfit("is empty")
    if code[:4] != b"\0asm":
        raise _Unfit("is no WebAssembly file")
    if code[6:8] == _CORE_LAYER:
        name = "FILE.wasm" if isinstance(source, bytes) else source
        raise _Unfit(f"is a core module, not a component: `theater build {name}` wraps it")


def _cause(error: WasmtimeError) -> str:
    """The last line of what wasmtime says, which is the nearest to the cause."""
    return str(error).strip().rpartition("\n")[2].strip()


def _interfaces(found: Mapping[str, Any], engine: Engine) -> list[_Interface]:
    interfaces = []
    for name, extern in found.items():
        parts = _INTERFACE.fullmatch(name)
        package, short, version = parts.groups("") if parts else ("", name, "")
        items = _items(short, extern.ty, engine) if package == PACKAGE else {}
        interfaces.append(_Interface(name, package, short, version, items))
    return interfaces


def _items(short: str, type: object, engine: Engine) -> dict[str, object]:
    if isinstance(type, wasm.ComponentInstanceType):
        return {name: extern.ty for name, extern in type.exports(engine).items()}
    return {short: type}


def _contract(exports: Iterable[_Interface]) -> Contract:
    """The contract that a component's exports are those of."""
    ours = [each for each in exports if each.package == PACKAGE]
    if not ours:
        known = " or ".join(f"{PACKAGE}@{version}" for version in CONTRACTS)
        raise _Unfit(f"exports no interface of {known}")
    for each in ours:
        if each.version not in CONTRACTS:
            raise _Unfit(f"exports {each.name}, but there is only {' and '.join(CONTRACTS)} of {PACKAGE}")
        if each.version != ours[0].version:
            raise _Unfit(f"exports {ours[0].name} and {each.name}, which are two versions of the contract")
    return CONTRACTS[ours[0].version]


def _check_grants(foreign: Iterable[str], grants: tuple[str, ...]) -> None:
    """Finds imports from outside of the contract that a component may not have."""
    missing: dict[str, list[str]] = {}
    for name in foreign:
        package = _grantable(name)
        if package is None:
            raise _Unfit(f"imports {name}, which cannot be granted: there are only {', '.join(WASI)} 0.2")
        if package not in grants:
            missing.setdefault(package, []).append(name)
    if missing:
        first, *others = (name for names in missing.values() for name in names)
        which = f"{first} and {len(others)} more" if others else first
        packages = ", ".join(f'"{package}"' for package in (*grants, *missing))
        advice = f"{'make it' if grants else 'add'} grants = [{packages}]"
        raise _Unfit(f"imports {which}, which the manifest does not grant: {advice}")


def _grantable(name: str) -> str | None:
    """The package that an import can be granted with, if it can."""
    parts = _INTERFACE.fullmatch(name)
    if parts is None:
        return None
    package, short, version = parts.groups("")
    known = short in WASI.get(package, ()) and _WASI_VERSION.fullmatch(version)
    return package if known else None


def _exports(exports: Iterable[_Interface], contract: Contract) -> dict[str, Functions]:
    """The functions that the host will call. What else there is it does not know, and never calls."""
    found: dict[str, Functions] = {}
    for each in exports:
        if each.package != PACKAGE or each.short not in contract.exports:
            continue
        functions = found[each.short] = {}
        for name, shape in contract.exports[each.short].items():
            function = each.items.get(name)
            if not isinstance(function, wasm.FuncType):
                raise _Unfit(f"exports {each.name} without the function {name}")
            _check_type(f"exports {each.name}", name, function, shape)
            functions[name] = function
    if not found:
        raise _Unfit(f"exports none of {', '.join(contract.exports)} of {PACKAGE}@{contract.version}")
    return found


def _imports(imports: Iterable[_Interface], contract: Contract) -> dict[str, Functions]:
    """The functions of the host that a component calls."""
    found: dict[str, Functions] = {}
    for each in imports:
        if each.package != PACKAGE:
            continue
        if each.version != contract.version:
            raise _Unfit(f"imports {each.name}, but exports what {PACKAGE}@{contract.version} has")
        shapes = contract.imports.get(each.short, {})
        functions = {}
        for name, item in each.items.items():
            if isinstance(item, wasm.ValType):
                continue
            if name not in shapes or not isinstance(item, wasm.FuncType):
                raise _Unfit(f"imports {name} of {each.name}, which the contract does not have")
            _check_type(f"imports {each.name}", name, item, shapes[name])
            functions[name] = item
        if functions:
            found[each.short] = functions
    return found


def _check_type(where: str, name: str, type: wasm.FuncType, shape: FunctionShape) -> None:
    if _ffi.wasmtime_component_func_type_async(type.ptr()):
        raise _Unfit(f"{where}, whose {name} is asynchronous, which the contract's is not")
    if problem := mismatch(type, shape):
        raise _Unfit(f"{where}, whose {name} does not fit: {problem}")
