"""`theater run --reload`: a parent that holds the port, and a child that serves on it.

The socket is the parent's, so the port stays the same and no connection is refused while there is
no child: those that come then wait until the next one accepts them. The parent never loads the
actors, so every child starts from the files as they are.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from theater.cli.endpoint import Endpoint
from theater.cli.serving import SIGNALS, STOPPING
from theater.config import FILE_NAME, load_manifests
from theater.errors import Reason, StartupError
from theater.server.sockets import BACKLOG

log = logging.getLogger("theater")

_INHERITED: Final = "THEATER_RELOAD"  # tells a child its file descriptors: the socket and the lifeline
_DRAIN: Final = 2.0  # seconds a child has to say goodbye before the next one starts
_RESTART: Final = signal.SIGUSR1  # to a child: the next one is about to start
CHILD_SIGNALS: Final = {signal.SIGTERM: Reason.GOING_AWAY, _RESTART: Reason.RESTARTING}
"""What stops a child."""

_IGNORED_FOLDERS: Final = (".ruff_cache", "venv")
_IGNORED_FILES: Final = r"\.(log|db|sqlite3?)(-wal|-shm|-journal)?$"  # what a running actor may write


def inherited_socket() -> socket.socket | None:
    """The socket to serve on, in the child of a reloading parent; elsewhere None.

    In a child, Ctrl-C has no effect of its own any more: the terminal sends it to both processes,
    and the parent hands it on as SIGTERM. Should the parent be killed, the child ends, too.
    """
    descriptors = os.environ.pop(_INHERITED, None)  # not for processes that an actor starts
    if descriptors is None:
        return None
    signal.signal(signal.SIGINT, lambda _number, _frame: None)  # unlike SIG_IGN, this is not inherited
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    descriptor, lifeline = map(int, descriptors.split())
    for each in (descriptor, lifeline):
        os.set_inheritable(each, False)
    threading.Thread(target=_end_with_parent, args=[lifeline], name="lifeline", daemon=True).start()
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the other end is closed, as it is with the parent's end
    os.kill(os.getpid(), signal.SIGTERM)


def supervise(paths: list[str], endpoint: Endpoint, *, forward_hangup: bool) -> int:
    """Serves until SIGINT or SIGTERM, with a new process after every change.

    Args:
        paths: manifests, folders and classes, as on the command line.
        endpoint: where to listen.
        forward_hangup: SIGHUP is for the child, which reads its certificate again.

    Returns:
        The exit code: 0, or 128 and its number if it took a second signal.

    Raises:
        ConfigError: one of the paths leads nowhere.
        StartupError: the port cannot be had, or the folders cannot be watched.
    """
    files = [_file(path) for path in paths]
    # Waiting for a change would help nobody who mistyped a path. Only the missing are loaded here.
    load_manifests(path for path, file in zip(paths, files, strict=True) if not file.exists())
    with endpoint.bound() as sock:
        try:
            sock.listen(BACKLOG)
        except OSError as error:  # taken between bind and listen
            raise StartupError(f"cannot listen on {endpoint}: {error.strerror}") from error
        folders = {file.parent for file in files}
        return asyncio.run(_Supervisor(sock, folders, forward_hangup).run())


def _file(path: str) -> Path:
    """The file whose folder is watched."""
    script, colon, _ = path.rpartition(":")
    if colon and script.endswith(".py"):
        return Path(script)
    return Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)


class _Supervisor:
    """Starts children one after the other.

    Args:
        sock: what they listen on.
        folders: where a change means that the next is due.
        forward_hangup: see `supervise`.
    """

    def __init__(self, sock: socket.socket, folders: Iterable[Path], forward_hangup: bool) -> None:
        self._socket = sock.fileno()
        self._lifeline, _ = os.pipe()  # nothing is ever written to the other end
        self._folders = [folder.resolve() for folder in folders]
        self._forward_hangup = forward_hangup
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._child: Process | None = None
        self._signal = 0  # the second one

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        if self._forward_hangup:
            loop.add_signal_handler(signal.SIGHUP, self._tell_child, signal.SIGHUP)
        watching = asyncio.create_task(self._watch())
        running = asyncio.create_task(self._run_children())
        await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
        self._stopping.set()
        await running
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        return 128 + self._signal if self._signal else 0

    async def _run_children(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            self._child = await self._start()
            await self._any(self._child.wait(), self._changed.wait(), self._stopping.wait())
            code = self._child.returncode
            if code is not None and not self._stopping.is_set():
                log.warning("the server ended with exit code %d; waiting for a change", code)
                await self._any(self._changed.wait(), self._stopping.wait())
            await self._end(self._child)

    async def _start(self) -> Process:
        # A Ctrl-C that comes before the child is ready for it waits; see `inherited_socket`.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *sys.orig_argv[1:],
                pass_fds=[self._socket, self._lifeline],
                env={**os.environ, _INHERITED: f"{self._socket} {self._lifeline}"},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    async def _end(self, child: Process) -> None:
        """Ends a child, if it has not ended: in good time on a change, in its own when all ends."""
        if child.returncode is not None:
            return
        child.send_signal(signal.SIGTERM if self._stopping.is_set() else _RESTART)
        try:
            async with asyncio.timeout(None if self._stopping.is_set() else _DRAIN):
                await child.wait()
        except TimeoutError:
            log.warning("the server has not ended within %g s and is killed", _DRAIN)
            child.kill()
            await child.wait()

    async def _watch(self) -> None:
        from watchfiles import DefaultFilter, awatch

        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        ignored = DefaultFilter(
            ignore_dirs=(*DefaultFilter.ignore_dirs, *_IGNORED_FOLDERS),
            ignore_entity_patterns=(*DefaultFilter.ignore_entity_patterns, _IGNORED_FILES),
        )
        try:
            async for changes in awatch(*self._folders, watch_filter=ignored):
                names = sorted({Path(path).name for _, path in changes})
                if all(name.endswith(".wasm") for name in names):
                    self._tell_child(signal.SIGHUP)  # which replaces it, and keeps its connections
                else:
                    log.info("%s changed; restarting", ", ".join(names))
                    self._changed.set()
        except OSError as error:
            raise StartupError(f"cannot watch for changes: {error}") from error

    def _stop(self, number: int) -> None:
        if self._stopping.is_set():
            self._signal = number
            if self._child is not None and self._child.returncode is None:
                self._child.kill()
        else:
            log.info(STOPPING)
        self._stopping.set()

    def _tell_child(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    @staticmethod
    async def _any(*conditions: Coroutine[object, object, object]) -> None:
        """Waits for the first of them."""
        tasks = [asyncio.create_task(each) for each in conditions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
