"""Handshakes: what it costs the server to open a WebSocket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.accounting import cpu_seconds
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import RunningServer, running_server
from benchmarks.load.handshakes import ANSWER_SECONDS
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import ECHO_SERVERS, Server

HANDSHAKES = 500
WARM_UP_ROUNDS = 2
WITHIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeScenario(Scenario):
    """So many connections opened, each on a TCP connection of its own; closing them does not count."""

    metrics: tuple[Metric, ...] = (
        Metric("server_cpu_us_per_handshake", "CPU us each", 0),
        Metric("handshakes_per_second", "per second", 0),
        Metric("handshake_p50_us", "p50 us", 0),
        Metric("handshake_p99_us", "p99 us", 0),
    )
    servers: tuple[Server, ...] = ECHO_SERVERS
    baseline: str | None = "picows"

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        with running_server(server) as target, load_client("handshakes", target) as client:
            for _ in range(WARM_UP_ROUNDS):
                _measure(target, client)
            yield lambda: _measure(target, client)


def _measure(server: RunningServer, client: LoadClient) -> Sample:
    """The server is idle at both readings of its CPU time: all is answered, and all was closed before."""
    before = cpu_seconds(server.pid)
    reply = client.ask(HANDSHAKES, within=WITHIN_SECONDS)
    server_cpu = cpu_seconds(server.pid) - before
    client.ask(0, within=2 * ANSWER_SECONDS)
    return reply | {
        "server_cpu_us_per_handshake": server_cpu / reply["handshakes"] * 1e6,
        "handshakes_per_second": reply["handshakes"] / reply["seconds"],
        "server_cpu_percent": server_cpu / reply["seconds"] * 100,
        "client_cpu_percent": reply["client_cpu_seconds"] / reply["seconds"] * 100,
    }
