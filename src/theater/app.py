"""The composition root: the one place that puts the parts of a server together."""

import asyncio
import itertools
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from theater.config import ComponentFile, Manifest, Served, manifests_of, resolve
from theater.config.components import invalid, unserved
from theater.contract import Response
from theater.errors import ConfigError, InvalidComponent, Reason
from theater.limits import ActorLimits, Limits
from theater.native.actor import factory
from theater.runtime.ports import Clock, LoopClock
from theater.runtime.system import ActorSystem, ActorType
from theater.server.admission import Admission, Policy
from theater.server.asgi import AsgiApplication
from theater.server.descriptors import limit, most_connections
from theater.server.http import HttpApplication
from theater.server.hub import Hub
from theater.server.listener import Listener
from theater.server.routing import Router
from theater.server.sockets import bind, bind_unix
from theater.server.upgrade import Upgrader

if TYPE_CHECKING:
    from theater.wasm.kind import Components

__all__ = ["Theater", "asgi", "bind", "bind_unix", "new_ids"]

log = logging.getLogger("theater")


class Theater:
    """A server: actors, their routes, and one port.

    Make it inside a running event loop.

    Args:
        manifests: the actors to serve.
        limits: what it allows where the manifests set nothing else.
        policy: whom it is there for; likewise.
        health: answer `GET /_theater/health`.
        metrics: answer `GET /_theater/metrics`.
        clock: source of time; the event loop's own, if left out.

    Attributes:
        limits: what it allows.
        system: its actors.
        admission: what decides who is let in.
        application, upgrader: what answers plain requests, and those to upgrade.

    Raises:
        ConfigError: limits contradict each other.
    """

    def __init__(
        self,
        manifests: Iterable[Manifest],
        limits: Limits = Limits(),
        *,
        policy: Policy = Policy(),
        health: bool = True,
        metrics: bool = True,
        clock: Clock | None = None,
    ) -> None:
        manifests = list(manifests)
        loop = asyncio.get_running_loop()
        clock = clock or LoopClock(loop)
        configuration = resolve(manifests, limits, policy)
        self.limits = _possible(configuration.limits)
        self._components: Components | None = None
        try:
            types = [self._type(manifest, configuration.actors[manifest.name]) for manifest in manifests]
        except ConfigError:
            self._give_up()
            raise
        self.system = ActorSystem(types, clock, self.limits, loop)
        self.admission = Admission(self.limits, configuration.policy, clock)
        self._hub = Hub(loop, clock, self.limits, new_ids())
        router = Router(configuration.routes)
        self.application = HttpApplication(self.system, router, self._pages(health, metrics), self.limits)
        self.upgrader = Upgrader(self.system, router, self._hub, self.admission)
        self._listener = Listener(self.application, self.upgrader, self._hub, self.admission, loop)

    async def start(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serves on a bound socket, which is the server's from now on; by TLS, if a context is given."""
        await self._listener.start(sock, tls)

    def new_connection(self) -> asyncio.Protocol:
        """The protocol for a connection that was accepted elsewhere."""
        return self._listener.new_connection()

    async def stop(self, reason: Reason = Reason.GOING_AWAY) -> None:
        """Stops accepting, closes all connections, and lets turns end, for at most `drain_timeout`.

        When it is cancelled it ends all that is left at once.
        """
        try:
            async with asyncio.timeout(self.limits.drain_timeout):
                await self._listener.drain(reason)
                await self.system.drain()
        except TimeoutError:
            log.warning("not everything ended within %g s", self.limits.drain_timeout)
        finally:
            dropped = self._listener.drop()
            if dropped:
                log.warning("dropped %d connections", dropped)
            await self._hub.until_empty()
            await self.system.stop()
            if self._components is not None:
                await self._components.stop()

    @property
    def has_components(self) -> bool:
        """Whether `reload` may find something to do."""
        return self._components is not None

    async def reload(self) -> None:
        """Puts components in place whose files have changed; actors, state and connections remain."""
        if self._components is not None:
            await self._components.reload()

    def _give_up(self) -> None:
        if self._components is not None:
            self._components.close()

    def _type(self, manifest: Manifest, limits: ActorLimits) -> ActorType:
        """What makes the actors of a manifest; the one place where it matters what they are."""
        actor = manifest.actor
        if not isinstance(actor, ComponentFile):
            return ActorType(manifest.name, factory(actor), limits)
        if self._components is None:
            from theater.wasm.kind import Components  # loads wasmtime, which takes 50 ms

            self._components = Components(self.limits)
        try:
            kind = self._components.load(actor.path, actor.grants, actor.execution == "thread", limits)
        except InvalidComponent as error:
            raise ConfigError([invalid(manifest, error)]) from None
        if mistakes := list(unserved(manifest, kind.program.exports)):
            raise ConfigError(mistakes)
        return ActorType(manifest.name, kind.create, limits)

    def _pages(self, health: bool, metrics: bool) -> dict[str, Callable[[], Response]]:
        pages: dict[str, Callable[[], Response]] = {}
        if health:
            pages["/_theater/health"] = self._health_page
        if metrics:
            pages["/_theater/metrics"] = self._metrics_page
        return pages

    def _health_page(self) -> Response:
        if self._hub.stopping:
            return Response.json({"status": "draining"}, Reason.GOING_AWAY.status)
        return Response.json({"status": "ok"})

    def _metrics_page(self) -> Response:
        from theater.server.metrics import Metrics  # loaded when first asked for: it takes 40 ms

        return Metrics(self.system, self.admission.refused, self._hub.budget).page()


def asgi(
    *served: Served,
    path: str = "/",
    instance: str = "",
    limits: Limits = Limits(),
    policy: Policy = Policy(),
) -> AsgiApplication:
    """Actors as an ASGI application, to be mounted in FastAPI or Starlette, or run by any ASGI server.

    Args:
        served: what to serve.
        path, instance: for actor classes, as in a manifest's handler.
        limits, policy: as for `Theater`.

    Raises:
        ConfigError: there are mistakes in a manifest.
    """
    manifests = manifests_of(served, path, instance, limits)
    return AsgiApplication(lambda: Theater(manifests, limits, policy=policy))


def _possible(limits: Limits) -> Limits:
    """The limits, with no more connections than there can be open files."""
    most = most_connections()
    if limits.max_connections <= most:
        return limits
    if limits.max_connections != Limits().max_connections:  # somebody wanted that
        log.warning(
            "at most %d connections instead of %d, since %d files may be open",
            most,
            limits.max_connections,
            limit(),
        )
    return msgspec.structs.replace(limits, max_connections=most)


def new_ids() -> Callable[[], int]:
    """A source of connection ids that no other process is likely to give: 21 random bits, then a
    count of 32 bits, together below 2^53."""
    return itertools.count(secrets.randbits(21) << 32 | 1).__next__
