"""Components as actors: restarts, state, other actors, upgrades of the file."""

import asyncio
import logging
from pathlib import Path

import pytest
from msgspec import structs
from tests.wasm import guests
from tests.wasm.served import component

from theater import Actor, Address, Binary, Text
from theater.client import ClientConnection, connect
from theater.config.manifest import Execution
from theater.contract import Data
from theater.errors import ConfigError, ConnectFailed
from theater.limits import Limits
from theater.testing import serve
from theater.wasm.engine import Engine


@pytest.fixture(autouse=True, params=["", "1"], ids=["stacks", "threads"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which components are called."""
    monkeypatch.setenv("THEATER_STOCK_WASM", request.param)


async def ask(client: ClientConnection, text: str) -> object:
    """What a message is answered with."""
    await client.send(Text(text))
    return await client.receive()


@pytest.mark.parametrize("execution", ["loop", "thread"])
async def test_messages_of_all_sizes_come_back(tmp_path: Path, execution: Execution) -> None:
    manifest = component(tmp_path, guests.echo(), execution=execution)
    async with serve(manifest) as server, await connect(server.url()) as client:
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            await client.send(Text("ä" * (size // 2)))
            assert await client.receive() == Text("ä" * (size // 2))
            await client.send(Binary(bytes(range(256)) * (size // 256) + b"x"))
            assert await client.receive() == Binary(bytes(range(256)) * (size // 256) + b"x")


async def test_contract_0_1_0(tmp_path: Path) -> None:
    async with serve(component(tmp_path, guests.echo_0_1_0())) as server:
        async with await connect(server.url()) as client:
            assert await ask(client, "hello") == Text("hello")
            await client.send(Binary(b"\0\xff"))
            assert await client.receive() == Binary(b"\0\xff")


class TestState:
    async def test_outlives_a_trap_and_so_do_connections(self, tmp_path: Path) -> None:
        async with serve(component(tmp_path, guests.counter())) as server:
            async with await connect(server.url()) as client, await connect(server.url()) as other:
                assert await ask(client, "a") == Text("1")
                await client.send(Text("!"))  # counts, and traps
                assert await ask(client, "b") == Text("2")  # what the failed turn has counted is taken back
                assert await ask(other, "c") == Text("3")

    async def test_too_large_is_refused(self, tmp_path: Path) -> None:
        manifest = component(tmp_path, guests.counter(), limits={"max_state": 1})
        async with serve(manifest) as server, await connect(server.url()) as client:
            for number in range(1, 10):
                assert await ask(client, "a") == Text(str(number))
            await client.send(Text("a"))  # 10 is too large; this guest traps then
            await client.send(Text("a"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.receive(), 0.2)


class Answerer(Actor):
    """Answers after a moment; not at all to `late`, wrongly to `!`."""

    async def handle_message(self, message: Data, sender: Address) -> Data | None:
        await asyncio.sleep(0.01)
        if message == Text("!"):
            raise ValueError
        if message == Text("late"):
            await asyncio.sleep(60)
        return None if message == Text("nothing") else Text(f"{sender} sent {message}")


class TestRequest:
    @pytest.mark.parametrize("execution", ["loop", "thread"])
    async def test_waits_for_another_actor(self, tmp_path: Path, execution: Execution) -> None:
        asker = component(tmp_path, guests.asker(), name="asker", path="/asker", execution=execution)
        async with serve(Answerer, asker, limits=Limits(request_timeout=0.8, drain_timeout=0.1)) as server:
            async with await connect(server.url("/asker")) as client:
                assert await ask(client, "x") == Text("asker sent Text(text='x')")
                assert await ask(client, "nothing") == Text("none")
                assert await ask(client, "!") == Text("error 3")
                assert await ask(client, "x") == Text("asker sent Text(text='x')")
                assert await ask(client, "late") == Text("error 4")

    async def test_of_one_component_to_another(self, tmp_path: Path) -> None:
        asker = component(tmp_path, guests.asker(), name="asker", path="/{room}", instance="{room}")
        answerer = component(tmp_path, guests.answerer(), name="answerer", path="/answerer")
        async with serve(asker, answerer) as server:
            async with await connect(server.url("/a")) as a, await connect(server.url("/b")) as b:
                assert await ask(a, "x") == Text("x")
                assert await ask(a, "!") == Text("error 3")
                answers = await asyncio.gather(
                    *[ask(client, str(number)) for number, client in enumerate([a, b])]
                )
                assert answers == [Text("0"), Text("1")]

    async def test_to_nobody(self, tmp_path: Path) -> None:
        asker = component(tmp_path, guests.asker("nobody"), name="asker", path="/")
        async with serve(asker) as server, await connect(server.url()) as client:
            assert await ask(client, "x") == Text("error 1")

    async def test_to_what_is_no_address(self, tmp_path: Path) -> None:
        asker = component(tmp_path, guests.asker("No Name!"), name="asker", path="/")
        async with serve(asker) as server, await connect(server.url()) as client:
            assert await ask(client, "x") == Text("error 0")

    async def test_of_a_turn_that_takes_too_long_is_cancelled(self, tmp_path: Path) -> None:
        asker = component(tmp_path, guests.asker(), name="asker", path="/asker")
        limits = Limits(handler_timeout=0.1, request_timeout=30.0, drain_timeout=0.1)
        async with serve(Answerer, asker, limits=limits) as server:
            async with await connect(server.url("/asker")) as client:
                await client.send(Text("late"))
                await asyncio.sleep(0.2)
                assert await ask(client, "nothing") in (Text("error 2"), Text("error 3"), Text("none"))


async def test_instances_are_made_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[Engine] = []
    pace = Engine.pace

    async def count(engine: Engine) -> None:
        turns.append(engine)
        await pace(engine)

    monkeypatch.setattr(Engine, "pace", count)
    async with serve(component(tmp_path, guests.echo())) as server, await connect(server.url()) as client:
        assert await ask(client, "a") == Text("a")
        assert turns


class TestMemory:
    @pytest.fixture(autouse=True)
    def one_way(self, way: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a component is run as a whole, nobody can tell what it uses."""
        monkeypatch.setenv("THEATER_STOCK_WASM", "")

    async def test_one_that_has_used_it_up_is_replaced_before_it_fails(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        manifest = component(tmp_path, guests.growing(), limits={"max_memory": 16 * 65_536})
        async with serve(manifest) as server, await connect(server.url()) as client:
            assert await ask(client, "a") == Text("1")
            assert await ask(client, "n") == Text("2")  # 14 pages
            assert await ask(client, "b") == Text("3")
            assert await ask(client, "a") == Text("1")
        assert [each.message for each in caplog.records if each.levelno >= logging.WARNING] == [
            "guest has used up nearly all its memory (max_memory): a new instance takes over"
        ]

    async def test_a_message_that_is_arriving_comes_first(self, tmp_path: Path) -> None:
        manifest = component(tmp_path, guests.growing(), limits={"max_memory": 16 * 65_536})
        (route,) = manifest.routes
        manifest = structs.replace(manifest, routes=(structs.replace(route, stream=True),))
        async with serve(manifest) as server, await connect(server.url()) as client:
            for number in (1, 2, 3):  # after the second it is full
                await client.send_chunk("x", last=False)
                assert await client.receive() == Text(str(number))
            await client.send_chunk("", last=True)
            assert await client.receive() == Text("4")
            await client.send_chunk("x", last=False)
            assert await client.receive() == Text("1")

    async def test_what_its_init_takes_is_what_it_needs(self, tmp_path: Path) -> None:
        manifest = component(tmp_path, guests.growing(at_first=14), limits={"max_memory": 16 * 65_536})
        async with serve(manifest) as server, await connect(server.url()) as client:
            assert await ask(client, "a") == Text("1")
            assert await ask(client, "a") == Text("2")
            assert await ask(client, "b") == Text("3")
            assert await ask(client, "a") == Text("1")


class TestReload:
    async def test_a_changed_file_takes_over_between_turns(self, tmp_path: Path) -> None:
        manifest = component(tmp_path, guests.counter())
        async with serve(manifest) as server, await connect(server.url()) as client:
            assert await ask(client, "a") == Text("1")
            component(tmp_path, guests.echo())
            await server.theater.reload()
            assert await ask(client, "a") == Text("a")
            component(tmp_path, guests.counter())
            await server.theater.reload()
            assert await ask(client, "a") == Text("2")

    async def test_one_that_is_no_good_leaves_the_old_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        manifest = component(tmp_path, guests.echo())
        async with serve(manifest) as server, await connect(server.url()) as client:
            for wasm, problem in (
                (b"no component", "is no WebAssembly file"),
                (guests.echo()[:-10], "is no valid component"),
                (guests.echo_0_1_0(), "is built for version 0.1.0 of the contract"),
                (guests.answerer(), "does not export websocket-actor any more"),
            ):
                component(tmp_path, wasm)
                await server.theater.reload()
                assert f"stays as it was: {tmp_path / 'guest.wasm'} {problem}" in caplog.text
                assert await ask(client, "a") == Text("a")

    async def test_an_unchanged_file_is_left_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serve(component(tmp_path, guests.echo())) as server:
            await server.theater.reload()
        assert "replaced" not in caplog.text


async def test_closed_comes_once_and_finds_the_connection_still_there(tmp_path: Path) -> None:
    async with serve(component(tmp_path, guests.counter())) as server:
        async with await connect(server.url()) as client:
            assert await ask(client, "a") == Text("1")
        async with await connect(server.url()) as client:
            assert await ask(client, "a") == Text("2")


async def test_there_are_no_more_instances_than_allowed(tmp_path: Path) -> None:
    manifest = component(tmp_path, guests.echo(), path="/{room}", instance="{room}")
    async with (
        serve(manifest, limits=Limits(max_instances=3)) as server,
        await connect(server.url("/a")) as a,
        await connect(server.url("/b")) as b,
        await connect(server.url("/c")) as c,
    ):
        with pytest.raises(ConnectFailed, match="50"):
            await connect(server.url("/d"))
        assert [await ask(each, "x") for each in (a, b, c)] == [Text("x")] * 3


async def test_handlers_that_lead_to_nothing_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"handlers\[1\].*does not export http-actor"):
        async with serve(component(tmp_path, guests.echo(), http=True)):
            pass
