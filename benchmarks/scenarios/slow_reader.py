"""One member of a room reads nothing: what its neighbours notice, and what the server holds for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.accounting import peak_kib, reset_peak
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import running_server
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import SMALL_ROOM_SERVERS, Server

NEIGHBOURS = 19
PAYLOAD_BYTES = 64 * 1024
MEBIBYTES = 100  # for each member
BROADCASTS_PER_MEBIBYTE = 16
WARM_UP_BROADCASTS = 100
WITHIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowReaderScenario(Scenario):
    """A fresh server each round, first without the slow member and then with it."""

    metrics: tuple[Metric, ...] = (
        Metric("p99_ratio", "x p99", 2),
        Metric("p50_ratio", "x p50", 2),
        Metric("p99_us_without", "p99 us without", 0),
        Metric("p99_us_with", "p99 us with", 0),
        Metric("growth_mib", "growth MiB"),
    )
    servers: tuple[Server, ...] = SMALL_ROOM_SERVERS
    baseline: str | None = None

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        broadcasts = min(MEBIBYTES, settings.mebibytes) * BROADCASTS_PER_MEBIBYTE
        yield lambda: _measure(server, broadcasts)


def _measure(server: Server, broadcasts: int) -> Sample:
    load = (NEIGHBOURS, 1, PAYLOAD_BYTES, "exchanges")
    with running_server(server) as target, load_client("room", target, *load) as neighbours:
        _broadcast(neighbours, WARM_UP_BROADCASTS)
        without = _broadcast(neighbours, broadcasts)
        reset_peak(target.pid)
        before = peak_kib(target.pid)
        with load_client("silent", target) as silent:
            silent.ask(1, within=WITHIN_SECONDS)
            beside = _broadcast(neighbours, broadcasts)
        growth = peak_kib(target.pid) - before
    sample = {"growth_mib": growth / 1024}
    for percentile in ("p50", "p99"):
        key = f"delivery_{percentile}_us"
        sample[f"{percentile}_us_without"], sample[f"{percentile}_us_with"] = without[key], beside[key]
        sample[f"{percentile}_ratio"] = beside[key] / without[key]
    return sample


def _broadcast(neighbours: LoadClient, count: int) -> Sample:
    return neighbours.ask(count, within=WITHIN_SECONDS)
