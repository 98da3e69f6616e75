"""The real `theater` command in processes of its own, and a project for it to serve."""

import importlib
import os
import re
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

with warnings.catch_warnings():
    # typer 0.25 uses what click 8.5 deprecates
    warnings.filterwarnings("ignore", category=DeprecationWarning, message="'click")
    importlib.import_module("theater.cli")

COMMAND = [sys.executable, "-m", "theater"]

MANIFEST = """\
name = "parrot"
version = "1.2.3"
python = "parrot.py:Parrot"

[[handlers]]
type = "websocket-server"
path = "/"
"""

ACTOR = '''\
"""An actor that does what it is told."""

import asyncio
import logging
import time

from theater import Accept, Actor, Binary, Close, Connected, Ping, Received, Text


class Parrot(Actor):
    def upgrade_connection(self, request):
        chosen = next(iter(request.subprotocols), None)
        return Accept(subprotocol=chosen)

    async def handle_websocket(self, connection, event):
        match event:
            case Received(Text("peer")):
                return Text(str(connection.peer))
            case Received(Text("version")):
                return Text("one")
            case Received(Text("sleep")):
                print("hangs", flush=True)
                time.sleep(1000)
            case Received(Text("stay")):
                print("hangs", flush=True)
                await asyncio.sleep(1000)
            case Received(Text("raise")):
                raise ValueError("as told")
            case Received(Text("log")):
                logging.getLogger("parrot").info("said %s", "so")
            case Received(Text("evil")):
                return Text("\\x1b]0;owned\\x07\\u202e\\r\\n< not this\\x9b2J")
            case Received(Text("bytes")):
                return Binary(bytes(range(20)))
            case Received(Text("header")):
                return Text(connection.headers.get("x-test") or "none")
            case Received(Text("twice")):
                return Text("first"), Text("second")
            case Received(Text("later")):
                await asyncio.sleep(0.1)
                return Text("at last")
            case Received(Text("silence")):
                return None
            case Received(Text(text)) if text.startswith("close "):
                return Close(int(text.removeprefix("close ")), "as told\\x1b[2J")
            case Received(Text() | Binary() as message):
                return message
        return None
'''


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of the commands: nothing of the user's own is read or written."""
    home = tmp_path / "home"
    home.mkdir()
    changes = {"HOME": str(home), "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    unwanted = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "THEATER_CACHE", "FORCE_COLOR", "NO_COLOR")
    return {name: value for name, value in os.environ.items() if name not in unwanted} | changes


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a manifest and its actor."""
    return make_project(tmp_path / "parrot")


def make_project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "theater.toml").write_text(MANIFEST)
    (folder / "parrot.py").write_text(ACTOR)
    return folder


class Tls(NamedTuple):
    """Files for a server, and what a client trusts."""

    chain: Path
    key: Path
    context: ssl.SSLContext

    @property
    def options(self) -> list[object]:
        return ["--tls-cert", self.chain, "--tls-key", self.key]


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for this machine."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    files = Tls(tmp_path / "chain.pem", tmp_path / "key.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    authority.configure_trust(files.context)
    made.cert_chain_pems[0].write_to_path(files.chain)
    made.private_key_pem.write_to_path(files.key)
    return files


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server for clients to talk to."""
    folder = make_project(tmp_path_factory.mktemp("peer") / "parrot")
    command = [*COMMAND, "run", str(folder), "--port", "0", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        yield f"ws://127.0.0.1:{port}/"
        process.kill()


@pytest.fixture
def theater(
    tmp_path: Path, environment: dict[str, str]
) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Runs `theater` to its end: `theater(*arguments, input=b"")`."""

    def run(*arguments: object, input: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            input=input,
            capture_output=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def serve(
    tmp_path: Path, environment: dict[str, str]
) -> Iterator[Callable[..., tuple["subprocess.Popen[str]", int]]]:
    """Starts `theater run` on a free port, unless the arguments say where: `serve(*arguments)` gives the
    process and the port, which is 0 for a Unix socket.

    Its standard error goes to the file `log` in `tmp_path`.
    """
    processes = []

    def start(*arguments: object) -> tuple["subprocess.Popen[str]", int]:
        where = [] if {"--uds", "--port"} & set(arguments) else ["--port", "0"]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, "run", *map(str, arguments), *where],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"Theater \S+ listening on (?:https?://127\.0\.0\.1:(\d+)|/\S+)\n", line)
        assert found, f"it said {line!r} and {(tmp_path / 'log').read_text()!r}"
        return process, int(found[1] or 0)

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, 9)  # with the child of one that reloads
        process.communicate()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, at most 20 seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it has not come true"
            time.sleep(0.02)

    return wait
