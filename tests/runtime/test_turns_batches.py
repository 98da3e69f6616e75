"""Turns for several events. Real event loop, recording wires, virtual clock."""

import asyncio
from typing import Any

import pytest
from tests.runtime.conftest import MakeWorld
from tests.runtime.world import Client, Quiet, error_records, pass_time, raised, settle, text_of

from theater.contract import (
    Accept,
    Congested,
    Data,
    Drained,
    Error,
    Event,
    Received,
    Request,
    Response,
    Text,
)
from theater.errors import HandlerTimeout, InvalidReply
from theater.limits import Limits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.ports import Batch, Deliveries


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
        client.give(Error("x"))
        client.end()
        await settle()
        assert gathered.actor.turns == [["Connected", "Congested", "Error", "Closed"]]

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
        gathered = Gathered(make_world, AT_ONCE, Limits(handler_timeout=30))
        client = await gathered.connect()
        client.say("wait", "a")
        await settle()
        await pass_time(gathered.world, 30)
        assert gathered.actor.turns == [["wait", "a"], ["Error"]]
        assert isinstance(raised(error_records(caplog))[0], HandlerTimeout)

    async def test_hold_no_congestion_that_has_ended(self, make_world: MakeWorld) -> None:
        gathered = Gathered(make_world, LATER)
        client = await gathered.connect()
        client.give(Congested(1))
        client.give(Drained())
        await pass_time(gathered.world, 1)
        assert gathered.actor.turns == []
        client.say("a")
        await pass_time(gathered.world, 1)
        assert gathered.actor.turns == [["a"]]


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
