"""Runs a scenario: all servers ready first, then round after round through all of them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.errors import BenchmarkError
from benchmarks.results import ScenarioResult
from benchmarks.scenarios.base import Measure, Scenario, Settings
from benchmarks.servers.registry import Server


def run_scenario(
    scenario: Scenario, servers: Sequence[Server], settings: Settings, announce: Callable[[str], None]
) -> ScenarioResult:
    """Measure the servers in turn (A B C A B C ...), so that the machine's drift meets all of them alike.

    A server that cannot be had or that fails is left out from there on, with the reason in the result.
    """
    result = ScenarioResult(scenario)
    with ExitStack() as stack:
        measures: dict[str, Measure] = {}
        for server in servers:
            announce(f"{scenario.name}: preparing {server.name}")
            try:
                if problem := server.problem():
                    raise BenchmarkError(problem)
                measures[server.name] = stack.enter_context(scenario.prepare(server, settings))
                result.samples[server.name] = []
            except BenchmarkError as failure:
                result.left_out[server.name] = str(failure)
        rounds = min(settings.rounds, scenario.most_rounds or settings.rounds)
        for number in range(1, rounds + 1):
            for name, measure in list(measures.items()):
                announce(f"{scenario.name}: round {number} of {rounds}, {name}")
                try:
                    result.samples[name].append(measure())
                except BenchmarkError as failure:
                    result.left_out[name] = f"in round {number}: {failure}"
                    del measures[name]
    return result
