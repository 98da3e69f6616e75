"""Sockets to listen on."""

import socket
from pathlib import Path
from typing import Final

from theater.errors import StartupError

BACKLOG: Final = 2048
"""Connections that may wait to be accepted; the system may allow fewer."""


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Binds a TCP socket.

    Args:
        host: name or address; all addresses, if empty.
        port: 0 picks a free one.
        reuse_port: other processes that say so, too, may listen on the same port.

    Raises:
        StartupError: the address is taken, unknown or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "the host is no valid name"
        raise StartupError(f"cannot listen on {host}:{port}: {words}") from error
    sock.setblocking(False)
    return sock


def bind_unix(path: str) -> socket.socket:
    """Binds a Unix socket. Who may connect follows from the permissions of its file, which are those
    that the umask allows, and of its folder. The file is the caller's to remove in the end.

    Args:
        path: the file to make; one that an earlier server has left behind is replaced.

    Raises:
        StartupError: somebody listens there, it is something else, or it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(Path(path))
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise StartupError(f"cannot listen on {path}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    """Removes a socket on which nobody listens."""
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(0, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # somebody is too busy to accept; binding will fail
