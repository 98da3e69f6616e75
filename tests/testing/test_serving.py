"""The test kit's servers, with small actors on them."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from theater import Accept, Actor, Address, Connection, Data, Event, Received, Request, Response, Text
from theater.app import bind
from theater.config import Manifest
from theater.contract import Binary, Closed, UpgradeRequest
from theater.errors import ConfigError, ConnectFailed, ConnectionEnded, StartupError
from theater.limits import Limits
from theater.testing import StageConnection, connect, serve, stage


class Echo(Actor):
    """Sends back what it receives."""

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        if isinstance(event, Received):
            return event.message
        return None


class Room(Actor):
    """Tells everyone what is said, and who it is."""

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response:
        if "banned" in request.headers:
            return Response.text("You are banned.\n", 403)
        return Accept(subprotocol=request.subprotocols[0] if request.subprotocols else None)

    def handle_websocket(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Received) and isinstance(event.message, Text):
            self.broadcast(Text(f"{self.address.key}: {event.message.text}"))

    def handle_request(self, request: Request) -> Response:
        return Response.text(f"{len(self.connections)} in {self.address}")


class Asking(Actor):
    """Asks an actor that never answers."""

    async def handle_websocket(self, connection: Connection, event: Event) -> Any:
        if not isinstance(event, Received):
            return None
        try:
            return await self.request("mute", Text("?"))
        except TimeoutError as error:
            return Text(str(error))


class Mute(Actor):
    """Never answers."""

    async def handle_message(self, message: Data, sender: Address) -> Data | None:
        await asyncio.Event().wait()
        return None


async def fetch(url: str) -> tuple[int, str]:
    """Status and body of a plain GET."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


