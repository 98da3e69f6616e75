"""Where a server listens, as the command line says it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from theater.server.sockets import bind, bind_unix


class Endpoint(msgspec.Struct, frozen=True):
    """A host and a port, or the path of a Unix socket.

    Attributes:
        host, port, reuse_port: see `bind`.
        path: of a Unix socket, which goes before host and port.
    """

    host: str
    port: int
    reuse_port: bool = False
    path: str | None = None

    @contextmanager
    def bound(self) -> Iterator[socket.socket]:
        """A socket to listen on; in the end it is closed, and the file of a Unix socket removed.

        Raises:
            StartupError: it cannot be had.
        """
        if self.path is None:
            with bind(self.host, self.port, reuse_port=self.reuse_port) as sock:
                yield sock
            return
        path = Path(self.path)
        with bind_unix(self.path) as sock:
            own = path.stat()
            try:
                yield sock
            finally:
                with suppress(OSError):
                    if path.stat().st_ino == own.st_ino:  # another server may have taken the place
                        path.unlink()

    def shown(self, sock: socket.socket, secure: bool) -> str:
        """What to tell people about a socket that was bound here."""
        if self.path is not None:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if secure else 'http'}://{host}:{sock.getsockname()[1]}"

    def __str__(self) -> str:
        return self.path if self.path is not None else f"{self.host}:{self.port}"
