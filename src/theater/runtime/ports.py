"""What the runtime asks of the world around it, and what it offers to actors."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from theater.contract import Accept, Data, Event, Message, Request, Response, UpgradeRequest
from theater.runtime.address import Address

if TYPE_CHECKING:
    from theater.runtime.connection import Connection

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
    def connections(self) -> "Mapping[int, Connection]":
        """The actor's open connections by id."""

    def broadcast(self, message: Message, exclude: "Iterable[Connection]", tag: str | None) -> None:
        """Sends to all connections of this actor, but for some, or to those with a tag."""

    def send(self, address: Address, message: Data) -> None:
        """Sends to another actor when the turn succeeds."""

    async def request(self, address: Address, message: Data, timeout: float | None) -> Data | None:
        """Asks another actor, at once, and waits for its answer."""


BehaviourFactory = Callable[[Context], Behaviour]
"""Makes an instance; an exception means that the actor cannot start."""


class Wire(Protocol):
    """The socket side of a connection. Nothing here raises on a connection that has ended."""

    def send(self, message: Message) -> None:
        """Sends a message; raises what `encode_message` does."""

    def send_frame(self, first: int, payload: bytes) -> None:
        """Sends what `encode_message` made of a message."""

    def send_encoded(self, frame: bytes) -> None:
        """Sends a frame that was encoded for many connections at once."""

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
