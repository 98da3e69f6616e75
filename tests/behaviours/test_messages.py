"""Messages and replies."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.behaviours.world import Running, World, needs
from tests.server.raw import Raw, client_frame, handshake

from theater import Binary, Ping, Pong, Text
from theater.config.manifest import Execution
from theater.config.settings import Settings
from theater.errors import ConnectionEnded

TEXTS = [
    "a",
    "ä€😀\U0010ffff",
    '\0\n\r\t"\\',
    "\ufeffbegins with a BOM",
    "\u2028\u2029",
    "e\u0301",
    " two  spaces ",
]
FLOODS = 5


async def test_texts_come_back(world: World) -> None:
    async with world.client() as client:
        assert await client.ask("") == ""
        for text in (*TEXTS, "x" * 125, "x" * 126, "ä😀" * 40_000):
            assert await client.ask(f"echo {text}") == text


@pytest.mark.parametrize("execution", ["loop", "thread"])
async def test_bytes_come_back(world: World, execution: Execution) -> None:
    async with world.serve(execution=execution) as running, running.client() as client:
        for data in (b"", b"\0", bytes(range(256)), bytes(range(256)) * 4000 + b"x"):
            assert await client.ask_bytes(data) == data


async def test_many_at_once_are_answered_in_order(world: World) -> None:
    async with world.client() as client:
        for number in range(200):
            await client.send(f"echo {number}")
        assert [await client.next() for _ in range(200)] == [str(number) for number in range(200)]


async def test_several_replies(world: World) -> None:
    async with world.client() as client:
        await client.send("several")
        assert [await client.next() for _ in range(3)] == ["one", b"\2", "three"]


async def test_no_reply(world: World) -> None:
    async with world.client() as client:
        await client.send("nothing")
        assert await client.ask("echo next") == "next"


@needs("sends", "broadcasts")
async def test_what_is_returned_leaves_behind_what_is_sent(world: World) -> None:
    async with world.client() as client:
        await client.send("order")
        expected = ["sent first", "to all", "sent last", "returned first", "returned last"]
        assert [await client.next() for _ in range(5)] == expected


@needs("waiting")
async def test_what_is_sent_at_once_leaves_first(world: World) -> None:
    async with world.client() as client:
        await client.send("at-once")
        assert [await client.next() for _ in range(3)] == ["at once", "sent", "returned"]


@needs("pings")
class TestPings:
    async def test_of_the_client_are_events(self, world: World) -> None:
        async with world.client() as client:
            assert await client.connection.ping(b"\0\xff") >= 0  # the host has answered
            await client.connection.send(Pong(b"unasked"))
            await client.connection.send(Ping())
            assert (await client.events(lambda found: len(found) > 3))[1:] == [
                "ping 00ff",
                f"pong {b'unasked'.hex()}",
                "ping ",
            ]

    async def test_of_the_actor_are_answered(self, world: World) -> None:
        async with world.client() as client:
            await client.send("ping 125")
            found = await client.events(lambda found: len(found) > 1)
            assert found[1] == f"pong {'01' * 125}"

    async def test_that_are_too_long_fail(self, world: World) -> None:
        async with world.client() as client:
            assert (await client.ask("attempt pong 126")).startswith("refused: ")
            await client.send("ping 126")  # what is returned fails when the handler has returned
            assert (await client.events(lambda found: len(found) > 1))[1].startswith("error ")
            assert await client.ask("pong 125") == "sent"


@needs("closing")
class TestClosing:
    @pytest.mark.parametrize("command", ["close", "return-close"])
    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (3000, "so it is ä😀"), (4999, "x" * 123)])
    async def test_with_code_and_reason(self, world: World, command: str, code: int, reason: str) -> None:
        async with world.client() as client:
            assert await client.ask(f"{command} {code} {reason}") == "goodbye"
            with pytest.raises(ConnectionEnded) as ended:
                await client.next()
            assert (ended.value.code, ended.value.reason) == (code, reason)

    @pytest.mark.parametrize(
        "wrong", ["0", "999", "1005", "1006", "1015", "2999", "5000", "1000 " + "x" * 124]
    )
    async def test_that_may_not_be_is_refused(self, world: World, wrong: str) -> None:
        async with world.client() as client:
            assert (await client.ask(f"attempt close {wrong}")).startswith("refused: ")
            await client.send(f"return-close {wrong}")  # fails, and so the goodbye does not leave
            assert await client.ask("echo still here") == "still here"

    @needs("events")
    async def test_by_the_actor_is_an_event(self, world: World) -> None:
        async with world.serve() as running:
            async with running.client() as client:
                assert await client.ask("close 4001 so it is") == "goodbye"
                with pytest.raises(ConnectionEnded):
                    await client.next()
            async with running.client() as client:
                events = await client.events(lambda found: len(found) > 3)
        # the reason is that of the client's close frame, which has none (RFC 6455 §7.1.6)
        assert events == ["connected", "closed 4001 ", "left /a not open  null", "connected"]


@needs("events")
class TestClosed:
    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "ä😀")])
    async def test_by_the_client(self, world: World, code: int, reason: str) -> None:
        async with world.serve() as running, running.client() as watcher:
            async with running.client() as client:
                await client.send("tag b,a")
                await client.send('attach {"a":[1,"ä😀",null]}')
                assert await client.ask("tags") == "a,b"
                await client.connection.close(code, reason)
            events = await watcher.events(lambda found: len(found) > 3)
            assert events == [
                "connected",
                "connected",
                f"closed {code} {reason}",
                'left /a not open a,b {"a":[1,"ä😀",null]}',
            ]

    async def test_without_a_handshake(self, world: World) -> None:
        async with world.serve() as running, running.client() as watcher:
            async with running.client() as client:
                assert await client.ask("echo here") == "here"
                client.connection.abort()
            events = await watcher.events(lambda found: len(found) > 3)
            assert events[2:] == ["closed 1006 ", "left /a not open  null"]


@needs("broadcasts")
class TestBroadcast:
    async def test_to_all(self, world: World) -> None:
        async with world.serve() as running, running.client() as one, running.client() as other:
            await one.send("broadcast ä😀")
            assert [await one.next(), await other.next()] == ["ä😀", "ä😀"]

    async def test_to_others(self, world: World) -> None:
        async with world.serve() as running, running.client() as one, running.client() as other:
            await one.send("tell-others hello")
            assert await other.next() == "hello"
            assert await one.ask("echo next") == "next"

    async def test_not_to_other_actors(self, world: World) -> None:
        async with world.serve() as running, running.client("/a") as one, running.client("/b") as other:
            await one.send("broadcast hello")
            assert await one.next() == "hello"
            assert await other.ask("echo next") == "next"

    @needs("tags")
    async def test_to_those_with_a_tag(self, world: World) -> None:
        async with world.serve() as running, running.client() as one, running.client() as other:
            await other.send("tag red,blue")
            assert await other.ask("tags") == "blue,red"
            await one.send("tell-tagged red hello")
            assert await other.next() == "hello"
            await one.send("tell-tagged green hello")
            assert [await each.ask("echo next") for each in (one, other)] == ["next", "next"]


@needs("facts")
async def test_connections_are_found_by_id(world: World) -> None:
    async with world.serve() as running, running.client() as one, running.client() as other:
        ids = [await one.ask("id"), await other.ask("id")]
        assert (await one.ask("ids")).split(",") == ids
        await one.send(f"tell-one {ids[1]} hello")
        assert await other.next() == "hello"
        await other.connection.close()
        while await one.ask("ids") != ids[0]:  # noqa: ASYNC110  # there is nothing to wait on
            await asyncio.sleep(0.01)


@needs("waiting", "events")
class TestAClientThatReadsSlowly:
    async def test_is_told_of(self, world: World) -> None:
        settings = {"max_send_queue": 128 * 1024 * 1024, "send_high_water": 4096, "send_low_water": 1024}
        async with world.serve(settings=settings) as running, running.client() as watcher:
            async with slow_reader(running) as client:
                for _ in range(FLOODS):  # while it does not read, it is not read from
                    client.write(client_frame(1, b"flood 8 250000"))
                await watcher.events(lambda found: "congested" in found)
                await flooded(client)
                await watcher.events(lambda found: "drained" in found)
                client.write(client_frame(1, b"drained"))
                assert await client.frame() == (0x81, b"drained")
                client.write(client_frame(1, b"waiting"))
                assert await client.frame() == (0x81, b"0")

    async def test_keeps_the_latest(self, world: World) -> None:
        settings: Settings = {"max_send_queue": 128 * 1024 * 1024, "slow_reader": "keep-latest"}
        async with world.serve(settings=settings) as running, running.client() as watcher:
            async with slow_reader(running) as client:
                client.write(client_frame(1, b"id"))
                _, number = await client.frame()
                for _ in range(FLOODS):
                    client.write(client_frame(1, b"flood 8 250000"))
                await watcher.events(lambda found: "congested" in found)
                assert await watcher.ask(f"tell-keyed {number.decode()}") == "told"
                received = [await client.frame()]
                while received[-1][0] != 0x81:
                    received.append(await client.frame())
                assert received[-1] == (0x81, b"all 2")
                assert await client.frame() == (0x81, b"one 2")


@asynccontextmanager
async def slow_reader(running: Running) -> AsyncIterator[Raw]:
    """A client that reads when it is told to, for which the system keeps little."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.connect(("127.0.0.1", running.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        client = Raw(reader, writer)
        await client.upgraded(handshake("GET /a HTTP/1.1"))
        yield client
        writer.transport.abort()


async def flooded(client: Raw) -> None:
    """Reads what it is flooded with."""
    sizes = [len((await client.frame())[1]) for _ in range(8 * FLOODS)]
    assert sizes == [250_000] * 8 * FLOODS


async def test_other_clients_are_served_meanwhile(world: World) -> None:
    async with world.serve() as running, running.client("/a") as one, running.client("/b") as other:
        await one.connection.send(Binary(bytes(1_000_000)))
        await other.connection.send(Text(""))
        assert await other.next() == ""
        assert await one.next() == bytes(1_000_000)
