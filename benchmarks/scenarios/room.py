"""Rooms: what it costs the server to pass on what some members say to all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.accounting import cpu_seconds
from benchmarks.harness.client import LoadClient, load_client
from benchmarks.harness.server import RunningServer, running_server
from benchmarks.load.room import EXCHANGE_SECONDS
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import Server

WARM_UP_ROUNDS = 5
LATENCY = (Metric("delivery_p50_us", "p50 us", 0), Metric("delivery_p99_us", "p99 us", 0))
PER_DELIVERY = (
    Metric("server_cpu_us_per_delivery", "CPU us/delivery", 2),
    Metric("deliveries_per_second", "deliveries/s", 0),
    *LATENCY,
)
PER_MESSAGE = (
    Metric("server_cpu_us_per_message", "CPU us/msg", 1),
    Metric("messages_per_second", "msg/s", 0),
    *LATENCY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomScenario(Scenario):
    """A number of members, of which the first few say a text of one size at once; no compression."""

    members: int
    speakers: int
    payload_bytes: int

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        load = (self.members, self.speakers, self.payload_bytes, "seconds")
        with running_server(server) as target, load_client("room", target, *load) as client:
            _measure(target, client, settings.seconds * WARM_UP_ROUNDS)
            yield lambda: _measure(target, client, settings.seconds)


def _measure(server: RunningServer, client: LoadClient, seconds: float) -> Sample:
    """The server is idle at both readings of its CPU time: the client answers when everyone has heard all."""
    before = cpu_seconds(server.pid)
    reply = client.ask(seconds, within=seconds + 3 * EXCHANGE_SECONDS)
    server_cpu = cpu_seconds(server.pid) - before
    return reply | {
        "server_cpu_us_per_delivery": server_cpu / reply["deliveries"] * 1e6,
        "server_cpu_us_per_message": server_cpu / reply["messages"] * 1e6,
        "deliveries_per_second": reply["deliveries"] / reply["seconds"],
        "messages_per_second": reply["messages"] / reply["seconds"],
        "server_cpu_percent": server_cpu / reply["seconds"] * 100,
        "client_cpu_percent": reply["client_cpu_seconds"] / reply["seconds"] * 100,
    }
