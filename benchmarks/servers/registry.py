"""Every server there is to compare: how to start it, and how to tell that it cannot be started here."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.servers.node_packages import NODE_FOLDER, node_problem, workerd_binary

REPOSITORY = Path(__file__).parents[2]
THEATER_COMMAND = Path(sys.executable).with_name("theater")
ECHO_EXAMPLE = REPOSITORY / "examples" / "echo"


@dataclass(frozen=True, slots=True)
class Server:
    """One server, started in the repository's root; it serves on 127.0.0.1 at the port its command names."""

    name: str
    summary: str
    command: Callable[[int], list[str]]
    """The command line for a port."""
    problem: Callable[[], str | None]
    """Why it cannot run here, or None. May install what is missing."""
    listens: bool = True
    """False for a command that only runs to its end; it can have a start-up cost, and nothing else."""


def _python_module(name: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", f"benchmarks.servers.{name}", str(port)]


def _needs(*modules: str) -> Callable[[], str | None]:
    def problem() -> str | None:
        missing = [module for module in modules if find_spec(module) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    return problem


def _theater_problem() -> str | None:
    if not THEATER_COMMAND.exists():
        return f"there is no `theater` command next to {Path(sys.executable).name}"
    return None if ECHO_EXAMPLE.exists() else "there is no examples/echo"


def _uvicorn(port: int) -> list[str]:
    options = ["--lifespan", "off", "--ws", "none", "--log-level", "warning", "--no-access-log"]
    app = "benchmarks.servers.uvicorn_plain:app"
    return [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *options]


def _workerd(port: int) -> list[str]:
    config = str(NODE_FOLDER / "workerd_echo.capnp")
    return [str(workerd_binary()), "serve", config, "--socket-addr", f"http=127.0.0.1:{port}"]


def _workerd_problem() -> str | None:
    return node_problem() or (None if workerd_binary() else "npm has no workerd executable for this platform")


SERVERS = {
    server.name: server
    for server in (
        Server(
            "theater",
            "theater run examples/echo: a native actor with every protection on",
            lambda port: [str(THEATER_COMMAND), "run", str(ECHO_EXAMPLE), "--port", str(port)],
            _theater_problem,
        ),
        Server(
            "picows",
            "bare picows (Cython) on uvloop: the baseline",
            _python_module("picows_echo"),
            _needs("picows", "uvloop"),
        ),
        Server(
            "websockets",
            "websockets, asyncio server on uvloop",
            _python_module("websockets_echo"),
            _needs("websockets", "uvloop"),
        ),
        Server(
            "aiohttp",
            "aiohttp on uvloop",
            _python_module("aiohttp_echo"),
            _needs("aiohttp", "uvloop"),
        ),
        Server(
            "node-ws",
            "ws 8 on Node.js",
            lambda port: ["node", str(NODE_FOLDER / "ws_echo.js"), str(port)],
            node_problem,
        ),
        Server(
            "workerd",
            "one workerd Durable Object, hibernation API",
            _workerd,
            _workerd_problem,
        ),
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
}

ECHO_SERVERS = ("theater", "picows", "websockets", "aiohttp", "node-ws", "workerd")
"""The servers that echo WebSocket messages at the path `/`."""
