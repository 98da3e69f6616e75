"""How long turns may take, and turns for several events. Real event loop, recording wires, virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.runtime.conftest import MakeWorld
from tests.runtime.world import Client, Quiet, World, error_records, settle, text_of

from theater.contract import (
    Accept,
    Close,
    Congested,
    Data,
    Drained,
    Error,
    Event,
    Received,
    Request,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater.errors import ActorFailed, HandlerTimeout, InvalidReply, RequestTimeout
from theater.limits import Limits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.ports import Batch, Deliveries
from theater.testing import VirtualClock
from theater.testing.clock import VirtualTimer

LIMITS = Limits(handler_timeout=30, upgrade_timeout=10)


class Hanging(Quiet):
    """Does what `work` does for every text that begins with `hang`; echoes all others, noting events."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.log: list[str] = []

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        text = text_of(event)
        self.log.append(f"Error({event.problem})" if isinstance(event, Error) else text)
        if text.startswith("hang"):
            connection.send(Text("lost"))
            return self.work()
        return Text(text) if text.islower() else None

    async def work(self) -> Any:
        await asyncio.Event().wait()


def hanging(work: Callable[[], Awaitable[Any]]) -> type[Hanging]:
    async def method(self: Hanging) -> Any:
        return await work()

    return type("HangingInItsWay", (Hanging,), {"work": method})


async def pass_time(world: World, seconds: float) -> None:
    """Lets time pass, and what falls due happen."""
    world.clock.advance(seconds)
    await settle()


def raised(records: list[Any]) -> list[BaseException]:
    """The exceptions of log records."""
    return [record.exc_info[1] for record in records]


