"""Binaries inside of components: put in, or emptied.

<https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md> and
<https://webassembly.github.io/spec/core/binary/modules.html>.
"""

from collections.abc import Iterator
from typing import Final

from theater.wasm.binary import COMPONENT

CORE_MODULE_SECTION: Final = 1  # of a component
COMPONENT_SECTION: Final = 4

_PREAMBLE: Final = 8  # bytes: magic number, version, layer
_CODE_SECTION: Final = 10  # of a core module
_LEFT_OUT: Final = (0, 11, 12)  # custom sections, data, and how many data there are
_UNREACHABLE: Final = b"\3\0\0\x0b"  # a function of three bytes: no locals, `unreachable`, `end`


def fill(component: bytes, section: int, content: bytes) -> bytes:
    """Puts a core module or a component into the place of the first one in a component."""
    for found, begin, _, end in _sections(component):
        if found == section:
            return b"".join((component[: begin + 1], _number(len(content)), content, component[end:]))
    raise ValueError(f"there is no section {section}")


def hollow(code: bytes) -> bytes:
    """A component without code and data, which is compiled in no time, but has the same boundary.

    What is no component stays as it is, for wasmtime to say why.
    """
    try:
        return _hollow(code)
    except (IndexError, ValueError):
        return code


def _hollow(code: bytes) -> bytes:
    is_component = code.startswith(COMPONENT)
    parts = [code[:_PREAMBLE]]
    for section, _, start, end in _sections(code):
        content = code[start:end]
        if is_component and section in (CORE_MODULE_SECTION, COMPONENT_SECTION):
            content = _hollow(content)
        elif not is_component and section == _CODE_SECTION:
            count, _ = _read_number(content, 0)
            content = _number(count) + _UNREACHABLE * count
        elif not is_component and section in _LEFT_OUT:
            continue
        parts += [bytes((section,)), _number(len(content)), content]
    return b"".join(parts)


def _sections(code: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The sections: which one it is, where it begins, and where its contents begin and end.

    Raises:
        IndexError, ValueError: one is longer than what there is.
    """
    place = _PREAMBLE
    while place < len(code):
        size, start = _read_number(code, place + 1)
        if start + size > len(code):
            raise ValueError("a section is not whole")
        yield code[place], place, start, start + size
        place = start + size


def _read_number(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned number in LEB128, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return number, place


def _number(number: int) -> bytes:
    """The same, written."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
