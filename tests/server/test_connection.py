"""The shell around one open WebSocket, on real sockets where the kernel matters and in memory elsewhere."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame
from tests.server.actors import (
    Recorder,
    bare,
    closed,
    nobody_left,
    opened,
    recorder,
)
from tests.server.raw import Raw, client_frame, dial, handshake, settle, until

from theater import (
    Actor,
    Binary,
    Close,
    Closed,
    Connected,
    Connection,
    Error,
    Event,
    Message,
    Ping,
    Pong,
    Received,
    Text,
)
from theater.errors import ConnectionEnded
from theater.limits import Limits
from theater.runtime.ports import Reply
from theater.testing import StageConnection, stage

pytestmark = pytest.mark.usefixtures("quiet")


# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
async def test_echo(size: int) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)
    async with opened(recorder()) as (_, raw):
        raw.write(client_frame(TEXT, text.encode()) + client_frame(BINARY, b"\0" * size))
        assert await raw.frame() == (0x81, text.encode())
        assert await raw.frame() == (0x82, b"\0" * size)


async def test_pings_are_answered_and_the_actor_hears_of_them() -> None:
    actor = recorder()
    async with opened(actor) as (_, raw):
        raw.write(client_frame(PING, b"are you there") + client_frame(PONG, b"unasked") + client_frame(PING))
        assert await raw.frame() == (0x8A, b"are you there")
        assert await raw.frame() == (0x8A, b"")
        await until(lambda: len(actor.seen) == 4)
        assert actor.seen[1:] == [
            Received(Ping(b"are you there")),
            Received(Pong(b"unasked")),
            Received(Ping(b"")),
        ]


async def test_ping_between_fragments_is_answered_at_once() -> None:
    actor = recorder()
    async with opened(actor) as (_, raw):
        raw.write(client_frame(TEXT, b"one ", fin=False) + client_frame(PING, b"!"))
        assert await raw.frame() == (0x8A, b"!")
        raw.write(client_frame(CONTINUATION, b"two"))
        assert await raw.frame() == (0x81, b"one two")


@pytest.mark.parametrize("split", [1, 2, 3, 7, 100])
async def test_bytes_may_arrive_in_any_pieces(split: int) -> None:
    async with stage(recorder()) as theater:
        connection = await theater.connect(split=split)
        messages = [Text("hé" * size) for size in (0, 1, 62, 63, 200)] + [Binary(bytes(range(256)))]
        for message in messages:
            await connection.send(message)
        assert [await connection.receive() for _ in messages] == messages
        await connection.close(4000, "enough")
        assert connection.closed == Close(4000, "")


# The end of a connection


async def close_with(raw: Raw, payload: bytes) -> None:
    raw.write(client_frame(CLOSE, payload))
    assert await raw.frame() == (0x88, payload[:2])
    assert await raw.rest() == b""


async def close_with_code(raw: Raw) -> None:
    await close_with(raw, b"\x0f\xa1because")


async def close_without_code(raw: Raw) -> None:
    await close_with(raw, b"")


async def reset(raw: Raw) -> None:
    raw.reset()


async def reset_in_a_frame(raw: Raw) -> None:
    raw.write(client_frame(TEXT, b"unfinished")[:-3])
    await raw.writer.drain()
    raw.reset()


async def half_close(raw: Raw) -> None:
    raw.writer.write_eof()
    assert await raw.rest() == b""


async def fail(raw: Raw, data: bytes, code: int) -> None:
    raw.write(data)
    first, payload = await raw.frame()
    assert (first, payload[:2]) == (0x88, code.to_bytes(2, "big"))
    assert await raw.rest() == b""
    raw.writer.write_eof()


async def break_the_protocol(raw: Raw) -> None:
    await fail(raw, client_frame(0x3), 1002)


async def send_unmasked(raw: Raw) -> None:
    await fail(raw, b"\x81\x05hello", 1002)


async def send_bad_close(raw: Raw) -> None:
    await fail(raw, client_frame(CLOSE, b"\x03\xed"), 1002)


async def send_no_utf8(raw: Raw) -> None:
    await fail(raw, client_frame(TEXT, b"caf\xe9"), 1007)


async def send_too_much(raw: Raw) -> None:
    await fail(raw, client_frame(BINARY, b"x" * 1001), 1009)


async def announce_too_much(raw: Raw) -> None:
    await fail(raw, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009)


ENDS: dict[Callable[[Raw], Awaitable[None]], tuple[int, str]] = {
    close_with_code: (4001, "because"),
    close_without_code: (1005, ""),
    reset: (1006, ""),
    reset_in_a_frame: (1006, ""),
    half_close: (1006, ""),
    break_the_protocol: (1002, "a frame with the reserved opcode 3"),
    send_unmasked: (1002, "a frame that is not masked"),
    send_bad_close: (1002, "close code 1005 is not allowed"),
    send_no_utf8: (1007, "text that is not UTF-8"),
    send_too_much: (1009, "a message of 1,001 bytes, at most 1,000 are allowed"),
    announce_too_much: (1009, "a message of 9,223,372,036,854,775,807 bytes, at most 1,000 are allowed"),
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_actor_is_told_once_how_it_ended(end: Callable[[Raw], Awaitable[None]]) -> None:
    actor = recorder()
    code, reason = ENDS[end]
    async with opened(actor, limits=Limits(max_message=1000)) as (server, raw):
        raw.write(client_frame(TEXT, b"first"))
        assert await raw.frame() == (0x81, b"first")
        await end(raw)
        await until(lambda: closed(actor))
        await until(lambda: nobody_left(server))
        [cell] = server.theater.system
        assert not cell.connections
    assert actor.seen[:2] == [Connected(), Received(Text("first"))]
    failed = code in (1002, 1007, 1009)
    assert actor.seen[2:] == [*([Error(reason)] if failed else []), Closed(code, reason)]


async def test_replies_leave_before_the_answer_to_a_close() -> None:
    async with opened(recorder()) as (_, raw):
        raw.write(client_frame(TEXT, b"last") + client_frame(CLOSE, b"\x03\xe8"))
        assert await raw.rest() == b"\x81\x04last\x88\x02\x03\xe8"


async def test_what_follows_a_close_frame_does_not_count() -> None:
    actor = recorder()
    async with opened(actor) as (_, raw):
        raw.write(client_frame(CLOSE, b"\x03\xe8") + client_frame(TEXT, b"too late"))
        assert await raw.rest() == b"\x88\x02\x03\xe8"
        await until(lambda: closed(actor))
    assert actor.seen == [Connected(), Closed(1000)]


async def test_peer_at_fault_gets_its_close_frame_although_it_keeps_sending() -> None:
    """Closing the socket with data unread would send a reset, which may overtake the frame."""
    actor = recorder()
    async with opened(actor) as (server, raw):
        raw.write(client_frame(0x3))
        raw.write(b"\xff" * 3_000_000)
        first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xea")
        async with asyncio.timeout(5):
            await raw.writer.drain()
        raw.writer.write_eof()
        assert await raw.rest() == b""
        await until(lambda: nobody_left(server))
    assert closed(actor) == [Closed(1002, "a frame with the reserved opcode 3")]


async def test_peer_at_fault_that_never_ends_is_dropped() -> None:
    actor = recorder()
    async with stage(actor, limits=Limits(close_timeout=3)) as theater:
        client, sink = bare(theater)
        client.write(handshake() + client_frame(0x3))
        await until(lambda: sink.frames)
        client._closing = False  # it ignores that the server has ended
        theater.clock.advance(2.9)
        await settle()
        client.write(b"more")
        await settle()
        theater.clock.advance(0.2)
        await until(lambda: nobody_left(theater) and sink.ended)
    assert len(closed(actor)) == 1


# The server closes


class Closer(Recorder):
    """Closes when it is told to."""

    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Text("close")):
                connection.close(4002, "as you wish")
            case Received(Text("return")):
                return [Text("bye"), Close(4003), Text("not sent")]
            case Received(Text() as message):
                return message
        return None


async def test_close_that_the_peer_answers() -> None:
    actor = recorder(Closer)
    async with opened(actor) as (server, raw):
        raw.write(client_frame(TEXT, b"close"))
        assert await raw.frame() == (0x88, b"\x0f\xa2as you wish")
        raw.write(client_frame(CLOSE, b"\x0f\xa2"))
        assert await raw.rest() == b""
        await until(lambda: nobody_left(server))
    assert actor.seen == [Connected(), Received(Text("close")), Closed(4002)]


async def test_close_as_a_reply() -> None:
    actor = recorder(Closer)
    async with opened(actor) as (_, raw):
        raw.write(client_frame(TEXT, b"return"))
        assert await raw.frame() == (0x81, b"bye")
        assert await raw.frame() == (0x88, b"\x0f\xa3")
        raw.write(client_frame(TEXT, b"ignored") + client_frame(CLOSE, b""))
        assert await raw.rest() == b""
        await until(lambda: closed(actor))
    assert actor.seen == [Connected(), Received(Text("return")), Closed(1005)]


async def test_close_that_nobody_answers_has_a_deadline() -> None:
    actor = recorder(Closer)
    async with stage(actor, limits=Limits(close_timeout=5)) as theater:
        client, sink = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"close"))
        await until(lambda: sink.frames)
        client.write(client_frame(TEXT, b"still here") + client_frame(PING, b""))
        await settle()
        theater.clock.advance(4.9)
        await settle()
        assert not sink.ended
        assert not closed(actor)
        theater.clock.advance(0.2)
        await until(lambda: sink.ended)
        await until(lambda: closed(actor))
        assert sink.frames == [(0x88, b"\x0f\xa2as you wish"), (0x8A, b"")]
    assert actor.seen == [Connected(), Received(Text("close")), Closed(1006)]


@pytest.mark.parametrize("behind", [0, 1, 63, 64, 100, 200, 1000])
async def test_close_with_messages_still_on_the_way(behind: int) -> None:
    """The peer's close frame is found behind them, and nothing of them reaches the actor."""
    actor = recorder(Closer)
    async with opened(actor, limits=Limits(close_timeout=60)) as (server, raw):
        messages = client_frame(TEXT, b"x") * behind
        raw.write(client_frame(TEXT, b"close") + messages + client_frame(CLOSE, b"\x0f\xa2"))
        first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x0f\xa2")
        async with asyncio.timeout(2):
            assert await raw.rest() == b""
        await until(lambda: nobody_left(server))
    assert actor.seen == [Connected(), Received(Text("close")), Closed(4002)]


