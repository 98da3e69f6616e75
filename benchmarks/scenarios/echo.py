"""Echo: what a message and its reply cost the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from benchmarks.harness.accounting import cpu_seconds
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import RunningServer, running_server
from benchmarks.load.echo import LAST_REPLIES_SECONDS
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import ECHO_SERVERS, Server

CONNECTIONS = 16
WARM_UP_ROUNDS = 5
METRICS = (
    Metric("server_cpu_us_per_message", "CPU us/msg", 2),
    Metric("messages_per_second", "msg/s", 0),
    Metric("round_trip_p50_us", "p50 us", 0),
    Metric("round_trip_p99_us", "p99 us", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoScenario(Scenario):
    """Messages of one size, so many in flight on each of 16 connections."""

    kind: Literal["text", "binary", "deflate"]
    payload_bytes: int
    in_flight: int
    metrics: tuple[Metric, ...] = METRICS
    servers: tuple[Server, ...] = ECHO_SERVERS
    baseline: str | None = "picows"

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        load = (CONNECTIONS, self.kind, self.payload_bytes, self.in_flight)
        with running_server(server) as target, load_client("echo", target, *load) as client:
            _measure(target, client, settings.seconds * WARM_UP_ROUNDS)  # connections, caches, JIT
            yield lambda: _measure(target, client, settings.seconds)


def _measure(server: RunningServer, client: LoadClient, seconds: float) -> Sample:
    """The server is idle at both readings of its CPU time: the client answers when every reply has come."""
    before = cpu_seconds(server.pid)
    reply = client.ask(seconds, within=seconds + 2 * LAST_REPLIES_SECONDS)
    server_cpu = cpu_seconds(server.pid) - before
    return reply | {
        "server_cpu_us_per_message": server_cpu / reply["messages"] * 1e6,
        "messages_per_second": reply["messages"] / reply["seconds"],
        "server_cpu_percent": server_cpu / reply["seconds"] * 100,
        "client_cpu_percent": reply["client_cpu_seconds"] / reply["seconds"] * 100,
    }
