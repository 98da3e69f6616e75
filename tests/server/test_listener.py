"""Listening, and ending in good order."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import pytest
from tests.protocol.wire import CLOSE, TEXT
from tests.server.raw import Raw, client_frame, dial, handshake, request, until

from theater import (
    Accept,
    Actor,
    Closed,
    Connection,
    Event,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.app import Theater, bind
from theater.config import Manifest
from theater.errors import Reason
from theater.limits import Limits
from theater.server.listener import groups
from theater.testing import Server

pytestmark = pytest.mark.usefixtures("quiet")


class House(Actor):
    """Waits on request, in every kind of handler, until `go` is set."""

    go: asyncio.Event
    log: list[object]

    async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        if request.query.get("wait"):
            self.log.append("deciding")
            await self.go.wait()
        return Accept()

    async def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        if isinstance(event, Closed):
            self.log.append(event)
        if event == Received(Text("wait")):
            self.log.append("in a turn")
            await self.go.wait()
            self.log.append("turn done")
            return Text("done")
        return None

    async def handle_request(self, request: Request) -> Response:
        self.log.append("answering")
        await self.go.wait()
        return Response.text("answered\n")


Run = Callable[[Server, type[House]], Awaitable[None]]


async def run(body: Run, limits: Limits) -> type[House]:
    """Runs a test's body with a server that the body stops."""
    house: type[House] = type("House", (House,), {"go": asyncio.Event(), "log": []})
    theater = Theater([Manifest.of(house, "/")], limits)
    sock = bind("127.0.0.1", 0)
    await theater.start(sock)
    try:
        await body(Server(theater, sock.getsockname()[1]), house)
    finally:
        house.go.set()
        await theater.stop()
    return house


async def refused(port: int) -> bool:
    try:
        async with dial(port):
            return False
    except ConnectionRefusedError:
        return True


async def test_stop_says_goodbye_and_waits_for_the_answer() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw, dial(server.port) as idle:
            await raw.upgraded()
            stopping = asyncio.ensure_future(server.theater.stop())
            assert await raw.frame() == (0x88, b"\x03\xe9")
            assert await refused(server.port)
            assert not stopping.done()
            raw.write(client_frame(CLOSE, b"\x03\xe9"))
            assert await raw.rest() == b""
            assert await idle.rest() == b""
            await stopping
        assert house.log == [Closed(1001)]

    await run(body, Limits(drain_timeout=30))


async def test_who_is_still_connected_is_told_that_the_server_stops() -> None:
    """Load balancers keep connections open for their questions."""

    async def body(server: Server, house: type[House]) -> None:
        async with (
            dial(server.port) as websocket,
            dial(server.port) as balancer,
            dial(server.port) as late,
            dial(server.port) as silent,
        ):
            await websocket.upgraded()
            health = request("GET /_theater/health HTTP/1.1", [("Host", "x")])
            balancer.write(health)
            answer = await balancer.answer()
            assert (answer.status, answer.body, answer.get("connection")) == (200, b'{"status": "ok"}', None)
            stopping = asyncio.ensure_future(server.theater.stop())
            assert await websocket.frame() == (0x88, b"\x03\xe9")
            balancer.write(health)
            answer = await balancer.answer()
            assert (answer.status, answer.body) == (503, b'{"status": "draining"}')
            assert answer.get("connection") == "close"
            assert await balancer.rest() == b""
            late.write(handshake())
            answer = await late.answer()
            assert (answer.status, answer.get("connection")) == (503, "close")
            assert answer.get("retry-after") is not None
            websocket.write(client_frame(CLOSE, b"\x03\xe9"))
            assert await silent.rest() == b""
            await stopping

    await run(body, Limits(drain_timeout=30))


@pytest.mark.parametrize(
    ("number", "window", "sizes"),
    [
        (0, 2.0, []),
        (1, 2.0, [1]),
        (100, 2.0, [100]),
        (101, 0.0, [101]),
        (101, 0.02, [101]),
        (101, 0.2, [26, 26, 26, 23]),
        (120, 2.0, [3] * 40),
        (10_000, 0.5, [1000] * 10),
    ],
)
def test_many_connections_are_closed_in_even_groups(number: int, window: float, sizes: list[int]) -> None:
    found = list(groups(range(number), window))
    assert [len(group) for group in found] == sizes
    assert [each for group in found for each in group] == list(range(number))


async def test_every_one_of_many_connections_is_closed() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(dial(server.port)) for _ in range(150)]
            await asyncio.gather(*[client.upgraded() for client in clients])
            stopping = asyncio.ensure_future(server.theater.stop())
            clients[0].reset()
            await until(lambda: len(server.theater._hub.open) < 150)
            for client in clients[1:]:
                assert await client.frame() == (0x88, b"\x03\xe9")
                client.write(client_frame(CLOSE, b"\x03\xe9"))
            await stopping
        assert house.log.count(Closed(1001)) >= 149
        assert len(house.log) == 150

    await run(body, Limits(drain_window=0.2, drain_timeout=30))


async def test_a_long_end_says_how_many_are_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            await raw.upgraded()
            stopping = asyncio.ensure_future(server.theater.stop())
            await until(lambda: "connections left: 1" in caplog.messages)
            raw.reset()
            await stopping

    await run(body, Limits(drain_timeout=30))
    assert caplog.messages.count("connections left: 1") == 1


async def test_stop_can_give_another_reason() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            await raw.upgraded()
            stopping = asyncio.ensure_future(server.theater.stop(Reason.OVERLOADED))
            assert await raw.frame() == (0x88, b"\x03\xf5")
            raw.reset()
            await stopping

    await run(body, Limits(drain_timeout=30))


