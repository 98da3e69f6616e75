"""Running a server until it is told to stop."""

import asyncio
import faulthandler
import logging
import signal
import socket
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Final

import msgspec
import uvloop

from theater import __version__
from theater.app import Theater
from theater.cli.endpoint import Endpoint
from theater.cli.watchdog import Watchdog
from theater.config import Manifest
from theater.errors import ConfigError, Mistake, Reason, StartupError
from theater.limits import Limits
from theater.server.descriptors import raise_limit
from theater.server.tls import Certificate

log = logging.getLogger("theater")

SIGNALS: Final = {signal.SIGINT: Reason.GOING_AWAY, signal.SIGTERM: Reason.GOING_AWAY}
"""Signals that stop a server, and what its clients are told."""

STOPPING: Final = "stopping; once more to stop at once"

Signals = Mapping[signal.Signals, Reason]


class Options(msgspec.Struct, frozen=True):
    """What a server is told beside its actors and where to listen.

    Attributes:
        health: answer `GET /_theater/health`.
        metrics: answer `GET /_theater/metrics`.
        certificate, key: files for TLS; none for plain HTTP.
    """

    health: bool = True
    metrics: bool = True
    certificate: str | None = None
    key: str | None = None


def serve(
    manifests: Iterable[Manifest],
    sock: socket.socket,
    endpoint: Endpoint,
    options: Options,
    signals: Signals = SIGNALS,
) -> None:
    """Serves on a bound socket until a signal comes, then drains; a second signal ends at once.

    Args:
        manifests: the actors.
        sock: where to accept connections.
        endpoint: what the socket was bound to.
        options: whatever else there is.
        signals: which stop the server.

    Raises:
        ConfigError: the certificate cannot be used.
        StartupError: the socket cannot be listened on.
    """
    raise_limit()
    manifests = list(manifests)
    certificate = None
    if options.certificate is not None and options.key is not None:
        _check_proxies(manifests)
        certificate = Certificate(options.certificate, options.key)
    with Watchdog():
        uvloop.run(_serve(manifests, sock, endpoint, options, certificate, signals))


def _check_proxies(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest.server is not None and manifest.server.policy.get("proxy_protocol"):
            found = "true, and TLS, which begins before a proxy's header could be read"
            expected = "one of the two: let the proxy end TLS"
            raise ConfigError([Mistake(manifest.file, "server.proxy_protocol", found, expected)])


async def _serve(
    manifests: list[Manifest],
    sock: socket.socket,
    endpoint: Endpoint,
    options: Options,
    certificate: Certificate | None,
    signals: Signals,
) -> None:
    theater = Theater(manifests, health=options.health, metrics=options.metrics)
    stopping = _stop_on(signals, theater.limits)
    has_parent = signal.SIGINT not in signals  # which sends SIGHUP when a component has changed
    if certificate is not None or theater.has_components or has_parent:
        hangup = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        reloading = loop.create_task(_reload(hangup, theater, certificate), name="reload")
    else:
        reloading = None
    try:
        await theater.start(sock, certificate.context if certificate is not None else None)
    except OSError as error:  # taken between bind and listen
        raise StartupError(f"cannot listen on {endpoint}: {error.strerror}") from error
    shown = endpoint.shown(sock, certificate is not None)
    print(f"Theater {__version__} listening on {shown}", flush=True)
    reason = await stopping
    if not has_parent:  # which says so itself
        log.info(STOPPING)
    if reloading is not None:
        reloading.cancel()
    await theater.stop(reason)


async def _reload(hangup: asyncio.Event, theater: Theater, certificate: Certificate | None) -> None:
    """Reads what can be replaced while the server runs, at every SIGHUP."""
    while True:
        await hangup.wait()
        hangup.clear()
        if certificate is not None:
            try:
                certificate.reload()
            except ConfigError as error:
                log.error("the certificate stays as it was: %s", error)
            else:
                log.info("new connections get the certificate as it is now")
        await theater.reload()


def _stop_on(signals: Signals, limits: Limits) -> "asyncio.Future[Reason]":
    """What the first of these signals means; the second one ends the process.

    The second must end it even while a handler blocks the event loop, so it is left to the kernel,
    and the first is taken outside of the loop.
    """
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[Reason] = loop.create_future()

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        # Connections have the drain timeout. A handler that blocks the loop, or that goes on after
        # it was cancelled, has `close_timeout` more; then the log shows where it hangs.
        faulthandler.dump_traceback_later(limits.drain_timeout + limits.close_timeout, exit=True)
        loop.call_soon_threadsafe(stopping.set_result, signals[signal.Signals(number)])

    for each in signals:
        signal.signal(each, stop)
    return stopping
