"""File descriptors run out: nothing dies, clients wait, and one line is logged."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.protocol.wire import TEXT
from tests.server import exhausted
from tests.server.raw import Raw, client_frame, dial, handshake

from theater import Actor
from theater.app import Theater
from theater.config import Manifest
from theater.limits import Limits
from theater.server import descriptors

PAUSED = f"no file descriptors are left of {exhausted.FILES}; new connections wait"


@asynccontextmanager
async def few_files(loop: str, log: Path) -> AsyncIterator[int]:
    """Runs a server that may open few files; gives its port."""
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, exhausted.__file__, loop, stdout=asyncio.subprocess.PIPE, stderr=output
        )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


async def ask(raw: Raw, word: bytes) -> bytes:
    raw.write(client_frame(TEXT, word))
    _, payload = await raw.frame()
    return payload


async def test_accepting_pauses_and_resumes(tmp_path: Path) -> None:
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    log = tmp_path / "log"
    async with few_files(loop, log) as port, dial(port) as raw, AsyncExitStack() as stack:
        await raw.upgraded()
        for _ in range(2):
            assert await ask(raw, b"take") == b"taken"
            await asyncio.sleep(1.1)  # it looks once a second
            waiting = [await stack.enter_async_context(dial(port)) for _ in range(10)]
            for client in waiting:
                client.write(handshake())
            assert await ask(raw, b"hello") == b"hello"
            answers = [asyncio.ensure_future(client.answer()) for client in waiting]
            done, _ = await asyncio.wait(answers, timeout=0.3)
            assert not done
            assert await ask(raw, b"give") == b"given"
            assert {(await answer).status for answer in answers} == {101}
            for client in waiting:
                assert await ask(client, b"hello") == b"hello"
                client.reset()
    assert log.read_text().splitlines() == [PAUSED]


async def test_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 1024)
    assert Theater([Manifest.of(Actor)]).limits.max_connections == 1024 - 128
    limits = Limits(max_connections=1024 - 128)
    assert Theater([Manifest.of(Actor)], limits).admission.limits is limits


@pytest.mark.parametrize(("files", "most"), [(16, 1), (64, 32), (1024, 896), (1 << 20, (1 << 20) - 2048)])
def test_some_descriptors_are_left_to_others(files: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: files)
    assert descriptors.most_connections() == most


async def test_limit_is_raised_as_far_as_it_may() -> None:
    code = """
import resource
from theater.server import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
assert descriptors.limit() == 100
descriptors.raise_limit()
assert descriptors.limit() == hard
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


def test_no_limit_is_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptors.limit() > 1_000_000
