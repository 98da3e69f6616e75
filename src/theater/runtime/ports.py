"""What the runtime asks of the world around it, and what it offers to actors."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec

from theater.contract import Accept, Data, Event, Message, Request, Response, UpgradeRequest
from theater.limits import ActorLimits, ConnectionLimits
from theater.protocol.shared import SharedMessage
from theater.runtime.address import Address

if TYPE_CHECKING:
    from theater.runtime.connection import Connection

Deliveries = Sequence[tuple["Connection", Event]]
"""Events that are handled in one turn, in the order in which they came."""

Reply = Message | Iterable[Message] | None
"""What `handle_websocket` returns: nothing, one message or several."""


class Behaviour(Protocol):
    """One actor instance, native or component, as its cell sees it.

    The cell calls one method at a time. Each may return an awaitable of its result instead; the
    turn then lasts until that is done. An exception fails the turn: nothing that was sent in it
    leaves.
    """

    def init(self) -> Awaitable[None] | None:
        """Called once, before all else; an exception means that the actor cannot start."""

    def upgrade_connection(
        self, request: UpgradeRequest
    ) -> Accept | Response | None | Awaitable[Accept | Response | None]:
        """Lets a client in, or refuses it with a response; none refuses with 403."""

    def handle_websocket(self, connection: "Connection", event: Event) -> Reply | Awaitable[Reply]:
        """Handles an event of a connection; what it returns is sent to that connection."""

    def handle_batch(self, batch: "Deliveries") -> Awaitable[None] | None:
        """Handles several events at once, of connections whose path asks for it."""

    def handle_request(self, request: Request) -> Response | Awaitable[Response]:
        """Answers a plain HTTP request."""

    def handle_message(self, message: Data, sender: Address) -> Data | None | Awaitable[Data | None]:
        """Handles another actor's message; what it returns answers a `request`."""


class Context(Protocol):
    """What the host offers to one actor instance."""

    @property
    def address(self) -> Address:
        """The actor's own address."""

    @property
    def limits(self) -> ActorLimits:
        """Of this actor."""

    @property
    def connections(self) -> "Mapping[int, Connection]":
        """The actor's open connections by id."""

    @property
    def state(self) -> str | None:
        """What is kept with the actor rather than with its instance, as JSON."""

    def keep(self, state: str | None) -> None:
        """Keeps this instead, unless the turn fails."""

    def commit(self) -> None:
        """Lets what the turn has done so far take effect, as if it ended and the next began."""

    def broadcast(
        self,
        message: Message,
        exclude: "Iterable[Connection]",
        tag: str | None,
        key: str | None,
        compress: bool,
    ) -> None:
        """Sends to all connections of this actor, but for some, or to those with a tag."""

    def send(self, address: Address, message: Data) -> None:
        """Sends to another actor when the turn succeeds."""

    async def request(self, address: Address, message: Data, timeout: float | None) -> Data | None:
        """Asks another actor, at once, and waits for its answer."""


BehaviourFactory = Callable[[Context], Behaviour]
"""Makes an instance; an exception means that the actor cannot start."""


class Batch(msgspec.Struct, frozen=True):
    """How events of a path are gathered for `handle_batch`.

    Attributes:
        max_messages: events of one turn at most.
        max_wait: seconds that the first of them may wait for others; with 0, those are handled
            together that come in one round of the event loop.
    """

    max_messages: Annotated[int, msgspec.Meta(ge=1)] = 64
    max_wait: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Frame(msgspec.Struct, frozen=True):
    """A message for one connection, as `encode_message` made it.

    Attributes:
        first: the first byte of its frame.
        payload: what it carries.
        key: see the policy `keep-latest`.
        compress: whether it may be compressed.
    """

    first: int
    payload: bytes
    key: str | None = None
    compress: bool = True


class Wire(Protocol):
    """The socket side of a connection. Nothing here raises on a connection that has ended."""

    def send(self, message: Message) -> None:
        """Sends a message; raises what `encode_message` does."""

    def send_frame(self, frame: Frame) -> None:
        """Sends what `encode_message` made of a message."""

    def send_shared(self, message: SharedMessage, key: str | None) -> None:
        """Sends a message that was encoded for many connections at once."""

    def open_stream(self) -> None:
        """Keeps all messages back that are not chunks, until the last chunk was sent.

        Raises:
            LocalError: a message is going out in chunks already.
        """

    def send_chunk(self, data: str | bytes, last: bool) -> None:
        """Sends a piece of a message, after `open_stream`; raises what `encode_message` does."""

    def break_stream(self, begun: bool) -> None:
        """Gives up a message in pieces; with 1011 if one has been sent, since it cannot be completed."""

    async def writable(self) -> None:
        """Waits while the client reads more slowly than it is sent to, or until it is gone."""

    async def drained(self) -> None:
        """Waits until nothing is kept back for the client any more, or until it is gone."""

    @property
    def limits(self) -> ConnectionLimits:
        """Of this connection."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the client."""

    def pause_reading(self) -> None:
        """Stops events from this connection: its actor's mailbox is full."""

    def resume_reading(self) -> None:
        """Lets events come again."""


class Timer(Protocol):
    """A pending call of a `Clock`."""

    def cancel(self) -> None:
        """Calls it off; harmless when it has been made."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls back after a time, on the event loop."""


class LoopClock:
    """The event loop's own clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self.call_later = loop.call_later
