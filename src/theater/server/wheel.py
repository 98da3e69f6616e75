"""Deadlines to the second, for many connections at once."""

import logging
from typing import Final, Protocol

from theater.runtime.ports import Clock

_LATER: Final = 60.0  # seconds until an item that could not be checked is tried again

log = logging.getLogger("theater.server")


class Watched(Protocol):
    """What has deadlines."""

    def check(self, now: float) -> float:
        """Does what is due; returns the next deadline, in seconds of the clock."""


class Wheel:
    """Checks what it watches when a deadline has passed, less than two seconds later.

    One timer serves all, and a deadline that moves further away, as it does with every message,
    costs nothing: it is only looked at when the old one has passed.

    Args:
        clock: source of time.

    Attributes:
        now: seconds of the clock, to the second, as long as anything is watched; cheap to read.
    """

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now()
        self._clock = clock
        self._due: dict[int, set[Watched]] = {}  # by the second in which to check them
        self._slots: dict[Watched, int] = {}
        self._ticking = False

    def watch(self, item: Watched, deadline: float) -> None:
        """Checks an item when its deadline has passed."""
        if not self._ticking:
            self._ticking = True
            self.now = self._clock.now()
            self._clock.call_later(1, self._tick)
        # Not in a second that has been looked at already.
        slot = max(int(deadline), int(self.now)) + 1
        self._slots[item] = slot
        self._due.setdefault(slot, set()).add(item)

    def forget(self, item: Watched) -> None:
        """Lets go of an item; harmless if it is not watched."""
        slot = self._slots.pop(item, None)
        if slot is not None and slot in self._due:
            due = self._due[slot]
            due.discard(item)
            if not due:  # nobody may come by to throw it away
                del self._due[slot]

    def _tick(self) -> None:
        before = int(self.now)
        self.now = self._clock.now()
        # Seconds may have been missed while the event loop was busy.
        for slot in range(before + 1, int(self.now) + 1):
            for item in self._due.pop(slot, ()):
                if self._slots.get(item) == slot:
                    try:
                        deadline = item.check(self.now)
                    except Exception:
                        log.exception("a deadline of %r could not be kept", item)
                        deadline = self.now + _LATER
                    if item in self._slots:  # it may have ended
                        self.watch(item, deadline)
        self._ticking = bool(self._slots)
        if self._ticking:
            self._clock.call_later(1, self._tick)
