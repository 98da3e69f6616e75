"""What is unsafe or doubtful about the limits of a server."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final, NamedTuple

from theater.cli.summary import show
from theater.config import Configuration
from theater.limits import ConnectionLimits, Limits
from theater.server.origins import Origin
from theater.server.routing import Route

_MIB: Final = 1024 * 1024
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_FEW: Final = 1000  # connections that are too few even for who has not said how many there may be


class Finding(NamedTuple):
    """Something to think about.

    Attributes:
        scope: what it is about, as in `scopes`.
        name: the limit or key.
        why: what may happen.
        advice: what to do about it.
    """

    scope: str
    name: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.scope}: {self.name}: {self.why}; {self.advice}"


class _Bound(NamedTuple):
    """The most that a limit can be before it is doubtful."""

    most: float
    why: str
    advice: str


_MEMORY: Final = "{value} bytes for each of {connections} connections are {total} of memory"
_LONG: Final = "{value} seconds are long"

_BOUNDS: Final = {
    "max_message": _Bound(16 * _MIB, _MEMORY, 'lower it, or let messages = "stream" take them in pieces'),
    "max_send_queue": _Bound(16 * _MIB, _MEMORY, "lower it, or max_connections"),
    "max_body": _Bound(64 * _MIB, _MEMORY, "lower it; a body is held whole"),
    "max_fragments": _Bound(1_000_000, "each fragment costs time, however small it is", "lower it"),
    "message_rate": _Bound(100_000, "one client can keep the server busy", "lower it to what clients need"),
    "byte_rate": _Bound(1024 * _MIB, "one client can keep the server busy", "lower it to what clients need"),
    "max_inflation": _Bound(
        1000, "deflate makes 1032 bytes of one at most, so bombs get through", "lower it; 100 is much"
    ),
    "ping_interval": _Bound(
        60, "many proxies cut connections that are silent for a minute", "lower it below their time"
    ),
    "pong_timeout": _Bound(120, "clients that are gone are noticed late", "lower it"),
    "idle_timeout": _Bound(7 * 86_400, "connections that nobody uses stay", "lower it"),
    "close_timeout": _Bound(60, f"{_LONG} for a client that does not answer", "lower it"),
    "handler_timeout": _Bound(300, f"{_LONG} for clients of an actor that hangs", "lower it"),
    "upgrade_timeout": _Bound(60, f"{_LONG} for a client that wants to come in", "lower it"),
    "request_timeout": _Bound(300, f"{_LONG} for an actor that waits for another", "lower it"),
    "turn_time": _Bound(10, f"{_LONG} for clients of a component that hangs", "lower it"),
    "start_time": _Bound(60, f"{_LONG} for a client that waits for an actor", "lower it"),
    "max_memory": _Bound(1024 * _MIB, "one instance can take the memory of all", "lower it"),
    "max_value": _Bound(64 * _MIB, "one call can make the host copy that much", "lower it"),
    "mailbox_high_water": _Bound(100_000, "so many events wait in memory for one actor", "lower it"),
    "max_address_connections": _Bound(20_000, "one client can take the connections of all", "lower it"),
    "upgrade_rate": _Bound(1_000, "one client can keep the server busy with handshakes", "lower it"),
    "upgrade_burst": _Bound(10_000, "one client can keep the server busy with handshakes", "lower it"),
    "max_head": _Bound(_MIB, "strangers choose how much of it is used", "lower it; browsers need 16 KiB"),
    "max_headers": _Bound(1_000, "strangers choose how much of it is used", "lower it; browsers send 20"),
    "handshake_timeout": _Bound(60, f"{_LONG} for a connection that says nothing", "lower it"),
    "body_timeout": _Bound(300, f"{_LONG} for a body that does not come", "lower it"),
    "keep_alive": _Bound(120, f"{_LONG} for a connection that says nothing", "lower it"),
    "max_actors": _Bound(1_000_000, "they stay in memory", "lower it"),
    "max_instances": _Bound(
        20_000, "each takes 3 mappings of memory, of which Linux allows 65_530", "raise vm.max_map_count, too"
    ),
    "compression_memory": _Bound(1024 * _MIB, "it may all be used", "lower it"),
    "drain_timeout": _Bound(
        30, "Kubernetes kills after 30 seconds if not told otherwise", "lower it, or raise it there, too"
    ),
}


class Scope(NamedTuple):
    """Where limits hold.

    Attributes:
        name: "server", or the kind and name of a part of it.
        limits: those that hold.
        wider: those of the scope around it.
        route: the path, if it is one.
    """

    name: str
    limits: ConnectionLimits
    wider: ConnectionLimits | None = None
    route: Route | None = None


def scopes(configuration: Configuration) -> Iterator[Scope]:
    """The server, its actor types, and their WebSockets' paths."""
    yield Scope("server", configuration.limits)
    for name, limits in configuration.actors.items():
        yield Scope(f"actor {name}", limits, configuration.limits)
    for route in configuration.routes:
        if route.kind == "websocket-server":
            wider = configuration.actors[route.actor]
            yield Scope(f"path {route.pattern.text}", route.limits, wider, route)


