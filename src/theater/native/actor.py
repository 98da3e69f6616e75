"""Actors written in Python."""

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from theater.contract import Accept, Data, Event, Message, Request, Response, UpgradeRequest
from theater.contract.plain import pack, unpack
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.ports import Behaviour, BehaviourFactory, Context, Deliveries, Reply


class Actor:
    """Base class of actors.

    An instance handles one thing at a time, so it needs no locks. Every handler may be `async`;
    until it returns, the actor's other events wait. What a handler sends leaves when it has
    returned, and not at all if it raises.

    Make an actor by deriving from this class and naming the class in a manifest; instances are
    made without arguments.
    """

    _context: Context

    # Handlers, to override

    def init(self) -> Awaitable[None] | None:
        """Runs once, before all else. An exception means that the actor cannot start: who needed
        it is refused, and the next one to need it makes a new instance."""
        return None

    def upgrade_connection(
        self, request: UpgradeRequest
    ) -> Accept | Response | None | Awaitable[Accept | Response | None]:
        """Lets a client in with `Accept`, or refuses it with a response; None refuses with 403.

        The checks of the WebSocket handshake have been passed. An exception refuses with 500.
        """
        return Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        """Handles an event of a connection: `Connected` first, `Closed` last.

        What it returns, one message or several, is sent to that connection. After an exception the
        connection stays open and its next event is `Error`.
        """
        return None

    def handle_batch(self, batch: Deliveries) -> Awaitable[None] | None:
        """Handles several events at once, in the order in which they came, on paths with `batch`.

        `for connection, event in batch` reads them. What is to be sent is sent with `connection.send`
        and `broadcast`. After an exception all that the batch has sent is taken back, and the next
        event of each of its connections is `Error`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no handle_batch")

    def handle_request(self, request: Request) -> Response | Awaitable[Response]:
        """Answers a plain HTTP request. An exception answers with 500.

        A response with status 101 and the right `Sec-WebSocket-Accept` (see
        `theater.protocol.handshake.accept_key`) to an upgrade request opens a WebSocket, whose
        events then come to this actor.
        """
        return Response.text("Not Found\n", 404)

    def handle_message(self, message: Data, sender: Address) -> Data | None | Awaitable[Data | None]:
        """Handles another actor's message; what it returns is the answer, if it was a `request`."""
        return None

    # What an actor can do

    @property
    def address(self) -> Address:
        """Where this actor is found."""
        return self._context.address

    @property
    def connections(self) -> Mapping[int, Connection]:
        """The open connections of this actor by id."""
        return self._context.connections

    @property
    def state(self) -> Any:
        """Plain data kept with the actor rather than with this instance, so that it outlives it; None
        at first.

        A component that takes over after a trap or an upgrade finds what the last turn has kept that
        succeeded. Each reading gives a new copy: to change it, assign. A turn that raises takes the
        change back.
        """
        return unpack(self._context.state)

    @state.setter
    def state(self, value: Any) -> None:
        self._context.keep(pack(value, "an actor's state", self._context.limits.max_state))

    def broadcast(
        self,
        message: Message,
        *,
        exclude: Connection | Iterable[Connection] = (),
        tag: str | None = None,
        key: str | None = None,
        compress: bool = True,
    ) -> None:
        """Sends a message, encoded and compressed once, to all connections of this actor.

        Args:
            message: what to send.
            exclude: a connection, or several, to leave out.
            tag: send only to connections with this tag.
            key, compress: as in `Connection.send`.

        Raises:
            InvalidMessage, InvalidClose: it cannot be sent.
            LocalError: the turn has done too much.
        """
        excluded = (exclude,) if isinstance(exclude, Connection) else exclude
        self._context.broadcast(message, excluded, tag, key, compress)

    def send(self, address: Address | str, message: Data) -> None:
        """Sends a message to another actor, when this turn has succeeded.

        Raises:
            InvalidAddress, NoSuchActor: there can be no such actor.
            MailboxFull: it is not keeping up.
            InvalidMessage: it is neither `Text` nor `Binary`.
            LocalError: the turn has done too much.
        """
        self._context.send(_address(address), message)

    async def request(
        self, address: Address | str, message: Data, *, timeout: float | None = None
    ) -> Data | None:
        """Sends a message to another actor at once, and waits for what its handler returns.

        Args:
            address: whom to ask.
            message: what to ask.
            timeout: seconds to wait for the answer; the limit `request_timeout` if left out.

        Raises:
            InvalidAddress, NoSuchActor: there can be no such actor.
            MailboxFull: it is not keeping up.
            ActorFailed: its handler raised.
            RequestTimeout: there was no answer in time.
            InvalidMessage: it is neither `Text` nor `Binary`.
            LocalError: an actor asked itself, or the timeout is no positive number.
        """
        return await self._context.request(_address(address), message, timeout)


def _address(address: Address | str) -> Address:
    return Address.parse(address) if isinstance(address, str) else address


def factory(actor: type[Actor]) -> BehaviourFactory:
    """What makes instances of an actor class."""

    def create(context: Context) -> Behaviour:
        instance = actor.__new__(actor)
        instance._context = context
        instance.__init__()  # type: ignore[misc]
        return instance

    return create
