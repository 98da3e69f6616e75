"""The FastAPI example under uvicorn: routes of FastAPI's beside actors of Theater's."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

ROOT = Path(__file__).parents[2]
NOBODY = {"Pizza": 0, "Soup": 0, "Leftovers": 0}


def start() -> tuple["subprocess.Popen[str]", str]:
    """A server that runs the example; its host and port."""
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi.main:app", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"running on http://(\S+)", line)
        if found:
            return process, found[1]
    pytest.fail("the server does not start")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, address = start()
    with process:
        yield address
        process.terminate()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


async def get(server: str, path: str) -> tuple[int, Any]:
    """Sends a request; returns status, and the body read as JSON where it is that."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{server}{path}") as response:
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text())


@asynccontextmanager
async def joined(server: str, question: str = "lunch") -> AsyncIterator[ClientConnection]:
    """A client that has been told the counts."""
    async with connect(f"ws://{server}/live/{question}") as client:
        await client.recv()
        yield client


@pytest.fixture(autouse=True)
async def nobody_there(server: str) -> None:
    """Waits until the clients of the test before have gone."""
    async with asyncio.timeout(20):
        while (await get(server, "/live/lunch"))[1] != NOBODY:  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.01)


async def counts(client: ClientConnection) -> Any:
    return json.loads(await client.recv())


async def test_routes_of_fastapi(server: str) -> None:
    status, questions = await get(server, "/api/questions")
    assert (status, list(questions)) == (200, ["lunch", "spelling"])
    assert await get(server, "/api/questions/lunch") == (200, questions["lunch"])
    assert (await get(server, "/api/questions/none"))[0] == 404
    assert (await get(server, "/openapi.json"))[0] == 200


async def test_page(server: str) -> None:
    status, page = await get(server, "/")
    assert status == 200
    assert "/live/${question}" in page


async def test_hands_go_up_and_down(server: str) -> None:
    async with joined(server) as first, joined(server) as second:
        await first.send("Soup")
        assert await counts(first) == await counts(second) == NOBODY | {"Soup": 1}
        await second.send("Pizza")
        assert await counts(first) == await counts(second) == {"Pizza": 1, "Soup": 1, "Leftovers": 0}
        await second.send("Soup")
        assert await counts(first) == await counts(second) == NOBODY | {"Soup": 2}
        assert await get(server, "/live/lunch") == (200, NOBODY | {"Soup": 2})
        await second.close()
        assert await counts(first) == NOBODY | {"Soup": 1}


async def test_questions_are_apart(server: str) -> None:
    async with joined(server) as lunch, joined(server, "spelling") as spelling:
        await lunch.send("Soup")
        await spelling.send("Theatre")
        assert await counts(spelling) == {"Theater": 0, "Theatre": 1}
        assert await counts(lunch) == NOBODY | {"Soup": 1}


async def test_what_is_no_option_counts_for_nothing(server: str) -> None:
    async with joined(server) as client:
        await client.send("Cake")
        await client.send(b"Soup")
        await client.send("Soup")
        assert await counts(client) == NOBODY | {"Soup": 1}


async def test_question_that_is_not_there(server: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://{server}/live/none")
    response = caught.value.response
    assert (response.status_code, response.body) == (404, b"There is no such question.\n")
    assert await get(server, "/live/none") == (404, "There is no such question.\n")


async def test_pages_of_other_origins_may_not_connect(server: str) -> None:
    async with connect(f"ws://{server}/live/lunch", origin=f"http://{server}"):  # type: ignore[arg-type]
        pass
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://{server}/live/lunch", origin="http://evil.example")  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403


async def test_server_ends_with_connections_open() -> None:
    process, address = start()
    with process:
        try:
            async with joined(address) as client:
                await client.send("Soup")
                await client.recv()
                process.terminate()
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 1012  # uvicorn's
            process.wait(20)
            assert process.stderr is not None
            said = process.stderr.read()
        finally:
            process.kill()
    assert "Application shutdown complete" in said
    assert "Traceback" not in said
