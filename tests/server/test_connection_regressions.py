"""What has gone wrong once with open connections, in memory."""

import asyncio
import gc
import logging
import weakref

import pytest
from tests.protocol.wire import CLOSE, CONTINUATION, TEXT
from tests.server.actors import bare, cell_of, connections, later, nobody_left, routed
from tests.server.raw import client_frame, handshake, settle, until

from theater import Accept, Actor, Connected, Connection, Event, Received, Text, UpgradeRequest
from theater.contract import Congested, Drained
from theater.errors import ConnectFailed
from theater.limits import Limits
from theater.runtime.ports import Reply
from theater.testing import stage

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize("handler", ["has returned", "has not begun"])
async def test_a_stream_that_nobody_reads_keeps_no_hung_handler_alive(handler: str) -> None:
    """One client could have kept an actor busy for ever, for all others, with a byte now and then."""

    class Hanging(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received) and connection.path == "/hang":
                await asyncio.Event().wait()

    limits = Limits(handler_timeout=30, ping_interval=1000)
    async with stage(routed(Hanging, "/{x}", stream=True), limits=limits) as theater:
        client, _ = bare(theater)
        hung, _ = bare(theater)
        client.write(handshake("GET /drip HTTP/1.1"))
        hung.write(handshake("GET /hang HTTP/1.1"))
        await settle()
        if handler == "has returned":
            client.write(client_frame(TEXT, b"a", fin=False))
            await settle()
            hung.write(client_frame(TEXT, b"hang"))
        else:
            hung.write(client_frame(TEXT, b"hang"))
            await settle()
            client.write(client_frame(TEXT, b"a", fin=False))
        await settle()
        for _ in range(4):
            assert cell_of(theater).counters.errors == 0
            client.write(client_frame(CONTINUATION, b"a", fin=False))
            await later(theater, 8)
        assert cell_of(theater).counters.errors == 1
        client.abort()
        hung.abort()
        await until(lambda: nobody_left(theater))


async def test_messages_beyond_the_rate_of_bytes_are_dropped_one_by_one() -> None:
    """All the messages of one read could have followed the first that was within the rate."""
    received: list[Event] = []

    class Listening(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received):
                received.append(event)

    limits = Limits(byte_rate=1000, rate_action="drop", ping_interval=1000)
    async with stage(Listening, limits=limits) as theater:
        client, _ = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"x" * 100) * 1000)
        await settle()
        assert len(received) == 10
        assert cell_of(theater).counters.messages_dropped == 990
        await later(theater, 1)
        client.write(client_frame(TEXT, b"x" * 1000) * 2)
        await settle()
        assert len(received) == 11
        client.abort()
        await until(lambda: nobody_left(theater))


async def test_replies_that_wait_are_sent_before_a_closing_handshake_ends() -> None:
    """RFC 6455 §5.5.1: what came before the close frame is answered."""

    class Talkative(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            match event:
                case Received(Text(number)):
                    return Text(number + "x" * 20_000)
            return None

    async with stage(Talkative, limits=Limits(compression=False)) as theater:
        client, sink = bare(theater)
        asked = b"".join(client_frame(TEXT, b"%02d" % number) for number in range(40))
        client.write(handshake() + asked + client_frame(CLOSE, b"\x03\xe8"))
        await until(lambda: sink.ended)
        assert [payload[:2] for _, payload in sink.frames[:-1]] == [b"%02d" % number for number in range(40)]
        assert sink.frames[-1] == (0x88, b"\x03\xe8")


async def test_a_connection_that_was_not_read_since_it_was_too_fast_is_let_go_with_its_end() -> None:
    """Clients that came, sent too much and went could have filled the memory."""

    class Idle(Actor):
        """Does nothing."""

    async with stage(Idle, limits=Limits(message_rate=0.001, message_burst=1)) as theater:
        client, sink = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"x") * 100)
        await settle()
        [connection] = connections(theater)
        assert connection._paused
        gone = weakref.ref(connection._transport)
        client.abort()
        await until(lambda: nobody_left(theater))
        del client, sink, connection
        gc.collect()
        assert gone() is None


async def test_a_client_that_falls_behind_and_catches_up_does_not_fill_the_mailbox() -> None:
    events: list[type[Event]] = []
    waiting: list[int] = []

    class Generous(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            events.append(type(event))
            if isinstance(event, Received):
                for _ in range(50):
                    await connection.send_now(Text("x" * 100_000))
                    waiting.append(connection.waiting)

    limits = Limits(slow_reader="block", compression=False)
    async with stage(Generous, limits=limits) as theater, await theater.connect() as client:
        await client.send(Text("go"))
        most = 0
        for _ in range(50):
            await client.receive()
            most = max(most, cell_of(theater).queued)
        await settle()
        assert most <= 1
        assert min(waiting) > limits.send_high_water  # it has fallen behind each time
        assert events == [Connected, Received, Congested, Drained]  # the last time; its turn was over by then


async def test_an_upgrade_that_was_given_up_in_the_queue_is_never_decided(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[str] = []

    class Busy(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            asked.append(request.path)
            return Accept()

        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received):
                await asyncio.Event().wait()

    limits = Limits(handler_timeout=30, upgrade_timeout=10)
    async with stage(routed(Busy, "/{x}"), limits=limits) as theater:
        client, _ = bare(theater)
        client.write(handshake("GET /one HTTP/1.1") + client_frame(TEXT, b"hang"))
        await settle()
        connecting = asyncio.ensure_future(theater.connect("/two"))
        await settle()
        await later(theater, 11)
        with pytest.raises(ConnectFailed, match="503"):
            await connecting
        await later(theater, 30)
        assert asked == ["/one"]
        assert theater.theater.admission.refused["overloaded"] == 1
        assert cell_of(theater).counters.connections == 1
        assert [record.levelno for record in caplog.records] == [logging.ERROR]  # the handler that hangs
        client.abort()
        await until(lambda: nobody_left(theater))
