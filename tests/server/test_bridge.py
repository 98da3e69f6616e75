"""The bridge between ASGI's messages and Theater's frames; the ASGI server is in the test's hands."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest
from tests.server.host import DENIAL, Host, Hosted, hosted, scope
from tests.server.raw import settle, until

from theater import (
    Accept,
    Actor,
    Binary,
    Closed,
    Congested,
    Connected,
    Connection,
    Drained,
    Error,
    Event,
    Ping,
    Pong,
    Received,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater.config import Manifest
from theater.limits import ConnectionLimits, Limits
from theater.runtime.ports import Batch, Reply
from theater.server.routing import Pattern, Route

pytestmark = pytest.mark.usefixtures("quiet")


class Recorder(Actor):
    """Keeps what happens in the class, and echoes data."""

    seen: list[Event]

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        self.seen.append(event)
        match event:
            case Received(Text() | Binary() as message):
                return message
        return None


R = TypeVar("R", bound=Recorder)


def recorder(base: type[R]) -> type[R]:
    """A class with a memory of its own."""
    return type(base.__name__, (base,), {"seen": []})


def route(actor: type[Actor], **options: Any) -> Manifest:
    """A manifest with a route that has options."""
    return Manifest("actor", actor, (Route("websocket-server", Pattern("/"), "actor", **options),))


def ends(actor: type[Recorder]) -> list[Event]:
    return [event for event in actor.seen if isinstance(event, Closed)]


# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
async def test_echo(size: int) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)
    async with hosted(recorder(Recorder)) as application:
        host = await application.connect()
        host.text(text)
        host.put("websocket.receive", bytes=b"\0" * size)
        assert await host.next() == {"type": "websocket.send", "text": text}
        assert await host.next() == {"type": "websocket.send", "bytes": b"\0" * size}


@pytest.mark.parametrize(
    "fields",
    [
        {"text": None, "bytes": b"data"},
        {"bytes": bytearray(b"data")},
        {"bytes": memoryview(b"data")},
    ],
)
async def test_binary_messages_as_servers_have_them(fields: dict[str, Any]) -> None:
    async with hosted(recorder(Recorder)) as application:
        host = await application.connect()
        host.put("websocket.receive", **fields)
        assert await host.next() == {"type": "websocket.send", "bytes": b"data"}


async def test_text_that_comes_with_empty_bytes() -> None:
    async with hosted(recorder(Recorder)) as application:
        host = await application.connect()
        host.put("websocket.receive", text="data", bytes=None)
        assert await host.next() == {"type": "websocket.send", "text": "data"}


class Choosing(Recorder):
    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        return Accept("two", [("set-cookie", "a=é"), ("set-cookie", "b=2")])


async def test_acceptance() -> None:
    async with hosted(recorder(Choosing)) as application:
        host = await application.connecting(subprotocols=["one", "two"])
        assert await host.next() == {
            "type": "websocket.accept",
            "subprotocol": "two",
            "headers": [(b"set-cookie", b"a=\xe9"), (b"set-cookie", b"b=2")],
        }


async def test_acceptance_with_nothing_to_say() -> None:
    async with hosted(recorder(Recorder)) as application:
        host = await application.connecting()
        assert await host.next() == {"type": "websocket.accept", "subprotocol": None, "headers": []}


class Refusing(Recorder):
    def upgrade_connection(self, request: UpgradeRequest) -> Response:
        return Response(402, {"content-type": "text/plain", "x-price": "1"}, "Pay first.\n")


async def test_refusal() -> None:
    actor = recorder(Refusing)
    async with hosted(actor) as application:
        host = await application.connecting(extensions=DENIAL)
        assert await host.next() == {
            "type": "websocket.http.response.start",
            "status": 402,
            "headers": [(b"content-type", b"text/plain"), (b"x-price", b"1"), (b"content-length", b"11")],
        }
        assert await host.next() == {"type": "websocket.http.response.body", "body": b"Pay first.\n"}
        await host.ended()
        assert actor.seen == []
        assert application.counted == 0


@pytest.mark.parametrize("extensions", [None, {}])
async def test_refusal_where_the_server_knows_but_403(extensions: dict[str, Any] | None) -> None:
    async with hosted(recorder(Refusing)) as application:
        host = await application.connecting(extensions=extensions)
        assert await host.next() == {"type": "websocket.close"}
        await host.ended()
        assert host.sent == []


async def test_refusal_that_the_server_does_not_take() -> None:
    async with hosted(recorder(Refusing)) as application:
        host = Host(application.application, scope(extensions=DENIAL))
        host.open.clear()
        host.put("websocket.connect")
        await settle()
        assert application.counted == 1
        await application.later(6)  # close_timeout
        await host.ended()
        assert application.counted == 0


async def test_refusal_of_a_client_that_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    async with hosted(recorder(Refusing)) as application:
        host = Host(application.application, scope(extensions=DENIAL))
        host.failure = OSError("gone")
        host.put("websocket.connect")
        await host.ended()
    assert caplog.records == []


async def test_messages_of_a_batch() -> None:
    class Batching(Recorder):
        def handle_batch(self, batch: Any) -> None:
            events = [event for _, event in batch]
            self.seen += events
            if Received(Text("c")) in events:
                batch[0][0].send(Text(f"{len(events)} at once"))

    actor = recorder(Batching)
    async with hosted(route(actor, batch=Batch(max_messages=4, max_wait=60))) as application:
        host = await application.connect()
        for text in "abc":
            host.text(text)
        assert await host.next() == {"type": "websocket.send", "text": "4 at once"}


async def test_answers_without_the_actor() -> None:
    actor = recorder(Recorder)
    async with hosted(route(actor, answers={"ping": "pong"})) as application:
        host = await application.connect()
        host.text("ping")
        assert await host.next() == {"type": "websocket.send", "text": "pong"}
        assert actor.seen == [Connected()]


# The end


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"code": 1000, "reason": "bye"}, Closed(1000, "bye")),
        ({"code": 4321, "reason": ""}, Closed(4321)),
        ({"code": 1012}, Closed(1012)),
        ({"code": 1005, "reason": None}, Closed(1005)),
        ({"code": None}, Closed(1005)),
        ({}, Closed(1005)),
        ({"code": 1006}, Closed(1006)),
        ({"code": 1015}, Closed(1005)),  # which nobody can have sent
        ({"code": 4000, "reason": "é" * 62}, Closed(1005)),  # 124 bytes: nor this
    ],
)
async def test_client_closes(fields: dict[str, Any], expected: Closed) -> None:
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.text("last words")
        host.put("websocket.disconnect", **fields)
        await host.ended()
        assert actor.seen == [Connected(), Received(Text("last words")), expected]
        assert "websocket.close" not in [message["type"] for message in host.sent]


class Closing(Recorder):
    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        if isinstance(event, Received):
            connection.close(4001, "enough")
            return Text("and goodbye")
        return None


async def test_actor_closes() -> None:
    actor = recorder(Closing)
    async with hosted(actor) as application:
        host = await application.connect()
        host.text("go")
        host.text("too late")
        assert await host.next() == {"type": "websocket.send", "text": "and goodbye"}
        assert await host.next() == {"type": "websocket.close", "code": 4001, "reason": "enough"}
        await host.ended()
        assert host.sent == []
        assert actor.seen == [Connected(), Received(Text("go")), Closed(4001)]


async def test_client_closes_while_the_actor_does() -> None:
    actor = recorder(Closing)
    async with hosted(actor) as application:
        host = await application.connect()
        host.open.clear()
        host.text("go")
        host.put("websocket.disconnect", code=4002)
        await settle()
        host.open.set()
        await host.ended()
        assert len(ends(actor)) == 1


async def test_nothing_is_received_any_more_while_the_close_leaves() -> None:
    """granian does not send a close as long as a message is waited for."""
    async with hosted(recorder(Closing)) as application:
        host = await application.connect()
        host.open.clear()
        host.text("go")
        await settle()
        before = host.taken
        host.text("more")
        await settle()
        assert host.taken == before
        host.open.set()
        await host.ended()


async def test_stop() -> None:
    actor = recorder(Recorder)
    async with hosted(actor, Limits(drain_window=0)) as application:
        hosts = [await application.connect() for _ in range(3)]
        await application.application.stop()
        for host in hosts:
            assert await host.next() == {"type": "websocket.close", "code": 1001, "reason": ""}
            await host.ended()
        assert len(ends(actor)) == 3


async def test_server_cancels_the_application() -> None:
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host.ended()
        assert ends(actor) == [Closed(1006)]


async def test_server_cancels_before_it_has_connected() -> None:
    async with hosted(recorder(Recorder)) as application:
        host = Host(application.application, {"type": "websocket", "path": "/", "headers": []})
        await settle()
        host.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host.ended()


# Clients that vanish


class Deciding(Recorder):
    decision: asyncio.Event

    async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        await self.decision.wait()
        return Accept()


async def test_client_vanishes_before_the_decision(caplog: pytest.LogCaptureFixture) -> None:
    actor = recorder(Deciding)
    actor.decision = asyncio.Event()
    async with hosted(actor) as application:
        host = await application.connecting()
        assert application.counted == 1
        host.put("websocket.disconnect", code=1006)
        await host.ended()
        assert application.counted == 0
        actor.decision.set()
        await settle()
        assert (host.sent, actor.seen) == ([], [])
    assert caplog.records == []


class Slow(Recorder):
    go: asyncio.Event

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        if isinstance(event, Received):
            await self.go.wait()
            return Text("at last")
        return None


async def test_client_vanishes_during_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    actor = recorder(Slow)
    actor.go = asyncio.Event()
    async with hosted(actor) as application:
        host = await application.connect()
        host.text("think")
        await settle()
        host.put("websocket.disconnect", code=1006)
        await host.ended()
        assert ends(actor) == []
        actor.go.set()
        await until(lambda: ends(actor) == [Closed(1006)])
        assert host.sent == []
    assert caplog.records == []


async def test_client_vanishes_while_something_is_sent() -> None:
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.open.clear()
        host.text("echo")
        await settle()
        host.put("websocket.disconnect", code=1006)
        await host.ended()
        assert ends(actor) == [Closed(1006)]
        assert host.sent == []


async def test_client_vanishes_at_every_moment(caplog: pytest.LogCaptureFixture) -> None:
    actor = recorder(Recorder)
    async with hosted(actor, Limits(upgrade_burst=1000)) as application:
        for moment in range(40):
            for code, failure in ((1006, None), (4000, OSError("gone"))):
                actor.seen.clear()
                host = Host(application.application, {"type": "websocket", "path": "/", "headers": []})
                host.put("websocket.connect")
                for _ in range(3):
                    host.text("hello")
                for _ in range(moment):
                    await asyncio.sleep(0)
                host.failure = failure
                host.put("websocket.disconnect", code=code)
                await host.ended()
                assert actor.seen.count(Connected()) == len(ends(actor)) <= 1
                assert application.counted == 0
    assert caplog.records == []


async def test_send_that_fails_leaves_time_for_what_the_client_said_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.failure = OSError("the client has gone")
        host.text("one")
        await settle()
        host.text("two")
        host.put("websocket.disconnect", code=4003, reason="gone home")
        await host.ended()
        assert actor.seen == [
            Connected(),
            Received(Text("one")),
            Received(Text("two")),
            Closed(4003, "gone home"),
        ]
    assert caplog.records == []


async def test_send_that_fails_without_another_word() -> None:
    actor = recorder(Recorder)
    async with hosted(actor, Limits(close_timeout=3.0)) as application:
        host = await application.connect()
        host.failure = OSError("the client has gone")
        host.text("one")
        await settle()
        await application.later(2)
        assert ends(actor) == []
        await application.later(2)
        await host.ended()
        assert ends(actor) == [Closed(1006)]


async def test_server_that_does_not_take_a_message(caplog: pytest.LogCaptureFixture) -> None:
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.failure = RuntimeError("Unexpected ASGI message")
        for text in ("one", "two", "three"):
            host.text(text)
        await settle()
        host.put("websocket.disconnect", code=1006)
        await host.ended()
        assert ends(actor) == [Closed(1006)]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert record.getMessage() == (
        "the ASGI server did not take a message of type websocket.send: Unexpected ASGI message"
    )


async def test_server_whose_receive_fails() -> None:
    """Its own fault, which it is told, and none of the actor's."""
    actor = recorder(Recorder)
    async with hosted(actor) as application:
        host = await application.connect()
        host.put("websocket.receive")  # with neither text nor bytes
        with pytest.raises(ExceptionGroup):
            await host.ended()
        assert ends(actor) == [Closed(1006)]


