"""Starts the server and the clients, and takes them through their tasks."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import aiohttp
from aiohttp import web

from interop_clients.clients import PROGRAMS, Client, Surroundings
from interop_clients.features import FEATURES, NOTHING, Feature, Seen
from interop_clients.report import FAILED, NONE, OK, Cell, Row
from interop_clients.tap import Tap, Wire

REFEREE: Final = Path(__file__).parent / "referee"
START: Final = 40  # seconds a client has to start, a compiler included
PATIENCE: Final = 15  # seconds for one task
AFTERWARDS: Final = 5  # seconds until the actor has seen the end, too
GOODBYE: Final = 10  # seconds a process has to end

Task = dict[str, str]
Answer = dict[str, str]


class Server(NamedTuple):
    """The referee, behind a relay.

    Attributes:
        tap: the relay.
        url: of the relay, for WebSockets.
        ends: where the actors tell how their connections have ended.
    """

    tap: Tap
    url: str
    ends: str


class Servers(NamedTuple):
    """The referee without TLS and with it."""

    plain: Server
    secure: Server


@asynccontextmanager
async def serving(folder: Path, origin: str, certificate: Path, key: Path) -> AsyncIterator[Servers]:
    """Serves the referee, as a user would.

    Args:
        folder: for its files; to be made.
        origin: of the page for browsers.
        certificate, key: for TLS.
    """
    shutil.copytree(REFEREE, folder)
    manifest = folder / "theater.toml"
    manifest.write_text(manifest.read_text("utf-8").replace("PAGE", origin), "utf-8")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(_theater(folder))
        tap = await stack.enter_async_context(Tap(port).open())
        plain = Server(tap, f"ws://127.0.0.1:{tap.port}", f"http://127.0.0.1:{port}/ends")
        tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
        port = await stack.enter_async_context(_theater(folder, *tls))
        tap = await stack.enter_async_context(Tap(port, tls=True).open())
        secure = Server(tap, f"wss://127.0.0.1:{tap.port}", f"https://127.0.0.1:{port}/ends")
        yield Servers(plain, secure)


@asynccontextmanager
async def _theater(folder: Path, *options: str) -> AsyncIterator[int]:
    """The port of a `theater run`."""
    command = [sys.executable, "-m", "theater", "run", str(folder), "--port", "0", "--log-level", "error"]
    async with _process([*command, *options], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        found = re.search(r":(\d+)$", line.strip())
        if found is None:
            raise SystemExit(f"the server does not start; it said {line!r}")
        yield int(found[1])


@asynccontextmanager
async def _process(command: list[str], **options: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block, and with it all that it has started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        start_new_session=True,
        **options,  # type: ignore[arg-type]
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await process.wait()


class Worker(Protocol):
    """A running client."""

    def give(self, task: Task) -> None:
        """Hands it a task."""

    async def answer(self) -> Answer:
        """Waits for its answer; the first is its version."""


class Program:
    """A client that reads tasks from its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def give(self, task: Task) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task, ensure_ascii=False).encode() + b"\n")

    async def answer(self) -> Answer:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError
        answer: Answer = json.loads(line)
        return answer


class Page:
    """The page that browsers fetch their tasks with.

    Attributes:
        origin: where it is.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.reset()

    def reset(self) -> None:
        """Forgets what another browser has left behind."""
        self._tasks: asyncio.Queue[Task] = asyncio.Queue()
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Page"]:
        application = web.Application()
        application.router.add_get("/next", self._next)
        application.router.add_post("/answer", self._take)
        application.router.add_static("/", PROGRAMS)
        # A browser that has gone must not take the next one's task with it.
        runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def give(self, task: Task) -> None:
        self._tasks.put_nowait(task)

    async def answer(self) -> Answer:
        return await self._answers.get()

    async def _next(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._tasks.get())

    async def _take(self, request: web.Request) -> web.Response:
        self._answers.put_nowait(await request.json())
        return web.Response()


async def try_client(client: Client, around: Surroundings, servers: Servers, page: Page) -> Row:
    """Takes a client through all features that it has an interface for.

    Raises:
        Missing: this machine does not have it.
    """
    version = ""
    cells = {name: Cell(NONE, why) for name, why in client.lacks.items()}
    left = [feature for feature in FEATURES if feature.name not in client.lacks]
    while left:  # more than once if it has to be started again
        async with _started(client, around, page) as worker:
            try:
                async with asyncio.timeout(START):
                    version = (await worker.answer())["version"]
            except (TimeoutError, EOFError):
                return Row(
                    client.name, version, cells | {each.name: Cell(FAILED, "does not start") for each in left}
                )
            alive = True
            while left and alive:
                feature = left.pop(0)
                server = servers.secure if feature.secure else servers.plain
                alive, problem, wire = await _try(worker, feature, server, around, page)
                why = client.fails.get(feature.name, "") if problem else ""
                state = FAILED if problem else OK
                cells[feature.name] = Cell(state, why or problem, str(wire), known=bool(why))
    return Row(client.name, version, cells)


@asynccontextmanager
async def _started(client: Client, around: Surroundings, page: Page) -> AsyncIterator[Worker]:
    command = client.command(around)
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    page.reset()
    streams = (null, null) if client.browser else (pipe, pipe)
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(around.certificate)}
    async with _process(
        command, stdin=streams[0], stdout=streams[1], stderr=null, env=environment
    ) as process:
        yield page if client.browser else Program(process)


async def _try(
    worker: Worker, feature: Feature, server: Server, around: Surroundings, page: Page
) -> tuple[bool, str, Wire]:
    """Whether the client can go on after one feature's task, what is wrong, and what went over the wire."""
    run = secrets.token_hex(8)
    server.tap.wires.clear()
    task = feature.task | {
        "url": f"{server.url}/{feature.path}/{run}",
        "origin": page.origin if "origin" in feature.task else "",
        "ca": str(around.certificate),
    }
    try:
        async with asyncio.timeout(PATIENCE):
            worker.give(NOTHING | task)
            answer = await worker.answer()
    except TimeoutError:
        return False, f"no answer within {PATIENCE} s", _last(server.tap, run)
    except EOFError:
        return False, "the client has ended", _last(server.tap, run)
    ends = await _ends(f"{server.ends}/{run}", wait=feature.opens)
    wire = _last(server.tap, run)
    problem = feature.problem(Seen(answer, wire, ends))
    return True, " ".join(problem.split()), wire


async def _ends(url: str, wait: bool) -> list[tuple[int, str]]:
    """How the connections of a run have ended, as its actor knows it."""
    deadline = time.monotonic() + (AFTERWARDS if wait else 0)
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url, ssl=False) as response:
                ends = [(code, reason) for code, reason in await response.json()]
            if ends or time.monotonic() > deadline:
                return ends
            await asyncio.sleep(0.02)


def _last(tap: Tap, run: str) -> Wire:
    """What the last connection of a run has carried; over TLS, the last connection at all."""
    wires = [wire for wire in tap.wires if run in wire.client.head] or [
        wire for wire in tap.wires if wire.client.start
    ]
    return wires[-1] if wires else Wire(tls=False)
