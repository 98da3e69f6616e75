"""Every scenario there is, in the order of the report."""

from benchmarks.scenarios.base import Budget, Scenario
from benchmarks.scenarios.echo import EchoScenario
from benchmarks.scenarios.handshakes import HandshakeScenario
from benchmarks.scenarios.hostile import HostileScenario
from benchmarks.scenarios.idle_memory import IdleMemoryScenario
from benchmarks.scenarios.instances import InstancesScenario
from benchmarks.scenarios.room import PER_DELIVERY, PER_MESSAGE, RoomScenario
from benchmarks.scenarios.slow_reader import SlowReaderScenario
from benchmarks.scenarios.startup import StartupScenario
from benchmarks.scenarios.stream import StreamScenario
from benchmarks.servers.registry import (
    BATCHING_SERVERS,
    BROADCAST_SERVERS,
    COMPONENT_SERVERS,
    DEFLATE_SERVERS,
)

_ALL: tuple[Scenario, ...] = (
    EchoScenario(
        name="echo",
        title="Echo, 64-byte text, 1 in flight on each of 16 connections",
        kind="text",
        payload_bytes=64,
        in_flight=1,
        budgets=(Budget(1.25, "ratio"),),
    ),
    EchoScenario(
        name="echo-pipelined",
        title="Echo, 64-byte text, 16 in flight on each of 16 connections",
        kind="text",
        payload_bytes=64,
        in_flight=16,
        budgets=(Budget(1.0, "ratio"),),
    ),
    EchoScenario(
        name="echo-16k",
        title="Echo, 16 KiB binary, 1 in flight on each of 16 connections",
        kind="binary",
        payload_bytes=16 * 1024,
        in_flight=1,
    ),
    EchoScenario(
        name="echo-deflate",
        title="Echo, 1 KiB JSON compressed both ways, 1 in flight on each of 16 connections",
        kind="deflate",
        payload_bytes=1024,
        in_flight=1,
        servers=DEFLATE_SERVERS,
        baseline="websockets",
    ),
    EchoScenario(
        name="component-echo",
        title="Echo by sandboxed actors, 64-byte text, 1 in flight on each of 16 connections",
        kind="text",
        payload_bytes=64,
        in_flight=1,
        servers=COMPONENT_SERVERS,
        baseline="theater",
        budgets=(
            Budget(1.8, "ratio", server="theater/zig"),
            Budget(0.5, "ratio", server="theater/zig", to="workerd"),
        ),
    ),
    EchoScenario(
        name="component-binary-1k",
        title="Echo by sandboxed actors, 1 KiB binary, 1 in flight on each of 16 connections",
        kind="binary",
        payload_bytes=1024,
        in_flight=1,
        servers=COMPONENT_SERVERS,
        baseline="theater",
    ),
    EchoScenario(
        name="component-binary-64k",
        title="Echo by sandboxed actors, 64 KiB binary, 1 in flight on each of 16 connections",
        kind="binary",
        payload_bytes=64 * 1024,
        in_flight=1,
        servers=COMPONENT_SERVERS,
        baseline="theater",
    ),
    InstancesScenario(
        name="component-instances",
        title="A connection to an actor of its own: instances of components",
        most_rounds=3,
    ),
    HostileScenario(
        name="component-hostile",
        title="One sandboxed actor beside 200 that misbehave twice a second",
        budgets=(Budget(2.0, "value", server="theater/spin"), Budget(2.0, "value", server="theater/panic")),
        most_rounds=5,
    ),
    RoomScenario(
        name="broadcast",
        title="Broadcast, 64-byte text to 1,000 connections",
        metrics=PER_DELIVERY,
        members=1000,
        speakers=1,
        payload_bytes=64,
        servers=BROADCAST_SERVERS,
        baseline="bare",
        budgets=(Budget(1.15, "ratio"),),
    ),
    RoomScenario(
        name="batching",
        title="A room where all of 32 say 64 bytes at once, in batches and in turns",
        metrics=PER_MESSAGE,
        members=32,
        speakers=32,
        payload_bytes=64,
        servers=BATCHING_SERVERS,
        baseline="theater/turns",
    ),
    SlowReaderScenario(
        name="slow-reader",
        title="100 MiB broadcast to 19 neighbours of a connection that reads nothing",
        budgets=(Budget(2.0, "value"),),
        most_rounds=5,
    ),
    StreamScenario(
        name="stream",
        title="One huge message through an actor, in fragments and as one frame",
        budgets=(Budget(8.0, "value"),),
        most_rounds=3,
    ),
    HandshakeScenario(
        name="handshakes",
        title="Opening a WebSocket, compression offered",
    ),
    IdleMemoryScenario(
        name="idle-memory",
        title="Resident memory per idle connection",
        budgets=(Budget(4.0, "value"),),
        most_rounds=3,
    ),
    IdleMemoryScenario(
        name="idle-memory-deflate",
        title="Resident memory per idle connection, compression agreed on",
        variant="deflate",
        servers=DEFLATE_SERVERS,
        baseline="websockets",
        budgets=(Budget(4.0, "value"),),
        most_rounds=3,
    ),
    IdleMemoryScenario(
        name="idle-memory-deflate-used",
        title="Resident memory per idle connection, after 1 KiB was echoed compressed",
        variant="deflate-used",
        servers=DEFLATE_SERVERS,
        baseline="websockets",
        most_rounds=3,
        most_connections=500,
    ),
    StartupScenario(
        name="startup",
        title="Start-up, from exec to the first HTTP answer",
        budgets=(Budget(400.0, "value"),),
        most_rounds=9,
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