# Backpressure


class Source(Recorder):
    """Keeps the connection, to be sent to from outside."""

    connection: Connection

    def handle_websocket(self, connection: Connection, event: Event) -> None:
        self.seen.append(event)
        type(self).connection = connection


async def flooded(application: Hosted, actor: type[Source]) -> Host:
    """A connection whose client has read nothing of a hundred messages of 10,000 bytes."""
    host = await application.connect()
    host.open.clear()
    for number in range(100):
        actor.connection.send(Text(f"{number:04}" + "x" * 9996))
        await settle()
    return host


async def test_client_that_reads_late_gets_everything() -> None:
    actor = recorder(Source)
    async with hosted(actor) as application:
        host = await flooded(application, actor)
        assert [type(event) for event in actor.seen] == [Connected, Congested]
        assert 1_000_000 <= actor.connection.waiting < 1_010_000
        host.open.set()
        for number in range(100):
            assert (await host.next())["text"][:4] == f"{number:04}"
        await until(lambda: isinstance(actor.seen[-1], Drained))
        assert actor.connection.waiting == 0


async def test_client_that_does_not_read_gets_the_newest_messages() -> None:
    actor = recorder(Source)
    limits = Limits(slow_reader="drop-oldest", max_send_queue=200_000)
    async with hosted(actor, limits) as application:
        host = await flooded(application, actor)
        assert actor.connection.waiting <= limits.max_send_queue + limits.send_high_water + 10_004
        host.open.set()
        await until(lambda: isinstance(actor.seen[-1], Drained))
        numbers = [int(message["text"][:4]) for message in host.sent]
        assert numbers == [*range(len(numbers) - 20), *range(80, 100)]


