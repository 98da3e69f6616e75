"""One value for every limit: the nearest that is set."""

from typing import Any

import msgspec
import pytest

from theater import Actor
from theater.config import Manifest, ServerSettings, resolve
from theater.errors import ConfigError, Mistake
from theater.limits import ActorLimits, ConnectionLimits, Limits
from theater.server.admission import Policy
from theater.server.routing import Pattern, Route


def manifest(name: str = "room", paths: int = 1, **fields: Any) -> Manifest:
    routes = tuple(Route("websocket-server", Pattern(f"/{name}/{index}"), name) for index in range(paths))
    return Manifest(name, Actor, routes, file=f"{name}.toml", **fields)


def mistakes(*manifests: Manifest, limits: Limits = Limits()) -> list[Mistake]:
    with pytest.raises(ConfigError) as error:
        resolve(manifests, limits)
    return error.value.mistakes


def test_defaults() -> None:
    found = resolve([manifest()])
    assert (found.limits, found.policy) == (Limits(), Policy())
    assert found.actors == {"room": ActorLimits()}
    assert found.routes[0].limits == ConnectionLimits()


def test_the_nearest_counts() -> None:
    """Handler, `[limits]`, `[server.limits]`, the program, the default."""
    names = ("ping_interval", "pong_timeout", "idle_timeout", "close_timeout")
    passed: dict[str, Any] = dict.fromkeys(names, 1.0)
    server = dict.fromkeys(names[:3], 2.0)
    actor = dict.fromkeys(names[:2], 3.0)
    handler = dict.fromkeys(names[:1], 4.0)
    served = manifest(server=ServerSettings(limits=server), limits=actor, route_limits=(handler,))
    found = resolve([served], Limits(**passed))

    def values(limits: ConnectionLimits) -> list[float]:
        return [getattr(limits, name) for name in names]

    assert values(found.limits) == [2.0, 2.0, 2.0, 1.0]
    assert values(found.actors["room"]) == [3.0, 3.0, 2.0, 1.0]
    assert values(found.routes[0].limits) == [4.0, 3.0, 2.0, 1.0]
    assert found.routes[0].limits.max_message == ConnectionLimits().max_message


def test_a_value_that_is_the_default_counts_as_set() -> None:
    served = manifest(
        limits={"max_message": 5}, route_limits=({"max_message": ConnectionLimits().max_message},)
    )
    assert resolve([served]).routes[0].limits == ConnectionLimits()


def test_other_actors_and_paths_keep_theirs() -> None:
    one = manifest("one", paths=2, limits={"max_outbox": 5}, route_limits=({}, {"max_message": 6}))
    found = resolve([one, manifest("two")])
    assert found.actors == {"one": ActorLimits(max_outbox=5), "two": ActorLimits()}
    assert [route.limits.max_message for route in found.routes] == [1 << 20, 6, 1 << 20]
    assert [route.actor for route in found.routes] == ["one", "one", "two"]


def test_server_settings_of_one_manifest_hold_for_all() -> None:
    server = ServerSettings(policy={"hosts": ("a",)}, limits={"max_message": 5, "max_body": 6})
    found = resolve(
        [manifest("one"), manifest("two", server=server)], policy=Policy(trusted_proxies=("unix",))
    )
    assert found.policy == Policy(hosts=("a",), trusted_proxies=("unix",))
    assert found.limits.max_body == 6
    assert {limits.max_message for limits in found.actors.values()} == {5}


def test_limits_that_a_program_gives_to_a_route() -> None:
    route = Route("websocket-server", Pattern("/"), "room", limits=ConnectionLimits(max_message=5))
    found = resolve([Manifest("room", Actor, (route,))], Limits(max_message=6, max_frame=7))
    assert (found.routes[0].limits.max_message, found.routes[0].limits.max_frame) == (5, 7)


def test_routes_keep_everything_else() -> None:
    route = Route("websocket-server", Pattern("/{a}"), "room", "{a}", origins=("*",), stream=True)
    [found] = resolve([Manifest("room", Actor, (route,))]).routes
    assert found == route
    assert msgspec.structs.asdict(found) == msgspec.structs.asdict(route)


@pytest.mark.parametrize(
    ("settings", "name", "found", "expected"),
    [
        ({"send_low_water": 65_536}, "send_low_water", "65536", "less than send_high_water (65536)"),
        ({"send_high_water": 100}, "send_high_water", "100", "more than send_low_water (16384)"),
        ({"send_high_water": 2 << 20}, "send_high_water", "2097152", "at most max_send_queue (1048576)"),
        ({"max_send_queue": 100}, "max_send_queue", "100", "at least send_high_water (65536)"),
        ({"mailbox_low_water": 256}, "mailbox_low_water", "256", "less than mailbox_high_water (256)"),
        ({"mailbox_high_water": 64}, "mailbox_high_water", "64", "more than mailbox_low_water (64)"),
    ],
)
def test_limits_that_contradict_each_other(
    settings: dict[str, Any], name: str, found: str, expected: str
) -> None:
    assert mistakes(manifest(limits=settings)) == [Mistake("room.toml", f"limits.{name}", found, expected)]


def test_equal_is_enough_where_it_may_be() -> None:
    settings = {"send_high_water": 1 << 20, "send_low_water": (1 << 20) - 1}
    assert resolve([manifest(limits=settings)]).routes[0].limits.send_high_water == 1 << 20


def test_each_contradiction_is_told_where_it_was_made() -> None:
    one = manifest(
        "one",
        paths=2,
        server=ServerSettings(limits={"send_high_water": 30_000}),
        limits={"mailbox_low_water": 1_000},
        route_limits=({}, {"send_low_water": 30_000}),
    )
    two = manifest("two", limits={"send_low_water": 40_000})
    assert [(mistake.file, mistake.key) for mistake in mistakes(one, two)] == [
        ("one.toml", "limits.mailbox_low_water"),
        ("one.toml", "handlers[1].send_low_water"),
        ("two.toml", "limits.send_low_water"),
    ]


def test_what_the_program_passes_is_taken_as_it_is() -> None:
    limits = Limits(send_low_water=1 << 20)
    assert resolve([manifest()], limits).limits == limits
