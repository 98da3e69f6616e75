"""Pages of the server's own: health and metrics."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from theater.contract import Response
from theater.runtime.system import ActorSystem

_TOTALS = {
    "theater_connections": ("connections", "WebSocket connections accepted"),
    "theater_messages_received": ("messages_in", "WebSocket messages received"),
    "theater_messages_sent": ("messages_out", "WebSocket messages sent"),
    "theater_bytes_received": ("bytes_in", "Bytes of WebSocket traffic received"),
    "theater_bytes_sent": ("bytes_out", "Bytes of WebSocket traffic sent"),
    "theater_turns": ("turns", "Turns begun"),
    "theater_errors": ("errors", "Turns failed"),
}


class Metrics(Collector):
    """Reads the runtime's own counters when it is asked, so that counting costs one addition.

    Every metric has the label `actor`, the name of an actor type.

    Args:
        system: the actors.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name, (attribute, text) in _TOTALS.items():
            total = CounterMetricFamily(name, text, labels=["actor"])
            for actor, counters in self._system.counters.items():
                total.add_metric([actor], getattr(counters, attribute))
            yield total
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