async def test_client_that_reads_too_slowly_is_given_up() -> None:
    actor = recorder(Source)
    async with hosted(actor, Limits(max_send_queue=200_000)) as application:
        host = await flooded(application, actor)
        assert [type(event) for event in actor.seen] == [Connected, Congested, Error]
        await application.later(6)  # close_timeout: the server does not even take the close
        await host.ended()
        assert [type(event) for event in actor.seen] == [Connected, Congested, Error, Closed]


async def test_client_that_takes_nothing_for_long_is_given_up() -> None:
    actor = recorder(Source)
    async with hosted(actor) as application:
        host = await flooded(application, actor)
        await application.later(120)
        await host.ended()
        assert actor.seen[-2:] == [Error("has read nothing for 25 s"), Closed(1006)]


async def test_actor_that_does_not_keep_up_is_sent_no_more() -> None:
    actor = recorder(Slow)
    actor.go = asyncio.Event()
    async with hosted(actor, Limits(mailbox_high_water=4, mailbox_low_water=1)) as application:
        host = await application.connect()
        for number in range(100):
            host.text(str(number))
        await settle()
        assert 5 <= host.taken <= 8
        actor.go.set()
        for _ in range(100):
            await host.next()
        assert [event.message for event in actor.seen if isinstance(event, Received)] == [
            Text(str(number)) for number in range(100)
        ]


