"""The turns of one actor, one after the other."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, assert_never

import msgspec

from theater.contract import Closed, Congested, Connected, Drained, Error, Event, Received
from theater.errors import ActorFailed, CallFailed, HandlerTimeout, InstanceEnded
from theater.limits import ActorLimits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.counters import Counters
from theater.runtime.mailbox import Mailbox, Source
from theater.runtime.outbox import Command, Outbox
from theater.runtime.ports import Batch, Behaviour, Clock, Timer
from theater.runtime.replies import check_result, replies
from theater.runtime.streams import IncomingStream

_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

_BLOCKED: Final = 0.5  # seconds by which a timer is late when the event loop has been blocked

log = logging.getLogger("theater.actor")


class Delivery(msgspec.Struct, frozen=True):
    """An event of a connection, waiting for its turn; to be handled with others, if `batch` says how."""

    connection: Connection
    event: Event
    batch: Batch | None = None


class Call(msgspec.Struct, frozen=True):
    """A call of another handler, and who waits for its result."""

    handler: str
    arguments: tuple[object, ...]
    answer: asyncio.Future[Any] | None

    @property
    def is_given_up(self) -> bool:
        """Nobody waits for its result any more."""
        return self.answer is not None and self.answer.done()


class Gathered(msgspec.Struct, frozen=True):
    """Events that are handled in one turn."""

    deliveries: list[Delivery]


Item = Delivery | Call | Gathered
"""What a turn is about."""


class Turns:
    """Gives events and calls their turns: at once if the actor is idle and its handler synchronous,
    otherwise when those before have had theirs. A turn that takes too long is cancelled.

    Args:
        address: the actor's own.
        clock: for deadlines.
        counters: totals of the actor's type.
        limits: of the mailbox and the turn.
        loop: where asynchronous handlers run.
        execute: carries out what a turn has done.

    Attributes:
        failed: the actor could not start; it will have no turns.
        limits: of the mailbox and the turn.
        outbox: of the turn that is under way.
        task: the turn that is under way, if its handler waits.
        deadline: of that turn, in seconds of the clock.
    """

    _behaviour: Behaviour
    _handle_websocket: Callable[[Connection, Event], object]

    def __init__(
        self,
        address: Address,
        clock: Clock,
        counters: Counters,
        limits: ActorLimits,
        loop: asyncio.AbstractEventLoop,
        execute: Callable[[Command], None],
    ) -> None:
        self.address = address
        self.counters = counters
        self.failed = False
        self.outbox = Outbox(execute, limits.max_outbox, limits.max_outbox_bytes)
        self.task: asyncio.Task[None] | None = None
        self._connections: dict[int, Connection] = {}
        self._clock = clock
        self.limits = limits
        self._loop = loop
        self._mailbox: Mailbox[Delivery | Call] = Mailbox(limits.mailbox_high_water, limits.mailbox_low_water)
        self._waiting = self._mailbox.items
        self._draining = False
        self._scheduled = False
        self._stopped = False
        self._gathering: Timer | None = None  # events wait for others, to be handled together
        self._allowed = 0.0  # seconds that the turn may take
        self.deadline = 0.0  # until when
        self._late: HandlerTimeout | None = None  # the turn has been cancelled since it took too long
        self._stubborn = False  # it does not end all the same
        self._watch: Timer | None = None  # fires at `_watch_time`, perhaps the deadline of an earlier turn
        self._watch_time = 0.0

    async def stop(self) -> None:
        """Ends the actor: cancels the turn that is under way, and begins no other but for `Closed`.

        A handler that will not be cancelled is waited for no longer than a second.
        """
        self._stopped = True
        await self._cancel_turn()
        while self._waiting:
            item = self._mailbox.take()
            if isinstance(item, Delivery) and isinstance(item.event, Closed) and self.task is None:
                self.run(item if item.batch is None else Gathered([item]))
                await self._cancel_turn()
            else:
                _refuse(item, self.address)
        self.outbox.open = True  # for good

    async def _cancel_turn(self) -> None:
        if self.task is not None:
            await asyncio.sleep(0)  # a task that has not begun could not say that it was cancelled
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task], timeout=1)

    def _take(self, item: Delivery | Call, source: Source | None = None) -> None:
        """Runs a turn, now or when those that wait have had theirs."""
        if self.outbox.open or self._waiting:
            self._queue(item, source)
        else:
            self.run(item)
            self._next()

    def _queue(self, item: Delivery | Call, source: Source | None = None) -> None:
        self._put(item, source)
        if self._gathering is not None:  # what waits for others need not do so any more
            self._next()

    def _put(self, item: Delivery | Call, source: Source | None) -> None:
        if isinstance(item, Delivery) and type(item.event) is Drained:
            # An actor that has not heard of the congestion need not hear of its end. While it sends
            # in one long turn, both may happen a thousand times.
            connection = item.connection

            def is_congestion(other: Delivery | Call) -> bool:
                return (
                    isinstance(other, Delivery)
                    and other.connection is connection
                    and type(other.event) is Congested
                )

            if self._mailbox.withdraw(is_congestion):
                return
        self._mailbox.put(item, source)

    def run(self, item: Item) -> None:
        """Begins a turn, and ends it unless the handler waits."""
        self.outbox.open = True
        self.counters.turns += 1
        try:
            match item:
                case Delivery(connection, event):
                    self._keep_track(connection, event)
                    result = self._handle_websocket(connection, event)
                case Gathered(deliveries):
                    for delivery in deliveries:
                        self._keep_track(delivery.connection, delivery.event)
                    result = self._behaviour.handle_batch(
                        [(each.connection, each.event) for each in deliveries]
                    )
                case Call(handler, arguments):
                    result = getattr(self._behaviour, handler)(*arguments)
                case _:
                    assert_never(item)
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(item, error)
        else:
            self._settle(item, result)

    def _keep_track(self, connection: Connection, event: Event) -> None:
        if type(event) is Connected:
            self._connections[connection.id] = connection
        elif type(event) is Closed:
            self._connections.pop(connection.id, None)

    def _settle(self, item: Item, result: Any) -> None:
        """Ends a turn with its result, or lets it go on as a task."""
        if isinstance(result, Awaitable):
            # From 3.12 on the task runs at once, and costs little when it need not wait.
            task = asyncio.Task(self.wait(item, result), loop=self._loop, **_EAGER)
            if not task.done():
                self.task = task
            return
        try:
            match item:
                case Delivery(connection, event):
                    for message in replies(result):
                        self.outbox.send(connection.wire, message)
                    self.outbox.commit()
                    _abandon(event)
                case Gathered():
                    check_result("handle_batch", result)
                    self.outbox.commit()
                case Call(handler, _, answer):
                    check_result(handler, result)
                    self.outbox.commit()
                    if answer is not None and not answer.done():
                        answer.set_result(result)
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(item, error)
        else:
            self.outbox.open = False

    async def wait(self, item: Item, awaitable: Awaitable[object]) -> None:
        self._set_deadline(item)  # not before: a task that has not begun could not be cancelled here
        try:
            result: object = awaitable
            while isinstance(result, Awaitable):
                result = await result
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(
                item, self._late if self._late and isinstance(error, asyncio.CancelledError) else error
            )
        else:
            self._settle(item, result)
        self.task = None
        self._next()

    def _set_deadline(self, item: Item) -> None:
        """Gives the turn that is under way its time."""
        upgrade = isinstance(item, Call) and item.handler == "upgrade_connection"
        self._late = None
        self._stubborn = False
        self._allowed = self.limits.upgrade_timeout if upgrade else self.limits.handler_timeout
        self.extend_deadline()
        # One timer serves many short turns: it is looked at again when it fires.
        if self._watch is None or self._watch_time > self.deadline:
            self._watch_until(self.deadline)

    def extend_deadline(self) -> None:
        """Gives the turn that is under way its time anew."""
        self.deadline = self._clock.now() + self._allowed

    def _watch_until(self, time: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_time = time
        self._watch = self._clock.call_later(time - self._clock.now(), self._check_deadline)

    def _check_deadline(self) -> None:
        """Cancels the turn that is under way if its time is over, and again every second if need be."""
        self._watch = None
        if self.task is None:
            return
        now = self._clock.now()
        if now - self._watch_time > _BLOCKED:  # by another turn; that is not this one's fault
            self.deadline += now - self._watch_time
        if now < self.deadline:
            self._watch_until(self.deadline)
            return
        if self._late is None:
            self._late = HandlerTimeout(str(self.address), self._allowed)
        elif not self._stubborn:
            self._stubborn = True
            log.error("%s goes on after it was cancelled, and its next turn has to wait", self.address)
        self.task.cancel()
        self._watch_until(now + 1)

    def _fail(self, item: Item, error: BaseException) -> None:
        """Ends a turn that raised: nothing it did remains, and who waits for it is told so."""
        self.outbox.drop()
        self.outbox.open = False
        self.counters.errors += 1
        if isinstance(error, InstanceEnded):
            self.counters.ends[error.end.name.lower()] += 1
        extra = {"actor": str(self.address)}
        match item:
            case Delivery(connection, event):
                what = f"handle_websocket, {type(event).__name__} of connection {connection.id}"
                extra["connection"] = str(connection.id)
                self._tell_connections([item], error)
                _abandon(event)
            case Gathered(deliveries):
                what = f"handle_batch, {len(deliveries)} events"
                self._tell_connections(deliveries, error)
            case Call(handler):
                what = handler
                _tell_failure(item, self.address)
                if handler == "init":
                    self._cannot_start()
            case _:
                assert_never(item)
        if self._stopped and isinstance(error, asyncio.CancelledError):
            log.warning("%s was stopped in %s", self.address, what, extra=extra)
        else:
            # What a component says needs no traceback: it would only show the host.
            told = isinstance(error, CallFailed | InstanceEnded)
            text = f": {error}" if told else ""
            log.error("%s failed in %s%s", self.address, what, text, exc_info=not told and error, extra=extra)
        if isinstance(error, KeyboardInterrupt):
            raise error

    def _tell_connections(self, deliveries: list[Delivery], error: BaseException) -> None:
        """Makes the error the next event of each connection whose event has failed.

        It comes before any that waits already. A failed `Error` or `Closed` is not followed by another.
        """
        failed = {each.connection: each for each in deliveries}  # the last event of each
        for each in reversed(failed.values()):
            if type(each.event) is not Error and type(each.event) is not Closed:
                self._mailbox.put_first(Delivery(each.connection, Error(_words(error)), each.batch))

    def _next(self) -> None:
        """Runs the turns that wait, until one of them waits itself.

        What comes meanwhile has to wait for the loop's next round, so that actors which send to
        each other, or to themselves, leave the loop to others.
        """
        if self._draining or self._stopped:
            return
        self._scheduled = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._draining = True
        for _ in range(len(self._waiting)):
            if self.outbox.open or not self._waiting:
                break
            item = self._next_item()
            if not (isinstance(item, Call) and item.handler == "upgrade_connection" and item.is_given_up):
                self.run(item)
        self._draining = False
        if self._waiting and not self.outbox.open:
            self._next_later()

    def _next_item(self) -> Item:
        """The first event or call that waits; with those behind it that are to be handled together."""
        item = self._mailbox.take()
        if not isinstance(item, Delivery) or item.batch is None:
            return item
        deliveries = [item]
        while self._waiting and len(deliveries) < item.batch.max_messages:
            following = self._waiting[0]
            if not isinstance(following, Delivery) or following.batch is None:
                break
            self._mailbox.take()
            deliveries.append(following)
        return Gathered(deliveries)

    def _next_later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _cannot_start(self) -> None:
        """`init` has failed: what waits will not get its turn."""
        self.failed = True
        while self._waiting:
            _refuse(self._mailbox.take(), self.address)


def _words(error: BaseException) -> str:
    if isinstance(error, CallFailed):  # which has a name in front already, if the SDK gave one
        return error.reason
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # it is the user's, and may have no words
        return type(error).__name__


def _tell_failure(call: Call, address: Address) -> None:
    """Tells who waits for a call that there is no answer."""
    if call.answer is not None and not call.answer.done():
        call.answer.set_exception(ActorFailed(str(address)))


def _abandon(event: Event) -> None:
    """Throws away what is left of a streamed message, once its turn is over."""
    if isinstance(event, Received) and isinstance(event.message, IncomingStream):
        event.message.abandon()


def _refuse(item: Item, address: Address) -> None:
    """Gives up what waits for a turn that it will not get."""
    if isinstance(item, Delivery):
        _abandon(item.event)
    if isinstance(item, Call):
        _tell_failure(item, address)
        if item.handler == "handle_message" and item.answer is None:
            log.warning("%s lost a message from %s", address, item.arguments[1])
