"""The composition root: the one place that puts the parts of a server together."""

import asyncio
import itertools
import logging
import secrets
import socket
from collections.abc import Callable, Iterable

from theater.config import Manifest
from theater.contract import Response
from theater.errors import Reason, StartupError
from theater.limits import Limits
from theater.native.actor import factory
from theater.runtime.ports import Clock, LoopClock
from theater.runtime.system import ActorSystem, ActorType
from theater.server.connection import Hub
from theater.server.http import HttpApplication
from theater.server.listener import Listener
from theater.server.routing import Router
from theater.server.upgrade import Upgrader

log = logging.getLogger("theater")


class Theater:
    """A server: actors, their routes, and one port.

    Make it inside a running event loop.

    Args:
        manifests: the actors to serve.
        limits: what it allows.
        health: answer `GET /_theater/health`.
        metrics: answer `GET /_theater/metrics`.
        clock: source of time; the event loop's own, if left out.
    """

    def __init__(
        self,
        manifests: Iterable[Manifest],
        limits: Limits = Limits(),
        health: bool = True,
        metrics: bool = True,
        clock: Clock | None = None,
    ) -> None:
        manifests = list(manifests)
        self._limits = limits
        loop = asyncio.get_running_loop()
        clock = clock or LoopClock(loop)
        types = [ActorType(manifest.name, factory(manifest.actor)) for manifest in manifests]
        self.system = ActorSystem(types, clock, limits, loop)
        router = Router(route for manifest in manifests for route in manifest.routes)
        self._hub = Hub(loop, clock, limits, new_ids())
        application = HttpApplication(self.system, router, self._pages(health, metrics), limits)
        upgrader = Upgrader(self.system, router, self._hub)
        self._listener = Listener(application, upgrader, self._hub, limits, loop)

    async def start(self, sock: socket.socket) -> None:
        """Serves on a bound socket."""
        await self._listener.start(sock)

    def new_connection(self) -> asyncio.Protocol:
        """The protocol for a connection that was accepted elsewhere."""
        return self._listener.new_connection()

    async def stop(self, reason: Reason = Reason.GOING_AWAY) -> None:
        """Stops accepting, closes all connections, and lets turns end, for at most `drain_timeout`.

        When it is cancelled it ends all that is left at once.
        """
        try:
            async with asyncio.timeout(self._limits.drain_timeout):
                await self._listener.drain(reason)
                await self.system.drain()
        except TimeoutError:
            log.warning("not everything ended within %g s", self._limits.drain_timeout)
        finally:
            dropped = self._listener.drop()
            if dropped:
                log.warning("dropped %d connections", dropped)
            await self._hub.until_empty()
            await self.system.stop()

    def _pages(self, health: bool, metrics: bool) -> dict[str, Callable[[], Response]]:
        pages: dict[str, Callable[[], Response]] = {}
        if health:
            pages["/_theater/health"] = lambda: Response.json({"status": "ok"})
        if metrics:
            pages["/_theater/metrics"] = self._metrics_page
        return pages

    def _metrics_page(self) -> Response:
        from theater.server.metrics import Metrics  # loaded when first asked for: it takes 40 ms

        return Metrics(self.system).page()


def new_ids() -> Callable[[], int]:
    """A source of connection ids that no other process is likely to give: 21 random bits, then a
    count of 32 bits, together below 2^53."""
    return itertools.count(secrets.randbits(21) << 32 | 1).__next__


def bind(host: str, port: int) -> socket.socket:
    """Binds a TCP socket; port 0 picks a free one.

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
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "the host is no valid name"
        raise StartupError(f"cannot listen on {host}:{port}: {words}") from error
    sock.setblocking(False)
    return sock
