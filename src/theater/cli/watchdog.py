"""Ends handlers that block the event loop.

While a synchronous handler runs nothing else does, no timer either. Only a signal gets through: its
handler runs between two instructions of whatever the main thread is doing, and an exception that it
raises comes up right there.
"""

import signal
import time
from types import FrameType
from typing import Final

from theater.errors import HandlerTimeout
from theater.runtime.cell import Cell
from theater.runtime.turns import Turns

_EVERY: Final = 1.0  # seconds between looks

# What calls handlers; each of these turns an exception into a failed turn.
_CALLERS: Final = frozenset(each.__code__ for each in (Cell.start, Cell.receive, Turns.run, Turns.wait))


class Watchdog:
    """Looks once a second whether a turn blocks the loop, and raises `HandlerTimeout` in the handler
    when it has done so for `handler_timeout`.

    It does so as a context manager, and costs nothing in between. A handler that is inside of a C
    function, such as `time.sleep` or a regular expression, is reached when that returns.
    """

    def __init__(self) -> None:
        self._turn: tuple[FrameType, float] | None = None  # the one seen last, and its deadline
        self._since = 0.0  # when it was seen first

    def __enter__(self) -> None:
        """Begins to look; to be called in the main thread."""
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _EVERY, _EVERY)

    def __exit__(self, *_: object) -> None:
        """Looks no more. The signal would kill a process that has put its handlers away."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        caller = frame
        while caller is not None and caller.f_code not in _CALLERS:
            caller = caller.f_back
        if frame is None or caller is None:
            self._turn = None
            return
        cell: Cell = caller.f_locals["self"]
        turn = caller, cell.deadline  # which is later whenever a streamed message has come further
        now = time.monotonic()
        if turn != self._turn:
            self._turn, self._since = turn, now
        # Not inside of our own code, which would be left half-way.
        elif now - self._since >= cell.limits.handler_timeout and not _is_ours(frame):
            self._turn = None
            raise HandlerTimeout(str(cell.address), cell.limits.handler_timeout)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("theater.")
