"""Manifests: what actors there are and what leads to them, validated once, frozen."""

import difflib
import re
import sys
import tomllib
import traceback
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from theater.errors import ConfigError, Mistake
from theater.native.actor import Actor
from theater.runtime.address import TYPE_NAME
from theater.server.routing import Kind, Pattern, Route, instance_parameters

FILE_NAME: Final = "theater.toml"
RESERVED: Final = "_theater"  # first segment of the server's own pages

_EXPECTED: Final = f"a manifest, a folder with a {FILE_NAME}, or file.py:Class"
_KINDS: Final[tuple[Kind, ...]] = ("websocket-server", "http-server")
_KEYS: Final = {"websocket-server": ("max_message",), "http-server": ("methods",)}  # of one kind only
_METHOD: Final = re.compile(r"[A-Z][A-Z-]*")


class Manifest(msgspec.Struct, frozen=True):
    """One actor type.

    Attributes:
        name: of the type; the first part of its actors' addresses.
        actor: its class.
        routes: what leads to it.
        version: its own, for people.
        file: where it was read from, for error messages; the folder's other files may matter too.
    """

    name: str
    actor: type[Actor]
    routes: tuple[Route, ...]
    version: str = ""
    file: str = ""

    @classmethod
    def of(cls, actor: type[Actor], path: str = "/", instance: str = "", file: str = "") -> "Manifest":
        """A manifest for a class without one: it serves `path`, and takes its name from the class."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", actor.__name__).lower()
        name = re.sub(r"[^a-z0-9]+", "-", words)[:64].lstrip("-0123456789").rstrip("-") or "actor"
        pattern = Pattern(path)
        routes = [Route("websocket-server", pattern, name, instance)]
        if _overrides(actor, "handle_request"):
            routes.append(Route("http-server", pattern, name, instance))
        return cls(name, actor, tuple(routes), file=file)


def load_manifests(arguments: Iterable[str]) -> list[Manifest]:
    """Reads what the command line names: manifests, folders that hold one, or `file.py:Class`.

    Raises:
        ConfigError: with every mistake in all of them.
    """
    mistakes: list[Mistake] = []
    manifests = [manifest for argument in arguments if (manifest := _load(argument, mistakes)) is not None]
    _check_together(manifests, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return manifests


def _load(argument: str, mistakes: list[Mistake]) -> Manifest | None:
    file, colon, _ = argument.rpartition(":")
    if colon and file.endswith(".py"):
        actor = _load_actor(argument, Path(), argument, "", mistakes)
        return None if actor is None else Manifest.of(actor, file=argument)
    path = Path(argument)
    if path.is_dir():
        path = path / FILE_NAME
    elif path.suffix == ".py":
        mistakes.append(Mistake(argument, "", "a Python file without a class", "file.py:Class"))
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(Mistake(str(path), "", f"a mistake in its TOML ({error})", "a manifest in TOML"))
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        mistakes.append(Mistake(str(path), "", problem, _EXPECTED))
    else:
        return _ManifestReader(path, mistakes).read(table)
    return None


class _ManifestReader:
    """Turns one manifest's table into a `Manifest`, or into all of its mistakes.

    Args:
        path: of the manifest.
        mistakes: where mistakes are put.
    """

    def __init__(self, path: Path, mistakes: list[Mistake]) -> None:
        self._path = path
        self._file = str(path)
        self._mistakes = mistakes

    def read(self, table: dict[str, Any]) -> Manifest | None:
        before = len(self._mistakes)
        self._known(table, "", ("name", "version", "python", "handlers"))
        name = self._text(table, "", "name", "a name such as 'chat'")
        if name is not None and not TYPE_NAME.fullmatch(name):
            self._mistake(
                "name",
                repr(name),
                "lower-case letters, digits and hyphens, beginning with a letter, at most 64",
            )
        version = self._text(table, "", "version", "text such as '0.1.0'", "")
        python = self._text(table, "", "python", "text such as 'chat.py:ChatRoom'")
        actor = None
        if python is not None:
            actor = _load_actor(self._file, self._path.parent, python, "python", self._mistakes)
        routes = self._handlers(table, name or "", actor)
        if len(self._mistakes) > before or name is None or actor is None:
            return None
        return Manifest(name, actor, tuple(routes), version or "", self._file)

    def _handlers(self, table: dict[str, Any], name: str, actor: type[Actor] | None) -> list[Route]:
        handlers = table.get("handlers", [])
        if (
            not isinstance(handlers, list)
            or not handlers
            or not all(isinstance(each, dict) for each in handlers)
        ):
            found = "nothing" if not handlers else _show(handlers)
            self._mistake("handlers", found, "one or more [[handlers]] tables")
            return []
        routes = []
        for index, handler in enumerate(handlers):
            route = self._handler(handler, f"handlers[{index}].", name, actor)
            if route is not None:
                routes.append(route)
        return routes

    def _handler(self, table: dict[str, Any], key: str, name: str, actor: type[Actor] | None) -> Route | None:
        kind = self._text(table, key, "type", f"one of {', '.join(_KINDS)}")
        if kind is not None and kind not in _KINDS:
            self._mistake(key + "type", repr(kind), f"one of {', '.join(_KINDS)}")
            return None
        self._known(table, key, ("type", "path", "instance", *_own_keys(kind)))
        pattern = self._pattern(table, key)
        instance = self._text(table, key, "instance", "text such as '{room}'", "")
        if instance and pattern is not None:
            self._check_instance(instance, pattern, key)
        methods = self._methods(table, key)
        max_message = self._size(table, key, "max_message")
        if kind is None or pattern is None:
            return None
        if kind == "http-server" and actor is not None and not _overrides(actor, "handle_request"):
            self._mistake(
                key + "type",
                f"'http-server', but {actor.__name__} has no handle_request",
                "a class that defines handle_request",
            )
        return Route(kind, pattern, name, instance or "", methods, max_message)

    def _pattern(self, table: dict[str, Any], key: str) -> Pattern | None:
        text = self._text(table, key, "path", "text such as '/rooms/{room}'")
        if text is None:
            return None
        try:
            pattern = Pattern(text)
        except ValueError as error:
            self._mistake(key + "path", repr(text), str(error))
            return None
        if pattern.segments[0] == RESERVED:
            self._mistake(key + "path", repr(text), f"a path outside /{RESERVED}, which is the server's own")
        return pattern

    def _check_instance(self, instance: str, pattern: Pattern, key: str) -> None:
        names = instance_parameters(instance)
        if names is None:
            self._mistake(key + "instance", repr(instance), "text with whole {parameters}")
            return
        for name in names:
            if name not in pattern.parameters:
                self._mistake(key + "instance", f"{{{name}}}", f"parameters of the path {pattern.text}")

    def _methods(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        methods = table.get("methods", [])
        if not isinstance(methods, list) or not all(
            isinstance(m, str) and _METHOD.fullmatch(m) for m in methods
        ):
            self._mistake(key + "methods", _show(methods), "a list of HTTP methods such as ['GET', 'POST']")
            return ()
        return tuple(methods)

    def _size(self, table: dict[str, Any], prefix: str, key: str) -> int:
        value = table.get(key, 0)
        if type(value) is not int or value < 0 or (key in table and value == 0):
            self._mistake(prefix + key, _show(value), "a number of bytes, such as 1_048_576")
            return 0
        return value

    def _text(
        self, table: dict[str, Any], prefix: str, key: str, expected: str, default: str | None = None
    ) -> str | None:
        value = table.get(key, default)
        if value is None:
            self._mistake(prefix + key, "nothing", expected)
        elif not isinstance(value, str) or (not value and default is None):
            self._mistake(prefix + key, _show(value), expected)
            value = None
        return value

    def _known(self, table: dict[str, Any], prefix: str, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                expected = f"{close[0]!r} perhaps" if close else f"only {', '.join(known)}"
                self._mistake(prefix + key, "an unknown key", expected)

    def _mistake(self, key: str, found: str, expected: str) -> None:
        self._mistakes.append(Mistake(self._file, key, found, expected))


def _check_together(manifests: list[Manifest], mistakes: list[Mistake]) -> None:
    """Finds what is wrong only between handlers: names and paths that are taken."""
    names: dict[str, str] = {}
    taken: dict[tuple[object, ...], tuple[str, str]] = {}
    for manifest in manifests:
        if manifest.name in names:
            other = names[manifest.name]
            mistakes.append(
                Mistake(manifest.file, "name", f"{manifest.name!r}, as in {other}", "a name of its own")
            )
        names[manifest.name] = manifest.file
        for index, route in enumerate(manifest.routes):
            key = f"handlers[{index}].path"
            shape = (route.kind, *route.pattern.shape)
            if shape in taken:
                file, other = taken[shape]
                where = other if file == manifest.file else f"{other} of {file}"
                mistakes.append(
                    Mistake(
                        manifest.file,
                        key,
                        f"{route.pattern.text!r}, which {where} serves already",
                        "another path",
                    )
                )
            taken[shape] = (manifest.file, key.removesuffix(".path"))


def _load_actor(
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


def _own_keys(kind: str | None) -> Iterable[str]:
    """The keys that only handlers of this kind have; of all kinds, where there is none."""
    return chain(*_KEYS.values()) if kind is None else _KEYS[kind]


def _is_actor(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Actor) and value is not Actor


def _overrides(actor: type[Actor], handler: str) -> bool:
    return getattr(actor, handler) is not getattr(Actor, handler)


def _show(value: object) -> str:
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
