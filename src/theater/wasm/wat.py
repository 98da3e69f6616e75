"""WebAssembly's text format, and what stands on a core module's boundary."""

from collections.abc import Mapping
from typing import NamedTuple

import wasmtime


class CoreFunction(NamedTuple):
    """Type of a function of a core module; its values are `i32`, `i64`, `f32`, `f64` and so on."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"


class CoreModule(NamedTuple):
    """What a core module imports and exports: a function's type, or what it is if it is no function.

    Attributes:
        imports: by module and name.
        exports: by name.
    """

    imports: Mapping[tuple[str, str], CoreFunction | str]
    exports: Mapping[str, CoreFunction | str]


def assemble(text: str) -> bytes:
    """Turns the text of a module or component into its binary form.

    Raises:
        ValueError: it says where the text is wrong.
    """
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise ValueError(str(error)) from None


def read_core(core: bytes) -> CoreModule:
    """What a core module imports and exports.

    Raises:
        ValueError: it is no valid core module.
    """
    try:
        module = wasmtime.Module(wasmtime.Engine(), core)
    except wasmtime.WasmtimeError as error:
        raise ValueError(str(error)) from None
    return CoreModule(
        {(each.module, each.name or ""): _kind(each.type) for each in module.imports},
        {each.name: _kind(each.type) for each in module.exports},
    )


def _kind(found: object) -> CoreFunction | str:
    if isinstance(found, wasmtime.FuncType):
        return CoreFunction(tuple(map(str, found.params)), tuple(map(str, found.results)))
    return type(found).__name__.removesuffix("Type").lower()
