"""The outcome of a scenario: medians and ratios, made from the samples of its rounds."""

from dataclasses import dataclass, field
from statistics import median

from benchmarks.scenarios.base import Sample, Scenario


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

    def ratio(self, server: str) -> float | None:
        """The median of the per-round ratios to the baseline: a round's servers met the same weather."""
        ratios = self._ratios(server)
        return median(ratios) if ratios else None

    def ratio_spread(self, server: str) -> tuple[float, float] | None:
        """Between which per-round ratios the middle half of them lie: how far to trust the median."""
        ratios = self._ratios(server)
        return (ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]) if ratios else None

    def _ratios(self, server: str) -> list[float]:
        """The per-round ratios, in ascending order."""
        key = self.scenario.metrics[0].key
        baselines = self.samples.get(self.scenario.baseline or "", [])
        rounds = zip(self.samples[server], baselines, strict=False)
        return sorted(mine[key] / baseline[key] for mine, baseline in rounds)

    def budget_kept(self) -> bool | None:
        """Whether Theater stays within the scenario's budget; None without a budget or without the figure."""
        budget = self.scenario.budget
        if budget is None or not self.samples.get("theater"):
            return None
        if budget.of == "value":
            return self.medians("theater")[self.scenario.metrics[0].key] <= budget.limit
        ratio = self.ratio("theater")
        return None if ratio is None else ratio <= budget.limit

    def as_json(self) -> dict[str, object]:
        budget = self.scenario.budget
        return {
            "title": self.scenario.title,
            "ratio_of": self.scenario.metrics[0].key,
            "baseline": self.scenario.baseline,
            "budget": budget and {"of": budget.of, "limit": budget.limit, "kept": self.budget_kept()},
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
