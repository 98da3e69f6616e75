"""Python inside a component: the host's clock and chance, its log instead of a terminal, and no files.

A component is built by running its imports and taking a picture of the memory: every instance begins with
that picture. Meanwhile there is the builder's world. An instance has nothing but the host, and whatever
else would reach outside ends it with a trap that nobody can read; so all of it is replaced here, before
the actor's module is imported.
"""

import errno
import gc
import importlib
import io
import json
import linecache
import logging
import os
import posix
import random
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from importlib.machinery import PathFinder
from typing import Any, Final, NoReturn, TypeVar
from weakref import WeakSet

from wit_world.imports import host, types

from theater.guest.loop import NoLoop

T = TypeVar("T")

_MOST_RANDOM: Final = 65_536  # bytes that the host gives at once

# Functions that look at files, and those events of `sys.audit` with which Python is about to do more.
_LOOKS: Final = ("access", "lstat", "readlink", "stat", "statvfs")
_FILE_EVENTS: Final = frozenset(
    ("open", *(f"os.{each}" for each in ("chdir", "chmod", "link", "listdir", "mkdir", "remove", "rename")))
) | {"os.rmdir", "os.scandir", "os.symlink", "os.truncate", "os.utime"}
_NETWORK_EVENTS: Final = frozenset(("socket.__new__", "socket.getaddrinfo", "socket.gethostname"))

_MAX_DEPTH: Final = 500
"""Levels of a JSON text; the stack of a component would not bear as many as Python allows."""

_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]')

# What the standard library imports when it is first needed.
_NEEDED_LATER: Final = """
_strptime secrets uuid
encodings.ascii encodings.base64_codec encodings.cp1252 encodings.hex_codec encodings.idna encodings.latin_1
encodings.punycode encodings.raw_unicode_escape encodings.unicode_escape encodings.utf_16
encodings.utf_16_be encodings.utf_16_le encodings.utf_32 encodings.utf_8_sig
"""


class _Instance:
    """Whether this is an instance; otherwise the component is being built."""

    runs = False


def prepare() -> None:
    """Puts the host in the place of the world, for the time when instances run."""
    _prepare_clock()
    _prepare_chance()
    _prepare_files()
    _prepare_json()
    sys.stdout = _Lines(types.Level.INFO, sys.stdout)
    sys.stderr = _Lines(types.Level.WARNING, sys.stderr)
    logging.root.addHandler(_LogHandler())
    logging.root.setLevel(logging.DEBUG)  # which lines are wanted is the host's decision
    for name in _NEEDED_LATER.split():
        importlib.import_module(name)
    try:
        raise LookupError
    except LookupError:
        traceback.format_exc()  # imports what it needs


def start() -> None:
    """Begins an instance. The first thing that is done in it."""
    if _Instance.runs:
        return
    _Instance.runs = True
    finders = [finder for finder in sys.meta_path if finder is not PathFinder]
    sys.meta_path[:] = [*finders, _NoMoreModules]
    for generator in list(_unseeded):
        generator.seed()
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        asyncio._set_running_loop(NoLoop())


def _replace(module: Any, name: str, substitute: Callable[..., Any]) -> None:
    """Puts a function in the place of another, for instances."""
    original = getattr(module, name, None)
    if original is None:
        return

    def either(*args: Any, **kwargs: Any) -> Any:
        return substitute(*args, **kwargs) if _Instance.runs else original(*args, **kwargs)

    either.__name__ = either.__qualname__ = name
    either.__doc__ = original.__doc__
    setattr(module, name, either)


# Clock


def _prepare_clock() -> None:
    _replace(time, "time", host.now)
    _replace(time, "time_ns", lambda: int(host.now() * 1e9))
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        _replace(time, name, host.monotonic)
        _replace(time, f"{name}_ns", lambda: int(host.monotonic() * 1e9))
    _replace(time, "clock_gettime", _clock_gettime)
    _replace(time, "sleep", _sleep)
    for name in ("localtime", "gmtime", "ctime"):
        _replace(time, name, _at(getattr(time, name)))
    for name, before in (("asctime", 0), ("strftime", 1)):
        _replace(time, name, _of(getattr(time, name), before))
    _prepare_datetime()


def _clock_gettime(clock: int) -> float:
    return host.now() if clock == time.CLOCK_REALTIME else host.monotonic()


def _sleep(_: float) -> None:
    raise RuntimeError("time.sleep: a component cannot wait")


def _at(function: Callable[[float], T]) -> Callable[..., T]:
    """Gives a function that takes a time the host's, if it was given none."""
    return lambda seconds=None: function(host.now() if seconds is None else seconds)


def _of(function: Callable[..., str], before: int) -> Callable[..., str]:
    """The same for one that takes a `struct_time` behind some other arguments."""
    return lambda *args: function(*args, *([time.localtime()] if len(args) == before else []))


