"""The result for people: a table per scenario, and a loud word about every server that is not in it."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.results import ScenarioResult
from benchmarks.scenarios.base import Budget

VERDICTS = {True: "[green]kept[/]", False: "[bold red]BROKEN[/]", None: "not measured"}


def print_result(console: Console, result: ScenarioResult) -> None:
    scenario = result.scenario
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("server", no_wrap=True)
    ratios = (f"x {scenario.baseline}", "spread") if scenario.baseline else ()
    for label in (*ratios, *(metric.label for metric in scenario.metrics)):
        table.add_column(label, justify="right", no_wrap=True)
    for server, samples in result.samples.items():
        if samples:
            medians = result.medians(server)
            values = [f"{medians[metric.key]:,.{metric.digits}f}" for metric in scenario.metrics]
            table.add_row(server, *(_ratio_cells(result, server) if ratios else ()), *values)
    console.print(f"[bold]{scenario.name}[/]: {scenario.title}")
    console.print(table)
    for budget in scenario.budgets:
        _print_budget(console, result, budget)
    for server, reason in result.left_out.items():
        console.print(f"[bold red]LEFT OUT: {server}[/]: {escape(reason)}")
    console.print()


def _ratio_cells(result: ScenarioResult, server: str) -> tuple[str, str]:
    ratio, spread = result.ratio(server), result.ratio_spread(server)
    if ratio is None or spread is None:
        return "-", "-"
    return f"{ratio:.2f}", "{:.2f}-{:.2f}".format(*spread)


def _print_budget(console: Console, result: ScenarioResult, budget: Budget) -> None:
    scenario = result.scenario
    figure = f"x {budget.to or scenario.baseline}" if budget.of == "ratio" else scenario.metrics[0].label
    measured = result.measured(budget)
    found = "" if measured is None else f" ({measured:.2f})"
    verdict = VERDICTS[result.budget_kept(budget)]
    console.print(f"budget for {budget.server}: {figure} <= {budget.limit:g}: {verdict}{found}")