def diagnose(configuration: Configuration, most_connections: int) -> list[Finding]:
    """Everything there is to say.

    Args:
        configuration: of the server.
        most_connections: that the system allows.
    """
    findings: list[Finding] = []
    for scope in scopes(configuration):
        findings += _examine_limits(scope, configuration.limits.max_connections)
        if scope.wider is None:
            findings += _examine_server(configuration, most_connections)
        if scope.route is not None:
            findings += _examine_origins(scope.name, scope.route)
    return findings


def _examine_limits(scope: Scope, connections: int) -> Iterator[Finding]:
    """Looks at the limits that are not those of the wider scope."""
    name, limits, wider, _ = scope

    def differs(limit: str) -> bool:
        return wider is None or getattr(limits, limit) != getattr(wider, limit)

    for limit, bound in _BOUNDS.items():
        value = getattr(limits, limit, 0)
        if value > bound.most and differs(limit):
            words = {"value": show(value), "connections": show(connections)}
            why = bound.why.format(**words, total=_size(value * connections))
            yield Finding(name, limit, why, bound.advice)
    if 0 < limits.max_frame < limits.max_message and (differs("max_message") or differs("max_frame")):
        why = f"browsers send a message in one frame, and max_frame is only {show(limits.max_frame)}"
        yield Finding(name, "max_message", why, "raise max_frame, too")


def _examine_server(configuration: Configuration, most_connections: int) -> Iterator[Finding]:
    wanted = configuration.limits.max_connections
    if most_connections < wanted and (wanted != Limits().max_connections or most_connections < _FEW):
        why = f"the limit of open files allows {most_connections:_} connections at most"
        yield Finding("server", "max_connections", why, "raise that (ulimit -Hn, LimitNOFILE), or lower this")
    for text in configuration.policy.trusted_proxies:
        if text == "unix":
            continue
        network = ip_network(text)
        if network.prefixlen == 0:
            yield Finding(
                "server", "trusted_proxies", f"with {text} anybody can claim any address", "name the proxies"
            )
        elif not network.is_private and network.num_addresses > 1 << (network.max_prefixlen // 2):
            why = f"strangers among {text} can claim any address"
            yield Finding("server", "trusted_proxies", why, "name the proxies more closely")


def _examine_origins(scope: str, route: Route) -> Iterator[Finding]:
    for text in route.origins:
        origin = Origin.parse(text.replace("://*.", "://", 1))
        if text in ("*", "null"):
            why = "any web page can connect in the name of its visitors"
            yield Finding(scope, f'origins "{text}"', why, "name the origins of your pages")
        elif origin is not None and origin.scheme == "http" and origin.host not in _LOCAL:
            why = "pages that come without TLS can be forged on their way"
            yield Finding(scope, f'origins "{text}"', why, "serve them by https")


def _size(number: float) -> str:
    """Bytes for people."""
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.0f} {unit}"
    return f"{number / 1024:.1f} TiB"