async def test_rate_is_kept_by_not_receiving() -> None:
    actor = recorder(Recorder)
    async with hosted(actor, Limits(message_rate=10.0, message_burst=5)) as application:
        host = await application.connect()
        for number in range(40):
            host.text(str(number))
        await settle()
        assert len(host.sent) < 10
        await application.later(10)
        assert len(host.sent) == 40


async def test_message_that_is_too_large_for_the_actor() -> None:
    actor = recorder(Recorder)
    async with hosted(actor, Limits(max_message=1000)) as application:
        host = await application.connect()
        host.text("x" * 1001)
        message = await host.next()
        assert (message["type"], message["code"]) == ("websocket.close", 1009)
        await host.ended()
        assert [type(event) for event in actor.seen] == [Connected, Error, Closed]


# Streams


class Reading(Recorder):
    """Measures streamed messages, the first chunk at once and the others when told."""

    go: asyncio.Event
    chunks: list[int]

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Stream() as stream):
                async for chunk in stream:
                    self.chunks.append(len(chunk))
                    await self.go.wait()
                return Text("done")
        return None


async def test_message_as_a_stream() -> None:
    actor = recorder(Reading)
    actor.go, actor.chunks = asyncio.Event(), []
    async with hosted(route(actor, stream=True)) as application:
        host = await application.connect()
        host.put("websocket.receive", bytes=bytes(3_000_000))
        host.text("behind it")
        await settle()
        assert len(actor.chunks) == 1
        assert host.taken == 2  # of which one was the connect: the rest waits until there is room
        actor.go.set()
        assert await host.next() == {"type": "websocket.send", "text": "done"}
        assert await host.next() == {"type": "websocket.send", "text": "done"}
        assert sum(actor.chunks) == 3_000_000 + len("behind it")