async def test_stop_waits_for_requests_and_turns() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as http, dial(server.port) as raw:
            await raw.upgraded()
            raw.write(client_frame(TEXT, b"wait"))
            await until(lambda: "in a turn" in house.log)
            http.write(request(fields=[("Host", "x")]))
            await until(lambda: any(cell.queued for cell in server.theater.system))
            stopping = asyncio.ensure_future(server.theater.stop())
            assert await raw.frame() == (0x88, b"\x03\xe9")
            raw.write(client_frame(CLOSE, b"\x03\xe9"))
            assert await raw.rest() == b""
            assert not stopping.done()
            house.go.set()
            answer = await http.answer()
            assert (answer.body, answer.get("connection")) == (b"answered\n", "close")
            assert await http.rest() == b""
            await stopping
        assert house.log[:2] == ["in a turn", "turn done"]
        assert house.log.count(Closed(1001)) == 1

    await run(body, Limits(drain_timeout=30))


@pytest.mark.parametrize("busy", [False, True])
async def test_stop_is_bounded(busy: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            await raw.upgraded()
            if busy:
                raw.write(client_frame(TEXT, b"wait"))
                await until(lambda: "in a turn" in house.log)
            async with asyncio.timeout(5):
                await server.theater.stop()
            assert await raw.rest() == b"\x88\x02\x03\xe9"
        assert not server.theater._hub.open or busy
        await until(lambda: not server.theater._hub.open)

    await run(body, Limits(drain_timeout=0.05))
    assert any(re.search(r"dropped|did not end|not everything ended", r.getMessage()) for r in caplog.records)


async def test_stop_ends_at_once_when_it_is_cancelled() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw, dial(server.port) as http:
            await raw.upgraded()
            http.write(request(fields=[("Host", "x")]))
            await until(lambda: "answering" in house.log)
            stopping = asyncio.ensure_future(server.theater.stop())
            assert await raw.frame() == (0x88, b"\x03\xe9")
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(5):
                    await stopping
            # An RST or an orderly end, but no answer.
            for dropped in (raw, http):
                with contextlib.suppress(ConnectionResetError):
                    assert await dropped.rest() == b""
            await until(lambda: not server.theater._hub.open)

    await run(body, Limits(drain_timeout=60))


async def test_upgrade_that_is_being_decided_on_ends_with_the_server() -> None:
    """Whoever waits for the decision is answered or dropped, not left hanging."""

    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            raw.write(handshake("GET /?wait=1 HTTP/1.1"))
            await until(lambda: "deciding" in house.log)
            async with asyncio.timeout(5):
                await server.theater.stop()
            try:
                data = await raw.rest()
            except ConnectionResetError:
                data = b""
            assert data == b"" or int(data.split()[1]) >= 500

    await run(body, Limits(drain_timeout=0.05))


async def test_upgrade_that_is_accepted_while_the_server_stops_is_told_so() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            raw.write(handshake("GET /?wait=1 HTTP/1.1"))
            await until(lambda: "deciding" in house.log)
            stopping = asyncio.ensure_future(server.theater.stop())
            await until(lambda: server.theater._listener._server is None or _closed(server))
            house.go.set()
            answer = await raw.answer()
            if answer.status == 101:
                assert await raw.frame() == (0x88, b"\x03\xe9")
                raw.write(client_frame(CLOSE, b"\x03\xe9"))
            else:
                assert answer.status == 503
            assert await raw.rest() == b""
            await stopping

    await run(body, Limits(drain_timeout=5))


def _closed(server: Server) -> bool:
    listening = server.theater._listener._server
    return listening is None or not listening.is_serving()


async def test_upgrade_whose_client_has_gone_does_not_outlive_the_server() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            raw.write(handshake("GET /?wait=1 HTTP/1.1"))
            await until(lambda: "deciding" in house.log)
        await server.theater.stop()
        assert house.log == ["deciding"]

    await run(body, Limits(drain_timeout=0.05))


async def test_a_server_that_never_started_can_stop() -> None:
    theater = Theater([Manifest.of(House, "/")])
    async with asyncio.timeout(5):
        await theater.stop()


async def test_stopping_twice_is_harmless() -> None:
    async def body(server: Server, house: type[House]) -> None:
        await server.theater.stop()
        await server.theater.stop()

    await run(body, Limits())


async def date(raw: Raw) -> str:
    raw.write(request("GET /_theater/health HTTP/1.1", [("Host", "x")]))
    found = (await raw.answer()).get("date")
    assert found is not None
    return found


async def test_nothing_waits_to_be_joined_with_more() -> None:
    """TCP_NODELAY: a small message leaves at once."""

    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            await raw.upgraded()
            [connection] = server.theater._hub.open
            sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    await run(body, Limits())


async def test_date_is_told_and_goes_on() -> None:
    """RFC 9110 §6.6.1"""

    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            first = await date(raw)
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", first)
            async with asyncio.timeout(5):
                while await date(raw) == first:  # noqa: ASYNC110  # it is the server's clock
                    await asyncio.sleep(0.05)
            seconds = parsedate_to_datetime(await date(raw)) - parsedate_to_datetime(first)
            assert 1 <= seconds.total_seconds() <= 4

    await run(body, Limits())


async def test_date_stands_on_a_refused_handshake_too() -> None:
    async def body(server: Server, house: type[House]) -> None:
        async with dial(server.port) as raw:
            raw.write(handshake("GET /nowhere HTTP/1.1"))
            assert (await raw.answer()).get("date") is not None

    await run(body, Limits())
