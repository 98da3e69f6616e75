"""The echo example, as its clients see it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

ROOT = Path(__file__).parents[2]
MAX_MESSAGE = 16 * 1024 * 1024  # as in the manifest


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that runs the example."""
    command = [sys.executable, "-m", "theater", "run", "examples/echo", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"Theater \S+ listening on http(://\S+)\n", line)
            assert found, f"the server does not start: it said {line!r}"
            yield f"ws{found[1]}/"
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("message", ["", "Hello", "Zoë 愛 🎭", "x" * 200_000, b"", b"\0\xff", b"y" * 200_000])
async def test_message_comes_back_as_it_was(server: str, message: str | bytes) -> None:
    async with connect(server) as client:
        await client.send(message)
        assert await client.recv() == message


async def test_messages_come_back_in_order(server: str) -> None:
    async with connect(server) as client:
        for number in range(100):
            await client.send(str(number))
        assert [await client.recv() for _ in range(100)] == [str(number) for number in range(100)]


async def test_message_in_fragments_comes_back_whole(server: str) -> None:
    async with connect(server) as client:
        await client.send(["Hel", "lo, ", "world"])
        assert await client.recv() == "Hello, world"


async def test_clients_are_apart(server: str) -> None:
    async with connect(server) as first, connect(server) as second:
        await first.send("first")
        await second.send("second")
        assert await first.recv() == "first"
        assert await second.recv() == "second"


async def test_ping_is_answered(server: str) -> None:
    async with connect(server) as client:
        pong = await client.ping(b"payload")
        await pong


async def test_close_is_answered_with_its_code(server: str) -> None:
    async with connect(server) as client:
        await client.close(4001, "enough")
        assert client.close_code == 4001


async def test_message_larger_than_the_manifest_allows_closes(server: str) -> None:
    async with connect(server) as client:
        # The head of a masked frame is enough: the server does not wait for what it announces.
        client.transport.write(b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"mask")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
