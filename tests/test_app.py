"""The composition root."""

import pytest

from theater import Actor
from theater.app import Theater, new_ids
from theater.client import connect
from theater.config import Manifest, ServerSettings
from theater.errors import ConfigError
from theater.limits import Limits
from theater.server.admission import Policy
from theater.testing import serve


async def test_manifests_go_before_what_the_program_passes() -> None:
    manifest = Manifest.of(Actor)
    server = ServerSettings(policy={"hosts": ("a",)}, limits={"max_body": 5})
    manifest = Manifest(manifest.name, Actor, manifest.routes, limits={"max_outbox": 6}, server=server)
    theater = Theater([manifest], Limits(max_body=1, max_head=2), policy=Policy(trusted_proxies=("unix",)))
    assert (theater.limits.max_body, theater.limits.max_head) == (5, 2)
    assert theater.admission.limits is theater.limits
    assert theater.admission.policy == Policy(hosts=("a",), trusted_proxies=("unix",))
    assert theater.system.limits("actor").max_outbox == 6


async def test_limits_that_contradict_each_other() -> None:
    manifest = Manifest.of(Actor)
    manifest = Manifest(manifest.name, Actor, manifest.routes, limits={"send_low_water": 1 << 30})
    with pytest.raises(ConfigError):
        Theater([manifest])


async def test_a_limit_of_a_path_holds_for_its_connections() -> None:
    manifest = Manifest.of(Actor)
    manifest = Manifest(manifest.name, Actor, manifest.routes, route_limits=({"max_message": 7},))
    async with serve(manifest) as server, await connect(server.url()):
        [cell] = server.theater.system
        [connection] = cell.connections.values()
        assert connection.wire.limits.max_message == 7


def test_ids_differ_and_are_exact_in_every_language() -> None:
    sources = [new_ids() for _ in range(10)]
    ids = [source() for source in sources for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert all(0 < each < 2**53 for each in ids)


def test_ids_count_up_within_a_process() -> None:
    source = new_ids()
    first = source()
    assert [source() - first for _ in range(3)] == [1, 2, 3]
