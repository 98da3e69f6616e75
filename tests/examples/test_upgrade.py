"""The upgrade example: one handler for plain HTTP and for WebSockets."""

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect

from theater.protocol.handshake import accept_key

ROOT = Path(__file__).parents[2]
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port of a server that runs the example."""
    command = [sys.executable, "-m", "theater", "run", "examples/upgrade", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"Theater \S+ listening on (http://\S+)\n", line)
            assert found, f"the server does not start: it said {line!r}"
            yield urlsplit(found[1]).netloc
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def ask(server: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Sends a request; returns status and body."""
    client = http.client.HTTPConnection(server, timeout=10)
    try:
        client.request(method, "/", headers=headers or {})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


def test_plain_request_is_answered(server: str) -> None:
    status, body = ask(server)
    assert status == 200
    assert body.startswith("Hello.")


def test_method_that_is_not_served_is_refused(server: str) -> None:
    assert ask(server, "POST")[0] == 405


async def test_upgrade_request_opens_a_websocket(server: str) -> None:
    async with connect(f"ws://{server}/") as client:
        assert await client.recv() == "What is your name?"
        await client.send("Ada")
        assert await client.recv() == "Hello, Ada."


async def test_each_connection_is_greeted(server: str) -> None:
    async with connect(f"ws://{server}/") as first, connect(f"ws://{server}/") as second:
        await first.send("Ada")
        await second.send("Grace")
        assert [await first.recv(), await first.recv()] == ["What is your name?", "Hello, Ada."]
        assert [await second.recv(), await second.recv()] == ["What is your name?", "Hello, Grace."]


def test_accept_is_the_one_of_the_rfc(server: str) -> None:
    client = http.client.HTTPConnection(server, timeout=10)
    try:
        handshake = {
            "Connection": "keep-alive, Upgrade",
            "Upgrade": "WebSocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        }
        client.request("GET", "/", headers=handshake)
        response = client.getresponse()
        assert response.status == 101
        assert response.getheader("Sec-WebSocket-Accept") == accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    finally:
        client.close()


def test_handshake_that_is_wrong_is_refused_by_the_host(server: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8"}
    status, body = ask(server, headers=headers | {"Sec-WebSocket-Key": KEY})
    assert status == 426
    assert "must be 13" in body
