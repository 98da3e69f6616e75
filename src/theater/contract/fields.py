"""The parts of a request that are more than text: header fields, query and peer."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, overload
from urllib.parse import parse_qsl

from theater.errors import InvalidHeader

# RFC 9110 §5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 §5.5: visible characters, space and tab, and obs-text
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class _MultiMap(ABC):
    """What `Headers` and `Query` have in common: names, each with values in order."""

    __slots__ = ()

    @abstractmethod
    def get_all(self, name: str) -> list[str]:
        """All values of this name, in order."""

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of this name."""
        values = self.get_all(name)
        return values[0] if values else default

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))


class Headers(_MultiMap):
    """HTTP header fields in the order they came; names compare without case and read in lower case.

    Held as one block of bytes and read from it on demand: a connection keeps the headers of its
    handshake for as long as it lives, and a browser sends fifteen of them.

    Raises:
        InvalidHeader: a name is no token, or a value holds a line break, NUL or a character
            outside Latin-1.
    """

    __slots__ = ("_block",)

    def __init__(self, fields: "Headers | Mapping[str, str] | Iterable[tuple[str, str]]" = ()) -> None:
        if isinstance(fields, Headers):
            self._block: bytes = fields._block
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        lines = ["\r\n"]
        for name, value in pairs:
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidHeader(name, value, "its name and value must be text")
            if not _TOKEN.fullmatch(name):
                raise InvalidHeader(name, value, "the name is not an HTTP token")
            value = value.strip(" \t")
            if not _VALUE.fullmatch(value):
                raise InvalidHeader(name, value, "the value holds a character that HTTP does not allow")
            lines.append(f"{name.lower()}: {value}\r\n")
        self._block = "".join(lines).encode("latin-1")

    @classmethod
    def from_wire(cls, fields: Iterable[tuple[bytes, bytes]]) -> "Headers":
        """Takes fields that an HTTP parser has checked; names must be in lower case already."""
        self = cls.__new__(cls)
        # RFC 9110 §5.5: white space around a value is no part of it
        self._block = b"\r\n" + b"".join(
            [b"%b: %b\r\n" % (name, value.strip(b" \t")) for name, value in fields]
        )
        return self

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of this name, in order."""
        if not _TOKEN.fullmatch(name):
            return []
        key = b"\r\n" + name.lower().encode() + b": "
        found = []
        start = self._block.find(key)
        while start >= 0:
            end = self._block.index(b"\r\n", start + len(key))
            found.append(self._block[start + len(key) : end].decode("latin-1"))
            start = self._block.find(key, end)
        return found

    def tokens(self, name: str) -> list[str]:
        """The comma-separated elements of all fields of this name (RFC 9110 §5.6.1)."""
        parts = (part.strip(" \t") for value in self.get_all(name) for part in value.split(","))
        return [part for part in parts if part]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for line in self._block.decode("latin-1").split("\r\n")[1:-1]:
            name, _, value = line.partition(": ")
            yield name, value

    def __len__(self) -> int:
        return self._block.count(b"\r\n") - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._block == other._block

    def __hash__(self) -> int:
        return hash(self._block)

    def __bytes__(self) -> bytes:
        """The fields as they stand in an HTTP/1.1 head, each ended by CR LF."""
        return self._block[2:]

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


class Query(_MultiMap):
    """The query part of a URL; `str(query)` is its text as it came, without the question mark."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def get_all(self, name: str) -> list[str]:
        """The decoded values of all parameters of this name, in order."""
        return [value for key, value in self if key == name]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(parse_qsl(self._text, keep_blank_values=True))

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Query({self._text!r})"


class Peer(NamedTuple):
    """The other end of a TCP connection: an IP address and a port."""

    address: str
    port: int
