"""The memory of a guest, and the staging memory, by which the host hands values to it.

What lies where in staging memory is told in `canonical`.
"""

import ctypes
import struct
from collections.abc import Callable
from typing import Final

from theater.wasm.canonical import HEAD, PAGE, PAGES, ROOM, InvalidValue

ITEM: Final = 256
"""Bytes that an item of a list counts as, beside what its addresses lead to: to make one takes as long as to
copy so many at least, and the event loop waits for it."""

LARGE: Final = 16_384
"""Bytes from which on data is held back: it is copied once then, not twice."""

_MOST: Final = 0xFFFF_FFFF
_NEVER: Final = 1 << 16 | 1  # pages; no memory has as many
_read_number: Final = struct.Struct("<I").unpack_from
_write_size: Final = struct.Struct("<I").pack_into
_write_head: Final = struct.Struct("<IIII").pack_into


class Staging:
    """The staging memory of one instance.

    Args:
        base: its address, which does not change.
        capacity: bytes, at least `PAGE`.
        grow: makes it larger, given how many bytes are needed, and returns how many there are then. What
            it raises is raised by whatever writes.

    Attributes:
        view: all of it.
        top: offset of the next block.
        count: of blocks.
        held: the contents that are held back, each with the offset where its address belongs.
    """

    __slots__ = ("_base", "_capacity", "_grow", "count", "held", "top", "view")

    def __init__(self, base: int, capacity: int, grow: Callable[[int], int]) -> None:
        self._base = base
        self._grow = grow
        self.held: list[tuple[int, bytes]] = []
        self._cover(capacity)
        self.begin()

    def _cover(self, capacity: int) -> None:
        self._capacity = capacity
        self.view = memoryview((ctypes.c_char * capacity).from_address(self._base)).cast("B")

    def begin(self, first: int = ROOM) -> None:
        """Begins with the values of a call, or with a result that lies in `ROOM`.

        Args:
            first: offset of the first block, a multiple of 8; what lies between `ROOM` and it is cleared.
        """
        if first > ROOM:
            self.view[ROOM:first] = bytes(first - ROOM)
        self.top = first
        self.count = 0
        if self.held:
            self.held.clear()

    def add(self, align: int, contents: bytes, patch: int) -> int:
        """Adds a block.

        Args:
            align: of the memory in the guest.
            contents: what is to be copied there; may be written over until the block is read.
            patch: offset where the address belongs.

        Returns:
            The offset of the contents.
        """
        head = self.top
        here = len(contents)
        start = head + HEAD
        end = start + here
        self.top = top = (end + 7) & -8
        if top > self._capacity:
            self._cover(self._grow(top))
        view = self.view
        _write_head(view, head, align, here, here, patch)
        view[start:end] = contents
        self.count += 1
        return start

    def put(self, data: bytes, patch: int) -> int:
        """Adds a block of bytes, which are held back if they are many; returns how many they are.

        Args:
            data: what is to be copied to the guest.
            patch: offset where the address belongs.

        Raises:
            OverflowError: they are more than any guest's memory has.
        """
        size = len(data)
        if size >= LARGE:
            self._hold(data, patch)
            return size
        head = self.top  # `add`, unrolled
        start = head + HEAD
        end = start + size
        self.top = top = (end + 7) & -8
        if top > self._capacity:
            self._cover(self._grow(top))
        view = self.view
        _write_head(view, head, 1, size, size, patch)
        view[start:end] = data
        self.count += 1
        return size

    def _hold(self, data: bytes, patch: int) -> None:
        """Adds a block of bytes, and holds them back."""
        if len(data) > _MOST:
            raise OverflowError(f"{len(data)} bytes are more than any guest's memory has")
        head = self.add(1, b"", patch) - HEAD
        _write_size(self.view, head + 4, len(data))
        self.held.append((patch, data))

    def deliver(self, guest: "Guest") -> None:
        """Copies what is held back to where the guest has provided memory for it.

        Raises:
            InvalidValue: that lies outside of its memory.
        """
        (pages,) = _read_number(self.view, PAGES)
        size = pages * PAGE
        for patch, data in self.held:
            (at,) = _read_number(self.view, patch)
            if at + len(data) > size:
                raise misplaced(at, len(data), size)
            ctypes.memmove(guest.base + at, data, len(data))
        self.held.clear()


class Guest:
    """The memory of a guest, and how much of it may be copied.

    Args:
        base: its address, which does not change.
        limit: bytes that the values may have which are handed over at once: those of texts and binary
            data, and `ITEM` for each item of a list.

    Attributes:
        full: pages with which it counts as full.
        is_full: it had as many when a call of the guest returned.
    """

    __slots__ = ("base", "full", "is_full", "limit")

    def __init__(self, base: int, limit: int) -> None:
        self.base = base
        self.limit = limit
        self.full = _NEVER
        self.is_full = False


def misplaced(at: int, size: int, memory: int) -> InvalidValue:
    """The exception for so many bytes that do not lie in a memory, of so many."""
    return InvalidValue(f"{size} bytes at {at} reach out of a memory of {memory}")
