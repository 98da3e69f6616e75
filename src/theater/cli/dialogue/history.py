"""The lines that were typed at earlier prompts."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory


def open_history() -> History:
    """The history in the user's state folder (XDG Base Directory Specification), or one that is
    forgotten where there can be no such file."""
    try:
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)  # tokens and passwords are typed here too
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return InMemoryHistory()
    return _TolerantHistory(str(file))


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    # "All paths set in these environment variables must be absolute", others are to be ignored
    folder = Path(state) if state.startswith("/") else Path.home() / ".local/state"
    return folder / "theater" / "connect-history"


class _TolerantHistory(FileHistory):
    """A history whose file may not be readable or writable."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)
