"""The command line: choose, measure, print, write."""

import argparse
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks.machine import machine_facts
from benchmarks.report import print_result
from benchmarks.results import ScenarioResult
from benchmarks.runner import run_scenario
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.base import Scenario, Settings

DEFAULT_JSON = Path(__file__).parent / "results" / "latest.json"
FULL = Settings(seconds=0.2, rounds=25, connections=2000, mebibytes=1024)
QUICK = Settings(seconds=0.1, rounds=2, connections=200, mebibytes=32)
FORMAT = 2
SPARE_FILES = 300  # beside the idle connections: the warm-up's, and a process's own

DESCRIPTION = """\
Measure Theater beside other WebSocket servers, on this machine, in one run.

Every server and every load client is a process of its own on 127.0.0.1. A server's cost is what the kernel
says its process has used. Rounds are short and take the servers in turn; a ratio is the median of the ratios
within each round, so it holds still even where the machine does not, and the spread (the middle half of those
ratios) says how still. Compare ratios, not figures of different runs; for precision, ask for more rounds.
"""
EXAMPLES = """\
examples:
  python -m benchmarks                                          everything: twenty minutes or so
  python -m benchmarks --quick                                  a smoke test: does it all run?
  python -m benchmarks --scenarios echo echo-pipelined --servers theater picows --rounds 99
                                                                two servers, closely
  python -m benchmarks --scenarios idle-memory --connections 10000
                                                                a crowd
"""
QUICK_HELP = "change these defaults to {}, and leave out what takes long to build"
SERVERS_HELP = "default all; there are no ratios without the scenario's baseline"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = _settings(parser, options)
    signal.signal(signal.SIGTERM, _leave)
    console = Console()
    load_average = os.getloadavg()
    results = []
    try:
        for name in options.scenarios:
            if result := _run(console, SCENARIOS[name], options, settings):
                print_result(console, result)
                results.append(result)
    except KeyboardInterrupt:
        console.print("[bold red]interrupted: nothing written[/]")
        return 128 + signal.SIGINT
    _write(options.json, machine_facts() | {"load_average_before": load_average}, settings, results)
    console.print(f"written: {options.json}")
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    """On SIGTERM: an exception, so that the children are ended on the way out."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    scenarios = _listing("scenarios", {name: scenario.title for name, scenario in SCENARIOS.items()})
    software: dict[str, str] = {}
    for server in chain.from_iterable(scenario.servers for scenario in SCENARIOS.values()):
        software.setdefault(server.software, server.summary)
    servers = _listing("servers", software)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=DESCRIPTION,
        epilog=f"{scenarios}\n{servers}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scenarios", nargs="+", metavar="NAME", choices=SCENARIOS, default=[*SCENARIOS], help="default all")
    add("--servers", nargs="+", metavar="NAME", choices=software, default=[*software], help=SERVERS_HELP)
    add("--seconds", type=float, help=f"how long a measurement under load lasts; default {FULL.seconds:g}")
    add("--rounds", type=int, help=f"how often every server has its turn; default {FULL.rounds}")
    add("--connections", type=int, help=f"how many idle connections to open; default {FULL.connections}")
    add("--mebibytes", type=int, help=f"how much to stream in a message; default {FULL.mebibytes}")
    add("--quick", action="store_true", help=QUICK_HELP.format(_in_words(QUICK)))
    add("--json", type=Path, default=DEFAULT_JSON, help="default benchmarks/results/latest.json")
    return parser


def _in_words(settings: Settings) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in asdict(settings).items())


def _listing(title: str, entries: Mapping[str, str]) -> str:
    width = max(map(len, entries)) + 2
    return f"{title}:\n" + "".join(f"  {name:<{width}}{text}\n" for name, text in entries.items())


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Settings:
    """The settings chosen. Lets this process and its children open as many files as the system allows."""
    chosen = {name: value for name in asdict(FULL) if (value := getattr(options, name)) is not None}
    if any(value <= 0 for value in chosen.values()):
        parser.error("--seconds, --rounds, --connections and --mebibytes must be more than 0")
    settings = replace(QUICK if options.quick else FULL, **chosen)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    if settings.connections + SPARE_FILES > most_files:
        parser.error(f"--connections: this system allows a process {most_files} open files (ulimit -Hn)")
    return settings


def _run(
    console: Console, scenario: Scenario, options: argparse.Namespace, settings: Settings
) -> ScenarioResult | None:
    """Run a scenario, or nothing if it has none of the servers chosen."""
    chosen = [
        server
        for server in scenario.servers
        if server.software in options.servers and not (options.quick and server.slow)
    ]
    if not chosen:
        return None
    with console.status(scenario.name) as status:
        return run_scenario(scenario, chosen, settings, status.update)


def _write(path: Path, machine: dict[str, object], settings: Settings, results: list[ScenarioResult]) -> None:
    """Everything that was measured, each round's samples included."""
    report = {
        "format": FORMAT,
        "machine": machine,
        "settings": asdict(settings),
        "scenarios": {result.scenario.name: result.as_json() for result in results},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
