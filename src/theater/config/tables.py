"""Reading one table of a manifest, key by key, without stopping at mistakes."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from theater.config.settings import SCOPES, Setting, Settings, expected_limit, read_limit, scope_of
from theater.errors import Mistake
from theater.limits import ConnectionLimits, Limits


class Table:
    """A table, and what is found wrong with it.

    Args:
        values: as TOML has them.
        file: the manifest's.
        prefix: what stands before its keys in a dotted path, with the last dot.
        mistakes: where mistakes are put.
    """

    def __init__(self, values: dict[str, Any], file: str, prefix: str, mistakes: list[Mistake]) -> None:
        self.values = values
        self.prefix = prefix
        self._file = file
        self._mistakes = mistakes

    def mistake(self, key: str, found: str, expected: str) -> None:
        """Notes a mistake at a key."""
        self._mistakes.append(Mistake(self._file, self.prefix + key, found, expected))

    def known(self, keys: Iterable[str], limits: type[ConnectionLimits] | None = None) -> None:
        """Finds keys that should not be there.

        Args:
            keys: those that may be.
            limits: the limits that may be, too.
        """
        keys = tuple(keys)
        names = limits.__struct_fields__ if limits is not None else ()
        for key in self.values:
            if key in keys or key in names:
                continue
            if limits is not None and key in Limits.__struct_fields__:
                whose, where = SCOPES[scope_of(key)]
                self.mistake(key, f"a limit of {whose}", f"it in {where}")
                continue
            close = difflib.get_close_matches(key, (*keys, *names), 1)
            all_keys = [*keys, f"the limits of {SCOPES[limits][0]}"] if limits is not None else keys
            expected = f"{close[0]!r} perhaps" if close else f"only {', '.join(all_keys)}"
            self.mistake(key, "an unknown key", expected)

    def text(self, key: str, expected: str, default: str | None = None) -> str | None:
        """A text; one without a default must be there, and not be empty."""
        value = self.values.get(key, default)
        if value is None:
            self.mistake(key, "nothing", expected)
        elif not isinstance(value, str) or (not value and default is None):
            self.mistake(key, show(value), expected)
            value = None
        return value

    def texts(self, key: str, valid: Callable[[str], object], expected: str) -> tuple[str, ...]:
        """A list of texts, of none if it is not there."""
        values = self.values.get(key, [])
        if not isinstance(values, list):
            self.mistake(key, show(values), f"a list, each {expected}")
            return ()
        for index, value in enumerate(values):
            if not isinstance(value, str) or not valid(value):
                self.mistake(f"{key}[{index}]", show(value), expected)
        return tuple(values)

    def flag(self, key: str) -> bool:
        """A boolean, false if it is not there."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.mistake(key, show(value), "true or false")
        return value is True

    def table(self, key: str) -> "Table":
        """A table inside this one, empty if it is not there."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.mistake(key, show(value), "a table")
            value = {}
        return Table(value, self._file, f"{self.prefix}{key}.", self._mistakes)

    def tables(self, key: str) -> "list[Table]":
        """Tables inside this one, at least one."""
        values = self.values.get(key, [])
        if not isinstance(values, list) or not values or not all(isinstance(each, dict) for each in values):
            self.mistake(key, show(values) if values else "nothing", f"one or more [[{key}]] tables")
            return []
        return [
            Table(value, self._file, f"{self.prefix}{key}[{index}].", self._mistakes)
            for index, value in enumerate(values)
        ]

    def limits(self, kind: type[ConnectionLimits]) -> Settings:
        """The limits that are set here; those of other kinds are for `known` to find."""
        settings: dict[str, Setting] = {}
        for name in kind.__struct_fields__:
            if name in self.values:
                value = read_limit(name, self.values[name])
                if value is None:
                    self.mistake(name, show(self.values[name]), expected_limit(name))
                else:
                    settings[name] = value
        return settings


def show(value: object) -> str:
    """A value as it is told in a mistake, with its kind."""
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    kind = kinds.get(type(value))
    return f"{value!r:.60}" + (f" ({kind})" if kind and not isinstance(value, str) else "")
