"""One running actor: its instance, what arrives for it, and what it does."""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, assert_never

from theater.contract import (
    Closed,
    Connected,
    Data,
    Event,
    Message,
)
from theater.contract.plain import check_size
from theater.errors import (
    ActorFailed,
    GuestError,
    LocalError,
    MailboxFull,
    RequestTimeout,
)
from theater.limits import ActorLimits
from theater.protocol.frames import CLOSE_FRAME, encode_message
from theater.protocol.shared import SharedMessage
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.counters import Counters
from theater.runtime.mailbox import Source
from theater.runtime.outbox import Command, SendFrame, SendShared, SendToActor
from theater.runtime.ports import Batch, BehaviourFactory, Clock, Frame
from theater.runtime.replies import MESSAGES, check_data
from theater.runtime.turns import Call, Delivery, Turns

log = logging.getLogger("theater.actor")


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


class Cell(Turns):
    """Holds the instance of one actor, and implements `Context` for it.

    An idle actor's synchronous handler runs at once, inside the caller; when it is busy, events
    queue in its mailbox.

    Args:
        address: the actor's own.
        others: the other actors.
        clock: for deadlines.
        counters: totals of the actor's type.
        limits: of the mailbox and the turn.
        loop: where asynchronous handlers run.
    """

    def __init__(
        self,
        address: Address,
        others: Others,
        clock: Clock,
        counters: Counters,
        limits: ActorLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(address, clock, counters, limits, loop, self._execute)
        self._others = others
        self._state: str | None = None

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

    def connected(self, connection: Connection, batch: Batch | None = None) -> None:
        """Takes in a new connection."""
        self.counters.connections += 1
        if batch is None:
            self._take(Delivery(connection, Connected()))
        else:
            self.gather(connection, Connected(), batch)

    def receive(self, connection: Connection, event: Event) -> None:
        """Handles an event of a connection, now or when its turn has come."""
        outbox = self.outbox
        if outbox.open or self._waiting:
            self._queue(Delivery(connection, event), connection.wire)
            return
        # The common case of `run`, unrolled: a synchronous handler with at most one reply.
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

    def receive_stream(self, connection: Connection, event: Event) -> None:
        """Handles the beginning of a streamed message, now or when its turn has come."""
        self._take(Delivery(connection, event), connection.wire)

    def gather(self, connection: Connection, event: Event, batch: Batch) -> None:
        """Takes an event that is to be handled together with others."""
        self._gather(Delivery(connection, event, batch), batch, connection.wire)

    def _gather(self, item: Delivery, batch: Batch, source: Source | None = None) -> None:
        self._put(item, source)
        if not batch.max_wait or len(self._waiting) >= batch.max_messages:
            self._next_later()
        elif self._gathering is None and not self._scheduled:
            self._gathering = self._clock.call_later(batch.max_wait, self._next)

    def closed(self, connection: Connection, event: Closed, batch: Batch | None = None) -> None:
        """Lets go of a connection that has ended."""
        self._mailbox.forget(connection.wire)
        item = Delivery(connection, event, batch)
        if batch is None:
            self._take(item)
        else:
            self._gather(item, batch)

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
        if handler == "upgrade_connection" and not answer.done():
            self.expire(answer, self.limits.upgrade_timeout)
        return answer

    def expire(self, answer: "asyncio.Future[Any]", seconds: float) -> None:
        """Gives up an answer that is not there in time."""

        def give_up() -> None:
            if not answer.done():
                answer.set_exception(RequestTimeout(str(self.address), seconds))

        timer = self._clock.call_later(seconds, give_up)
        answer.add_done_callback(lambda _: timer.cancel())

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

    # What the actor does: `Context`

    @property
    def connections(self) -> Mapping[int, Connection]:
        """The actor's open connections by id."""
        return MappingProxyType(self._connections)

    @property
    def state(self) -> str | None:
        """What is kept with the actor rather than with its instance, as JSON."""
        return self._state

    def keep(self, state: str | None) -> None:
        """Keeps this instead, unless the turn fails.

        Raises:
            ValueError: it is too large, or no Unicode.
            LocalError: the turn has done too much.
        """
        if state is not None:
            check_size(state, "an actor's state", self.limits.max_state)
        before = self._state
        self.outbox.on_failure(lambda: setattr(self, "_state", before))
        self._state = state

    def commit(self) -> None:
        """Lets what the turn has done so far take effect, as if it ended and the next began."""
        self.outbox.commit()

    def broadcast(
        self,
        message: Message,
        exclude: Iterable[Connection],
        tag: str | None,
        key: str | None,
        compress: bool,
    ) -> None:
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
                self.outbox.put(SendFrame(wire, Frame(first, payload)))
        else:
            self.outbox.put(SendShared(wires, SharedMessage(first, payload, compress), key))

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
        seconds = self.limits.request_timeout if timeout is None else timeout
        if not 0 < seconds < math.inf:
            raise LocalError(f"the timeout of a request must be a positive number of seconds, not {seconds}")
        other = self._others.cell(address)
        answer = other.call("handle_message", message, self.address)
        if not answer.done():
            other.expire(answer, seconds)
        reply: Data | None = await answer
        return reply

    def _cannot_start(self) -> None:
        super()._cannot_start()
        self._others.forget(self)

    def _execute(self, command: Command) -> None:
        match command:
            case SendFrame(wire, frame):
                wire.send_frame(frame)
            case SendShared(wires, message, key):
                for wire in wires:
                    wire.send_shared(message, key)
            case SendToActor(address, message):
                try:
                    self._others.cell(address).post(message, self.address)
                except GuestError as error:  # it was there when the message was put in
                    log.warning("%s lost a message to %s: %s", self.address, address, error)
            case _:
                assert_never(command)
