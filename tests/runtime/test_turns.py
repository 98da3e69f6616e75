"""How long turns may take, and what waits for them. Real event loop, recording wires, virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.runtime.conftest import MakeWorld
from tests.runtime.world import Quiet, World, error_records, pass_time, raised, settle, text_of

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
    Stream,
    Text,
    UpgradeRequest,
)
from theater.errors import ActorFailed, HandlerTimeout, RequestTimeout
from theater.limits import Limits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
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
        clinging, failure = error_records(caplog)
        assert clinging.getMessage().startswith("actor goes on after it was cancelled")  # once
        assert clinging.exc_info is None
        assert isinstance(raised([failure])[0], HandlerTimeout)

    async def test_says_of_each_turn_that_it_goes_on_after_it_was_cancelled(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def cling() -> None:
            loop = asyncio.get_running_loop()
            with suppress(asyncio.CancelledError):
                await loop.create_future()
            await loop.create_future()

        world = make_world(LIMITS, actor=hanging(cling))
        world.connect().say("hang", "hang again")
        await settle()
        for _ in range(2):
            await pass_time(world, 30)
            await pass_time(world, 1)
        words = [record.getMessage().partition(", ")[0] for record in error_records(caplog)]
        assert words == ["actor goes on after it was cancelled", "actor failed in handle_websocket"] * 2

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


class Busy(Quiet):
    """Notes what happens to which connection; is busy with a text until `gate` is open."""

    gate: asyncio.Event
    seen: list[tuple[Connection, str]]

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        self.seen.append((connection, text_of(event)))
        return self._wait() if isinstance(event, Received) else None

    async def _wait(self) -> None:
        await self.gate.wait()


async def wait_for(busy: type[Busy]) -> None:
    """Lets the turn end, and those behind it."""
    busy.gate.set()
    await settle()


class TestCongestion:
    """While an actor sends in one long turn, a client may fall behind and catch up a thousand times."""

    @pytest.fixture
    def busy(self) -> type[Busy]:
        return type("BusyOfATest", (Busy,), {"gate": asyncio.Event(), "seen": []})

    async def test_that_has_ended_before_the_actor_has_heard_of_it_is_no_event(
        self, make_world: MakeWorld, busy: type[Busy]
    ) -> None:
        client = make_world(actor=busy).connect()
        client.say("send")
        for _ in range(1000):
            client.give(Congested(1))
            client.give(Drained())
        assert client.cell.queued == 0
        client.give(Congested(2))
        await wait_for(busy)
        assert [what for _, what in busy.seen] == ["Connected", "send", "Congested"]

    async def test_of_which_the_actor_has_heard_has_an_end(
        self, make_world: MakeWorld, busy: type[Busy]
    ) -> None:
        client = make_world(actor=busy).connect()
        client.give(Congested(1))
        client.say("send")
        client.give(Drained())
        client.give(Congested(1))
        client.give(Drained())
        await wait_for(busy)
        assert [what for _, what in busy.seen] == ["Connected", "Congested", "send", "Drained"]

    async def test_of_others_and_what_else_waits_is_left_alone(
        self, make_world: MakeWorld, busy: type[Busy]
    ) -> None:
        world = make_world(actor=busy)
        one, two = world.connect(), world.connect()
        busy.seen.clear()
        one.say("send")
        one.give(Congested(1))
        two.give(Congested(1))
        one.give(Error("x"))
        one.give(Drained())
        await wait_for(busy)
        assert busy.seen == [
            (one.connection, "send"),
            (two.connection, "Congested"),
            (one.connection, "Error"),
        ]

    async def test_that_is_withdrawn_holds_nobody_back(self, make_world: MakeWorld, busy: type[Busy]) -> None:
        client = make_world(Limits(mailbox_high_water=1, mailbox_low_water=0), actor=busy).connect()
        client.say("send")
        client.give(Congested(1))
        assert not client.wire.reading
        client.give(Drained())
        assert client.cell.queued == 0
        assert client.wire.reading


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

    async def test_takes_a_connection_that_is_given_up_from_the_queue(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its client has been refused; the actor would decide about nobody."""
        asked: list[str] = []

        class Asked(Hanging):
            def upgrade_connection(self, request: UpgradeRequest) -> Any:
                asked.append(request.path)
                return Accept()

        world = make_world(LIMITS, actor=Asked)
        client = world.connect()
        client.say("hang")
        await settle()
        early = client.cell.call("upgrade_connection", UpgradeRequest("/early"))
        await pass_time(world, 25)
        late = client.cell.call("upgrade_connection", UpgradeRequest("/late"))
        before = client.cell.counters.turns
        await pass_time(world, 5)
        assert len(error_records(caplog)) == 1
        assert isinstance(early.exception(), RequestTimeout)
        assert late.result() == Accept()
        assert asked == ["/late"]
        assert client.cell.counters.turns == before + 2  # the event `Error`, and the second upgrade

    async def test_does_not_take_away_what_has_effects_of_its_own(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Told(Hanging):
            def handle_message(self, message: Data, sender: Address) -> Any:
                told.append(message)

        told: list[Data] = []
        world = make_world(LIMITS, actor=Told)
        client = world.connect()
        client.say("hang")
        await settle()
        answer = client.cell.call("handle_message", Text("x"), Address("other"))
        client.cell.expire(answer, 5)
        await pass_time(world, 5)
        assert isinstance(answer.exception(), RequestTimeout)
        await pass_time(world, 25)
        assert told == [Text("x")]
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

    @pytest.mark.parametrize("abandoned", [True, False])
    async def test_that_nobody_reads_give_nobody_more_time(
        self, make_world: MakeWorld, caplog: pytest.LogCaptureFixture, abandoned: bool
    ) -> None:
        world = make_world(LIMITS, actor=Hanging)
        client = world.connect()
        if abandoned:
            stream = client.stream()
            client.say("hang")
        else:
            client.say("hang")
            stream = client.stream()
        for _ in range(3):
            await settle()
            assert error_records(caplog) == []
            stream.feed("a", last=False)
            await pass_time(world, 10)
        assert isinstance(raised(error_records(caplog))[0], HandlerTimeout)

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


class TestStop:
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
