"""Running a server until it is told to stop."""

import asyncio
import faulthandler
import logging
import signal
import socket
from collections.abc import Iterable
from types import FrameType
from typing import Final

import uvloop

from theater import __version__
from theater.app import Theater
from theater.config import Manifest
from theater.errors import StartupError
from theater.limits import Limits

log = logging.getLogger("theater")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop a server."""

STOPPING: Final = "stopping; once more to stop at once"


def serve(
    manifests: Iterable[Manifest],
    sock: socket.socket,
    host: str,
    health: bool,
    metrics: bool,
    signals: Iterable[signal.Signals] = SIGNALS,
) -> None:
    """Serves on a bound socket until a signal comes, then drains; a second signal ends at once.

    Args:
        manifests: the actors.
        sock: where to accept connections.
        host: as the user gave it, for the line that says where the server listens.
        health: answer `GET /_theater/health`.
        metrics: answer `GET /_theater/metrics`.
        signals: which stop the server.

    Raises:
        StartupError: the socket cannot be listened on.
    """
    uvloop.run(_serve(manifests, sock, host, health, metrics, tuple(signals)))


async def _serve(
    manifests: Iterable[Manifest],
    sock: socket.socket,
    host: str,
    health: bool,
    metrics: bool,
    signals: tuple[signal.Signals, ...],
) -> None:
    limits = Limits()
    stopping = _stop_on(signals, limits)
    theater = Theater(manifests, limits, health=health, metrics=metrics)
    try:
        await theater.start(sock)
    except OSError as error:  # taken between bind and listen
        raise StartupError(f"cannot listen on {host}: {error.strerror}") from error
    port = sock.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    print(f"Theater {__version__} listening on http://{shown}:{port}", flush=True)
    await stopping.wait()
    if signal.SIGINT in signals:  # otherwise there is a parent, which says so
        log.info(STOPPING)
    await theater.stop()


def _stop_on(signals: tuple[signal.Signals, ...], limits: Limits) -> asyncio.Event:
    """An event that the first of these signals sets; the second one ends the process.

    The second must end it even while a handler blocks the event loop, so it is left to the kernel,
    and the first is taken outside of the loop.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        # Connections have the drain timeout. A handler that blocks the loop, or that goes on after
        # it was cancelled, has `close_timeout` more; then the log shows where it hangs.
        faulthandler.dump_traceback_later(limits.drain_timeout + limits.close_timeout, exit=True)
        loop.call_soon_threadsafe(stopping.set)

    for each in signals:
        signal.signal(each, stop)
    return stopping
