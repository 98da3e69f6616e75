"""Plain HTTP."""

import aiohttp
import pytest
from tests.behaviours.world import World, needs
from tests.server.raw import ACCEPT, client_frame, dial, handshake, request

pytestmark = needs("http")


async def test_a_request_and_its_response(world: World) -> None:
    body = bytes(range(256)) * 400
    async with world.serve() as running, aiohttp.ClientSession() as session:
        url = running.server.url("/a%20b?x=%C3%A4&y", "http")
        async with session.post(url, data=body, headers={"X-Test": "seen"}) as response:
            assert response.status == 200
            assert response.headers["x-method"] == "POST"
            assert response.headers["content-length"] == str(len(await response.read()))
            head, _, mirrored = (await response.read()).partition(b"\n")
            assert head.decode() == "POST /a b a b x=%C3%A4&y seen 127.0.0.1"
            assert mirrored == body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_methods(world: World, method: str) -> None:
    async with world.serve() as running, aiohttp.ClientSession() as session:
        url = running.server.url("/a", "http")
        async with session.request(method, url, headers={"X-Test": "seen"}) as response:
            assert (response.status, await response.text()) == (200, f"{method} /a a  seen 127.0.0.1\n")


async def test_head_has_no_body(world: World) -> None:
    async with world.serve() as running, dial(running.port) as raw:
        raw.write(request("HEAD /a HTTP/1.1", [("Host", "a.example"), ("X-Test", "seen")]))
        answer = await raw.answer("HEAD")
        assert (answer.status, answer.get("x-method")) == (200, "HEAD")
        assert answer.get("content-length") == str(len("HEAD /a a  seen 127.0.0.1\n"))
        raw.write(request("GET /a HTTP/1.1", [("Host", "a.example"), ("X-Test", "seen")]))
        assert (await raw.answer()).body == b"GET /a a  seen 127.0.0.1\n"  # nothing stood between


async def test_status_and_headers(world: World) -> None:
    async with world.serve() as running, aiohttp.ClientSession() as session:
        async with session.get(running.server.url("/a?status", "http")) as response:
            assert (response.status, await response.read()) == (418, b"teapot \0\xff")
            assert response.headers.getall("x-one") == ["1", "2"]
        async with session.get(running.server.url("/a?missing", "http")) as response:
            assert (response.status, await response.text()) == (404, "no such page")


@pytest.mark.parametrize("query", ["fail", "wrong"])
async def test_failures(world: World, query: str) -> None:
    async with world.serve() as running, aiohttp.ClientSession() as session:
        async with session.get(running.server.url(f"/a?{query}", "http")) as response:
            assert (response.status, await response.text()) == (500, "Internal Server Error\n")
        async with session.get(running.server.url("/a?missing", "http")) as response:
            assert response.status == 404


@needs("init")
async def test_of_an_actor_that_cannot_start(world: World) -> None:
    async with world.serve() as running, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(running.server.url("/broken", "http")) as response:
                assert (response.status, await response.text()) == (500, "Internal Server Error\n")


@needs("state")
async def test_the_actor_is_the_one_of_the_websockets(world: World) -> None:
    async with world.serve() as running, running.client() as client, aiohttp.ClientSession() as session:
        await client.send("keep 1")
        async with session.get(running.server.url("/a?fail", "http")) as response:
            assert response.status == 500
        assert await client.ask("state") == "1"


@needs("events")
async def test_an_upgrade_by_hand(world: World) -> None:
    async with world.serve() as running, dial(running.port) as raw:
        answer = await raw.upgraded(handshake("GET /by-hand/a?by-hand HTTP/1.1"))
        assert answer.get("sec-websocket-accept") == ACCEPT
        raw.write(client_frame(1, b"echo hello"))
        assert await raw.frame() == (0x81, b"hello")
        raw.write(client_frame(1, b"events"))
        assert await raw.frame() == (0x81, b"connected")


async def test_an_upgrade_that_is_answered_otherwise(world: World) -> None:
    async with world.serve() as running, dial(running.port) as raw:
        raw.write(handshake("GET /by-hand/a?missing HTTP/1.1"))
        assert (await raw.answer())[::2] == (404, b"no such page")
