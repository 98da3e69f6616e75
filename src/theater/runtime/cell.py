"""One running actor: its instance, its mailbox and its turns."""

import asyncio
import logging
import math
import sys
from collections.abc import Awaitable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, assert_never

import msgspec

from theater.contract import (
    Closed,
    Connected,
    Data,
    Error,
    Event,
    Message,
)
from theater.errors import (
    ActorFailed,
    GuestError,
    LocalError,
    MailboxFull,
    RequestTimeout,
)
from theater.limits import Limits
from theater.protocol.frames import CLOSE_FRAME, encode_frame, encode_message
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.counters import Counters
from theater.runtime.mailbox import Mailbox
from theater.runtime.outbox import Command, Outbox, SendEncoded, SendFrame, SendToActor
from theater.runtime.ports import BehaviourFactory, Clock
from theater.runtime.replies import MESSAGES, check_data, check_result, replies

_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

log = logging.getLogger("theater.actor")


class Delivery(msgspec.Struct, frozen=True):
    """An event of a connection, waiting for its turn."""

    connection: Connection
    event: Event


class Call(msgspec.Struct, frozen=True):
    """A call of another handler, and who waits for its result."""

    handler: str
    arguments: tuple[object, ...]
    answer: asyncio.Future[Any] | None


class Others(Protocol):
    """The other actors, as a cell reaches them."""

    def cell(self, address: Address) -> "Cell":
        """The cell at an address, made if need be.

        Raises:
            NoSuchActor: no such type.
            MailboxFull: there are too many actors.
        """

    def forget(self, cell: "Cell") -> None:
        """Lets go of a cell whose actor could not start."""


