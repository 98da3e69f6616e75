"""Actors that never return or panic, again and again: what one beside them notices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import running_server
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import HOSTILE_SERVERS, Server

HOSTILE_ACTORS = 200
LOAD = (1, "text", 64, 1)  # as `load.echo` wants it
SECONDS_PER_SECOND = 20  # of a measurement under load
WITHIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileScenario(Scenario):
    """A fresh server each round, with hostile actors that do nothing at first, and then what they are told.

    What they do is measured twice: from the beginning on, and when it has lasted as long as that.
    """

    metrics: tuple[Metric, ...] = (
        Metric("p99_ratio", "x p99", 2),
        Metric("p50_ratio", "x p50", 2),
        Metric("p99_us_without", "p99 us without", 0),
        Metric("p99_us_first", "p99 us at first", 0),
        Metric("p99_us_with", "p99 us with", 0),
    )
    servers: tuple[Server, ...] = HOSTILE_SERVERS
    baseline: str | None = None

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        yield lambda: _measure(server, settings.seconds * SECONDS_PER_SECOND)


def _measure(server: Server, seconds: float) -> Sample:
    """The deed is how the server's row differs from the others."""
    deed = server.name.partition("/")[2]
    with (
        running_server(server) as target,
        load_client("hostile", target, deed) as hostile,
        load_client("echo", target, *LOAD) as good,
    ):
        hostile.ask(HOSTILE_ACTORS, within=WITHIN_SECONDS)
        _echo(good, seconds)  # connections, caches
        without = _echo(good, seconds)
        hostile.ask(0, within=WITHIN_SECONDS)
        first = _echo(good, seconds)
        beside = _echo(good, seconds)
        hostile.ask(0, within=WITHIN_SECONDS)  # fails if they have not gone on until now
    sample = {"p99_us_first": first["round_trip_p99_us"]}
    for percentile in ("p50", "p99"):
        key = f"round_trip_{percentile}_us"
        sample[f"{percentile}_us_without"], sample[f"{percentile}_us_with"] = without[key], beside[key]
        sample[f"{percentile}_ratio"] = beside[key] / without[key]
    return sample


def _echo(client: LoadClient, seconds: float) -> Sample:
    return client.ask(seconds, within=WITHIN_SECONDS)
