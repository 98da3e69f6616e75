"""Turns, and what comes of them. Real event loop, recording wires, virtual clock."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.runtime.conftest import MakeWorld
from tests.runtime.world import Quiet, World, error_records, settle, text_of

from theater.contract import (
    Accept,
    Binary,
    Close,
    Connected,
    Data,
    Error,
    Event,
    Ping,
    Pong,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.errors import (
    ActorFailed,
    InvalidMessage,
    InvalidReply,
    LocalError,
    MailboxFull,
    NoSuchActor,
    RequestTimeout,
)
from theater.limits import Limits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.testing import VirtualClock
from theater.testing.clock import VirtualTimer


class Gated(Quiet):
    """Waits in `wait...` until its gate opens; fails where `fail` is said; echoes all texts.

    Attributes:
        log: the events whose turns have begun, in order; "/" behind those whose turns have ended.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.log: list[str] = []
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        text = text_of(event)
        self.log.append(text)
        if text.startswith("wait"):
            return self._wait(connection, text)
        return self._finish(text)

    async def _wait(self, connection: Connection, text: str) -> Any:
        connection.send(Text("before"))
        await self.gate
        self.gate = asyncio.get_running_loop().create_future()
        return self._finish(text)

    def _finish(self, text: str) -> Any:
        if "fail" in text:
            raise ValueError("secret detail")
        self.log.append("/" + text)
        return Text(text) if text.islower() else None

    def open(self) -> None:
        self.gate.set_result(None)


