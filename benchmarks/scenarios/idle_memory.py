"""Idle connections: the memory that a server holds for each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from benchmarks.errors import BenchmarkError
from benchmarks.harness.accounting import resident_kib
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import running_server
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import ECHO_SERVERS, Server

WARM_UP_CONNECTIONS = 200
SETTLE_SECONDS_PER_SECOND = 5  # of a measurement under load
OPEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMemoryScenario(Scenario):
    """A fresh server each round: memory that was used once is seldom given back."""

    variant: Literal["plain", "deflate", "deflate-used"] = "plain"
    """What `load/idle.py` does with each connection before it is idle."""
    most_connections: int | None = None
    """Where a connection takes much memory: connections beyond this are left out."""
    metrics: tuple[Metric, ...] = (
        Metric("kib_per_connection", "KiB/connection"),
        Metric("server_kib", "server KiB before", 0),
    )
    servers: tuple[Server, ...] = ECHO_SERVERS
    baseline: str | None = "picows"

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        connections = min(settings.connections, self.most_connections or settings.connections)
        yield lambda: self._measure(server, connections, settings.seconds * SETTLE_SECONDS_PER_SECOND)

    def _measure(self, server: Server, connections: int, settle: float) -> Sample:
        with running_server(server) as target, load_client("idle", target, self.variant) as client:
            _open(client, WARM_UP_CONNECTIONS, WARM_UP_CONNECTIONS, settle)
            before = resident_kib(target.pid)
            _open(client, connections, WARM_UP_CONNECTIONS + connections, settle)
            growth = resident_kib(target.pid) - before
        return {"kib_per_connection": growth / connections, "server_kib": before, "connections": connections}


def _open(client: LoadClient, count: int, expected: int, settle: float) -> None:
    """Open connections, let the server settle, and make sure that all are still open."""
    client.ask(count, within=OPEN_SECONDS)
    time.sleep(settle)
    still_open = client.ask(0, within=OPEN_SECONDS)["open"]
    if still_open != expected:
        raise BenchmarkError(f"{still_open:.0f} of {expected} idle connections are open")
