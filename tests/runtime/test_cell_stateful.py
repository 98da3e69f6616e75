"""Random histories of one actor: connections come, speak and go, other actors and HTTP requests come
between them, some have their events handled together, and each turn succeeds or fails, at once or
after waiting."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.runtime.world import Client, Quiet, World, text_of

from theater.contract import Accept, Data, Event, Message, Request, Response, Text
from theater.errors import ActorFailed, MailboxFull
from theater.limits import Limits
from theater.runtime.address import Address
from theater.runtime.cell import Cell
from theater.runtime.connection import Connection
from theater.runtime.ports import Batch, Deliveries

LIMITS = Limits(mailbox_high_water=5, mailbox_low_water=2)
BATCH = 4  # events of one read, which a pause does not stop
TOGETHER = Batch(max_messages=3)


class Plan(NamedTuple):
    """What a turn is to do."""

    waits: bool
    fails: bool
    sends: int
    replies: int
    broadcasts: bool


plans = st.builds(Plan, st.booleans(), st.booleans(), st.integers(0, 2), st.integers(0, 2), st.booleans())


@dataclass
class History:
    """What the model knows of one client.

    Attributes:
        given: the events that it must see, in words and in order.
        begun: those whose turns have begun.
        expected: the messages that must have left by now.
    """

    client: Client | None = None
    given: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    expected: list[Message] = field(default_factory=list)


class Actor(Quiet):
    """Does what is planned, and keeps the model."""

    model: "CellMachine"

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        return self.model.turn(text_of(event), connection)

    def handle_batch(self, batch: Deliveries) -> Any:
        return self.model.batch([(text_of(event), connection) for connection, event in batch])

    def handle_message(self, message: Data, sender: Address) -> Any:
        assert isinstance(message, Text)
        return self.model.turn(message.text, None)

    def handle_request(self, request: Request) -> Any:
        return self.model.turn(request.path, None)


class Tally(logging.Handler):
    """Counts records."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


