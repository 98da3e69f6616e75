"""Compiled components on disk, so that a large one is compiled once and not at every start."""

import hashlib
import logging
import os
import platform
import stat
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, TypeVar

from wasmtime import Engine, Module, WasmtimeError
from wasmtime.component import Component

T = TypeVar("T", Component, Module)

log = logging.getLogger("theater")

MAX_SIZE: Final = 1024 * 1024 * 1024
"""Bytes that all compiled components of a folder may have; those unused for longest are deleted."""

_LARGE: Final = 4 * 1024 * 1024  # bytes of a component that takes seconds to compile
_SUFFIX: Final = ".cwasm"
_UNFINISHED: Final = ".tmp"
_ABANDONED: Final = 3600.0  # seconds after which nobody is still writing a file


def cache_folder() -> Path | None:
    """Where compiled components are kept: `$THEATER_CACHE`, or `theater/components` in the user's cache
    folder (XDG Base Directory Specification). None if the user has no home."""
    if chosen := os.environ.get("THEATER_CACHE"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # "All paths set in these environment variables must be absolute", others are to be ignored
        base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "theater" / "components"


class Cache:
    """Compiles components, and keeps what comes out in a folder of this user's own.

    A compiled component is native code, which is run as it is. So it is taken only from a folder that
    nobody else can write to, and only if its SHA-256 is the one in its name; whatever else is there is
    compiled anew. Files appear whole, by renaming, so that any number of processes can share a folder.

    Args:
        folder: made when it is first needed; None for no cache.
        max_size: bytes, see `MAX_SIZE`.
    """

    def __init__(self, folder: Path | None, max_size: int = MAX_SIZE) -> None:
        self._folder = folder
        self._max_size = max_size

    def load(self, engine: Engine, code: bytes, settings: str) -> Component:
        """Compiles a component, unless that has been done already.

        Args:
            engine: what it is compiled for.
            code: the component.
            settings: those of the engine that matter for compiling, in any words.

        Raises:
            WasmtimeError: it is no valid component.
        """
        return self._load(Component, engine, code, settings)

    def load_module(self, engine: Engine, code: bytes, settings: str) -> Module:
        """The same for a core module."""
        return self._load(Module, engine, code, settings)

    def _load(self, kind: type[T], engine: Engine, code: bytes, settings: str) -> T:
        folder = self._usable_folder()
        if folder is None:
            return _compile(kind, engine, code)
        key = _key(code, settings)
        compiled = _find(kind, folder, key, engine)
        if compiled is None:
            compiled = _compile(kind, engine, code)
            try:
                _keep(folder, key, compiled.serialize())
                _prune(folder, self._max_size)
            except OSError as error:
                log.warning("a compiled component cannot be kept in %s: %s", folder, error.strerror)
        return compiled

    def _usable_folder(self) -> Path | None:
        """The folder, if this user and nobody else can write to it."""
        folder = self._folder
        if folder is None:
            return None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            problem = str(error.strerror).lower()
        else:
            if status.st_uid != os.geteuid():
                problem = "it belongs to another user"
            elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                problem = "other users can write to it"
            else:
                return folder
        log.warning("compiled components are not kept in %s: %s", folder, problem)
        self._folder = None
        return None


def _compile(kind: type[T], engine: Engine, code: bytes) -> T:
    if len(code) > _LARGE:
        log.info("compiling a component of %.1f MiB, which may take some seconds", len(code) / (1024 * 1024))
    return kind(engine, code)


def _key(code: bytes, settings: str) -> str:
    """Names everything that a compiled component depends on.

    Not the processor's features: wasmtime refuses code for those that are missing.
    """
    machine = f"{sys.platform} {platform.machine()}"
    whole = f"{version('wasmtime')}\n{machine}\n{settings}\n{hashlib.sha256(code).hexdigest()}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _find(kind: type[T], folder: Path, key: str, engine: Engine) -> T | None:
    """The compiled component of a key; files that are not what they should be are deleted."""
    for file in folder.glob(f"{key}-*{_SUFFIX}"):
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            if file.name == _name(key, digest):
                os.utime(file)  # for `_prune`
                return kind.deserialize_file(engine, str(file))
        except (OSError, WasmtimeError) as error:  # such as that another process has deleted it
            log.debug("%s is of no use: %s", file, error)
        with suppress(OSError):
            file.unlink()
    return None


def _name(key: str, digest: str) -> str:
    return f"{key}-{digest}{_SUFFIX}"


def _keep(folder: Path, key: str, artefact: bytearray) -> None:
    with NamedTemporaryFile(suffix=_UNFINISHED, dir=folder, delete=False) as file:  # for this user alone
        path = Path(file.name)
        try:
            file.write(artefact)
            file.flush()
            os.fsync(file.fileno())
            path.rename(folder / _name(key, hashlib.sha256(artefact).hexdigest()))
        except OSError:
            path.unlink()
            raise


def _prune(folder: Path, max_size: int) -> None:
    """Deletes what was not used for longest, if all is too large, and what was never finished."""
    entries = []
    for file in folder.iterdir():
        with suppress(OSError):  # another process has deleted it
            status = file.stat()
            if file.suffix == _SUFFIX:
                entries.append((status.st_mtime, status.st_size, file))
            elif file.suffix == _UNFINISHED and status.st_mtime < time.time() - _ABANDONED:
                file.unlink()
    total = sum(size for _, size, _ in entries)
    for _, size, file in sorted(entries)[:-1]:  # the newest one is in use
        if total <= max_size:
            break
        with suppress(OSError):
            file.unlink()
        total -= size
