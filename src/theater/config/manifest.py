"""What a manifest says, as a value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from theater.config.settings import Settings
from theater.native.actor import Actor
from theater.server.routing import Pattern, Route

FILE_NAME: Final = "theater.toml"

Execution = Literal["loop", "thread"]
"""Where a component computes: on the event loop as long as that is short, or always in a worker thread."""


class ComponentFile(msgspec.Struct, frozen=True):
    """A component, which is loaded when the server starts.

    Attributes:
        path: of the file.
        execution: see there.
        grants: packages outside of the contract that it may import, such as `wasi:clocks`.
    """

    path: Path
    execution: Execution = "loop"
    grants: tuple[str, ...] = ()


class ServerSettings(msgspec.Struct, frozen=True):
    """The table `[server]`: what holds for all actors of a server.

    Attributes:
        policy: those fields of `Policy` that are set.
        limits: those fields of `Limits` that are.
    """

    policy: Mapping[str, tuple[str, ...] | bool] = {}
    limits: Settings = {}


class Manifest(msgspec.Struct, frozen=True):
    """One actor type.

    Attributes:
        name: of the type; the first part of its actors' addresses.
        actor: its class, or the component in place of one.
        routes: what leads to it. A limit of a route goes before the actor's, if it is set in
            `route_limits`, or is not the default.
        version: its own, for people.
        file: where it was read from, for error messages; the folder's other files may matter too.
        limits: those that are set for all of its actors and their connections.
        route_limits: those that are set for each route; none, if left out.
        server: what it sets for the whole server.
    """

    name: str
    actor: type[Actor] | ComponentFile
    routes: tuple[Route, ...]
    version: str = ""
    file: str = ""
    limits: Settings = {}
    route_limits: tuple[Settings, ...] = ()
    server: ServerSettings | None = None

    @classmethod
    def of(cls, actor: type[Actor], path: str = "/", instance: str = "", file: str = "") -> "Manifest":
        """A manifest for a class without one: it serves `path`, and takes its name from the class."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", actor.__name__).lower()
        name = re.sub(r"[^a-z0-9]+", "-", words)[:64].lstrip("-0123456789").rstrip("-") or "actor"
        pattern = Pattern(path)
        routes = [Route("websocket-server", pattern, name, instance)]
        if overrides(actor, "handle_request"):
            routes.append(Route("http-server", pattern, name, instance))
        return cls(name, actor, tuple(routes), file=file)


def overrides(actor: type[Actor], handler: str) -> bool:
    """Whether an actor class defines a handler itself."""
    return getattr(actor, handler) is not getattr(Actor, handler)
