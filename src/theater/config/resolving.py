"""From what is set here and there to one complete value of every limit."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import TypeVar

import msgspec

from theater.config.manifest import Manifest
from theater.config.settings import Settings, disorder
from theater.errors import ConfigError, Mistake
from theater.limits import ActorLimits, ConnectionLimits, Limits
from theater.server.admission import Policy
from theater.server.routing import Route

K = TypeVar("K", bound=ConnectionLimits)

_DEFAULT = ConnectionLimits()


class Configuration(msgspec.Struct, frozen=True):
    """What a server runs with, everything complete.

    Attributes:
        limits: of the server.
        policy: whom it is there for.
        actors: limits by actor type.
        routes: what leads to the actors, with the limits of their connections.
    """

    limits: Limits
    policy: Policy
    actors: Mapping[str, ActorLimits]
    routes: tuple[Route, ...]


def resolve(
    manifests: Iterable[Manifest], limits: Limits = Limits(), policy: Policy = Policy()
) -> Configuration:
    """Puts together what manifests set. A handler goes before `[limits]`, that before `[server]`, and
    that before what the program has passed.

    Args:
        manifests: those of one server.
        limits, policy: what holds where they set nothing.

    Raises:
        ConfigError: limits contradict each other.
    """
    manifests = list(manifests)
    mistakes = contradictions(manifests, limits)
    if mistakes:
        raise ConfigError(mistakes)
    limits = server_limits(manifests, limits)
    for manifest in manifests:
        if manifest.server is not None:
            policy = msgspec.structs.replace(policy, **manifest.server.policy)
    actors = {manifest.name: _part(ActorLimits, limits, manifest.limits) for manifest in manifests}
    routes = [
        msgspec.structs.replace(route, limits=_part(ConnectionLimits, actors[manifest.name], settings))
        for manifest in manifests
        for route, settings in _settings_of_routes(manifest)
    ]
    return Configuration(limits, policy, actors, tuple(routes))


def server_limits(manifests: Iterable[Manifest], limits: Limits) -> Limits:
    """The limits of a server with these manifests; arguments are those of `resolve`."""
    for manifest in manifests:
        if manifest.server is not None:
            limits = msgspec.structs.replace(limits, **manifest.server.limits)
    return limits


def contradictions(manifests: Iterable[Manifest], limits: Limits) -> list[Mistake]:
    """Finds limits that contradict each other; arguments are those of `resolve`."""
    manifests = list(manifests)
    mistakes: list[Mistake] = []

    def check(limits: ConnectionLimits, settings: Settings, file: str, table: str) -> None:
        mistakes.extend(
            Mistake(file, f"{table}.{name}", found, expected)
            for name, found, expected in disorder(limits, settings)
        )

    for manifest in manifests:
        if manifest.server is not None:
            settings = manifest.server.limits
            limits = msgspec.structs.replace(limits, **settings)
            check(limits, settings, manifest.file, "server.limits")
    for manifest in manifests:
        actor = _part(ActorLimits, limits, manifest.limits)
        check(actor, manifest.limits, manifest.file, "limits")
        for index, (_, settings) in enumerate(_settings_of_routes(manifest)):
            connection = _part(ConnectionLimits, actor, settings)
            check(connection, settings, manifest.file, f"handlers[{index}]")
    return mistakes


def _settings_of_routes(manifest: Manifest) -> list[tuple[Route, Settings]]:
    """Each route with the limits that are set for it."""
    pairs = zip_longest(manifest.routes, manifest.route_limits, fillvalue=None)
    return [
        (route, {**_changed(route), **(settings or {})}) for route, settings in pairs if route is not None
    ]


def _changed(route: Route) -> Settings:
    """The limits that a program gave to a route itself."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(route.limits).items()
        if value != getattr(_DEFAULT, name)
    }


def _part(kind: type[K], limits: ConnectionLimits, settings: Settings) -> K:
    """The limits of a narrower scope: those of a wider one, but for what is set."""
    return kind(**{name: getattr(limits, name) for name in kind.__struct_fields__} | dict(settings))
