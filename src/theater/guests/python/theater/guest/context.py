"""What the host offers to an actor's instance inside a component; see the protocol of the same name."""

import sys
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import cached_property
from typing import NoReturn

from componentize_py_types import Err
from wit_world.imports import actors, host, state, types, websocket

from theater.contract import Data, Message
from theater.errors import (
    ActorFailed,
    InvalidAddress,
    LocalError,
    MailboxFull,
    NoSuchActor,
    RequestTimeout,
)
from theater.guest.values import lift_data, lower_address, lower_data, lower_message, lower_text
from theater.limits import ActorLimits
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.replies import check_data


class Refused(LocalError, ValueError):
    """The host does not keep a value: it is too large, or the turn has done too much."""


class Connections(Mapping[int, Connection]):
    """The open connections of the actor by id, as the host knows them.

    Attributes:
        ended: those that come to their end in this turn; the host still knows them, but they are not open.
    """

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self._known: dict[int, Connection] = {}

    def of(self, id: int) -> Connection:
        """The connection with this id, always the same object as long as it is open."""
        connection = self._known.get(id)
        if connection is None:
            connection = self._known[id] = Connection(id)
        return connection

    def end(self, id: int) -> None:
        """Lets go of a connection that has ended."""
        self.ended.add(id)
        self._known.pop(id, None)

    def _ids(self) -> list[int]:
        ids = websocket.get_connections()
        return [each for each in ids if each not in self.ended] if self.ended else ids

    def _open(self) -> dict[int, Connection]:
        self._known = {each: self.of(each) for each in self._ids()}
        return self._known.copy()

    def __getitem__(self, id: int) -> Connection:
        if id not in self._ids():
            raise KeyError(id)
        return self.of(id)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    def __repr__(self) -> str:
        return repr(self._open())

    # One question to the host for all of them

    def values(self) -> ValuesView[Connection]:
        return self._open().values()

    def items(self) -> ItemsView[int, Connection]:
        return self._open().items()


class Context:
    """What the host offers to an actor's instance."""

    def __init__(self) -> None:
        self.connections = Connections()
        # The host knows the actor's limits, and holds what it does against them.
        self.limits = ActorLimits(max_state=sys.maxsize)

    @cached_property
    def address(self) -> Address:
        """The actor's own address."""
        own = actors.get_address()
        return Address(own.type, own.key)

    @property
    def state(self) -> str | None:
        """What is kept with the actor rather than with its instance, as JSON."""
        return state.get_state()

    def keep(self, value: str | None) -> None:
        """Keeps this instead, unless the turn fails.

        Raises:
            Refused: it is too large, or the turn has done too much.
        """
        try:
            state.set_state(value)
        except Err as error:
            raise Refused(error.value) from None

    def broadcast(
        self,
        message: Message,
        exclude: Iterable[Connection],
        tag: str | None,
        key: str | None,
        compress: bool,
    ) -> None:
        """Sends to all connections of this actor, but for some, or to those with a tag."""
        excluded = [connection.id for connection in exclude]
        try:
            websocket.broadcast(lower_message(message), excluded, lower_text(tag), lower_text(key), compress)
        except Err as error:
            raise LocalError(error.value) from None

    def send(self, address: Address, message: Data) -> None:
        """Sends to another actor when the turn succeeds."""
        check_data(message)
        try:
            actors.send(lower_address(address), lower_data(message))
        except Err as error:
            _raise(error.value, address, 0)

    async def request(self, address: Address, message: Data, timeout: float | None) -> Data | None:
        """Asks another actor, at once, and waits for its answer."""
        check_data(message)
        begun = host.monotonic()
        try:
            answer = actors.request(lower_address(address), lower_data(message), timeout)
        except Err as error:
            _raise(error.value, address, host.monotonic() - begun if timeout is None else timeout)
        return None if answer is None else lift_data(answer)


def _raise(error: types.ActorError, address: Address, waited: float) -> NoReturn:
    match error:
        case types.ActorError_InvalidAddress():
            raise InvalidAddress(str(address)) from None
        case types.ActorError_NoSuchActor():
            raise NoSuchActor(str(address)) from None
        case types.ActorError_MailboxFull():
            raise MailboxFull(str(address)) from None
        case types.ActorError_ActorFailed():
            raise ActorFailed(str(address)) from None
        case types.ActorError_RequestTimeout():
            raise RequestTimeout(str(address), round(waited, 1)) from None
        case types.ActorError_LocalError(problem):
            raise LocalError(problem) from None