class CellMachine(RuleBasedStateMachine):
    open_clients: Bundle[History] = Bundle("open_clients")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.escaped: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.escaped.append(context))
        self.tally = Tally()
        log = logging.getLogger("theater.actor")
        log.addHandler(self.tally)
        log.propagate = False
        self.histories: dict[int, History] = {}
        self.plans: dict[tuple[int, str], Plan] = {}  # by connection, or 0, and text
        self.running = 0
        self.violations: list[str] = []
        self.joining: tuple[History, dict[str, Plan]]
        self.context: Any
        self.gate: asyncio.Future[None] | None = None
        self.failures = 0
        self.count = 0
        self.messages: list[str] = []  # sent by another actor
        self.requests: dict[str, asyncio.Future[Any]] = {}
        self.handled: list[str] = []  # of both
        self.inhabited: dict[int, History] = {}  # connections from Connected to Closed
        self.cell: Cell
        self.world: World

    @initialize()
    def begin(self) -> None:
        def make(context: Any) -> Actor:
            actor = Actor(context)
            actor.model = self
            self.context = context
            return actor

        def start() -> None:
            self.world = World({"actor": make, "other": Quiet}, LIMITS)
            self.cell = self.world.cell()

        self.do(start)

    def do(self, action: Callable[[], Any]) -> Any:
        """Does something inside the loop, which makes a round or two meanwhile."""

        async def run() -> Any:
            return action()

        return self.loop.run_until_complete(run())

    # What happens

    @rule(target=open_clients, first=plans, error=plans, last=plans, together=st.booleans())
    def connect(self, first: Plan, error: Plan, last: Plan, together: bool) -> History:
        history = History()
        history.given.append("Connected")

        def join() -> None:
            # Its turn may begin before `Client` has returned, so the model is put in place first.
            self.joining = (history, {"Connected": first, "Error": error, "Closed": last})
            history.client = Client(self.cell, Accept(), TOGETHER if together else None)
            self.adopt(history.client.connection)

        self.do(join)
        return history

    @rule(history=open_clients, batch=st.lists(plans, min_size=1, max_size=BATCH))
    def receive(self, history: History, batch: list[Plan]) -> None:
        client = history.client
        assert client is not None
        if not client.wire.reading:
            return

        def read() -> None:
            for plan in batch:
                text = self.name("event", plan, client.connection.id)
                history.given.append(text)
                client.say(text)

        self.do(read)

    @rule(history=consumes(open_clients))
    def close(self, history: History) -> None:
        assert history.client is not None
        history.given.append("Closed")
        self.do(history.client.end)

    @rule(plan=plans)
    def message(self, plan: Plan) -> None:
        text = self.name("message", plan, 0)

        def send() -> None:
            other = self.world.cell("other")
            if self.cell.full:
                with pytest.raises(MailboxFull):
                    other.send(self.cell.address, Text(text))
            else:
                self.messages.append(text)
                other.send(self.cell.address, Text(text))

        self.do(send)

    @rule(plan=plans)
    def request(self, plan: Plan) -> None:
        text = self.name("request", plan, 0)

        def call() -> None:
            if self.cell.full:
                with pytest.raises(MailboxFull):
                    _ = self.cell.call("handle_request", Request("GET", text))
            else:
                self.requests[text] = self.cell.call("handle_request", Request("GET", text))

        self.do(call)

    @precondition(lambda self: self.gate is not None)
    @rule()
    def go_on(self) -> None:
        """The turn that waits has waited long enough."""
        gate, self.gate = self.gate, None
        assert gate is not None
        self.do(lambda: gate.set_result(None))
        self.do(lambda: None)

    # The model

    def name(self, kind: str, plan: Plan, connection: int) -> str:
        self.count += 1
        text = f"{kind} {self.count}"
        self.plans[connection, text] = plan
        return text

    def adopt(self, connection: Connection) -> History:
        history = self.histories.get(connection.id)
        if history is None:
            history, plans = self.joining
            self.histories[connection.id] = history
            for text, plan in plans.items():
                self.plans[connection.id, text] = plan
        return history

    def turn(self, text: str, connection: Connection | None) -> Any:
        """A turn for one event or call."""
        if connection is not None:
            self.adopt(connection)
            return self.begin_turn([(text, connection)], self.plans[connection.id, text], text)
        self.handled.append(text)
        return self.begin_turn([], self.plans[0, text], text)

    def batch(self, events: list[tuple[str, Connection]]) -> Any:
        """A turn for several events. How it ends is up to the last of them."""
        if not 0 < len(events) <= TOGETHER.max_messages:
            self.violations.append(f"{len(events)} events together")
        text, connection = events[-1]
        return self.begin_turn(events, self.plans[connection.id, text], f"{text} and those before")

    def begin_turn(self, events: list[tuple[str, Connection]], plan: Plan, name: str) -> Any:
        if self.running:
            self.violations.append(f"{name} began inside another turn")
        self.running += 1
        for text, connection in events:
            history = self.adopt(connection)
            history.begun.append(text)
            if text == "Connected":
                self.inhabited[connection.id] = history
            elif text == "Closed":
                del self.inhabited[connection.id]
        if events and list(self.context.connections) != list(self.inhabited):
            self.violations.append(f"{name}: wrong connections")
        effects: list[tuple[History, Message]] = []
        if plan.waits:
            return self.wait_and_work(events, plan, name, effects)
        return self.work(events, plan, name, effects)

    async def wait_and_work(
        self,
        events: list[tuple[str, Connection]],
        plan: Plan,
        name: str,
        effects: list[tuple[History, Message]],
    ) -> Any:
        self.broadcast(f"{name} begins", plan, effects)
        self.gate = self.loop.create_future()
        await self.gate
        return self.work(events, plan, name, effects)

    def work(
        self,
        events: list[tuple[str, Connection]],
        plan: Plan,
        name: str,
        effects: list[tuple[History, Message]],
    ) -> Any:
        for text, connection in events:
            for number in range(self.plans[connection.id, text].sends):
                sent = Text(f"{text} sends {number}")
                connection.send(sent)
                effects.append((self.adopt(connection), sent))
        self.broadcast(f"{name} ends", plan, effects)
        self.running -= 1
        if plan.fails:
            self.failures += 1
            for connection, text in {connection: text for text, connection in events}.items():
                if text not in ("Error", "Closed"):
                    # Its very next event; put into the model's order where it belongs.
                    history = self.adopt(connection)
                    history.given.insert(len(history.begun), "Error")
            raise ValueError(name)
        single = [self.adopt(connection) for text, connection in events if text == name]
        replies: list[Message] = [Text(f"{name} replies {number}") for number in range(plan.replies)]
        effects += [(history, reply) for history in single for reply in replies]
        # The turn succeeds now: nothing of it can fail any more.
        for receiver, message in effects:
            receiver.expected.append(message)
        if single:
            return replies
        return Response() if name.startswith("request") else None

    def broadcast(self, text: str, plan: Plan, effects: list[tuple[History, Message]]) -> None:
        if plan.broadcasts:
            self.context.broadcast(Text(text), (), None, None, True)
            effects += [(each, Text(text)) for each in self.inhabited.values()]

    # What must hold at any time

    @invariant()
    def turns_are_serial(self) -> None:
        assert self.violations == []
        assert self.running <= 1
        assert self.escaped == []

    @invariant()
    def every_connection_has_its_events_in_order_and_once(self) -> None:
        for history in self.histories.values():
            assert history.begun == history.given[: len(history.begun)]

    @invariant()
    def good_turns_have_sent_all_and_failed_ones_nothing(self) -> None:
        for history in self.histories.values():
            assert history.client is not None
            assert history.client.sent == history.expected

    @invariant()
    def failures_are_logged_once(self) -> None:
        assert self.tally.count == self.failures

    @invariant()
    def others_are_heard_in_order_and_once(self) -> None:
        for kind, sent in (("message", self.messages), ("request", list(self.requests))):
            handled = [text for text in self.handled if text.startswith(kind)]
            assert handled == sent[: len(handled)]

    @invariant()
    def answers_are_right(self) -> None:
        for text, answer in self.requests.items():
            if answer.done():
                assert text in self.handled
                if self.plans[0, text].fails:
                    assert isinstance(answer.exception(), ActorFailed)
                else:
                    assert answer.result() == Response()

    @invariant()
    def the_mailbox_is_bounded(self) -> None:
        if self.histories:
            of_each = BATCH + 2  # and Connected and Closed, which nothing holds back
            assert self.cell.queued <= LIMITS.mailbox_high_water + of_each * len(self.histories)

    @invariant()
    def nobody_is_held_back_without_need(self) -> None:
        for history in self.inhabited.values():
            assert history.client is not None
            if not history.client.wire.reading and "Closed" not in history.given:
                assert self.cell.queued > LIMITS.mailbox_low_water

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            log = logging.getLogger("theater.actor")
            log.removeHandler(self.tally)
            log.propagate = True
            self.loop.close()

    def finish(self) -> None:
        """Lets all clients go and all turns end, and checks what must hold then."""
        for history in self.histories.values():
            if "Closed" not in history.given:
                self.close(history)
        for _ in range(10 * self.count + 100):
            if self.gate is not None:
                self.go_on()
            elif self.running or self.cell.queued:
                self.do(lambda: None)
        for check in (
            self.turns_are_serial,
            self.every_connection_has_its_events_in_order_and_once,
            self.good_turns_have_sent_all_and_failed_ones_nothing,
            self.failures_are_logged_once,
            self.others_are_heard_in_order_and_once,
            self.answers_are_right,
        ):
            check()
        assert self.running == 0
        assert self.cell.queued == 0
        assert dict(self.cell.connections) == {}
        for history in self.histories.values():
            assert history.begun == history.given
            assert (history.begun[0], history.begun[-1]) == ("Connected", "Closed")
            assert history.begun.count("Connected") == history.begun.count("Closed") == 1
        assert sorted(self.handled) == sorted([*self.messages, *self.requests])
        assert all(answer.done() for answer in self.requests.values())


TestCell = CellMachine.TestCase
TestCell.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
