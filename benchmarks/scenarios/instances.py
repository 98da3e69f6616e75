"""Instances: what an actor of its own for every connection takes, in memory and in time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from benchmarks.errors import BenchmarkError
from benchmarks.harness.accounting import private_kib
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import running_server
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import GUEST_SERVERS, Server

WARM_UP_ACTORS = 20
MOST_ACTORS = {"theater/javascript": 200, "theater/python": 200}  # those with an interpreter in each
MOST_OTHERS = 1000
SETTLE_SECONDS_PER_SECOND = 5  # of a measurement under load
MAKE_SECONDS = 120.0
KIB_PER_GIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesScenario(Scenario):
    """Two fresh servers each round: one that has compiled nothing before, and one that finds that done."""

    metrics: tuple[Metric, ...] = (
        Metric("kib_per_instance", "KiB/instance"),
        Metric("instances_per_gib", "per GiB", 0),
        Metric("first_reply_p50_ms", "p50 ms"),
        Metric("first_reply_p99_ms", "p99 ms"),
        Metric("cold_ms", "cold ms", 0),
        Metric("cached_ms", "cached ms", 0),
    )
    servers: tuple[Server, ...] = GUEST_SERVERS
    baseline: str | None = None

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        actors = min(settings.connections, MOST_ACTORS.get(server.name, MOST_OTHERS))
        yield lambda: _measure(server, actors, settings.seconds * SETTLE_SECONDS_PER_SECOND)


def _measure(server: Server, actors: int, settle: float) -> Sample:
    with TemporaryDirectory(prefix="theater-") as cache:
        server = replace(server, environment={**server.environment, "THEATER_CACHE": cache})
        with _started(server) as (cold, _, _):
            pass
        with _started(server) as (cached, pid, client):
            _make(client, WARM_UP_ACTORS, 1 + WARM_UP_ACTORS, settle)
            before = private_kib(pid)
            reply = _make(client, actors, 1 + WARM_UP_ACTORS + actors, settle)
            kib = (private_kib(pid) - before) / actors
    return reply | {
        "kib_per_instance": kib,
        "instances_per_gib": KIB_PER_GIB / kib,
        "cold_ms": cold,
        "cached_ms": cached,
    }


@contextmanager
def _started(server: Server) -> Iterator[tuple[float, int, LoadClient]]:
    """A server: milliseconds from its start to the first actor's reply, its pid, and its client.

    The client's own start in between is not counted.
    """
    began = time.perf_counter()
    with running_server(server) as target:
        listening = time.perf_counter() - began
        with load_client("actors", target) as client:
            first = client.ask(1, within=MAKE_SECONDS)["first_reply_p50_ms"]
            yield listening * 1e3 + first, target.pid, client


def _make(client: LoadClient, count: int, expected: int, settle: float) -> Sample:
    """Make actors, let the server settle, and make sure that all are still there."""
    reply = client.ask(count, within=MAKE_SECONDS)
    time.sleep(settle)
    still_open = client.ask(0, within=MAKE_SECONDS)["open"]
    if still_open != expected:
        raise BenchmarkError(f"{still_open:.0f} of {expected} connections are open")
    return reply
