"""The bounded queue in front of an actor."""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Source(Protocol):
    """What feeds a mailbox and can be held back."""

    def pause_reading(self) -> None:
        """Feed no more."""

    def resume_reading(self) -> None:
        """Feed again."""


class Mailbox(Generic[T]):
    """A queue with two marks: sources are paused at the high one and resumed at the low one.

    A source that is paused may have a few items in hand and still put them; they are taken.

    Args:
        high_water: items at which a source is paused.
        low_water: items at which all paused sources are resumed.

    Attributes:
        items: what waits; to be looked at, not changed.
    """

    __slots__ = ("_high_water", "_low_water", "_paused", "items")

    def __init__(self, high_water: int, low_water: int) -> None:
        self.items: deque[T] = deque()
        self._high_water = high_water
        self._low_water = low_water
        self._paused: set[Source] = set()

    @property
    def full(self) -> bool:
        """Whether the high-water mark is reached."""
        return len(self.items) >= self._high_water

    def put(self, item: T, source: Source | None = None) -> None:
        """Queues an item and, at the high-water mark, pauses where it came from."""
        self.items.append(item)
        if source is not None and self.full and source not in self._paused:
            self._paused.add(source)
            source.pause_reading()

    def put_first(self, item: T) -> None:
        """Queues an item before all others."""
        self.items.appendleft(item)

    def withdraw(self, is_it: Callable[[T], bool]) -> bool:
        """Removes the last item that is meant, otherwise as `take`; says whether there was one."""
        for place in reversed(range(len(self.items))):
            if is_it(self.items[place]):
                del self.items[place]
                self._resume()
                return True
        return False

    def take(self) -> T:
        """Removes the first item and, at the low-water mark, resumes what was paused."""
        item = self.items.popleft()
        self._resume()
        return item

    def forget(self, source: Source) -> None:
        """Lets go of a source that is gone."""
        self._paused.discard(source)

    def _resume(self) -> None:
        if self._paused and len(self.items) <= self._low_water:
            paused, self._paused = self._paused, set()
            for source in paused:
                source.resume_reading()