class Telling(Recorder):
    """Sends a message in pieces."""

    pieces = 5

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        if isinstance(event, Received):
            async with connection.stream() as stream:
                for number in range(self.pieces):
                    await stream.write(f"{number}" * 1000)
        return None


async def test_stream_leaves_as_one_message() -> None:
    async with hosted(recorder(Telling)) as application:
        host = await application.connect()
        host.text("go")
        text = "".join(f"{number}" * 1000 for number in range(5))
        assert await host.next() == {"type": "websocket.send", "text": text}


async def test_stream_that_is_larger_than_what_may_wait() -> None:
    actor = recorder(Telling)
    actor.pieces = 100
    async with hosted(route(actor, limits=ConnectionLimits(max_send_queue=70_000))) as application:
        host = await application.connect()
        host.text("go")
        assert (await host.next())["code"] == 1011
        await host.ended()
        await until(lambda: ends(actor) == [Closed(1011, "a message in pieces of more than 70000 bytes")])
        assert host.sent == []


# Time


class Pinging(Recorder):
    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        return Ping(b"mine") if isinstance(event, Received) and isinstance(event.message, Text) else None


async def test_pings_reach_nobody_and_are_answered() -> None:
    actor = recorder(Pinging)
    async with hosted(actor) as application:
        host = await application.connect()
        host.text("ping")
        await until(lambda: actor.seen[-1] == Received(Pong(b"mine")))
        await application.later(300)
        assert actor.seen == [Connected(), Received(Text("ping")), Received(Pong(b"mine"))]
        assert host.sent == []


@pytest.mark.parametrize(
    ("limits", "code"), [(Limits(idle_timeout=60.0), 1000), (Limits(max_lifetime=60.0), 1001)]
)
async def test_connection_has_its_time(limits: Limits, code: int) -> None:
    actor = recorder(Recorder)
    async with hosted(actor, limits) as application:
        host = await application.connect()
        await application.later(59)
        assert host.sent == []
        await application.later(3)
        assert (await host.next())["code"] == code
        await host.ended()
        assert len(ends(actor)) == 1
