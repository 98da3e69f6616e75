"""WebAssembly's text format, and what stands on a core module's boundary."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import wasmtime

COMPONENT: Final = b"\0asm\x0d\0\1\0"
CORE_MODULE_SECTION: Final = 1
COMPONENT_SECTION: Final = 4


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


def fill(component: bytes, section: int, content: bytes) -> bytes:
    """Puts a core module or a component into the place of the first one in a component.

    Sections: <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>.
    """
    place = len(COMPONENT)
    while component[place] != section:
        size, start = _read_size(component, place + 1)
        place = start + size
    size, start = _read_size(component, place + 1)
    return b"".join((component[: place + 1], _size(len(content)), content, component[start + size :]))


def _read_size(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return number, place


def _size(number: int) -> bytes:
    """The same, written."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


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
