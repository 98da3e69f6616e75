"""Start-up: the CPU time from nothing to the first answer."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.accounting import cpu_seconds
from benchmarks.harness.process import running
from benchmarks.harness.server import running_server
from benchmarks.scenarios.base import Measure, Metric, Sample, Scenario, Settings
from benchmarks.servers.registry import STARTUP_SERVERS, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupScenario(Scenario):
    """A fresh process each round, with its byte code compiled and its files in memory already."""

    metrics: tuple[Metric, ...] = (Metric("cpu_ms", "CPU ms"), Metric("wall_ms", "wall ms"))
    servers: tuple[Server, ...] = STARTUP_SERVERS
    baseline: str | None = "python"

    @contextmanager
    def prepare(self, server: Server, settings: Settings) -> Iterator[Measure]:
        measure = _start if server.listens else _run_to_end
        measure(server)  # warm-up
        yield lambda: measure(server)


def _start(server: Server) -> Sample:
    began = time.perf_counter()
    with running_server(server) as target:
        return _sample(target.pid, began)


def _run_to_end(server: Server) -> Sample:
    began = time.perf_counter()
    with running(server.command(0)) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but its account is still open
        return _sample(process.pid, began)


def _sample(pid: int, began: float) -> Sample:
    wall = time.perf_counter() - began
    return {"cpu_ms": cpu_seconds(pid) * 1e3, "wall_ms": wall * 1e3}
