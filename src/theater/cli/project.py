"""`theater new`: a project to begin with."""

import keyword
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final, Literal

import theater
from theater.config import FILE_NAME
from theater.errors import ConfigError, Mistake
from theater.runtime.address import TYPE_NAME

Language = Literal["python", "javascript", "zig"]

_FILES: Final[Mapping[Language, tuple[str, ...]]] = {
    "python": (FILE_NAME, "actor.py", "test_actor.py", "README.md"),
    "javascript": (FILE_NAME, "actor.js", "README.md", ".gitignore"),
    "zig": (FILE_NAME, "actor.zig", "README.md", ".gitignore"),
}

COMMANDS: Final[Mapping[Language, tuple[str, ...]]] = {
    "python": ("theater run . --reload",),
    "javascript": ("theater build actor.js", "theater run . --reload"),
    "zig": ("theater build actor.zig", "theater run . --reload"),
}
"""What serves a new project."""


def create(name: str, folder: Path, language: Language) -> list[Path]:
    """Makes a folder with an actor, its manifest and a page about them; for Python, with a test.

    Args:
        name: of the actor type, as in a manifest.
        folder: what to make; it may exist if it is empty.
        language: of the actor.

    Returns:
        The files that were made.

    Raises:
        ConfigError: the name is none for an actor, or the folder cannot be made or is in use.
    """
    if not TYPE_NAME.fullmatch(name):
        expected = "lower-case letters, digits and hyphens, beginning with a letter, at most 64"
        raise ConfigError([Mistake("theater new", "NAME", repr(name), expected)])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError([Mistake(str(folder), "", "a folder that is not empty", "a new or empty one")])
        return [_write(folder / each, name, language) for each in _FILES[language]]
    except OSError as error:
        problem = "a file" if isinstance(error, FileExistsError | NotADirectoryError) else str(error.strerror)
        expected = "a folder that can be made"
        raise ConfigError([Mistake(str(folder), "", problem, expected)]) from error


def class_name(name: str) -> str:
    """The name of the actor's class: `ChatRoom` for `chat-room`, one that means nothing else."""
    joined = "".join(word.capitalize() for word in name.split("-"))
    return joined + "Actor" if keyword.iskeyword(joined) or hasattr(theater, joined) else joined


def _write(file: Path, name: str, language: Language) -> Path:
    template = files("theater.cli") / "template" / language / f"{file.name}.txt"
    text = Template(template.read_text("utf-8")).substitute(name=name, actor=class_name(name))
    with file.open("x", encoding="utf-8") as new:
        new.write(text)
    return file
