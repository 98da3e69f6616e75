"""Running a server until it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterable

import uvloop

from theater import __version__
from theater.app import Theater
from theater.config import Manifest

log = logging.getLogger("theater")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(manifests: Iterable[Manifest], sock: socket.socket, host: str, health: bool, metrics: bool) -> None:
    """Serves on a bound socket until SIGINT or SIGTERM, then drains; a second signal ends at once."""
    uvloop.run(_serve(manifests, sock, host, health, metrics))


async def _serve(
    manifests: Iterable[Manifest], sock: socket.socket, host: str, health: bool, metrics: bool
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    theater = Theater(manifests, health=health, metrics=metrics)
    await theater.start(sock)
    port = sock.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    print(f"Theater {__version__} listening on http://{shown}:{port}", flush=True)
    await stopping.wait()
    log.info("stopping; once more to stop at once")
    draining = loop.create_task(theater.stop())
    for number in _SIGNALS:
        loop.add_signal_handler(number, draining.cancel)
    await asyncio.wait([draining])