class TestServe:
    async def test_serves_an_actor_on_a_port(self) -> None:
        async with serve(Echo) as server, await connect(server.url()) as client:
            await client.send(Text("hello"))
            assert await client.receive() == Text("hello")

    async def test_gives_urls_of_its_port(self) -> None:
        async with serve(Echo) as server:
            assert server.url() == f"ws://127.0.0.1:{server.port}/"
            assert server.url("/a?b", "http") == f"http://127.0.0.1:{server.port}/a?b"

    async def test_serves_several_servers_at_once(self) -> None:
        async with serve(Echo) as one, serve(Echo) as two:
            assert one.port != two.port

    async def test_leads_each_room_to_its_actor(self) -> None:
        async with (
            serve(Room, path="/rooms/{room}", instance="{room}") as server,
            await connect(server.url("/rooms/a")) as one,
            await connect(server.url("/rooms/a")) as two,
            await connect(server.url("/rooms/b")) as other,
        ):
            await one.send(Text("hi"))
            await other.send(Text("ho"))
            assert await one.receive() == await two.receive() == Text("a: hi")
            assert await other.receive() == Text("b: ho")
            assert await fetch(server.url("/rooms/a", "http")) == (200, "2 in room/a")
            assert [cell.address for cell in server.theater.system] == [
                Address("room", "a"),
                Address("room", "b"),
            ]

    async def test_serves_several_actors_as_the_command_line_names_them(self, tmp_path: Path) -> None:
        file = tmp_path / "upper.py"
        file.write_text(
            "from theater import Actor, Received, Text\n"
            "class Upper(Actor):\n"
            "    def handle_websocket(self, connection, event):\n"
            "        if isinstance(event, Received):\n"
            "            return Text(event.message.text.upper())\n"
        )
        async with (
            serve(f"{file}:Upper", Manifest.of(Room, "/room", "x"), Manifest.of(Echo, "/echo")) as server,
            await connect(server.url("/")) as upper,
            await connect(server.url("/room")) as room,
            await connect(server.url("/echo")) as echo,
        ):
            for client, answer in ((upper, "HI"), (room, "x: hi"), (echo, "hi")):
                await client.send(Text("hi"))
                assert await client.receive() == Text(answer)

    async def test_refuses_what_cannot_be_served(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            async with serve(str(tmp_path / "missing.toml")):
                pytest.fail("it must not start")

    async def test_holds_to_the_limits(self) -> None:
        async with (
            serve(Echo, limits=Limits(max_message=10)) as server,
            await connect(server.url()) as client,
        ):
            await client.send(Text("x" * 11))
            with pytest.raises(ConnectionEnded) as ended:
                await client.receive()
            assert ended.value.code == 1009

    async def test_stops_with_its_block_and_tells_clients(self) -> None:
        async with serve(Echo) as server:
            client = await connect(server.url())
            last = asyncio.create_task(client.receive())
            await settle()
        with pytest.raises(ConnectionEnded) as ended:
            await last
        assert ended.value.code == 1001
        with pytest.raises(ConnectFailed):
            await connect(server.url())

    async def test_stops_when_its_block_raises(self) -> None:
        with pytest.raises(KeyError):
            async with serve(Echo) as server:
                raise KeyError
        with pytest.raises(ConnectFailed):
            await connect(server.url())


class TestStage:
    async def test_serves_an_actor_in_memory(self) -> None:
        async with stage(Echo) as play:
            client = await play.connect()
            await client.send(Text("hello"))
            await client.send(Binary(b"there"))
            assert await client.receive() == Text("hello")
            assert await client.receive() == Binary(b"there")
            await client.close()

    @pytest.mark.parametrize("split", [1, 2, 7])
    async def test_takes_the_bytes_in_any_pieces(self, split: int) -> None:
        async with stage(Echo) as play:
            client = await play.connect(split=split)
            for text in ("", "ä" * 100, "x" * 300):
                await client.send(Text(text))
                assert await client.receive() == Text(text)
            await client.close()

    async def test_leads_each_room_to_its_actor(self) -> None:
        async with stage(Room, path="/rooms/{room}", instance="{room}") as play:
            one, two, other = [await play.connect(f"/rooms/{room}") for room in "aab"]
            await one.send(Text("hi"))
            await other.send(Text("ho"))
            assert await one.receive() == await two.receive() == Text("a: hi")
            assert await other.receive() == Text("b: ho")
            assert len(list(play.theater.system)) == 2
            for client in (one, two, other):
                await client.close()

    async def test_offers_subprotocols_and_sends_headers(self) -> None:
        async with stage(Room) as play:
            client = await play.connect(subprotocols=["chat", "other"])
            assert client.subprotocol == "chat"
            with pytest.raises(ConnectFailed, match="You are banned") as refused:
                await play.connect(headers=[("banned", "yes")])
            assert refused.value.status == 403
            await client.close()

    async def test_refuses_where_nothing_is(self) -> None:
        async with stage(Echo, path="/echo") as play:
            with pytest.raises(ConnectFailed) as refused:
                await play.connect("/elsewhere")
            assert refused.value.status == 404

    async def test_refuses_more_actors_than_allowed(self) -> None:
        async with stage(Echo, path="/{name}", instance="{name}", limits=Limits(max_actors=1)) as play:
            clients = [await play.connect("/a"), await play.connect("/a")]
            with pytest.raises(ConnectFailed) as refused:
                await play.connect("/b")
            assert refused.value.status == 503
            for client in clients:
                await client.close()

    async def test_lets_time_pass_only_when_told(self) -> None:
        # What would come first otherwise; and the mute actor does not end.
        limits = Limits(request_timeout=3600, handler_timeout=7200, ping_interval=7200, drain_timeout=0.01)
        async with stage(Asking, Manifest.of(Mute, "/mute"), limits=limits) as play:
            client = await play.connect()
            await client.send(Text("go"))
            await settle()
            play.clock.advance(3599)
            await settle()
            assert play.theater.system.counters["asking"].messages_out == 0
            play.clock.advance(1)
            assert await client.receive() == Text("'mute' did not answer within 3600 s")
            await client.close()

    async def test_drops_a_client_that_does_not_answer_a_close_when_the_time_is_up(self) -> None:
        class Closing(Actor):
            def handle_websocket(self, connection: Connection, event: Event) -> None:
                if isinstance(event, Received):
                    connection.close(4000)

        async with stage(Closing, limits=Limits(close_timeout=5)) as play:
            client = await play.connect()
            await client.send(Text("go"))
            client.wire.pause_reading()
            await settle()
            play.clock.advance(4.9)
            await settle()
            closing = [client.server_wire.is_closing()]
            play.clock.advance(0.2)
            await settle()
            closing.append(client.server_wire.is_closing())
            assert closing == [False, True]
            assert client.closed is not None

    async def test_does_not_read_from_who_does_not_read(self) -> None:
        class Flood(Actor):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Received):
                    return [Text("x" * 10_000)] * 20
                return None

        limits = Limits(compression=False)
        async with stage(Flood, limits=limits) as play:
            client = await play.connect()
            client.wire.pause_reading()
            await client.send(Text("1"))
            await settle()
            assert client.server_wire.get_write_buffer_size() > limits.send_high_water
            assert not client.server_wire.is_reading()
            client.wire.resume_reading()
            received = [await client.receive() for _ in range(20)]
            assert received == [Text("x" * 10_000)] * 20
            await settle()
            assert client.server_wire.is_reading()
            await client.close()

    async def test_survives_a_reset_of_a_client(self) -> None:
        events: list[Event] = []

        class Noting(Echo):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(event)
                return super().handle_websocket(connection, event)

        async with stage(Noting) as play:
            client, other = await play.connect(), await play.connect()
            client.wire.abort()
            await settle()
            assert events[-1] == Closed(1006)
            await other.send(Text("still here"))
            assert await other.receive() == Text("still here")
            await other.close()

    async def test_stops_with_its_block_and_tells_clients(self) -> None:
        async with stage(Echo) as play:
            client = await play.connect()
            last = asyncio.create_task(client.receive())
            await settle()
        with pytest.raises(ConnectionEnded) as ended:
            await last
        assert ended.value.code == 1001

    async def test_stops_when_its_block_raises(self) -> None:
        clients: list[StageConnection] = []
        receiving: list[asyncio.Task[Data]] = []

        async def play_and_fail() -> None:
            async with stage(Echo) as play:
                clients.append(await play.connect())
                receiving.append(asyncio.create_task(clients[0].receive()))
                await settle()
                raise KeyError

        with pytest.raises(KeyError):
            await play_and_fail()
        await settle()
        try:
            assert clients[0].closed is not None
            assert clients[0].closed.code == 1001
            with pytest.raises(ConnectionEnded):
                await receiving[0]
        finally:
            receiving[0].cancel()

    async def test_reaches_the_actors_themselves(self) -> None:
        async with stage(Room, instance="lobby") as play:
            client = await play.connect()
            cell = play.theater.system.cell(Address("room", "lobby"))
            response = await cell.call("handle_request", Request("GET", "/"))
            assert response.body == b"1 in room/lobby"
            await client.close()


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_port_that_is_taken_is_a_startup_error() -> None:
    async with serve(Echo) as server:
        with pytest.raises(StartupError, match="cannot listen on"):
            bind("127.0.0.1", server.port)