class TestDeadline:
    async def test_of_a_handler_that_never_returns_fails_its_turn_and_nothing_else(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = make_world(LIMITS, actor=Hanging)
        client, other = world.connect(), world.connect()
        client.say("hang", "next")
        other.say("other")
        await settle()
        await pass_time(world, 29.9)
        assert client.sent == other.sent == []
        assert error_records(caplog) == []
        await pass_time(world, 0.1)
        assert client.sent == [Text("next")]
        assert other.sent == [Text("other")]
        (error,) = raised(error_records(caplog))
        assert isinstance(error, HandlerTimeout)
        assert (error.address, error.seconds) == ("actor", 30)
        assert client.cell.counters.errors == 1
        await pass_time(world, 100)
        assert len(error_records(caplog)) == 1

    async def test_is_told_to_the_connection_as_its_next_event(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        events: list[Event] = []

        class Telling(Hanging):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(event)
                return super().handle_websocket(connection, event)

        world = make_world(LIMITS, actor=Telling)
        world.connect().say("hang", "next")
        await settle()
        await pass_time(world, 30)
        problem = "HandlerTimeout: a handler of 'actor' took longer than 30 s"
        assert events[2:] == [Error(problem), Received(Text("next"))]
        assert len(error_records(caplog)) == 1

    async def test_counts_for_each_turn_from_its_beginning(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gates: list[asyncio.Future[None]] = []

        async def wait() -> Text:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]
            return Text("done")

        world = make_world(LIMITS, actor=hanging(wait))
        client = world.connect()
        client.say("hang", "hang again")
        await settle()
        await pass_time(world, 20)
        gates[0].set_result(None)
        await settle()
        await pass_time(world, 29)  # 49 s after the first began, 29 s after the second
        assert error_records(caplog) == []
        assert client.sent == [Text("lost"), Text("done")]
        await pass_time(world, 1)
        assert len(error_records(caplog)) == 1
        assert gates[1].cancelled()

    async def test_that_is_kept_costs_one_timer_for_many_turns(self) -> None:
        class Counting(VirtualClock):
            timers = 0

            def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
                self.timers += 1
                return super().call_later(seconds, callback)

        clock = Counting()
        world = World({"actor": hanging(lambda: asyncio.sleep(0))}, LIMITS, clock)
        client = world.connect()
        for _ in range(50):
            client.say("hang")
            await settle()
            clock.advance(0.1)
        assert client.cell.counters.turns == 51
        assert client.cell.task is None
        assert clock.timers == 1
        clock.advance(30)
        assert clock.timers == 1  # nothing is under way
        await world.system.stop()

    async def test_of_a_handler_that_ends_when_it_is_cancelled_is_no_failure(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def give_in() -> Text:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return Text("gave up")
            raise AssertionError

        world = make_world(LIMITS, actor=hanging(give_in))
        client = world.connect()
        client.say("hang", "next")
        await settle()
        await pass_time(world, 30)
        assert client.sent == [Text("lost"), Text("gave up"), Text("next")]
        assert error_records(caplog) == []

    async def test_of_a_handler_that_raises_something_else_instead_shows_that(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def clean_up() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError("half-done")

        world = make_world(LIMITS, actor=hanging(clean_up))
        client = world.connect()
        client.say("hang", "next")
        await settle()
        await pass_time(world, 30)
        (error,) = raised(error_records(caplog))
        assert isinstance(error, KeyError)
        assert client.sent == [Text("next")]

    async def test_cancels_every_second_until_the_handler_lets_go(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        cancelled = 0

        async def cling() -> None:
            nonlocal cancelled
            while cancelled < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled += 1
            await asyncio.Event().wait()

        world = make_world(LIMITS, actor=hanging(cling))
        client = world.connect()
        client.say("hang", "next")
        await settle()
        await pass_time(world, 30)
        for expected in (1, 2, 3):
            assert cancelled == expected
            assert client.sent == []
            await pass_time(world, 0.9)
            assert cancelled == expected
            await pass_time(world, 0.1)
        assert client.sent == [Text("next")]
        (error,) = raised(error_records(caplog))
        assert isinstance(error, HandlerTimeout)

    async def test_does_not_blame_the_next_turn(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def give_in_or_raise() -> None:
            try:
                await asyncio.sleep(0)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if world.clock.now() > 35:
                    raise

        world = make_world(LIMITS, actor=hanging(give_in_or_raise))
        client = world.connect()
        client.say("hang", "hang on")
        await settle()
        await pass_time(world, 30)
        await pass_time(world, 10)
        assert error_records(caplog) == []
        assert client.cell.task is not None
        client.cell.task.cancel("by somebody else")
        await settle()
        (error,) = raised(error_records(caplog))
        assert isinstance(error, asyncio.CancelledError)

    async def test_begins_when_the_handler_runs(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is cancelled before its first step could not say so, and its turn would never end."""
        world = make_world(LIMITS, actor=Hanging)
        client = world.connect()
        client.say("hang", "next")
        world.clock.advance(31)  # the event loop was busy with something else
        await settle()
        await pass_time(world, 30)
        assert client.sent == [Text("next")]
        (error,) = raised(error_records(caplog))
        assert isinstance(error, HandlerTimeout)

    async def test_of_calls_gives_who_waits_an_answer(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Slow(Quiet):
            async def handle_request(self, request: Request) -> Any:
                await asyncio.Event().wait()

            async def handle_message(self, message: Data, sender: Address) -> Any:
                await asyncio.Event().wait()

        world = make_world(LIMITS, actor=Slow)
        answers = [
            world.cell("actor/1").call("handle_request", Request("GET", "/")),
            world.cell("actor/2").call("handle_message", Text("x"), Address("other")),
        ]
        await settle()
        await pass_time(world, 30)
        assert [type(answer.exception()) for answer in answers] == [ActorFailed, ActorFailed]
        assert [type(error) for error in raised(error_records(caplog))] == [HandlerTimeout] * 2

    async def test_of_init_means_that_the_actor_cannot_start(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Slow(Quiet):
            async def init(self) -> None:
                await asyncio.Event().wait()

        world = make_world(LIMITS, actor=Slow)
        answer = world.cell().call("handle_request", Request("GET", "/"))
        cell = world.cell()
        await settle()
        await pass_time(world, 30)
        assert isinstance(answer.exception(), ActorFailed)
        assert cell.failed
        assert list(world.system) == []
        assert len(error_records(caplog)) == 1


class TestUpgradeDeadline:
    async def test_is_shorter_while_the_actor_decides(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Slow(Hanging):
            async def upgrade_connection(self, request: UpgradeRequest) -> Any:
                await asyncio.Event().wait()

        world = make_world(LIMITS, actor=Slow)
        client = world.connect()
        client.say("hang")  # leaves a timer behind that fires later
        await settle()
        await pass_time(world, 30)
        caplog.clear()
        answer = client.cell.call("upgrade_connection", UpgradeRequest("/"))
        await settle()
        await pass_time(world, 9.9)
        assert not answer.done()
        await pass_time(world, 0.1)
        assert isinstance(answer.exception(), RequestTimeout | ActorFailed)
        (error,) = raised(error_records(caplog))
        assert isinstance(error, HandlerTimeout)
        assert error.seconds == 10
        client.say("still here")
        assert client.sent == [Text("still here")]

    async def test_counts_while_it_waits_for_the_turns_before_it(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = make_world(LIMITS, actor=Hanging)
        client = world.connect()
        client.say("hang")
        await settle()
        answer = client.cell.call("upgrade_connection", UpgradeRequest("/"))
        await pass_time(world, 9.9)
        assert not answer.done()
        await pass_time(world, 0.1)
        error = answer.exception()
        assert isinstance(error, RequestTimeout)
        assert (error.address, error.seconds) == ("actor", 10)
        assert error_records(caplog) == []  # the actor is slow; it has not failed
        await pass_time(world, 20)
        assert len(error_records(caplog)) == 1

    async def test_leaves_nothing_behind_when_it_is_kept(self, make_world: MakeWorld) -> None:
        gate = asyncio.Event()

        class Slow(Quiet):
            async def upgrade_connection(self, request: UpgradeRequest) -> Any:
                await gate.wait()
                return Accept()

        world = make_world(LIMITS, actor=Slow)
        answer = world.cell().call("upgrade_connection", UpgradeRequest("/"))
        await settle()
        gate.set()
        await settle()
        await pass_time(world, 100)
        assert answer.result() == Accept()


class Reading(Quiet):
    """Notes what it reads of streams."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.read: list[Any] = []
        self.problems: list[str] = []

    async def handle_websocket(self, connection: Connection, event: Event) -> Any:
        match event:
            case Received(Stream() as stream):
                async for chunk in stream:
                    self.read.append(chunk)
                connection.send(Text("complete"))
            case Error(problem):
                self.problems.append(problem)


class TestStreams:
    async def test_extend_the_deadline_with_every_chunk_that_is_taken(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        made: list[Reading] = []

        class Kept(Reading):
            def __init__(self, context: Any) -> None:
                super().__init__(context)
                made.append(self)

        world = make_world(LIMITS, actor=Kept)
        client = world.connect()
        stream = client.stream()
        for number in range(5):
            stream.feed(str(number), last=False)
            await settle()
            await pass_time(world, 29)
        assert error_records(caplog) == []
        assert made[0].read == ["0", "1", "2", "3", "4"]
        await pass_time(world, 1)
        assert len(error_records(caplog)) == 1
        stream.feed("thrown away", last=True)
        await settle()
        assert len(made[0].read) == 5
        assert len(made[0].problems) == 1
        assert client.sent == []

    async def test_are_read_by_the_handler_and_then_answered(self, make_world: MakeWorld) -> None:
        world = make_world(LIMITS, actor=Reading)
        client = world.connect()
        stream = client.stream()
        stream.feed("a", last=False)
        await settle()
        stream.feed("b", last=True)
        await settle()
        assert client.sent == [Text("complete")]

    @pytest.mark.parametrize("end", ["returned", "failed", "stopped", "never begun"])
    async def test_are_thrown_away_when_their_turn_is_over(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, end: str
    ) -> None:
        class Careless(Quiet):
            def handle_websocket(self, connection: Connection, event: Event) -> Any:
                if not isinstance(event, Received):
                    return None
                if end == "failed":
                    raise ValueError
                return asyncio.Event().wait() if end in ("stopped", "never begun") else None

        world = make_world(actor=Careless)
        client = world.connect()
        if end == "never begun":
            client.say("busy")
        stream = client.stream()
        await settle()
        if end in ("stopped", "never begun"):
            await client.cell.stop()
        stream.feed("a", last=True)
        chunks = aiter(stream)
        with pytest.raises(Exception, match="until the handler that got it returns"):
            await anext(chunks)
        assert len(error_records(caplog)) == (end == "failed")

    async def test_of_a_connection_that_is_lost_end_the_turn_and_closed_follows(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        events: list[str] = []

        class Noting(Reading):
            async def handle_websocket(self, connection: Connection, event: Event) -> Any:
                events.append(text_of(event))
                await super().handle_websocket(connection, event)

        client = make_world(actor=Noting).connect()
        stream = client.stream()
        stream.feed("a", last=False)
        await settle()
        stream.lost(Close(1006))
        client.end(1006)
        await settle()
        assert events == ["Connected", "Received", "Error", "Closed"]
        assert "ConnectionEnded" in caplog.text


class Gathering(Quiet):
    """Notes batches as lists of words; does what the words say.

    Attributes:
        turns: words of each turn; single events and calls are no lists.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.turns: list[Any] = []
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handle_batch(self, batch: Deliveries) -> Any:
        words = [text_of(event) for _, event in batch]
        self.turns.append(words)
        for connection, event in batch:
            connection.send(Text(f"<{text_of(event)}>"))
        if "wait" in words:
            return self.gate
        return self._finish(words)

    def _finish(self, words: list[str]) -> Any:
        if "fail" in words:
            raise ValueError("secret detail")
        return "a result" if "return" in words else None

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        self.turns.append(text_of(event))
        return Text("single")

    def handle_request(self, request: Request) -> Any:
        self.turns.append("request")
        return Response()

    def handle_message(self, message: Data, sender: Address) -> Any:
        self.turns.append("message")


class Kept:
    """Makes an instance of `Gathering`, and keeps it."""

    last: Gathering

    def __call__(self, context: Any) -> Gathering:
        self.last = Gathering(context)
        return self.last


AT_ONCE = Batch(max_messages=4)
LATER = Batch(max_messages=4, max_wait=0.5)


class Gathered:
    """An actor that handles events together, and clients that it knows already."""

    def __init__(self, make_world: MakeWorld, batch: Batch, limits: Limits = Limits()) -> None:
        kept = Kept()
        self.batch = batch
        self.world = make_world(limits, actor=kept, other=Quiet)
        self.world.cell()
        self.actor = kept.last

    async def connect(self) -> Client:
        client = self.world.connect(batch=self.batch)
        await settle()
        self.world.clock.advance(self.batch.max_wait)
        await settle()
        self.forget(client)
        return client

    def forget(self, client: Client) -> None:
        """Begins anew with what is looked at."""
        self.actor.turns.clear()
        client.sent.clear()


class TestBatches:
    async def test_hold_what_comes_in_one_round_of_the_loop_in_order(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, AT_ONCE)
        one, two = await gathered.connect(), await gathered.connect()
        one.say("a")
        two.say("b")
        one.say("c")
        assert gathered.actor.turns == []
        await settle()
        assert gathered.actor.turns == [["a", "b", "c"]]
        assert one.sent == [Text("<a>"), Text("<c>")]
        assert two.sent == [Text("<b>")]

    async def test_count_as_one_turn(self, make_world: MakeWorld) -> None:
        client = await Gathered(make_world, AT_ONCE).connect()
        before = client.cell.counters.turns
        client.say("a", "b", "c")
        await settle()
        assert client.cell.counters.turns == before + 1

    async def test_hold_no_more_than_they_may(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, AT_ONCE)
        client = await gathered.connect()
        client.say(*"abcdefghi")
        await settle()
        assert gathered.actor.turns == [list("abcd"), list("efgh"), list("i")]

    async def test_hold_events_of_every_kind(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, Batch())
        client = gathered.world.connect(batch=Batch())
        client.give(Congested(1))
        client.give(Drained())
        client.give(Error("x"))
        client.end()
        await settle()
        assert gathered.actor.turns == [["Connected", "Congested", "Drained", "Error", "Closed"]]

    async def test_wait_for_others_from_their_first_event_on(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        client.say("a")
        await pass_time(gathered.world, 0.4)
        client.say("b")
        await settle()
        assert gathered.actor.turns == []
        await pass_time(gathered.world, 0.1)
        assert gathered.actor.turns == [["a", "b"]]
        client.say("c")
        await pass_time(gathered.world, 0.4)
        assert gathered.actor.turns == [["a", "b"]]
        await pass_time(gathered.world, 0.1)
        assert gathered.actor.turns == [["a", "b"], ["c"]]

    async def test_that_are_full_do_not_wait(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        client.say(*"abcd")
        await settle()
        assert gathered.actor.turns == [list("abcd")]
        client.say("e")
        await settle()
        assert gathered.actor.turns == [list("abcd")]
        await pass_time(gathered.world, 0.5)
        assert gathered.actor.turns == [list("abcd"), ["e"]]

    async def test_go_before_a_single_event_that_comes_later_which_does_not_wait(
        self, make_world: MakeWorld
    ) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        single = gathered.world.connect()
        gathered.forget(client)
        single.sent.clear()
        client.say("a", "b")
        single.say("x")
        assert gathered.actor.turns == [["a", "b"], "x"]
        assert single.sent == [Text("single")]
        client.say("c")
        await pass_time(gathered.world, 0.5)
        assert gathered.actor.turns == [["a", "b"], "x", ["c"]]

    async def test_end_where_something_else_stands_between(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, AT_ONCE)
        client = await gathered.connect()
        client.say("wait")
        await settle()
        client.say("a", "b")
        answer = client.cell.call("handle_request", Request("GET", "/"))
        gathered.world.cell("other").send(Address("actor"), Text("x"))
        client.say("c", "d")
        gathered.actor.gate.set_result(None)
        await settle()
        assert gathered.actor.turns == [["wait"], ["a", "b"], "request", "message", ["c", "d"]]
        assert answer.done()

    async def test_go_before_a_call_which_is_answered_at_once(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        client.say("a")
        answer = client.cell.call("handle_request", Request("GET", "/"))
        assert answer.done()
        assert gathered.actor.turns == [["a"], "request"]

    async def test_gather_while_another_is_handled_and_then_wait_no_longer(
        self, make_world: MakeWorld
    ) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        client.say("wait")
        await pass_time(gathered.world, 0.5)
        client.say("a")
        await pass_time(gathered.world, 0.3)
        client.say("b")
        await pass_time(gathered.world, 0.3)  # `a` has waited long enough, but for its turn
        assert gathered.actor.turns == [["wait"]]
        assert client.sent == []
        gathered.actor.gate.set_result(None)
        await settle()
        assert gathered.actor.turns == [["wait"], ["a", "b"]]

    async def test_know_the_connections_as_they_are_behind_the_last_event(
        self, make_world: MakeWorld
    ) -> None:
        known: list[list[int]] = []

        class Knowing(Quiet):
            def handle_batch(self, batch: Deliveries) -> Any:
                known.append(list(self.context.connections))

        world = make_world(actor=Knowing)
        one, two = world.connect(batch=AT_ONCE), world.connect(batch=AT_ONCE)
        one.end()
        await settle()
        assert known == [[two.connection.id]]

    async def test_hold_back_who_feeds_them_at_the_high_mark(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, LATER, Limits(mailbox_high_water=3, mailbox_low_water=1))
        client = await gathered.connect()
        readings = []
        for text in "abc":
            client.say(text)
            readings.append(client.wire.reading)
        await pass_time(gathered.world, 0.5)
        assert gathered.actor.turns == [["a", "b", "c"]]
        assert [*readings, client.wire.reading] == [True, True, False, True]

    async def test_neither_hold_back_nor_resume_a_connection_that_has_ended(
        self, make_world: MakeWorld
    ) -> None:
        gathered = Gathered(make_world, LATER, Limits(mailbox_high_water=2, mailbox_low_water=1))
        client = await gathered.connect()
        client.say("a", "b")
        client.end()
        await pass_time(gathered.world, 0.5)
        assert gathered.actor.turns == [["a", "b", "Closed"]]
        assert (client.wire.reading, client.wire.pauses) == (False, 1)

    async def test_have_a_deadline(self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture) -> None:
        gathered = Gathered(make_world, AT_ONCE, LIMITS)
        client = await gathered.connect()
        client.say("wait", "a")
        await settle()
        await pass_time(gathered.world, 30)
        assert gathered.actor.turns == [["wait", "a"], ["Error"]]
        assert isinstance(raised(error_records(caplog))[0], HandlerTimeout)


class TestFailedBatches:
    async def test_tell_each_connection_once_before_what_waits(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gathered = Gathered(make_world, Batch(max_messages=4))
        one, two, three = [await gathered.connect() for _ in range(3)]
        one.say("a")
        two.say("fail")
        one.say("b")
        two.say("c")
        three.say("d")
        await settle()
        assert gathered.actor.turns == [["a", "fail", "b", "c"], ["Error", "Error", "d"]]
        assert one.sent == two.sent == [Text("<Error>")]
        (record,) = error_records(caplog)
        assert record.getMessage() == "actor failed in handle_batch, 4 events"
        assert "connection" not in record.__dict__

    async def test_tell_the_connections_in_the_order_of_their_events(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[tuple[Connection, Event]] = []

        class Failing(Quiet):
            def handle_batch(self, batch: Deliveries) -> Any:
                if all(isinstance(event, Error) for _, event in batch):
                    told.extend(batch)
                elif any(isinstance(event, Received) for _, event in batch):
                    raise KeyError("what")

        world = make_world(actor=Failing)
        one, two = world.connect(batch=AT_ONCE), world.connect(batch=AT_ONCE)
        await settle()
        two.say("a")
        one.say("b")
        two.say("c")
        await settle()
        error = Error("KeyError: 'what'")
        assert told == [(two.connection, error), (one.connection, error)]
        assert len(error_records(caplog)) == 1

    async def test_of_everything_do_not_loop_and_give_closed_once(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []

        class Hopeless(Quiet):
            def handle_batch(self, batch: Deliveries) -> Any:
                seen.extend(text_of(event) for _, event in batch)
                for connection, _ in batch:
                    connection.send(Text("lost"))
                raise ValueError

        client = make_world(actor=Hopeless).connect(batch=AT_ONCE)
        await settle()
        client.say("a", "b")
        await settle()
        client.say("c")
        client.end()
        await settle()
        assert seen == ["Connected", "Error", "a", "b", "Error", "c", "Closed"]
        assert client.sent == []
        assert len(error_records(caplog)) == 5

    async def test_are_those_that_return_something_too(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gathered = Gathered(make_world, AT_ONCE)
        client = await gathered.connect()
        client.say("return")
        await settle()
        (error,) = raised(error_records(caplog))
        assert isinstance(error, InvalidReply)
        assert "handle_batch must return nothing" in str(error)
        assert client.sent == [Text("<Error>")]

    async def test_take_back_what_they_changed(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Changing(Quiet):
            def handle_batch(self, batch: Deliveries) -> Any:
                for connection, event in batch:
                    if isinstance(event, Received):
                        connection.tags = frozenset({text_of(event)})
                        raise ValueError

        client = make_world(actor=Changing).connect(accept=Accept(tags=["old"]), batch=AT_ONCE)
        client.say("new")
        await settle()
        assert client.connection.tags == {"old"}
        assert len(error_records(caplog)) == 1


class TestStop:
    @pytest.mark.parametrize("batch", [AT_ONCE, LATER])
    async def test_gives_closed_of_a_batch_that_waits_exactly_once(
        self, make_world: MakeWorld, batch: Batch
    ) -> None:
        gathered = Gathered(make_world, batch)
        one, two = await gathered.connect(), await gathered.connect()
        one.say("never handled")
        one.end()
        two.end()
        await gathered.world.system.stop()
        await pass_time(gathered.world, 10)
        words = [word for turn in gathered.actor.turns for word in turn]
        assert words.count("Closed") == 2
        assert gathered.actor.turns == [["Closed"], ["Closed"]] or not batch.max_wait

    async def test_ends_a_batch_that_hangs_and_still_gives_closed(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        gathered = Gathered(make_world, AT_ONCE)
        client = await gathered.connect()
        client.say("wait")
        await settle()
        client.end()
        await gathered.world.system.stop()
        assert gathered.actor.turns == [["wait"], ["Closed"]]
        assert error_records(caplog) == []
        assert "actor was stopped in handle_batch, 1 events" in caplog.text

    async def test_cancels_a_turn_whose_time_is_over_without_waiting_for_it_twice(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = make_world(LIMITS, actor=Hanging)
        client = world.connect()
        client.say("hang")
        client.end()
        await settle()
        world.clock.advance(30)  # cancelled, but it has not had the time to notice
        await world.system.stop()
        await pass_time(world, 10)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert client.cell.connections == {}
