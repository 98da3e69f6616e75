"""What is said about a handler that raised."""

import traceback
from types import TracebackType

from wit_world.imports import host, types

from theater.guest.environment import printable


def words(error: BaseException) -> str:
    """The exception in a sentence."""
    try:
        return printable(f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001  # it is the user's, and may have no words
        return type(error).__name__


def log_failure(handler: str, error: BaseException) -> None:
    """Writes the traceback of what a handler raised to the host's log, from the handler on."""
    try:
        trace = "".join(traceback.format_exception(type(error), error, _own(error.__traceback__))).rstrip()
    except Exception:  # noqa: BLE001
        trace = words(error)
    host.log(types.Level.ERROR, printable(f"{handler} failed\n{trace}"))


def _own(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins in the actor's module, if it comes there."""
    found = trace
    while found is not None and _is_ours(found):
        found = found.tb_next
    return found or trace


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == "theater"