class Kept:
    """Makes instances of a behaviour, and keeps them."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.all: list[Any] = []

    def __call__(self, context: Any) -> Any:
        instance = self._kind(context)
        self.all.append(instance)
        return instance

    @property
    def last(self) -> Any:
        return self.all[-1]


def say(text: str) -> Any:
    """A factory of behaviours that answer every message with a text."""

    class Sayer(Quiet):
        def handle_message(self, message: Data, sender: Address) -> Any:
            return Text(text)

    return Sayer


class TestTurns:
    async def test_a_synchronous_handler_of_an_idle_actor_runs_inside_the_caller(
        self, make_world: MakeWorld
    ) -> None:
        client = make_world(actor=Gated).connect()
        client.say("hello")
        assert client.sent == [Text("hello")]

    async def test_an_asynchronous_handler_holds_later_events_in_order(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        world = make_world(actor=gated)
        one, two = world.connect(), world.connect()
        one.say("wait", "b")
        two.say("c")
        one.say("d")
        await settle()
        assert gated.last.log[4:] == ["wait"]
        assert one.sent == two.sent == []
        gated.last.open()
        await settle()
        assert gated.last.log[4:] == ["wait", "/wait", "b", "/b", "c", "/c", "d", "/d"]
        assert one.sent == [Text("before"), Text("wait"), Text("b"), Text("d")]
        assert two.sent == [Text("c")]

    async def test_turns_are_serial_whatever_the_handlers_are(self, make_world: MakeWorld) -> None:
        chance = random.Random(1)
        seen: list[str] = []
        running: list[str] = []

        class Mixed(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                assert not running
                text = text_of(event)
                running.append(text)
                if chance.random() < 0.5:
                    return self._later(text)
                return self._finish(text)

            async def _later(self, text: str) -> Any:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                return self._finish(text)

            def _finish(self, text: str) -> Any:
                assert running == [text]
                running.clear()
                seen.append(text)
                return None

        world = make_world(actor=Mixed)
        clients = [world.connect() for _ in range(3)]
        said: list[list[str]] = [[], [], []]
        for number in range(60):
            which = chance.randrange(3)
            said[which].append(f"{which}:{number}")
            clients[which].say(said[which][-1])
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        for _ in range(60):
            await settle()
        assert [text for text in seen if text != "Connected"] == [
            f"{which}:{number}"
            for number in range(60)
            for which in range(3)
            if f"{which}:{number}" in said[which]
        ]

    async def test_an_event_that_comes_during_a_turn_waits_for_its_end(self, make_world: MakeWorld) -> None:
        order = []

        class Provoking(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                text = text_of(event)
                order.append(text)
                if text == "a":
                    client.say("b")
                    order.append("end of a")
                return None

        client = make_world(actor=Provoking).connect()
        client.say("a")
        assert order == ["Connected", "a", "end of a", "b"]

    async def test_a_turn_lasts_until_an_awaitable_that_is_no_coroutine_is_done(
        self, make_world: MakeWorld
    ) -> None:
        futures: list[asyncio.Future[Any]] = []

        class Promising(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if event == Connected():
                    return None
                futures.append(asyncio.get_running_loop().create_future())
                return futures[-1]

        client = make_world(actor=Promising).connect()
        client.say("a", "b")
        await settle()
        assert len(futures) == 1
        futures[0].set_result(Text("promised"))
        await settle()
        assert client.sent == [Text("promised")]
        assert len(futures) == 2
        futures[1].set_result(None)
        await settle()

    async def test_an_awaitable_of_an_awaitable_is_part_of_the_turn(self, make_world: MakeWorld) -> None:
        gate = asyncio.Event()

        class Deep(Quiet):
            async def handle_websocket(self, connection: Connection, event: Event) -> Any:
                return self._second(event)

            async def _second(self, event: Event) -> Any:
                await gate.wait()
                return Text(text_of(event))

        client = make_world(actor=Deep).connect()
        client.say("x")
        await settle()
        assert client.sent == []
        gate.set()
        await settle()
        assert client.sent == [Text("Connected"), Text("x")]

    async def test_turns_and_failures_are_counted(self, make_world: MakeWorld) -> None:
        client = make_world(actor=Gated).connect()
        client.say("a", "fail")  # whose Error is a turn of its own
        assert client.cell.counters.turns == 4
        assert client.cell.counters.errors == 1

    async def test_many_waiting_turns_do_not_nest(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        client = make_world(Limits(mailbox_high_water=10_000), actor=gated).connect()
        client.say("wait", *["x"] * 5_000)
        await settle()
        gated.last.open()
        await settle()
        assert len(client.sent) == 5_002


class TestReplies:
    @pytest.mark.parametrize(
        ("reply", "sent"),
        [
            (None, []),
            ([], []),
            (Text("a"), [Text("a")]),
            ([Text("a"), Binary(b"b")], [Text("a"), Binary(b"b")]),
            ((Ping(b"1"), Pong(b"2")), [Ping(b"1"), Pong(b"2")]),
            ([Text("bye"), Close(4000, "over")], [Text("bye"), Close(4000, "over")]),
            (Close(4001), [Close(4001)]),
        ],
    )
    @pytest.mark.parametrize("asynchronous", [False, True])
    @pytest.mark.parametrize("before", [[], [Text("first")]])
    async def test_are_sent_behind_what_the_handler_sent(
        self, make_world: MakeWorld, reply: Any, sent: list[Any], asynchronous: bool, before: list[Any]
    ) -> None:
        class Replying(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if event == Connected():
                    return None
                for message in before:
                    connection.send(message)
                return self._later() if asynchronous else reply

            async def _later(self) -> Any:
                await asyncio.sleep(0)
                return reply

        client = make_world(actor=Replying).connect()
        client.say("x")
        await settle()
        assert client.sent == before + sent

    async def test_may_come_from_a_generator_which_may_send_too(self, make_world: MakeWorld) -> None:
        class Generating(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Iterator[Any]:
                yield Text("1")
                connection.send(Text("sent"))
                yield Text("2")

        client = make_world(actor=Generating).connect()
        assert client.sent == [Text("1"), Text("sent"), Text("2")]

    @pytest.mark.parametrize(
        "reply",
        [
            "text",
            b"bytes",
            bytearray(b"bytes"),
            1,
            {"a": 1},
            object(),
            [Text("fine"), "text"],
            [Text("fine"), None],
            Text("\ud800"),
            [Text("fine"), Text("\ud800")],
            Text(1),  # type: ignore[arg-type]
            Binary("text"),  # type: ignore[arg-type]
            Ping(bytes(126)),
            Close(1005),
            Close(1000, "x" * 124),
            Received(Text("an event")),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_that_are_none_fail_the_turn(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, reply: Any, asynchronous: bool
    ) -> None:
        events: list[Event] = []

        class Wrong(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(event)
                if not isinstance(event, Received):
                    return None
                return self._later() if asynchronous else reply

            async def _later(self) -> Any:
                return reply

        client = make_world(actor=Wrong).connect()
        client.say("x")
        await settle()
        assert client.sent == []
        assert isinstance(events[-1], Error)
        (record,) = error_records(caplog)
        assert record.__dict__["actor"] == "actor"
        assert record.__dict__["connection"] == str(client.connection.id)

    async def test_that_are_text_are_told_how_to_wrap_it(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Wrong(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                return "hello" if isinstance(event, Received) else None

        make_world(actor=Wrong).connect().say("x")
        assert "wrap it in Text(...)" in caplog.text

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_of_a_generator_that_raises_do_not_leave(
        self, make_world: MakeWorld, asynchronous: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Breaking(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if not isinstance(event, Received):
                    return None
                return self._later() if asynchronous else self._replies()

            async def _later(self) -> Any:
                return self._replies()

            def _replies(self) -> Iterator[Any]:
                yield Text("1")
                raise ValueError

        client = make_world(actor=Breaking).connect()
        client.say("x")
        await settle()
        assert client.sent == []
        assert len(error_records(caplog)) == 1


def act(what: str, context: Any, connection: Connection) -> Any:
    """Does one thing that must not be seen before its turn has succeeded; may return a reply."""
    match what:
        case "send":
            connection.send(Text("x"))
        case "broadcast":
            context.broadcast(Text("x"), (), None, None, True)
        case "close everyone":
            context.broadcast(Close(), (), None, None, True)
        case "close":
            connection.close(4000)
        case "send to an actor":
            context.send(Address("other"), Text("x"))
        case "tags":
            connection.tags = frozenset({"new"})
        case "attachment":
            connection.attachment = {"new": 1}
        case "reply":
            return [Text("x"), "no message"]
    return None


_EFFECTS = [
    "send",
    "broadcast",
    "close everyone",
    "close",
    "send to an actor",
    "tags",
    "attachment",
    "reply",
]


class TestEffects:
    @pytest.mark.parametrize("effect", _EFFECTS)
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_do_not_remain_of_a_turn_that_raises(
        self,
        make_world: MakeWorld,
        caplog: pytest.LogCaptureFixture,
        effect: str,
        asynchronous: bool,
    ) -> None:
        messages: list[Data] = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                messages.append(message)

        class Failing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if not isinstance(event, Received):
                    return None
                return self._later(connection) if asynchronous else self._now(connection)

            async def _later(self, connection: Connection) -> Any:
                await asyncio.sleep(0)
                return self._now(connection)

            def _now(self, connection: Connection) -> Any:
                reply = act(effect, self.context, connection)
                if reply is None:
                    raise ValueError
                return reply

        world = make_world(actor=Failing, other=Other)
        accept = Accept(tags=["old"], attachment={"old": 1})
        clients = [world.connect(accept=accept), world.connect(accept=accept)]
        clients[0].say("x")
        await settle()
        assert [client.sent for client in clients] == [[], []]
        assert messages == []
        assert [client.connection.tags for client in clients] == [{"old"}, {"old"}]
        assert [client.connection.attachment for client in clients] == [{"old": 1}, {"old": 1}]
        assert len(error_records(caplog)) == 1

    async def test_leave_only_at_the_end_of_the_turn(self, make_world: MakeWorld) -> None:
        seen_inside: list[Any] = []

        class Sending(Quiet):
            async def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if event == Connected():
                    return
                connection.send(Text("1"))
                self.context.broadcast(Text("2"), (), None, None, True)
                await settle()
                seen_inside.extend(client.sent)
                connection.close()
                seen_inside.extend(client.sent)

        client = make_world(actor=Sending).connect()
        client.say("x")
        for _ in range(3):
            await settle()
        assert seen_inside == []
        assert client.sent == [Text("1"), Text("2"), Close()]

    async def test_of_a_good_turn_remain(self, make_world: MakeWorld) -> None:
        class Changing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                connection.tags = ["a", "b"]
                connection.attachment = {"n": [1]}

        client = make_world(actor=Changing).connect()
        assert client.connection.tags == {"a", "b"}
        assert client.connection.attachment == {"n": [1]}

    async def test_are_taken_back_to_where_the_turn_began(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Changing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Received):
                    for number in range(3):
                        connection.attachment = number
                    assert connection.attachment == 2
                    raise ValueError

        client = make_world(actor=Changing).connect(accept=Accept(attachment="first"))
        client.say("x")
        assert client.connection.attachment == "first"
        assert len(error_records(caplog)) == 1

    @pytest.mark.parametrize("name", ["tags", "attachment"])
    async def test_past_the_limit_are_taken_back_too(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        class Greedy(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Received):
                    connection.send(Text("fills the outbox"))
                    setattr(connection, name, ["new"])

        client = make_world(Limits(max_outbox=1), actor=Greedy).connect(
            accept=Accept(tags=["old"], attachment=["old"])
        )
        client.say("x")
        assert len(error_records(caplog)) == 1
        assert list(getattr(client.connection, name)) == ["old"]

    async def test_from_outside_a_turn_come_at_once(self, make_world: MakeWorld) -> None:
        received: list[Data] = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                received.append(message)

        class Background(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Connected):
                    tasks.append(asyncio.create_task(self._work(connection)))

            async def _work(self, connection: Connection) -> None:
                connection.send(Text("sent"))
                assert client.sent == [Text("sent")]
                self.context.broadcast(Text("told"), (), None, None, True)
                assert client.sent == [Text("sent"), Text("told")]
                connection.tags = frozenset({"worked"})
                self.context.send(Address("other"), Text("hello"))
                connection.close()

        tasks: list[asyncio.Task[None]] = []
        client = make_world(actor=Background, other=Other).connect()
        await tasks[0]
        await settle()
        assert client.sent == [Text("sent"), Text("told"), Close()]
        assert client.connection.tags == {"worked"}
        assert received == [Text("hello")]

    async def test_that_cannot_be_sent_raise_where_they_are_made(self, make_world: MakeWorld) -> None:
        caught = []

        class Careful(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                attempts: list[Callable[[], None]] = [
                    lambda: connection.send("text"),  # type: ignore[arg-type]
                    lambda: connection.close(1006),
                    lambda: self.context.broadcast(Text("\ud800"), (), None, None, True),
                    lambda: self.context.send(Address("actor"), Ping()),  # type: ignore[arg-type]
                ]
                for attempt in attempts:
                    with pytest.raises(LocalError) as raised:
                        attempt()
                    caught.append(raised.type.__name__)
                return Text("still fine")

        client = make_world(actor=Careful).connect()
        assert caught == ["InvalidMessage", "InvalidClose", "InvalidMessage", "InvalidMessage"]
        assert client.sent == [Text("still fine")]

    async def test_and_replies_are_limited_together(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Chatty(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                connection.send(Text("sent"))
                return (Text(str(number)) for number in itertools.count()) if text_of(event) == "x" else None

        client = make_world(Limits(max_outbox=3), actor=Chatty).connect()
        client.say("x")
        assert client.sent == [Text("sent")] * 2  # of Connected and Error
        assert "a turn has at most 3 effects" in caplog.text

    async def test_are_limited_in_one_turn(self, make_world: MakeWorld) -> None:
        class Chatty(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                for number in range(3):
                    connection.send(Text(str(number)))
                with pytest.raises(LocalError, match="at most 3 effects"):
                    connection.send(Text("3"))

        client = make_world(Limits(max_outbox=3), actor=Chatty).connect()
        client.say("again")
        assert client.sent == [Text("0"), Text("1"), Text("2")] * 2


class TestBroadcast:
    async def test_reaches_all_connections_but_the_excluded_and_the_untagged(
        self, make_world: MakeWorld
    ) -> None:
        class Telling(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Received):
                    self.context.broadcast(Text("all"), (), None, None, True)
                    self.context.broadcast(Text("others"), iter([connection]), None, None, True)
                    self.context.broadcast(Text("tagged"), (), "red", None, True)
                    self.context.broadcast(Text("other tagged"), (connection,), "red", None, True)

        world = make_world(actor=Telling)
        red, second_red = (world.connect(accept=Accept(tags=["red"])) for _ in range(2))
        blue = world.connect(accept=Accept(tags=["blue"]))
        red.say("x")
        assert red.sent == [Text("all"), Text("tagged")]
        assert second_red.sent == [Text("all"), Text("others"), Text("tagged"), Text("other tagged")]
        assert blue.sent == [Text("all"), Text("others")]

    async def test_goes_to_connections_from_connected_on_until_closed(self, make_world: MakeWorld) -> None:
        class Telling(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.broadcast(Text(type(event).__name__), (), None, None, True)

        world = make_world(actor=Telling)
        one, two = world.connect(), world.connect()
        one.end()
        assert one.sent == [Text("Connected")] * 2
        assert two.sent == [Text("Connected"), Text("Closed")]


class TestFailures:
    @pytest.mark.parametrize("word", ["fail", "wait and fail"])
    async def test_are_logged_once_with_address_and_connection(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, word: str
    ) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect("actor/1")
        client.say(word)
        await settle()
        if word != "fail":
            gated.last.open()
            await settle()
        (record,) = error_records(caplog)
        assert record.__dict__["actor"] == "actor/1"
        assert record.__dict__["connection"] == str(client.connection.id)
        assert "actor/1 failed in handle_websocket, Received of connection" in record.getMessage()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)

    @pytest.mark.parametrize("word", ["fail", "wait and fail"])
    async def test_give_error_as_the_connections_very_next_event(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, word: str
    ) -> None:
        gated = Kept(Gated)
        world = make_world(actor=gated)
        one, two = world.connect(), world.connect()
        one.say("wait")
        await settle()
        one.say(word, "next")
        two.say("other")
        one.end()
        gated.last.open()
        await settle()
        if word != "fail":
            gated.last.open()
            await settle()
        log = [text for text in gated.last.log if not text.startswith("/")]
        assert log == ["Connected"] * 2 + ["wait", word, "Error", "next", "other", "Closed"]
        assert len(error_records(caplog)) == 1

    async def test_give_error_before_what_arrives_meanwhile(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Interrupted(Gated):
            def _finish(self, text: str) -> Any:
                if text == "fail":
                    asyncio.get_running_loop().call_soon(client.say, "late")
                return super()._finish(text)

        gated = Kept(Interrupted)
        client = make_world(actor=gated).connect()
        client.say("wait", "fail")
        await settle()
        gated.last.open()
        await settle()
        assert [text for text in gated.last.log if text[0] != "/"] == [
            "Connected",
            "wait",
            "fail",
            "Error",
            "late",
        ]
        assert len(error_records(caplog)) == 1

    async def test_are_told_in_the_error_event(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        events: list[Event] = []

        class Failing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(event)
                if isinstance(event, Received):
                    raise KeyError("what")

        make_world(actor=Failing).connect().say("x")
        assert events == [Connected(), Received(Text("x")), Error("KeyError: 'what'")]
        assert len(error_records(caplog)) == 1

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_of_every_handler_do_not_loop(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, asynchronous: bool
    ) -> None:
        events: list[str] = []

        class Hopeless(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(text_of(event))
                connection.send(Text("lost"))
                if asynchronous:
                    return self._later()
                raise ValueError(events[-1])

            async def _later(self) -> Any:
                await asyncio.sleep(0)
                raise ValueError(events[-1])

        client = make_world(actor=Hopeless).connect()
        client.say("x")
        client.end()
        await settle()
        assert events == ["Connected", "Error", "x", "Error", "Closed"]
        assert len(error_records(caplog)) == 5
        assert client.sent == []

    async def test_of_connected_leave_the_connection_in_place(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Shy(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Connected):
                    raise ValueError
                return Text(f"{text_of(event)} of {len(self.context.connections)}")

        client = make_world(actor=Shy).connect()
        client.say("hello")
        assert client.sent == [Text("Error of 1"), Text("hello of 1")]
        assert len(error_records(caplog)) == 1

    @pytest.mark.parametrize(
        "error", [SystemExit(3), asyncio.CancelledError(), RecursionError(), StopIteration()]
    )
    async def test_of_any_kind_leave_the_host_and_the_actor_running(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        class Leaving(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if text_of(event) == "now":
                    raise error
                if text_of(event) == "later":
                    return self._later()
                return Text(text_of(event))

            async def _later(self) -> Any:
                await asyncio.sleep(0)
                raise error

        world = make_world(actor=Leaving)
        client = world.connect()
        client.say("now")
        client.say("later", "still here")
        await settle()
        assert client.sent == [Text("Connected"), Text("Error"), Text("Error"), Text("still here")]
        assert len(error_records(caplog)) == 2

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_with_an_error_that_cannot_be_put_into_words_are_failures_like_others(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, asynchronous: bool
    ) -> None:
        events: list[str] = []

        class Unspeakable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        class Failing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(text_of(event))
                if text_of(event) == "x":
                    if asynchronous:
                        return self._later()
                    raise Unspeakable
                return None

            async def _later(self) -> Any:
                raise Unspeakable

        client = make_world(actor=Failing).connect()
        client.say("x", "y")
        await settle()
        assert events == ["Connected", "x", "Error", "y"]
        assert len(error_records(caplog)) == 1

    async def test_after_an_error_the_same_instance_goes_on(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        client.say("fail", "a")
        assert client.sent == [Text("a")]
        assert len(gated.all) == 1
        assert len(error_records(caplog)) == 1


class TestConnections:
    async def test_are_known_from_connected_on_until_closed(self, make_world: MakeWorld) -> None:
        known: list[list[int]] = []

        class Knowing(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                known.append(list(self.context.connections))

        world = make_world(actor=Knowing)
        one, two = world.connect(), world.connect()
        one.say("x")
        one.end()
        ids = [one.connection.id, two.connection.id]
        assert known == [ids[:1], ids, ids, ids[1:]]
        assert one.cell.counters.connections == 2

    async def test_cannot_be_changed_by_the_actor(self, make_world: MakeWorld) -> None:
        client = make_world(actor=Quiet).connect()
        with pytest.raises(TypeError):
            client.cell.connections[1] = client.connection  # type: ignore[index]

    async def test_begin_with_connected_and_end_with_closed_once_behind_a_busy_turn(
        self, make_world: MakeWorld
    ) -> None:
        gated = Kept(Gated)
        world = make_world(actor=gated)
        busy = world.connect()
        busy.say("wait")
        other = world.connect()
        other.say("hello")
        other.end()
        await settle()
        assert gated.last.log[2:] == ["wait"]
        gated.last.open()
        await settle()
        assert gated.last.log[2:] == [
            *["wait", "/wait", "Connected", "/Connected", "hello", "/hello", "Closed", "/Closed"]
        ]
        assert list(other.cell.connections) == [busy.connection.id]


class TestMailbox:
    LIMITS = Limits(mailbox_high_water=4, mailbox_low_water=2)

    async def test_pauses_who_feeds_it_at_the_high_mark_and_resumes_at_the_low_one(
        self, make_world: MakeWorld
    ) -> None:
        readings: list[tuple[str, bool]] = []

        class Watched(Gated):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                readings.append((text_of(event), feeder.wire.reading if len(readings) > 1 else True))
                return super().handle_websocket(connection, event)

        gated = Kept(Watched)
        world = make_world(self.LIMITS, actor=gated)
        feeder = world.connect()
        innocent = world.connect()
        feeder.say("wait", "1", "2", "3")
        assert feeder.wire.pauses == 0
        feeder.say("4")
        assert (feeder.wire.reading, feeder.wire.pauses) == (False, 1)
        assert innocent.wire.pauses == 0
        feeder.say("5")  # what was read before the pause is taken
        assert feeder.wire.pauses == 1
        assert feeder.cell.queued == 5
        assert feeder.cell.full
        gated.last.open()
        await settle()
        assert readings[3:] == [("1", False), ("2", False), ("3", True), ("4", True), ("5", True)]
        assert not feeder.cell.full

    async def test_does_not_resume_a_connection_that_has_ended(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        client = make_world(self.LIMITS, actor=gated).connect()
        client.say("wait", "1", "2", "3", "4")
        client.end()
        gated.last.open()
        await settle()
        assert gated.last.log[-2:] == ["Closed", "/Closed"]
        assert not client.wire.reading

    async def test_refuses_calls_when_full(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        client = make_world(self.LIMITS, actor=gated).connect("actor/x")
        client.say("wait")
        answers = [client.cell.call("handle_request", Request("GET", "/")) for _ in range(4)]
        with pytest.raises(MailboxFull) as caught:
            await client.cell.call("handle_request", Request("GET", "/"))
        assert caught.value.address == "actor/x"
        await settle()
        gated.last.open()
        for answer in answers:
            assert (await answer).body == b"hello"

    async def test_refuses_other_actors_messages_when_full(self, make_world: MakeWorld) -> None:
        class Sending(Quiet):
            async def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if isinstance(event, Received):
                    with pytest.raises(MailboxFull):
                        self.context.send(Address("gated"), Text("x"))
                    with pytest.raises(MailboxFull):
                        await self.context.request(Address("gated"), Text("x"), None)
                    return Text("refused")
                return None

        gated = Kept(Gated)
        world = make_world(self.LIMITS, gated=gated, actor=Sending)
        world.connect("gated").say("wait", "1", "2", "3", "4")
        client = world.connect()
        client.say("x")
        await settle()
        assert client.sent == [Text("refused")]
        gated.last.open()
        await settle()


class TestInit:
    async def test_comes_before_the_first_event(self, make_world: MakeWorld) -> None:
        order = []

        class Starting(Quiet):
            def init(self) -> Any:
                order.append("init")

            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                order.append(text_of(event))

        make_world(actor=Starting).connect()
        assert order == ["init", "Connected"]

    async def test_holds_events_and_calls_until_it_is_done(self, make_world: MakeWorld) -> None:
        gate = asyncio.Event()
        order = []

        class Starting(Quiet):
            async def init(self) -> None:
                await gate.wait()
                order.append("init")

            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                order.append(text_of(event))

            def handle_request(self, request: Request) -> Any:
                order.append("request")
                return Response()

        world = make_world(actor=Starting)
        client = world.connect()
        client.say("a")
        answer = world.cell().call("handle_request", Request("GET", "/"))
        client.say("b")
        await settle()
        assert order == []
        assert not answer.done()
        gate.set()
        await answer
        assert order == ["init", "Connected", "a", "request", "b"]

    @pytest.mark.parametrize("where", ["__init__", "init", "async init", "result"])
    async def test_that_fails_refuses_calls_and_the_next_use_makes_a_new_instance(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, where: str
    ) -> None:
        made = []

        class Failing(Quiet):
            def __init__(self, context: Any) -> None:
                super().__init__(context)
                made.append(self)
                if where == "__init__" and len(made) == 1:
                    raise ValueError

            def init(self) -> Any:
                if len(made) > 1:
                    return None
                self.context.send(Address("other"), Text("lost"))
                if where == "async init":
                    return self._later()
                if where == "result":
                    return "a text"
                raise ValueError

            async def _later(self) -> None:
                await asyncio.sleep(0)
                raise ValueError

        messages: list[Data] = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                messages.append(message)

        world = make_world(actor=Failing, other=Other)
        failing = world.cell()
        answers = [failing.call("handle_request", Request("GET", "/")) for _ in range(2)]
        for answer in answers:
            with pytest.raises(ActorFailed):
                await answer
        assert failing.failed
        (record,) = error_records(caplog)
        assert "failed in init" in record.getMessage()
        assert record.__dict__["actor"] == "actor"
        with pytest.raises(ActorFailed):
            await failing.call("handle_request", Request("GET", "/"))
        answer = world.cell().call("handle_request", Request("GET", "/"))
        assert (await answer).status == 200
        assert len(made) == 2
        assert world.cell() is not failing
        await settle()
        assert messages == []

    async def test_that_fails_at_once_leaves_no_instance_for_messages(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        handled = []

        class Broken(Quiet):
            def init(self) -> Any:
                raise ValueError

            def handle_message(self, message: Data, sender: Address) -> Any:
                handled.append(message)

        class Sending(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.send(Address("broken"), Text("x"))

        make_world(actor=Sending, broken=Broken).connect()
        await settle()
        assert handled == []
        assert {record.getMessage() for record in error_records(caplog)} == {"broken failed in init"}

    async def test_that_fails_later_leaves_no_instance_for_messages(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        handled = []

        class Broken(Quiet):
            async def init(self) -> None:
                await asyncio.sleep(0)
                raise ValueError

            def handle_message(self, message: Data, sender: Address) -> Any:
                handled.append(message)

        class Sending(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.send(Address("broken"), Text("x"))

        make_world(actor=Sending, broken=Broken).connect()
        await settle()
        assert handled == []
        assert len(error_records(caplog)) == 1

    async def test_may_send_to_another_actor(self, make_world: MakeWorld) -> None:
        senders = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                senders.append(sender)

        class Starting(Quiet):
            def init(self) -> Any:
                self.context.send(Address("other"), Text("I am here"))

        make_world(actor=Starting, other=Other).cell("actor/7")
        await settle()
        assert senders == [Address("actor", "7")]

    async def test_may_send_to_the_actor_itself(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = []
        handled = []

        class Starting(Quiet):
            def init(self) -> Any:
                made.append(self)
                self.context.send(self.context.address, Text("begin"))

            def handle_message(self, message: Data, sender: Address) -> Any:
                handled.append(self)

        make_world(actor=Starting).cell()
        await settle()
        assert error_records(caplog) == []
        assert len(made) == 1
        assert handled == made

    async def test_of_two_actors_may_send_to_each_other(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        made: list[Address] = []
        handled: list[Address] = []

        class Starting(Quiet):
            def init(self) -> Any:
                made.append(self.context.address)
                self.context.send(Address("right" if made[-1].type == "left" else "left"), Text("hello"))

            def handle_message(self, message: Data, sender: Address) -> Any:
                handled.append(sender)

        make_world(left=Starting, right=Starting).cell("left")
        await settle()
        assert error_records(caplog) == []
        assert sorted(made) == sorted(handled) == [Address("left"), Address("right")]


class TestCalls:
    async def test_of_an_idle_actor_are_done_at_once(self, make_world: MakeWorld) -> None:
        answer = make_world(actor=Quiet).cell().call("upgrade_connection", UpgradeRequest("/"))
        assert answer.done()
        assert answer.result() == Accept()

    async def test_wait_for_their_turn(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        client.say("wait")
        answer = client.cell.call("handle_request", Request("GET", "/"))
        await settle()
        assert not answer.done()
        gated.last.open()
        assert (await answer).body == b"hello"
        assert client.sent == [Text("before"), Text("wait")]

    @pytest.mark.parametrize(
        ("handler", "argument", "result", "words"),
        [
            ("upgrade_connection", UpgradeRequest("/"), True, "Accept, Response or None"),
            ("handle_request", Request("GET", "/"), None, "a Response"),
            ("handle_request", Request("GET", "/"), "text", "a Response"),
        ],
    )
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_with_an_invalid_result_fail(
        self,
        make_world: MakeWorld,
        caplog: pytest.LogCaptureFixture,
        handler: str,
        argument: object,
        result: object,
        words: str,
        asynchronous: bool,
    ) -> None:
        class Wrong(Quiet):
            def _result(self) -> Any:
                client.connection.send(Text("lost"))
                return self._later() if asynchronous else result

            async def _later(self) -> Any:
                return result

            def upgrade_connection(self, request: UpgradeRequest) -> Any:
                return self._result()

            def handle_request(self, request: Request) -> Any:
                return self._result()

        client = make_world(actor=Wrong).connect()
        with pytest.raises(ActorFailed):
            await client.cell.call(handler, argument)
        (record,) = error_records(caplog)
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], InvalidReply)
        assert words in str(record.exc_info[1])
        assert client.sent == []

    async def test_hide_what_the_handler_raised(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Failing(Quiet):
            def handle_request(self, request: Request) -> Any:
                raise ValueError("secret")

        with pytest.raises(ActorFailed) as caught:
            await make_world(actor=Failing).cell("actor/1").call("handle_request", Request("GET", "/"))
        assert caught.value.address == "actor/1"
        assert "secret" not in str(caught.value)
        (record,) = error_records(caplog)
        assert "connection" not in record.__dict__

    @pytest.mark.parametrize("fails", [False, True])
    async def test_nobody_waits_for_any_more_end_all_the_same(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, fails: bool
    ) -> None:
        gate = asyncio.Event()

        class Slow(Quiet):
            async def handle_request(self, request: Request) -> Any:
                await gate.wait()
                if fails:
                    raise ValueError
                return Response()

        cell = make_world(actor=Slow).cell()
        answer = cell.call("handle_request", Request("GET", "/"))
        answer.cancel()
        await settle()
        gate.set()
        await settle()
        assert not cell.outbox.open
        assert len(error_records(caplog)) == fails

    async def test_send_what_their_handlers_send(self, make_world: MakeWorld) -> None:
        class Telling(Quiet):
            def handle_request(self, request: Request) -> Any:
                self.context.broadcast(Text("someone asked"), (), None, None, True)
                return Response()

        client = make_world(actor=Telling).connect()
        await client.cell.call("handle_request", Request("GET", "/"))
        assert client.sent == [Text("someone asked")]


class Asking(Quiet):
    """Asks the actor that a client names, and tells the client the answer or what was raised."""

    TIMEOUT: float | None = None

    async def handle_websocket(self, connection: Connection, event: Event) -> Any:
        if not isinstance(event, Received):
            return None
        try:
            answer = await self.context.request(Address.parse(text_of(event)), Text("question"), self.TIMEOUT)
        except Exception as error:  # noqa: BLE001
            return Text(f"{type(error).__name__}: {error}")
        return answer or Text("None")


class TestSending:
    async def test_to_an_actor_happens_when_the_turn_is_over(self, make_world: MakeWorld) -> None:
        order: list[str] = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                assert isinstance(message, Text)
                order.append(f"{message.text} from {sender}")
                return Text("an answer that nobody asked for")

        class Sending(Quiet):
            async def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.send(Address("other"), Text("1"))
                self.context.send(Address("other"), Text("2"))
                await settle()
                order.append("end of turn")

        make_world(actor=Sending, other=Other).connect("actor/a")
        for _ in range(2):
            await settle()
        assert order == ["end of turn", "1 from actor/a", "2 from actor/a"]

    async def test_to_no_such_actor_raises_in_the_handler(self, make_world: MakeWorld) -> None:
        class Sending(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                with pytest.raises(NoSuchActor):
                    self.context.send(Address("nobody"), Text("x"))
                return Text("caught")

        assert make_world(actor=Sending).connect().sent == [Text("caught")]

    async def test_to_an_actor_that_is_gone_when_the_turn_ends_is_logged(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Quiet):
            def init(self) -> Any:
                raise ValueError

        class Sending(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.send(Address("broken"), Text("x"))
                self.context.send(Address("quiet"), Text("takes the last place"))
                return Text("the turn is fine")

        world = make_world(Limits(max_actors=2), actor=Sending, broken=Broken, quiet=Quiet)
        assert world.connect().sent == [Text("the turn is fine")]
        assert "actor lost a message to broken" in caplog.text

    @pytest.mark.parametrize("fan_out", [1, 3])
    async def test_to_each_other_for_ever_leaves_the_loop_to_others(
        self, make_world: MakeWorld, fan_out: int
    ) -> None:
        turns = 0

        class Endless(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                nonlocal turns
                turns += 1
                if turns < 10_000:
                    self.context.send(sender, message)

        class Starting(Endless):
            def init(self) -> Any:
                for _ in range(fan_out):
                    self.context.send(Address("right"), Text("x"))

        world = make_world(left=Starting, right=Endless)
        world.cell("left")
        await settle()
        assert 10 < turns < 500

    async def test_to_oneself_for_ever_leaves_the_loop_to_others(self, make_world: MakeWorld) -> None:
        turns = 0

        class Endless(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                self.context.send(self.context.address, Text("x"))

            def handle_message(self, message: Data, sender: Address) -> Any:
                nonlocal turns
                turns += 1
                if turns < 10_000:
                    self.context.send(self.context.address, message)

        make_world(actor=Endless).connect()
        await settle()
        assert 10 < turns < 500

    async def test_then_asking_arrives_in_that_order(self, make_world: MakeWorld) -> None:
        handled = []

        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                handled.append(message)
                return message

        class Working(Quiet):
            async def work(self) -> None:
                self.context.send(Address("other"), Text("first"))
                await self.context.request(Address("other"), Text("second"), None)

        working = Kept(Working)
        make_world(actor=working, other=Other).cell()
        await working.last.work()  # as a background task of the actor would
        assert handled == [Text("first"), Text("second")]


class TestRequests:
    @pytest.mark.parametrize("result", [Text("answer"), None])
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_give_what_the_other_actor_returns(
        self, make_world: MakeWorld, result: Data | None, asynchronous: bool
    ) -> None:
        class Other(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                assert message == Text("question")
                assert sender == Address("actor", "me")
                return self._later() if asynchronous else result

            async def _later(self) -> Any:
                await asyncio.sleep(0)
                return result

        client = make_world(actor=Asking, other=Other).connect("actor/me")
        client.say("other")
        await settle()
        assert client.sent == [result or Text("None")]

    @pytest.mark.parametrize(("timeout", "seconds"), [(None, 7.0), (2.0, 2.0)])
    async def test_end_when_there_is_no_answer_in_time(
        self, make_world: MakeWorld, timeout: float | None, seconds: float
    ) -> None:
        gate = asyncio.Event()

        class Silent(Quiet):
            async def handle_message(self, message: Data, sender: Address) -> Any:
                await gate.wait()
                return Text("too late")

        class Impatient(Asking):
            TIMEOUT = timeout

        world = make_world(Limits(request_timeout=7), actor=Impatient, other=Silent)
        client = world.connect()
        client.say("other/1")
        await settle()
        world.clock.advance(seconds - 0.01)
        await settle()
        assert client.sent == []
        world.clock.advance(0.01)
        await settle()
        assert client.sent == [Text(f"RequestTimeout: {RequestTimeout('other/1', seconds)}")]
        gate.set()
        await settle()
        assert len(client.sent) == 1
        assert not world.cell("other/1").outbox.open

    async def test_that_were_answered_do_not_time_out(self, make_world: MakeWorld) -> None:
        world = make_world(actor=Asking, other=say("here"))
        client = world.connect()
        client.say("other")
        await settle()
        world.clock.advance(1000)
        await settle()
        assert client.sent == [Text("here")]

    async def test_that_were_answered_leave_no_timer_behind(self) -> None:
        gate = asyncio.Event()

        class Slow(Quiet):
            async def handle_message(self, message: Data, sender: Address) -> Any:
                await gate.wait()
                return Text("here")

        class Watch(VirtualClock):
            def __init__(self) -> None:
                super().__init__()
                self.history: list[tuple[str, float]] = []

            def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
                history = self.history
                history.append(("set", seconds))

                class Noted(VirtualTimer):
                    def cancel(self) -> None:
                        history.append(("cancelled", seconds))

                return Noted(callback)

        watch = Watch()
        world = World({"actor": Asking, "other": Slow}, Limits(), watch)
        client = world.connect()
        client.say("other")
        await settle()
        gate.set()
        await settle()
        assert client.sent == [Text("here")]
        seconds = Limits().request_timeout
        assert [each for each in watch.history if each[1] == seconds] == [
            ("set", seconds),
            ("cancelled", seconds),
        ]

    async def test_time_out_at_the_very_moment_of_the_answer_without_trouble(
        self, make_world: MakeWorld
    ) -> None:
        gate = asyncio.Event()

        class Slow(Quiet):
            async def handle_message(self, message: Data, sender: Address) -> Any:
                await gate.wait()
                world.clock.advance(5)
                return Text("answer")

        class Late(Quiet):
            # The time is up when the answer is there, but has not been fetched.
            async def handle_message(self, message: Data, sender: Address) -> Any:
                asyncio.get_running_loop().call_soon(world.clock.advance, 5)
                return Text("just in time")

        world = make_world(actor=Asking, other=Slow, late=Late)
        client = world.connect()
        client.say("other")
        await settle()
        gate.set()
        await settle()
        client.say("late")
        await settle()
        assert [text.text.partition(":")[0] for text in client.sent if isinstance(text, Text)] == [
            "RequestTimeout",
            "just in time",
        ]

    @pytest.mark.parametrize(
        ("whom", "error"),
        [
            ("broken/1", ActorFailed("broken/1")),
            ("unstartable", ActorFailed("unstartable")),
            ("wrong", ActorFailed("wrong")),
            ("nobody", NoSuchActor("nobody")),
        ],
    )
    async def test_that_cannot_be_answered_raise(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, whom: str, error: Exception
    ) -> None:
        class Broken(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                raise ValueError("secret")

        class Unstartable(Quiet):
            def init(self) -> Any:
                raise ValueError

        class Wrong(Quiet):
            def handle_message(self, message: Data, sender: Address) -> Any:
                return "text"

        client = make_world(actor=Asking, broken=Broken, unstartable=Unstartable, wrong=Wrong).connect()
        client.say(whom)
        await settle()
        assert client.sent == [Text(f"{type(error).__name__}: {error}")]
        assert len(error_records(caplog)) == isinstance(error, ActorFailed)

    async def test_to_oneself_are_refused(self, make_world: MakeWorld) -> None:
        client = make_world(actor=Asking).connect("actor/1")
        client.say("actor/1")
        await settle()
        (message,) = client.sent
        assert isinstance(message, Text)
        assert message.text.startswith("LocalError: actor/1 cannot make a request to itself")

    @pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
    async def test_need_a_sensible_timeout(self, make_world: MakeWorld, timeout: float) -> None:
        world = make_world(actor=Quiet, other=Quiet)
        with pytest.raises(LocalError, match="must be a positive number of seconds"):
            await world.cell().request(Address("other"), Text("x"), timeout)

    @pytest.mark.parametrize("message", ["text", b"bytes", None, Ping(), Close()])
    async def test_need_a_message(self, make_world: MakeWorld, message: Any) -> None:
        world = make_world(actor=Quiet, other=Quiet)
        with pytest.raises(InvalidMessage, match="expected Text or Binary"):
            await world.cell().request(Address("other"), message, None)

    async def test_in_a_circle_end_by_their_timeouts(self, make_world: MakeWorld) -> None:
        class Circular(Asking):
            async def handle_message(self, message: Data, sender: Address) -> Any:
                return await self.context.request(sender, message, None)

        world = make_world(actor=Circular)
        client = world.connect("actor/1")
        client.say("actor/2")
        await settle()
        world.clock.advance(5)
        await settle()
        (message,) = client.sent
        assert isinstance(message, Text)
        assert message.text.startswith("RequestTimeout")


class TestStop:
    async def test_of_an_idle_actor_is_immediate(self, make_world: MakeWorld) -> None:
        world = make_world(actor=Quiet)
        world.connect()
        await world.cell().stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_cancels_a_turn_that_hangs_and_begins_no_other(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        client.say("wait", "never")
        await settle()
        await client.cell.stop()
        await settle()
        assert gated.last.log[2:] == ["wait"]
        assert client.sent == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(record.exc_info for record in error_records(caplog))

    async def test_cancels_a_turn_that_began_behind_another(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        client.say("wait", "wait too")
        await settle()
        gated.last.open()
        await settle()
        assert gated.last.log[2:] == ["wait", "/wait", "wait too"]
        await client.cell.stop()
        assert gated.last.gate.cancelled()
        assert client.sent == [Text("before"), Text("wait")]

    async def test_cancels_a_turn_that_has_hardly_begun(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Slow(Quiet):
            def handle_request(self, request: Request) -> Any:
                return asyncio.get_running_loop().create_future()

        cell = make_world(actor=Slow).cell()
        answer = cell.call("handle_request", Request("GET", "/"))
        await cell.stop()
        await settle()
        assert answer.done()
        with pytest.raises(ActorFailed):
            answer.result()
        assert len(error_records(caplog)) <= 1

    async def test_cancels_a_turn_that_waits_for_an_awaitable_of_an_awaitable(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Deep(Quiet):
            async def handle_request(self, request: Request) -> Any:
                return self._second()

            async def _second(self) -> Any:
                await asyncio.Event().wait()

        cell = make_world(actor=Deep).cell()
        answer = cell.call("handle_request", Request("GET", "/"))
        await settle()
        await cell.stop()
        await settle()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await settle()
        assert len(left) == 0
        assert isinstance(answer.exception(), ActorFailed)
        assert len(error_records(caplog)) <= 1

    async def test_refuses_the_calls_that_wait(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        client.say("wait")
        answer = client.cell.call("handle_request", Request("GET", "/"))
        await settle()
        await client.cell.stop()
        await settle()
        assert answer.done()
        assert isinstance(answer.exception(), ActorFailed)

    async def test_is_final(self, make_world: MakeWorld) -> None:
        gated = Kept(Gated)
        client = make_world(actor=gated).connect()
        await client.cell.stop()
        client.say("hello")
        assert gated.last.log == ["Connected", "/Connected"]
        assert client.sent == []

    async def test_refuses_calls_from_then_on(self, make_world: MakeWorld) -> None:
        cell = make_world(actor=Quiet).cell()
        await cell.stop()
        answer = cell.call("handle_request", Request("GET", "/"))
        assert answer.done()
        assert isinstance(answer.exception(), ActorFailed)