class Cell:
    """Runs the turns of one actor, one after the other.

    An idle actor's synchronous handler runs at once, inside the caller; when it is busy, events
    queue in its mailbox. Implements `Context` for the instance it holds.

    Args:
        address: the actor's own.
        others: the other actors.
        clock: for the timeout of requests.
        counters: totals of the actor's type.
        limits: of the mailbox and the turn.
        loop: where asynchronous handlers run.

    Attributes:
        failed: the actor could not start; the cell is of no use.
        outbox: of the turn that is under way.
        task: the turn that is under way, if its handler waits.
    """

    def __init__(
        self,
        address: Address,
        others: Others,
        clock: Clock,
        counters: Counters,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.address = address
        self.counters = counters
        self.failed = False
        self.outbox = Outbox(self._execute, limits.max_outbox)
        self._connections: dict[int, Connection] = {}
        self._others = others
        self._clock = clock
        self._limits = limits
        self._loop = loop
        self._mailbox: Mailbox[Delivery | Call] = Mailbox(limits.mailbox_high_water, limits.mailbox_low_water)
        self._waiting = self._mailbox.items
        self._draining = False
        self._scheduled = False
        self._stopped = False
        self.task: asyncio.Task[None] | None = None

    def start(self, create: BehaviourFactory) -> None:
        """Makes the instance and runs its `init`; to be called once, before all else."""
        init = Call("init", (), None)
        self.outbox.open = True
        try:
            self._behaviour = create(self)
            self._handle_websocket = self._behaviour.handle_websocket
            result = self._behaviour.init()
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(init, error)
        else:
            self._settle(init, result)
        self._next()

    # What arrives

    def connected(self, connection: Connection) -> None:
        """Takes in a new connection."""
        self.counters.connections += 1
        self._take(Delivery(connection, Connected()))

    def receive(self, connection: Connection, event: Event) -> None:
        """Handles an event of a connection, now or when its turn has come."""
        outbox = self.outbox
        if outbox.open or self._waiting:
            self._mailbox.put(Delivery(connection, event), connection.wire)
            return
        # The common case of `_run`, unrolled: a synchronous handler with at most one reply.
        outbox.open = True
        self.counters.turns += 1
        try:
            reply = self._handle_websocket(connection, event)
            if type(reply) in MESSAGES and not outbox.entries:
                connection.wire.send(reply)  # type: ignore[arg-type]
                plain = True
            else:
                plain = reply is None and not outbox.entries
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(Delivery(connection, event), error)
        else:
            if plain:
                outbox.open = False
            else:
                self._settle(Delivery(connection, event), reply)
        if self._waiting:
            self._next()

    def closed(self, connection: Connection, event: Closed) -> None:
        """Lets go of a connection that has ended."""
        self._mailbox.forget(connection.wire)
        self._take(Delivery(connection, event))

    def call(self, handler: str, *arguments: object) -> "asyncio.Future[Any]":
        """Calls a handler in a turn of its own; the future is done at once if that was possible.

        Its exception is `ActorFailed`, whatever the handler raised.

        Raises:
            MailboxFull: the actor is not keeping up.
        """
        if self._mailbox.full:
            raise MailboxFull(str(self.address))
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.failed or self._stopped:
            answer.set_exception(ActorFailed(str(self.address)))
            return answer
        self._take(Call(handler, arguments, answer))
        return answer

    def post(self, message: Data, sender: Address) -> None:
        """Takes another actor's message; its turn comes when the sender's is over."""
        if self.failed:
            log.warning("%s lost a message from %s: it could not start", self.address, sender)
            return
        self._mailbox.put(Call("handle_message", (message, sender), None))
        self._next_later()

    @property
    def queued(self) -> int:
        """Events and calls that wait for their turn."""
        return len(self._mailbox.items)

    @property
    def full(self) -> bool:
        """Whether the mailbox is at its high-water mark."""
        return self._mailbox.full

    async def stop(self) -> None:
        """Ends the actor: cancels the turn that is under way, and begins no other but for `Closed`.

        A handler that will not be cancelled is waited for no longer than a second.
        """
        self._stopped = True
        await self._cancel_turn()
        while self._waiting:
            item = self._mailbox.take()
            if isinstance(item, Delivery) and isinstance(item.event, Closed) and self.task is None:
                self._run(item)
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

    # What the actor does: `Context`

    @property
    def connections(self) -> Mapping[int, Connection]:
        """The actor's open connections by id."""
        return MappingProxyType(self._connections)

    def broadcast(self, message: Message, exclude: Iterable[Connection], tag: str | None) -> None:
        """Sends to all connections of this actor, but for some, or to those with a tag."""
        first, payload = encode_message(message)
        excluded = frozenset(exclude)
        wires = [
            connection.wire
            for connection in self._connections.values()
            if connection not in excluded and (tag is None or tag in connection.tags)
        ]
        if first == CLOSE_FRAME:  # begins a closing handshake on each
            for wire in wires:
                self.outbox.put(SendFrame(wire, first, payload))
        else:
            self.outbox.put(SendEncoded(wires, encode_frame(first, payload)))

    def send(self, address: Address, message: Data) -> None:
        """Sends to another actor when the turn succeeds.

        Raises:
            NoSuchActor: no such type.
            MailboxFull: it is not keeping up.
            InvalidMessage: it is neither `Text` nor `Binary`.
            LocalError: the turn has done too much.
        """
        check_data(message)
        if self._others.cell(address).full:
            raise MailboxFull(str(address))
        self.outbox.put(SendToActor(address, message))

    async def request(self, address: Address, message: Data, timeout: float | None) -> Data | None:
        """Asks another actor, at once, and waits for its answer.

        Raises:
            NoSuchActor: no such type.
            MailboxFull: it is not keeping up.
            ActorFailed: its handler raised.
            RequestTimeout: there was no answer in time.
            InvalidMessage: it is neither `Text` nor `Binary`.
            LocalError: an actor asked itself, which could never be answered, or the timeout is no
                positive number.
        """
        check_data(message)
        if address == self.address:
            raise LocalError(
                f"{address} cannot make a request to itself: its turn would wait for its own end"
            )
        seconds = self._limits.request_timeout if timeout is None else timeout
        if not 0 < seconds < math.inf:
            raise LocalError(f"the timeout of a request must be a positive number of seconds, not {seconds}")
        answer = self._others.cell(address).call("handle_message", message, self.address)

        def expire() -> None:
            if not answer.done():
                answer.set_exception(RequestTimeout(str(address), seconds))

        timer = self._clock.call_later(seconds, expire)
        try:
            reply: Data | None = await answer
        finally:
            timer.cancel()
        return reply

    # Turns

    def _take(self, item: Delivery | Call) -> None:
        """Runs a turn, now or when those that wait have had theirs."""
        if self.outbox.open or self._waiting:
            self._mailbox.put(item)
        else:
            self._run(item)
            self._next()

    def _run(self, item: Delivery | Call) -> None:
        """Begins a turn, and ends it unless the handler waits."""
        self.outbox.open = True
        self.counters.turns += 1
        try:
            if isinstance(item, Delivery):
                if type(item.event) is Connected:
                    self._connections[item.connection.id] = item.connection
                elif type(item.event) is Closed:
                    self._connections.pop(item.connection.id, None)
                result = self._handle_websocket(item.connection, item.event)
            else:
                result = getattr(self._behaviour, item.handler)(*item.arguments)
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(item, error)
        else:
            self._settle(item, result)

    def _settle(self, item: Delivery | Call, result: Any) -> None:
        """Ends a turn with its result, or lets it go on as a task."""
        if isinstance(result, Awaitable):
            # From 3.12 on the task runs at once, and costs little when it need not wait.
            task = asyncio.Task(self._wait(item, result), loop=self._loop, **_EAGER)
            if not task.done():
                self.task = task
            return
        try:
            if isinstance(item, Delivery):
                for message in replies(result):
                    self.outbox.send(item.connection.wire, message)
                self.outbox.commit()
            else:
                check_result(item.handler, result)
                self.outbox.commit()
                if item.answer is not None and not item.answer.done():
                    item.answer.set_result(result)
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(item, error)
        else:
            self.outbox.open = False

    async def _wait(self, item: Delivery | Call, awaitable: Awaitable[object]) -> None:
        try:
            result: object = awaitable
            while isinstance(result, Awaitable):
                result = await result
        except BaseException as error:  # noqa: BLE001  # `_fail` lets Ctrl-C through
            self._fail(item, error)
        else:
            self._settle(item, result)
        self.task = None
        self._next()

    def _fail(self, item: Delivery | Call, error: BaseException) -> None:
        """Ends a turn that raised: nothing it did remains, and who waits for it is told so."""
        self.outbox.drop()
        self.outbox.open = False
        self.counters.errors += 1
        extra = {"actor": str(self.address)}
        if isinstance(item, Delivery):
            what = f"handle_websocket, {type(item.event).__name__} of connection {item.connection.id}"
            extra["connection"] = str(item.connection.id)
            if type(item.event) is not Error and type(item.event) is not Closed:
                # It is this connection's next event, before any that waits already.
                self._mailbox.put_first(Delivery(item.connection, Error(_words(error))))
        else:
            what = item.handler
            _tell_failure(item, self.address)
            if item.handler == "init":
                self.failed = True
                self._others.forget(self)
                self._refuse_all()
        if self._stopped and isinstance(error, asyncio.CancelledError):
            log.warning("%s was stopped in %s", self.address, what, extra=extra)
        else:
            log.error("%s failed in %s", self.address, what, exc_info=error, extra=extra)
        if isinstance(error, KeyboardInterrupt):
            raise error

    def _next(self) -> None:
        """Runs the turns that wait, until one of them waits itself.

        What comes meanwhile has to wait for the loop's next round, so that actors which send to
        each other, or to themselves, leave the loop to others.
        """
        if self._draining or self._stopped:
            return
        self._scheduled = False
        self._draining = True
        for _ in range(len(self._waiting)):
            if self.outbox.open:
                break
            self._run(self._mailbox.take())
        self._draining = False
        if self._waiting and not self.outbox.open:
            self._next_later()

    def _next_later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _refuse_all(self) -> None:
        while self._waiting:
            _refuse(self._mailbox.take(), self.address)

    def _execute(self, command: Command) -> None:
        match command:
            case SendFrame(wire, first, payload):
                wire.send_frame(first, payload)
            case SendEncoded(wires, frame):
                for wire in wires:
                    wire.send_encoded(frame)
            case SendToActor(address, message):
                try:
                    self._others.cell(address).post(message, self.address)
                except GuestError as error:  # it was there when the message was put in
                    log.warning("%s lost a message to %s: %s", self.address, address, error)
            case _:
                assert_never(command)


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # it is the user's, and may have no words
        return type(error).__name__


def _tell_failure(call: Call, address: Address) -> None:
    """Tells who waits for a call that there is no answer."""
    if call.answer is not None and not call.answer.done():
        call.answer.set_exception(ActorFailed(str(address)))


def _refuse(item: Delivery | Call, address: Address) -> None:
    """Gives up what waits for a turn that it will not get."""
    if isinstance(item, Call):
        _tell_failure(item, address)
        if item.handler == "handle_message" and item.answer is None:
            log.warning("%s lost a message from %s", address, item.arguments[1])
