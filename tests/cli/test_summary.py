"""What `theater check` says about settings and components; `test_command` has the whole."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.wasm import guests

from theater.cli.summary import options, show, summary
from theater.config import ComponentFile, Manifest
from theater.native.actor import Actor
from theater.runtime.ports import Batch
from theater.server.routing import Pattern, Route
from theater.wasm.component import inspect


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "none"),
        (0, "0"),
        (1_048_576, "1_048_576"),
        (25.0, "25"),
        (0.005, "0.005"),
        (1234567.5, "1_234_567.5"),
        ("close", "close"),
        (("a", "b"), "a, b"),
    ],
)
def test_values(value: object, shown: str) -> None:
    assert show(value) == shown


def test_options_of_a_path() -> None:
    route = Route("websocket-server", Pattern("/"), "x")
    assert options(route) == {}
    route = Route("websocket-server", Pattern("/"), "x", origins=("*",), stream=True)
    assert options(route) == {"origins": ("*",), "messages": "stream"}
    route = Route("websocket-server", Pattern("/"), "x", batch=Batch(5, 0.5), answers={"ping": "pong"})
    assert options(route) == {"batch": "5 messages, 0.5 seconds", "answers": ["ping: pong"]}


def test_manifest_that_sets_only_defaults() -> None:
    routes = (Route("websocket-server", Pattern("/"), "x"),)
    manifest = Manifest("x", Actor, routes, file="f", limits={"max_message": 1_048_576}, route_limits=({},))
    assert list(summary([manifest], {})) == ["f: x", "  websocket-server  /"]


def test_component() -> None:
    file = ComponentFile(Path("built") / "counter.wasm", "thread", ("wasi:io", "wasi:clocks"))
    inspection = inspect(guests.counter())
    granted = replace(inspection, size=12_345, foreign=("wasi:io/poll@0.2.0", "wasi:io/error@0.2.0"))
    assert list(summary([Manifest("x", file, (), file="f")], {"x": granted})) == [
        "f: x",
        "  component         counter.wasm, contract 0.2.0, 12_345 bytes, in a worker thread",
        "                    exports websocket-actor",
        "                    imports state",
        "                    granted wasi:io/poll@0.2.0, wasi:io/error@0.2.0",
    ]
    file = ComponentFile(file.path)
    old = inspect(guests.echo_0_1_0())
    assert list(summary([Manifest("x", file, (), file="f")], {"x": old})) == [
        "f: x",
        f"  component         counter.wasm, contract 0.1.0, {len(guests.echo_0_1_0()):_} bytes",
        "                    exports websocket-actor",
    ]
