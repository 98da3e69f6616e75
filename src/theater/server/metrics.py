"""Pages of the server's own: health and metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from theater.contract import Response
from theater.protocol.deflate import ContextBudget
from theater.runtime.system import ActorSystem

_TOTALS = {
    "theater_connections": ("connections", "WebSocket connections accepted"),
    "theater_messages_received": ("messages_in", "WebSocket messages received"),
    "theater_messages_sent": ("messages_out", "WebSocket messages sent"),
    "theater_bytes_received": ("bytes_in", "Bytes of WebSocket traffic received"),
    "theater_bytes_sent": ("bytes_out", "Bytes of WebSocket traffic sent"),
    "theater_messages_dropped": ("messages_dropped", "Messages left out, of slow readers or fast writers"),
    "theater_throttled": ("throttled", "Times a connection was not read since it exceeded its rate"),
    "theater_turns": ("turns", "Turns begun"),
    "theater_errors": ("errors", "Turns failed"),
}


class Metrics(Collector):
    """Reads the runtime's own counters when it is asked, so that counting costs one addition.

    Every metric has the label `actor`, the name of an actor type, but for those of the whole server.

    Args:
        system: the actors.
        refused: how often connections and requests were refused, by reason.
        budget: of memory for compression.
    """

    def __init__(self, system: ActorSystem, refused: Mapping[str, int], budget: ContextBudget) -> None:
        self._system = system
        self._budget = budget
        self._refused = refused
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield from self._totals()
        yield from self._gauges()
        closed = CounterMetricFamily(
            "theater_closed", "WebSocket connections ended", labels=["actor", "code"]
        )
        round_trips = HistogramMetricFamily(
            "theater_round_trip_seconds", "From a ping of the server's to its pong", labels=["actor"]
        )
        ended = CounterMetricFamily(
            "theater_instances_ended",
            "Instances of components ended by a trap or a limit",
            labels=["actor", "reason"],
        )
        for actor, counters in self._system.counters.items():
            for reason, number in sorted(counters.ends.items()):
                ended.add_metric([actor, reason], number)
            for code, number in sorted(counters.closed.items()):
                closed.add_metric([actor, str(code)], number)
            histogram = counters.round_trips
            round_trips.add_metric([actor], histogram.buckets(), histogram.sum)
        yield closed
        yield ended
        yield round_trips
        refused = CounterMetricFamily(
            "theater_refused", "Connections and requests refused", labels=["reason"]
        )
        for reason, number in self._refused.items():
            refused.add_metric([reason], number)
        yield refused
        yield GaugeMetricFamily(
            "theater_compression_memory_bytes",
            "Memory set aside for compression contexts",
            self._budget.taken,
        )

    def _totals(self) -> Iterator[Metric]:
        for name, (attribute, text) in _TOTALS.items():
            total = CounterMetricFamily(name, text, labels=["actor"])
            for actor, counters in self._system.counters.items():
                total.add_metric([actor], getattr(counters, attribute))
            yield total

    def _gauges(self) -> Iterator[Metric]:
        actors: Counter[str] = Counter()
        open_connections: Counter[str] = Counter()
        queued: Counter[str] = Counter()
        for cell in self._system:
            actors[cell.address.type] += 1
            open_connections[cell.address.type] += len(cell.connections)
            queued[cell.address.type] += cell.queued
        for name, text, values in (
            ("theater_actors", "Actors in memory", actors),
            ("theater_open_connections", "WebSocket connections open now", open_connections),
            ("theater_queue_depth", "Events waiting in mailboxes", queued),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["actor"])
            for actor in self._system.counters:
                gauge.add_metric([actor], values[actor])
            yield gauge

    def page(self) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(200, {"content-type": CONTENT_TYPE_LATEST}, generate_latest(self._registry))