def _prepare_datetime() -> None:
    """`today` asks `time.time`, but `now` and `utcnow` the system."""

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return cls.fromtimestamp(time.time(), tz)

    def utcnow(cls: type[datetime]) -> datetime:
        return cls.fromtimestamp(time.time(), UTC).replace(tzinfo=None)

    # The class is written in C and cannot be assigned to; nobody has used its methods yet.
    attributes: dict[str, Any] = gc.get_referents(datetime.__dict__)[0]
    attributes["now"] = classmethod(now)
    attributes["utcnow"] = classmethod(utcnow)


# Chance

_unseeded: WeakSet[random.Random] = WeakSet()
"""Generators that nobody gave a seed while the component was built: each instance gives them one."""


def _prepare_chance() -> None:
    original = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is not None:
            _unseeded.discard(self)
        elif _Instance.runs:
            a = int.from_bytes(_random_bytes(32))
        else:
            _unseeded.add(self)
        original(self, a, version)

    shared = random._inst
    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed = shared.seed
    _unseeded.add(shared)
    os.urandom = random._urandom = _random_bytes  # type: ignore[attr-defined]


def _random_bytes(size: int) -> bytes:
    if not _Instance.runs:
        raise RuntimeError(
            "random bytes drawn while a component is built would be the same in all of its instances: "
            "draw them in `init` or in another handler"
        )
    parts = []
    while size > _MOST_RANDOM:
        parts.append(host.random(_MOST_RANDOM))
        size -= _MOST_RANDOM
    return b"".join((*parts, host.random(size)))


# Files and modules


def _prepare_files() -> None:
    for name in _LOOKS:
        _replace(posix, name, _no_files)
        _replace(os, name, _no_files)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _Instance.runs:
            if event in _FILE_EVENTS:
                _no_files(*arguments)
            elif event in _NETWORK_EVENTS:
                raise PermissionError(errno.EPERM, "a component has no network")

    sys.addaudithook(hook)


def _no_files(path: Any = None, *_: Any, **__: Any) -> Any:
    raise PermissionError(
        errno.EPERM, "a component has no files: read what it needs while the module is imported", path
    )


def _prepare_json() -> None:
    """Lets a text that is nested too deeply be an exception, as it is elsewhere, and not the end."""
    original = json.JSONDecoder.raw_decode

    def raw_decode(self: json.JSONDecoder, s: str, idx: int = 0) -> tuple[Any, int]:
        if s.count("[", idx) + s.count("{", idx) > _MAX_DEPTH:
            depth = 0
            for found in _BRACKET.finditer(s, idx):
                if found[1]:
                    depth += 1
                    if depth > _MAX_DEPTH:
                        raise RecursionError(f"JSON that is nested more than {_MAX_DEPTH} levels deep")
                elif found[0] in "]}":
                    depth -= 1
        return original(self, s, idx)

    json.JSONDecoder.raw_decode = raw_decode  # type: ignore[method-assign]


class _NoMoreModules:
    """Finds no module: those that were imported while the component was built are all there are."""

    @staticmethod
    def find_spec(name: str, *_: object) -> NoReturn:
        raise ModuleNotFoundError(
            f"{name} was not imported while the component was built: import it at the top of the module",
            name=name,
        )


def keep_source(file: str) -> str:
    """Keeps the text of a module's file, so that it stands in tracebacks, and returns it."""
    lines = linecache.getlines(file)
    linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
    return "".join(lines)


# Log


class _Lines(io.TextIOBase):
    """What is printed goes to the host's log line by line; to the builder's terminal, during the build."""

    def __init__(self, level: types.Level, terminal: Any) -> None:
        self._level = level
        self._terminal = terminal
        self._line = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if not _Instance.runs:
            return int(self._terminal.write(text))
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            host.log(self._level, printable(line))
        return len(text)

    def flush(self) -> None:
        if not _Instance.runs:
            self._terminal.flush()
        elif self._line:
            self.write("\n")


class _LogHandler(logging.Handler):
    """Sends records of `logging` to the host."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.name != "root":
            text = f"{record.name}: {text}"
        if _Instance.runs:
            host.log(level(record.levelno), printable(text))
        else:
            sys.stderr.write(f"{text}\n")


def level(number: int) -> types.Level:
    """The host's level for one of `logging`."""
    if number >= logging.ERROR:
        return types.Level.ERROR
    if number >= logging.WARNING:
        return types.Level.WARNING
    return types.Level.INFO if number >= logging.INFO else types.Level.DEBUG


def printable(text: str) -> str:
    """The text without lone surrogates, which cannot leave a component."""
    return text.encode("utf-8", "backslashreplace").decode()
