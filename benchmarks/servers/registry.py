"""Every server there is to compare: how to start it, and how to tell that it cannot be started here.

They are grouped by what they do, since a scenario needs servers that do the same.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.servers.components import component_problem
from benchmarks.servers.node_packages import NODE_FOLDER, node_problem, workerd_binary

THEATER_COMMAND = Path(sys.executable).with_name("theater")
THEATER_FOLDER = Path(__file__).parent / "theater"


@dataclass(frozen=True, slots=True)
class Server:
    """One server, started in the repository's root; it serves on 127.0.0.1 at the port its command names."""

    name: str
    """Unique within a scenario: the software, and behind a slash how it differs from another row of it."""
    summary: str
    command: Callable[[int], list[str]]
    """The command line for a port."""
    problem: Callable[[], str | None]
    """Why it cannot run here, or None. May install what is missing."""
    path: str = "/"
    """Where it takes WebSockets."""
    listens: bool = True
    """False for a command that only runs to its end; it can have a start-up cost, and nothing else."""
    slow: bool = False
    """It takes long to get ready on first use, and is left out with `--quick`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is added to the environment's variables."""

    @property
    def software(self) -> str:
        return self.name.partition("/")[0]


def _python_module(name: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", f"benchmarks.servers.{name}", str(port)]


def _needs(*modules: str) -> Callable[[], str | None]:
    def problem() -> str | None:
        missing = [module for module in modules if find_spec(module) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    return problem


def _theater(*manifests: str) -> Callable[[int], list[str]]:
    paths = [str(THEATER_FOLDER / manifest) for manifest in manifests]
    return lambda port: [str(THEATER_COMMAND), "run", *paths, "--port", str(port)]


def _theater_problem() -> str | None:
    if THEATER_COMMAND.exists():
        return None
    return f"there is no `theater` command next to {Path(sys.executable).name}"


def _component_problem(*names: str) -> Callable[[], str | None]:
    return lambda: next(filter(None, (_theater_problem(), *map(component_problem, names))), None)


def _uvicorn(port: int) -> list[str]:
    options = ["--lifespan", "off", "--ws", "none", "--log-level", "warning", "--no-access-log"]
    app = "benchmarks.servers.uvicorn_plain:app"
    return [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *options]


def _node(script: str) -> Callable[[int], list[str]]:
    return lambda port: ["node", str(NODE_FOLDER / script), str(port)]


def _workerd(config: str) -> Callable[[int], list[str]]:
    path = str(NODE_FOLDER / config)
    return lambda port: [str(workerd_binary()), "serve", path, "--socket-addr", f"http=127.0.0.1:{port}"]


def _workerd_problem() -> str | None:
    return node_problem() or (None if workerd_binary() else "npm has no workerd executable for this platform")


THEATER = Server(
    "theater",
    "a native actor behind `theater run`, with every protection on",
    _theater("echo.toml"),
    _theater_problem,
)
PICOWS = Server(
    "picows",
    "bare picows (Cython) on uvloop: the baseline of most",
    _python_module("picows_echo"),
    _needs("picows", "uvloop"),
)
WEBSOCKETS = Server(
    "websockets",
    "websockets, asyncio server on uvloop",
    _python_module("websockets_echo"),
    _needs("websockets", "uvloop"),
)
AIOHTTP = Server(
    "aiohttp",
    "aiohttp on uvloop",
    _python_module("aiohttp_echo"),
    _needs("aiohttp", "uvloop"),
)
NODE_WS = Server(
    "node-ws",
    "ws 8 on Node.js",
    _node("ws_echo.js"),
    node_problem,
)
WORKERD = Server(
    "workerd",
    "one workerd Durable Object, hibernation API",
    _workerd("workerd_echo.capnp"),
    _workerd_problem,
)

ECHO_SERVERS = (THEATER, PICOWS, WEBSOCKETS, AIOHTTP, NODE_WS, WORKERD)
"""Send every message back."""

DEFLATE_SERVERS = (THEATER, WEBSOCKETS, AIOHTTP, NODE_WS, WORKERD)
"""Those of them that compress for a client that offers it; picows leaves extensions to its user."""

SMALL_ROOM_SERVERS = (
    Server(
        "theater",
        "self.broadcast",
        _theater("room.toml"),
        _theater_problem,
    ),
    Server(
        "picows",
        "a loop that sends to every connection",
        _python_module("picows_broadcast"),
        _needs("picows", "uvloop"),
    ),
    Server(
        "websockets",
        "websockets.broadcast",
        _python_module("websockets_broadcast"),
        _needs("websockets", "uvloop"),
    ),
    Server(
        "node-ws",
        "a loop that sends to every connection",
        _node("ws_broadcast.js"),
        node_problem,
    ),
)
"""Send every message to every connection, its sender included."""

BROADCAST_SERVERS = (
    Server(
        "bare",
        "uvloop alone: writes a ready-made buffer to every socket; the baseline of broadcast",
        _python_module("uvloop_broadcast"),
        _needs("uvloop"),
    ),
    *SMALL_ROOM_SERVERS,
    Server(
        "socket.io",
        "Socket.IO 4 on Node.js, its WebSocket transport: io.emit",
        _node("socketio_broadcast.js"),
        node_problem,
        path="/socket.io/?EIO=4&transport=websocket",
    ),
    Server(
        "workerd",
        "one workerd Durable Object, hibernation API: a loop that sends to every connection",
        _workerd("workerd_broadcast.capnp"),
        _workerd_problem,
    ),
)
"""The same, with those that are of interest only when there are many connections."""

BATCHING_SERVERS = (
    Server("theater", "a room in batches", _theater("batched_room.toml"), _theater_problem),
    Server("theater/turns", "the same room, a turn per message", _theater("room.toml"), _theater_problem),
)
"""Rooms of Theater's, as above."""

STREAM_SERVERS = (
    Server("theater", "takes a message in chunks", _theater("sink.toml"), _theater_problem),
    Server("theater/echo", "sends a message back chunk by chunk", _theater("relay.toml"), _theater_problem),
)
"""Take messages of any size: the first answers with their size, the second with what came."""

NATIVE = Server(
    "theater",
    "the native actor",
    _theater("components/native.toml"),
    _theater_problem,
)
ZIG = Server(
    "theater/zig",
    "a component from Zig",
    _theater("components/zig.toml"),
    _component_problem("zig"),
)
GUEST_SERVERS = (
    NATIVE,
    ZIG,
    Server(
        "theater/javascript",
        "a component from JavaScript: QuickJS inside",
        _theater("components/javascript.toml"),
        _component_problem("javascript"),
        slow=True,
    ),
    Server(
        "theater/python",
        "a component from Python: CPython inside",
        _theater("components/python.toml"),
        _component_problem("python"),
        slow=True,
    ),
)
"""Send every message back, from an actor for all connections at `/`, or one of its own for any other path."""

COMPONENT_SERVERS = (
    *GUEST_SERVERS,
    replace(
        ZIG,
        name="theater/stock",
        summary="the component from Zig, through wasmtime-py's public interface alone",
        environment={"THEATER_STOCK_WASM": "1"},
    ),
    WORKERD,
)
"""Those, and what else runs sandboxed actors, with one for all connections."""

_BESIDE_HOSTILE = replace(
    ZIG,
    command=_theater("components/zig.toml", "components/hostile.toml"),
    problem=_component_problem("zig", "hostile"),
)
HOSTILE_SERVERS = (
    replace(_BESIDE_HOSTILE, name="theater/spin", summary="beside actors that never return"),
    replace(_BESIDE_HOSTILE, name="theater/panic", summary="beside actors that panic"),
)
"""Send every message back at `/`, and have actors that do what they are told at `/hostile/...`."""

STARTUP_SERVERS = (
    THEATER,
    Server(
        "uvicorn",
        "uvicorn (httptools, uvloop) with an empty ASGI app; no WebSocket",
        _uvicorn,
        _needs("uvicorn", "httptools", "uvloop"),
    ),
    Server(
        "python",
        "python -c pass: the interpreter alone; serves nothing",
        lambda _port: [sys.executable, "-c", "pass"],
        lambda: None,
        listens=False,
    ),
)
"""Start."""
