"""File descriptors: how many there may be, and whether any are left."""

import os
import resource
import socket
from contextlib import suppress
from typing import Final

_LEFT: Final = 16  # descriptors that connections leave to everything else


def raise_limit() -> None:
    """Lets this process open as many files as the system allows it to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def most_connections() -> int:
    """How many connections leave enough descriptors for files, other sockets, and clients that are
    told that there are too many."""
    files = limit()
    return max(1, files - min(max(files // 8, 32), 2048))


def are_scarce(sock: socket.socket) -> bool:
    """Whether hardly any are left.

    Args:
        sock: one that is open.
    """
    taken: list[int] = []
    try:
        while len(taken) < _LEFT:
            taken.append(os.dup(sock.fileno()))
    except OSError:
        return True
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return False


def look_scarce(sock: socket.socket) -> bool:
    """A glance at the same, cheap enough for each connection: true only if it is so, and at the latest
    when none is left.

    The kernel gives the lowest number that is free, so when that is a high one all others are taken.
    """
    try:
        lowest = os.dup(sock.fileno())
    except OSError:
        return True
    os.close(lowest)
    return lowest >= limit() - _LEFT
