"""Functions written as source text.

Values cross the boundary with every message. A function in which all the parts of a value are written out,
one after the other, takes half as long as one that calls a closure for each, and touches less memory.
"""

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

_numbers: Final = count()


class Source:
    """The text of a function in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 1
        self._locals = 0
        self._constants: dict[str, Any] = {}

    def add(self, line: str) -> None:
        """Adds a statement."""
        self._lines.append(f"{'    ' * self._depth}{line}\n")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is added meanwhile belongs to this, such as `if a:`."""
        self.add(head)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.add("pass")
        self._depth -= 1

    def local(self, value: str | None = None) -> str:
        """The name of a new variable, which has this value, if one is given."""
        self._locals += 1
        name = f"v{self._locals}"
        if value is not None:
            self.add(f"{name} = {value}")
        return name

    def constant(self, value: Any, name: str | None = None) -> str:
        """The name of an object that is at hand; if none is given, that of a function or class."""
        if value is None:
            return "None"
        if name is None:
            name = getattr(value, "__name__", type(value).__name__).strip("<>_")
        keys = (f"{name}_{number}" for number in count(1))
        return next(key for key in keys if self._constants.setdefault(key, value) is value)

    def function(self, parameters: str) -> Callable[..., Any]:
        """The function, whose source tracebacks show."""
        file = f"<theater converter {next(_numbers)}>"
        lines = [f"def convert({parameters}):\n", *(self._lines or ["    pass\n"])]
        text = "".join(lines)
        namespace = self._constants
        exec(compile(text, file, "exec"), namespace)  # noqa: S102  made of shapes, which are ours
        linecache.cache[file] = len(text), None, lines, file
        return namespace["convert"]  # type: ignore[no-any-return]
