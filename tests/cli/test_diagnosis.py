"""What is marked, where, and what is not."""

from typing import Any

import pytest

from theater import Actor
from theater.cli import diagnosis
from theater.cli.diagnosis import diagnose
from theater.config import Manifest, ServerSettings, resolve
from theater.limits import Limits
from theater.server.routing import Pattern, Route

MANY = 1_000_000


def found(
    most: int = MANY,
    *,
    limits: Any = None,
    route_limits: Any = None,
    server: Any = None,
    policy: Any = None,
    origins: tuple[str, ...] = (),
) -> list[str]:
    """What is marked, without why: scope and name."""
    settings = ServerSettings(policy or {}, server or {})
    routes = (Route("websocket-server", Pattern("/x"), "room", origins=origins),)
    manifest = Manifest(
        "room", Actor, routes, limits=limits or {}, route_limits=(route_limits or {},), server=settings
    )
    return [f"{finding.scope}: {finding.name}" for finding in diagnose(resolve([manifest]), most)]


def test_defaults_are_safe() -> None:
    assert found() == []


@pytest.mark.parametrize("name", diagnosis._BOUNDS)
def test_bounds(name: str) -> None:
    bound = diagnosis._BOUNDS[name]
    assert getattr(Limits(), name) <= bound.most
    kind = type(getattr(Limits(), name))
    for value, marked in ((kind(bound.most), []), (kind(bound.most + 1), [f"server: {name}"])):
        assert found(server={name: value}) == marked


def test_a_limit_is_marked_where_it_is_set() -> None:
    large = {"max_inflation": 5000}
    assert found(server=large) == ["server: max_inflation"]
    assert found(limits=large) == ["actor room: max_inflation"]
    assert found(route_limits=large) == ["path /x: max_inflation"]
    assert found(server=large, route_limits={"max_inflation": 100}) == ["server: max_inflation"]


def test_messages_that_no_frame_can_hold() -> None:
    assert found(route_limits={"max_message": 1 << 21, "max_frame": 1 << 20}) == ["path /x: max_message"]
    assert found(route_limits={"max_message": 1 << 21}) == []
    assert found(limits={"max_frame": 100}) == ["actor room: max_message"]


@pytest.mark.parametrize(
    ("origin", "marked"),
    [
        ("*", True),
        ("null", True),
        ("http://example.org", True),
        ("http://*.example.org", True),
        ("https://example.org", False),
        ("https://*.example.org", False),
        ("http://localhost:3000", False),
        ("http://[::1]", False),
        ("app://main", False),
    ],
)
def test_origins(origin: str, marked: bool) -> None:
    expected = [f'path /x: origins "{origin}"'] if marked else []
    assert found(origins=("https://example.com", origin)) == expected


@pytest.mark.parametrize(
    ("proxy", "marked"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("8.0.0.0/8", True),
        ("2000::/3", True),
        ("10.0.0.0/8", False),
        ("fd00::/8", False),
        ("8.8.8.0/24", False),
        ("8.8.8.8", False),
        ("unix", False),
    ],
)
def test_trusted_proxies(proxy: str, marked: bool) -> None:
    assert found(policy={"trusted_proxies": (proxy,)}) == ["server: trusted_proxies"] * marked


@pytest.mark.parametrize(
    ("wanted", "most", "marked"),
    [
        (Limits().max_connections, 20_000, False),
        (Limits().max_connections, 900, True),
        (50_000, 20_000, True),
        (20_000, 20_000, False),
        (500, 900, False),
    ],
)
def test_open_files(wanted: int, most: int, marked: bool) -> None:
    assert found(most, server={"max_connections": wanted}) == ["server: max_connections"] * marked


def test_findings_say_why_and_what_to_do() -> None:
    settings = ServerSettings(limits={"max_body": 1 << 30, "max_connections": 10})
    [finding] = diagnose(resolve([Manifest("x", Actor, (), server=settings)]), MANY)
    assert str(finding) == (
        "server: max_body: 1_073_741_824 bytes for each of 10 connections are 10 GiB of memory; "
        "lower it; a body is held whole"
    )


@pytest.mark.parametrize(
    ("size", "shown"),
    [(1 << 20, "1 MiB"), (1.5 * (1 << 40), "1.5 TiB"), (1 << 10, "1 KiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes(size: float, shown: str) -> None:
    assert diagnosis._size(size) == shown
