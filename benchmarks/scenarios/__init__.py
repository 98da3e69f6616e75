"""Every scenario there is, in the order of the report."""

from benchmarks.scenarios.base import Budget, Scenario
from benchmarks.scenarios.echo import EchoScenario
from benchmarks.scenarios.idle_memory import IdleMemoryScenario
from benchmarks.scenarios.startup import StartupScenario

_ALL: tuple[Scenario, ...] = (
    EchoScenario(
        name="echo",
        title="Echo, 64-byte text, 1 in flight on each of 16 connections",
        kind="text",
        payload_bytes=64,
        in_flight=1,
        budget=Budget(1.25, "ratio"),
    ),
    EchoScenario(
        name="echo-pipelined",
        title="Echo, 64-byte text, 16 in flight on each of 16 connections",
        kind="text",
        payload_bytes=64,
        in_flight=16,
        budget=Budget(1.0, "ratio"),
    ),
    EchoScenario(
        name="echo-16k",
        title="Echo, 16 KiB binary, 1 in flight on each of 16 connections",
        kind="binary",
        payload_bytes=16 * 1024,
        in_flight=1,
    ),
    IdleMemoryScenario(
        name="idle-memory",
        title="Resident memory per idle connection",
        budget=Budget(4.0, "value"),
        most_rounds=3,
    ),
    StartupScenario(
        name="startup",
        title="Start-up, from exec to the first HTTP answer",
        budget=Budget(400.0, "value"),
        most_rounds=9,
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
