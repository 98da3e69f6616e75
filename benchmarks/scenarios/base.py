"""What a scenario is: something to measure at a server, once per round."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from benchmarks.servers.registry import Server

Sample = dict[str, float]
"""One server in one round: a value per metric, and whatever else is worth keeping in the JSON."""

Measure = Callable[[], Sample]
"""Carry out one round at one server."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure, as chosen on the command line."""

    seconds: float
    """How long one measurement under load sends, in seconds."""
    rounds: int
    connections: int
    """How many idle connections are opened."""
    mebibytes: int
    """How much is streamed in one message; if less than 100, also how much a slow reader misses."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A value of a sample that the table shows."""

    key: str
    label: str
    """The column's head, with the unit."""
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that Theater may need: of the scenario's first metric, or of its ratio to another server."""

    limit: float
    of: Literal["value", "ratio"]
    server: str = "theater"
    """Which of Theater's rows it is for."""
    to: str | None = None
    """The server that the ratio is made to; None for the scenario's baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(ABC):
    """One table of the report. The first metric is the one that ratios are made of; less is better."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    servers: tuple[Server, ...]
    baseline: str | None
    """The server that ratios are made to; None where the figures stand by themselves."""
    budgets: tuple[Budget, ...] = ()
    most_rounds: int | None = None
    """For what varies little: rounds beyond this are left out."""

    @abstractmethod
    def prepare(self, server: Server, settings: Settings) -> AbstractContextManager[Measure]:
        """Get a server ready, warm-up included; the block lasts for all its rounds.

        Every server is prepared before the first round, and rounds take the servers in turn. Raises
        `BenchmarkError` when the server does not do its part; so may the measure.
        """