async def test_close_while_reading_is_paused() -> None:
    """What was read before the pause has the peer's close frame in it."""
    go = asyncio.Event()
    seen: list[Event] = []

    class Busy(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            seen.append(event)
            if event == Received(Text("0")):
                await go.wait()
                connection.close(4002)

    limits = Limits(mailbox_high_water=8, mailbox_low_water=2, close_timeout=60)
    async with opened(Busy, limits=limits) as (server, raw):
        messages = b"".join(client_frame(TEXT, b"%d" % number) for number in range(500))
        raw.write(messages + client_frame(CLOSE, b"\x0f\xa2"))
        await until(lambda: any(cell.queued >= 8 for cell in server.theater.system))
        go.set()
        assert await raw.frame() == (0x88, b"\x0f\xa2")
        async with asyncio.timeout(2):
            assert await raw.rest() == b""
        await until(lambda: isinstance(seen[-1], Closed))
    assert seen[-1] == Closed(4002)


async def test_close_of_a_connection_while_its_actor_is_busy() -> None:
    go = asyncio.Event()

    class Busy(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            if isinstance(event, Received):
                await go.wait()
                connection.send(Text("to nobody"))

    actor = recorder(Busy)
    async with opened(actor) as (server, raw):
        raw.write(client_frame(TEXT, b"one") + client_frame(TEXT, b"two") + client_frame(CLOSE, b"\x03\xe8"))
        assert await raw.rest() == b"\x88\x02\x03\xe8"
        await until(lambda: nobody_left(server))
        assert actor.seen == [Connected(), Received(Text("one"))]
        go.set()
        await until(lambda: closed(actor))
    assert actor.seen == [Connected(), Received(Text("one")), Received(Text("two")), Closed(1000)]


async def test_peer_that_closes_before_the_actor_does_gets_its_own_code() -> None:
    actor = recorder(Closer)
    async with stage(actor) as theater:
        connection = await theater.connect()
        connection.wire.write(client_frame(TEXT, b"close") + client_frame(CLOSE, b"\x0f\xa5"))
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
        assert error.value.code == 4005
        connection.abort()
        await until(lambda: closed(actor))
    assert actor.seen == [Connected(), Received(Text("close")), Closed(4005)]


async def test_abort_drops_the_connection() -> None:
    actor = recorder()
    async with opened(actor) as (server, raw):
        [connection] = server.theater._hub.open
        connection.abort()
        assert await raw.rest() == b""
        await until(lambda: closed(actor))
    assert actor.seen == [Connected(), Closed(1006)]


async def test_a_connection_that_has_ended_takes_everything_and_does_nothing() -> None:
    kept: list[Connection] = []

    class Keeper(Recorder):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            kept.append(connection)
            if isinstance(event, Closed):
                connection.send(Text("nobody hears"))
                connection.close(1000)

    actor = recorder(Keeper)
    async with opened(actor) as (_, raw):
        raw.reset()
        await until(lambda: closed(actor))
        kept[0].send(Text("outside a turn"))
        await settle()
    assert actor.seen == [Connected(), Closed(1006)]


# Actors that do not keep up


@pytest.mark.parametrize("kind", ["memory", "socket"])
async def test_nothing_is_lost_or_reordered_while_the_actor_is_behind(kind: str) -> None:
    count = 10_000
    seen: list[str] = []
    most = 0

    class Slow(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
            nonlocal most
            match event:
                case Received(Text(text)):
                    if len(seen) % 7 == 0:
                        await asyncio.sleep(0)
                    seen.append(text)
                    return Text(text)
            return None

    data = b"".join(client_frame(TEXT, b"%d" % number) for number in range(count))
    expected = [str(number) for number in range(count)]
    answers = b"".join(Frame(TEXT, text.encode()).encode() for text in expected)
    limits = Limits(mailbox_high_water=16, mailbox_low_water=4)
    if kind == "memory":
        async with stage(Slow, limits=limits) as theater:
            client, sink = bare(theater)
            client.write(handshake())
            await until(lambda: theater.theater._hub.open)
            rng = random.Random(1)
            position = 0
            while position < len(data):
                step = rng.choice((1, 10, 1000, 20_000))
                client.write(data[position : position + step])
                position += step
                await asyncio.sleep(0)
                [cell] = theater.theater.system
                most = max(most, cell.queued)
            await until(lambda: len(seen) == count)
            await until(lambda: len(sink.data.partition(b"\r\n\r\n")[2]) >= len(answers))
            assert [payload.decode() for _, payload in sink.frames] == expected
            client.abort()
            await until(lambda: nobody_left(theater))
    else:
        async with opened(Slow, limits=limits) as (server, raw):
            raw.write(data)
            heard = b""
            async with asyncio.timeout(30):
                while len(heard) < len(answers):
                    heard += await raw.reader.read(1000)
                    [cell] = server.theater.system
                    most = max(most, cell.queued)
            assert heard == answers
    assert seen == expected
    assert 16 <= most <= 16 + 64  # the mark, and at most a batch in hand


async def test_reading_stops_at_the_high_water_mark_and_goes_on_at_the_low_one() -> None:
    turns = asyncio.Semaphore(0)

    class Stepwise(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received):
                await turns.acquire()
                self.seen.append(event)

    actor = recorder(Stepwise)
    limits = Limits(mailbox_high_water=8, mailbox_low_water=2)
    async with stage(actor, limits=limits) as theater:
        connection = await theater.connect()
        for number in range(7):
            await connection.send(Text(str(number)))
            await settle()
        assert connection.server_wire.is_reading()
        for number in range(7, 12):
            await connection.send(Text(str(number)))
            await settle()
        [cell] = theater.theater.system
        assert not connection.server_wire.is_reading()
        assert cell.queued == 8  # and one is being handled; three are still on the way
        for _ in range(5):
            turns.release()
            await settle()
        assert not connection.server_wire.is_reading()
        turns.release()
        await settle()
        assert connection.server_wire.is_reading()
        for _ in range(6):
            turns.release()
        await until(lambda: len(actor.seen) == 12)
        assert actor.seen == [Received(Text(str(number))) for number in range(12)]
        await connection.close()


async def test_reset_while_paused_is_noticed_when_reading_goes_on() -> None:
    go = asyncio.Event()

    class Busy(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            if isinstance(event, Received):
                await go.wait()

    actor = recorder(Busy)
    limits = Limits(mailbox_high_water=4, mailbox_low_water=1)
    async with opened(actor, limits=limits) as (server, raw):
        for _ in range(100):
            raw.write(client_frame(TEXT, b"x" * 10_000))
        await until(lambda: any(cell.full for cell in server.theater.system))
        raw.reset()
        go.set()
        await until(lambda: closed(actor))
        await until(lambda: nobody_left(server))
    assert closed(actor) == [Closed(1006)]
    assert actor.seen[-1] == Closed(1006)


# Failing handlers


async def test_handler_that_raises_gets_an_error_event_and_the_peer_hears_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fragile(Recorder):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            self.seen.append(event)
            match event:
                case Received(Text("break")):
                    connection.send(Text("half a reply"))
                    raise RuntimeError("the secret is 42")
                case Error():
                    return Text("sorry")
                case Received(Text() as message):
                    return message
            return None

    actor = recorder(Fragile)
    async with opened(actor) as (server, raw):
        raw.write(client_frame(TEXT, b"break") + client_frame(TEXT, b"go on"))
        assert await raw.frame() == (0x81, b"sorry")
        assert await raw.frame() == (0x81, b"go on")
        assert len(server.theater._hub.open) == 1
        raw.write(client_frame(CLOSE, b"\x03\xe8"))
        assert await raw.rest() == b"\x88\x02\x03\xe8"
    assert actor.seen[2] == Error("RuntimeError: the secret is 42")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "recorder failed in handle_websocket, Received of connection" in record.getMessage()
    assert record.exc_info is not None
    assert record.__dict__["actor"] == "recorder"
    assert record.__dict__["connection"].isdigit()


@pytest.mark.parametrize("reply", ["text", 5, [Text("fine"), "not fine"], Binary, Text("\ud800")])
async def test_reply_that_is_none_fails_the_turn(reply: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Recorder):
        def handle_websocket(self, connection: Connection, event: Event) -> Any:
            self.seen.append(event)
            if event == Received(Text("go")):
                return reply
            return Text("still here") if isinstance(event, Error) else None

    actor = recorder(Wrong)
    async with opened(actor) as (_, raw):
        raw.write(client_frame(TEXT, b"go"))
        assert await raw.frame() == (0x81, b"still here")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("where", [Connected, Error, Closed])
async def test_handler_that_raises_at_other_events_harms_nobody(
    where: type[Event], caplog: pytest.LogCaptureFixture
) -> None:
    class Fragile(Recorder):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            self.seen.append(event)
            if isinstance(event, where) or event == Received(Text("break")):
                raise RuntimeError("no")
            return None

    actor = recorder(Fragile)
    async with opened(actor) as (server, raw):
        raw.write(client_frame(TEXT, b"break") + client_frame(CLOSE, b""))
        assert await raw.rest() == b"\x88\x00"
        await until(lambda: nobody_left(server) and closed(actor))
        async with dial(server.port) as another:
            await another.upgraded()
    assert len(closed(actor)) >= 1
    kinds = [type(event) for event in actor.seen]
    assert kinds.index(Received) > kinds.index(Connected)
    assert caplog.records


async def test_stage_connection_is_a_client_connection() -> None:
    """The kit's connections are what `connect` gives, so tests read alike."""
    async with stage(recorder()) as theater:
        connection = await theater.connect()
        assert isinstance(connection, StageConnection)
        await connection.close()
