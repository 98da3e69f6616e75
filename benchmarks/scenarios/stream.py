"""One huge message through an actor: the memory it takes, and what it costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.accounting import cpu_seconds, peak_kib, reset_peak
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import RunningServer, running_server
from benchmarks.load.stream import LEAST_MEBIBYTES_PER_SECOND
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import STREAM_SERVERS, Server

FORMS = ("fragments", "frame")
WARM_UP_MEBIBYTES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamScenario(Scenario):
    """A fresh server each round, which is sent the message in many fragments, and then as one frame."""

    metrics: tuple[Metric, ...] = (
        Metric("growth_mib", "growth MiB"),
        Metric("cpu_seconds_per_gib_fragments", "fragments s/GiB", 2),
        Metric("mib_per_second_fragments", "MiB/s", 0),
        Metric("cpu_seconds_per_gib_frame", "frame s/GiB", 2),
        Metric("mib_per_second_frame", "MiB/s", 0),
    )
    servers: tuple[Server, ...] = STREAM_SERVERS
    baseline: str | None = None

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        yield lambda: _measure(server, settings.mebibytes)


def _measure(server: Server, mebibytes: int) -> Sample:
    sample = {"mebibytes": float(mebibytes), "growth_mib": 0.0}
    with running_server(server) as target:
        for form in FORMS:
            with load_client("stream", target, form) as client:
                _send(client, WARM_UP_MEBIBYTES)
                growth, cpu, seconds = _account(target, client, mebibytes)
            sample["growth_mib"] = max(sample["growth_mib"], growth)
            sample[f"growth_mib_{form}"] = growth
            sample[f"cpu_seconds_per_gib_{form}"] = cpu * 1024 / mebibytes
            sample[f"mib_per_second_{form}"] = mebibytes / seconds
    return sample


def _account(server: RunningServer, client: LoadClient, mebibytes: int) -> tuple[float, float, float]:
    """Growth of resident memory at its peak in MiB, CPU time and time, both in seconds, of one message."""
    reset_peak(server.pid)
    memory, cpu = peak_kib(server.pid), cpu_seconds(server.pid)
    reply = _send(client, mebibytes)
    return (peak_kib(server.pid) - memory) / 1024, cpu_seconds(server.pid) - cpu, reply["seconds"]


def _send(client: LoadClient, mebibytes: int) -> Sample:
    return client.ask(mebibytes, within=30 + mebibytes / LEAST_MEBIBYTES_PER_SECOND)
