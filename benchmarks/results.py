"""The outcome of a scenario: medians and ratios, made from the samples of its rounds."""

from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.scenarios.base import Budget, Sample, Scenario


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The samples of every server, by round, and why any server is missing or stops early."""

    scenario: Scenario
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def medians(self, server: str) -> Sample:
        """The median over the rounds, for every value of the samples."""
        samples = self.samples[server]
        return {key: median(sample[key] for sample in samples) for key in samples[0]}

    def ratio(self, server: str, to: str | None = None) -> float | None:
        """The median of the per-round ratios to the baseline or another server: a round's servers met the
        same weather."""
        ratios = self._ratios(server, to)
        return median(ratios) if ratios else None

    def ratio_spread(self, server: str) -> tuple[float, float] | None:
        """Between which per-round ratios the middle half of them lie: how far to trust the median."""
        ratios = self._ratios(server)
        return (ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]) if ratios else None

    def _ratios(self, server: str, to: str | None = None) -> list[float]:
        """The per-round ratios, in ascending order."""
        key = self.scenario.metrics[0].key
        others = self.samples.get(to or self.scenario.baseline or "", [])
        rounds = zip(self.samples.get(server, []), others, strict=False)
        return sorted(mine[key] / other[key] for mine, other in rounds)

    def measured(self, budget: Budget) -> float | None:
        """The figure that a budget is for, if it is among the results."""
        if budget.of == "ratio":
            return self.ratio(budget.server, budget.to)
        if not self.samples.get(budget.server):
            return None
        return self.medians(budget.server)[self.scenario.metrics[0].key]

    def budget_kept(self, budget: Budget) -> bool | None:
        """Whether Theater stays within a budget; None without the figure."""
        figure = self.measured(budget)
        return None if figure is None else figure <= budget.limit

    def as_json(self) -> dict[str, object]:
        return {
            "title": self.scenario.title,
            "ratio_of": self.scenario.metrics[0].key,
            "baseline": self.scenario.baseline,
            "budgets": [
                {**asdict(budget), "measured": self.measured(budget), "kept": self.budget_kept(budget)}
                for budget in self.scenario.budgets
            ],
            "servers": {
                server: {
                    "ratio": self.ratio(server),
                    "ratio_spread": self.ratio_spread(server),
                    "median": self.medians(server),
                    "rounds": samples,
                }
                for server, samples in self.samples.items()
                if samples
            },
            "left_out": self.left_out,
        }
