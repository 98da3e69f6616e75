"""What has been counted, by actor type; plain integers, since some move with every message."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate


class Histogram:
    """How often values came up to each of some bounds."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound as text, with how many values did not exceed it; the last bound is infinite."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))


class Counters:
    """Totals of one actor type since the process started.

    Attributes:
        connections: connections that were accepted.
        closed: connections that have ended, by close code.
        messages_in: WebSocket messages that arrived, of all kinds.
        messages_out: those that actors sent.
        messages_dropped: those of either that were left out: the client read too slowly, or wrote
            too fast.
        bytes_in, bytes_out: bytes of WebSocket traffic, frame headers included.
        throttled: how often a connection was not read for a while since it exceeded its rate.
        turns: turns that were begun.
        errors: turns that failed.
        ends: instances of components that were ended, by reason.
        round_trips: seconds from a ping of the server's to its pong.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "closed",
        "connections",
        "ends",
        "errors",
        "messages_dropped",
        "messages_in",
        "messages_out",
        "round_trips",
        "throttled",
        "turns",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.closed: Counter[int] = Counter()
        self.messages_in = 0
        self.messages_out = 0
        self.messages_dropped = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.throttled = 0
        self.turns = 0
        self.errors = 0
        self.ends: Counter[str] = Counter()
        self.round_trips = Histogram((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
