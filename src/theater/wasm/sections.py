"""WebAssembly's binary format: sections, and what there is to know about core modules inside of components.

Core modules: <https://webassembly.github.io/spec/core/binary/modules.html>.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import repeat
from typing import Final, NamedTuple

CORE: Final = b"\0asm\1\0\0\0"

TYPES, IMPORTS, FUNCTIONS, EXPORTS, CODE = 1, 2, 3, 7, 10
"""Numbers of sections."""

UNREACHABLE: Final = b"\x00\x00\x0b"
"""A function's body: no locals, `unreachable`, `end`."""

_FUNCTION: Final = 0x00  # kind of an import or export
_FUNCTION_TYPE: Final = 0x60
_REFERENCES: Final = (0x63, 0x64)  # types of two parts


class Unsupported(Exception):
    """The component is built in a way that is not understood; the sentence says how."""


class Part:
    """A part of a file, read from its beginning to its end; whatever does not fit is `Unsupported`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, size: int) -> bytes:
        return self.data[self.skip(size) : self.at]

    def skip(self, size: int) -> int:
        """Where it was before."""
        at = self.at
        if size > self.end - at:
            raise Unsupported("ends too early")
        self.at = at + size
        return at

    def rest(self) -> bytes:
        return self.data[self.at : self.end]

    def byte(self) -> int:
        return self.data[self.skip(1)]

    def number(self) -> int:
        """An unsigned number of up to 32 bits (LEB128)."""
        number = self.byte()
        if number < 0x80:
            return number
        number &= 0x7F
        for shift in range(7, 35, 7):
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise Unsupported("has a number of more than 32 bits")

    def name(self) -> str:
        try:
            return self.take(self.number()).decode()
        except UnicodeDecodeError:
            raise Unsupported("has a name that is no UTF-8") from None

    def part(self) -> "Part":
        """What stands behind its size in bytes."""
        size = self.number()
        return Part(self.data, self.skip(size), self.at)

    def sections(self, preamble: bytes) -> Iterator[tuple[int, "Part"]]:
        """The sections of a module or component: numbers and contents."""
        if self.take(len(preamble)) != preamble:
            raise Unsupported("has a preamble that is not known")
        while self.at < self.end:
            yield self.byte(), self.part()


class CoreImport(NamedTuple):
    """What a core module imports.

    Attributes:
        module, name: under which.
        type: index of its type, if it is a function.
    """

    module: str
    name: str
    type: int | None


class CoreModule:
    """A core module inside of a file, its sections told apart; what is in them is read when it is needed."""

    def __init__(self, module: Part) -> None:
        self._whole = Part(module.data, module.at, module.end)
        self._sections = dict(module.sections(CORE))  # only custom ones, which do not matter, come twice

    @property
    def code(self) -> bytes:
        return self._whole.rest()

    def _items(self, number: int) -> Iterator[Part]:
        """A section, as many times as there are items in it: each time one of them is to be read."""
        if section := self._sections.get(number):
            return repeat(section, section.number())
        return iter(())

    @cached_property
    def imports(self) -> list[CoreImport]:
        return [read_import(section) for section in self._items(IMPORTS)]

    def type_of(self, function: CoreImport) -> bytes:
        """The type of a function that it imports, as it is in the file."""
        if function.type is None or function.type >= len(self._types):
            raise Unsupported("has a core import that is no function")
        return self._types[function.type]

    @cached_property
    def _types(self) -> list[bytes]:
        return [_function_type(section) for section in self._items(TYPES)]

    @cached_property
    def _functions(self) -> dict[str, int]:
        """Indices of the functions that it exports."""
        exports = [(each.name(), each.byte(), each.number()) for each in self._items(EXPORTS)]
        return {name: index for name, kind, index in exports if kind == _FUNCTION}

    @cached_property
    def _bodies(self) -> list[Part]:
        return [section.part() for section in self._items(CODE)]

    def is_unreachable(self, export: str) -> bool:
        """Whether an exported function is the module's own, and does nothing but trap."""
        own = self._functions.get(export, -1) - sum(each.type is not None for each in self.imports)
        if not 0 <= own < len(self._bodies):
            return False
        return self._bodies[own].rest() == UNREACHABLE


def _function_type(section: Part) -> bytes:
    start = section.at
    if section.byte() != _FUNCTION_TYPE:
        raise Unsupported("has a core type that is no function's")
    for _ in ("parameters", "results"):
        for _ in range(section.number()):
            _skip_type(section)
    return section.data[start : section.at]


def read_import(section: Part) -> CoreImport:
    """Reads one item of a section of imports."""
    module, name = section.name(), section.name()
    match section.byte():
        case 0x00:
            return CoreImport(module, name, section.number())
        case 0x01:  # table
            _skip_type(section)
            _skip_limits(section)
        case 0x02:  # memory
            _skip_limits(section)
        case 0x03:  # global, and whether it can change
            _skip_type(section)
            section.byte()
        case kind:
            raise Unsupported(f"has a core import of a kind that is not known: {kind:#04x}")
    return CoreImport(module, name, None)


def _skip_type(section: Part) -> None:
    if section.byte() in _REFERENCES:
        section.number()  # an index, or the byte of an abstract type


def _skip_limits(section: Part) -> None:
    flags = section.byte()
    if flags > 0x03:  # 0x01: there is an upper one; 0x02: shared
        raise Unsupported("has limits of a kind that is not known")
    for _ in range(1 + flags % 2):
        section.number()


def trapping(types: Sequence[bytes]) -> CoreModule:
    """A core module whose functions only trap.

    Args:
        types: those of the functions, as they are in files. The first one is exported as `0`, and so on.
    """
    names = (str(number).encode() for number in range(len(types)))
    exports = [sized(name) + bytes([_FUNCTION]) + encode(number) for number, name in enumerate(names)]
    contents = {
        TYPES: types,
        FUNCTIONS: [encode(number) for number in range(len(types))],
        EXPORTS: exports,
        CODE: [sized(UNREACHABLE)] * len(types),
    }
    sections = (bytes([number]) + sized(_vector(items)) for number, items in contents.items())
    code = CORE + b"".join(sections)
    return CoreModule(Part(code, 0, len(code)))


def _vector(items: Sequence[bytes]) -> bytes:
    return encode(len(items)) + b"".join(items)


def sized(content: bytes) -> bytes:
    """What stands behind its size in bytes."""
    return encode(len(content)) + content


def encode(number: int) -> bytes:
    """An unsigned number (LEB128)."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
