"""Actor classes from Python files."""

import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from theater.errors import Mistake
from theater.native.actor import Actor


def load_actor(
    file: str, folder: Path, reference: str, key: str, mistakes: list[Mistake]
) -> type[Actor] | None:
    """Imports `file.py:Class`, relative to a folder."""

    def mistake(found: str, expected: str) -> None:
        mistakes.append(Mistake(file, key, found, expected))

    script, _, name = reference.rpartition(":")
    if not script.endswith(".py") or not name.isidentifier():
        mistake(repr(reference), "a Python file and a class, such as 'chat.py:ChatRoom'")
        return None
    path = folder / script
    if not path.is_file():
        mistake(f"{script!r}, which is no file", f"a Python file in {folder.resolve()}")
        return None
    try:
        module = _import(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the user's code
        mistake(f"{script!r}, which fails to load: {_blame(error, path)}", "a file that Python can import")
        return None
    found = getattr(module, name, None)
    if found is None:
        classes = [
            each
            for each, value in vars(module).items()
            if _is_actor(value) and value.__module__ == module.__name__
        ]
        mistake(f"no {name!r} in {script}", f"one of its actors: {', '.join(classes) or 'there are none'}")
    elif not _is_actor(found):
        mistake(f"{name!r}, which is no actor", "a class derived from theater.Actor")
    else:
        actor: type[Actor] = found
        return actor
    return None


def _import(path: Path) -> ModuleType:
    """Runs a Python file as a module of its own; it can import its neighbours, as a script can."""
    path = path.resolve()
    name = f"theater_actors_{path.stem}_{abs(hash(path)):x}"
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    loader = SourceFileLoader(name, str(path))
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _blame(error: BaseException, path: Path) -> str:
    """The exception in a line, with the place in the user's file where it came from."""
    if isinstance(error, SyntaxError):
        file = (
            ""
            if error.filename is None or Path(error.filename) == path.resolve()
            else f" of {error.filename}"
        )
        return f"{error.msg} (line {error.lineno}{file})"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.resolve()
    ]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")


def _is_actor(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Actor) and value is not Actor
