"""What the host does for a component: the functions that it imports."""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, ParamSpec, TypeVar

from theater.contract import Close, Data, Message, Text
from theater.contract.connection import check_tags
from theater.errors import GuestError, InvalidAddress, LocalError
from theater.runtime.address import TYPE_NAME, Address
from theater.runtime.connection import Connection, keep_with, kept_with
from theater.runtime.ports import Context, Wire
from theater.wasm.shapes import Failure

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("theater.actor")

_MAX_RANDOM: Final = 65_536
_MAX_LINES: Final = 1_000  # of the log, in one turn
_MAX_LINE: Final = 16_384  # characters
_LEVELS: Final = {name: logging.getLevelName(name.upper()) for name in ("debug", "info", "warning", "error")}
_REFUSED: Final = (LocalError, ValueError, TypeError)


def _fallible(function: Callable[P, T]) -> Callable[P, T | Failure]:
    """Makes what a function refuses an error of the WIT result."""

    def call(*arguments: P.args, **keywords: P.kwargs) -> T | Failure:
        try:
            return function(*arguments, **keywords)
        except _REFUSED as error:
            return Failure(str(error))

    return call


def _waiting(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T | Failure]]:
    """The same for one that waits."""

    async def call(*arguments: P.args, **keywords: P.kwargs) -> T | Failure:
        try:
            return await function(*arguments, **keywords)
        except _REFUSED as error:
            return Failure(str(error))

    return call


def _reaching(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T | Failure]]:
    """The same for one that reaches other actors: the error is the exception itself."""

    async def call(*arguments: P.args, **keywords: P.kwargs) -> T | Failure:
        try:
            return await function(*arguments, **keywords)
        except (GuestError, InvalidAddress) as error:
            return Failure(error)
        except _REFUSED as error:
            return Failure(LocalError(str(error)))

    return call


class Host:
    """The imports of `wit/0.2.0`, for one actor.

    Its methods are called by the component, in the middle of a turn, and in a worker thread if that
    takes long. The turn is the only one of its actor meanwhile, so nothing else touches the outbox.

    Args:
        context: the actor's.

    Attributes:
        used: there is something to forget when the next turn begins.
        streams: messages that go out in pieces, by connection.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._extra = {"actor": str(context.address)}
        self.used = False
        self._ended: dict[int, Connection] = {}  # that come to their end in this turn
        self._pieces: set[int] = set()  # connections to which this turn has sent pieces of a message
        self._lines = 0  # that this turn has written to the log
        self.streams: dict[int, Wire] = {}

    def begin(self, ended: Iterable[Connection] = ()) -> None:
        """Begins a turn, in which these connections come to their end."""
        self._ended = {connection.id: connection for connection in ended}
        self._pieces.clear()
        self._lines = 0
        self.used = bool(self._ended)
        for each in self._ended:
            self.streams.pop(each, None)  # nobody is left to take the rest

    def fail(self) -> None:
        """The turn has failed: messages that it has sent pieces of cannot be completed."""
        for each in self._pieces & self.streams.keys():
            self.streams.pop(each).break_stream(begun=True)

    def forget(self) -> None:
        """The instance has ended: no other can complete what it has begun to send."""
        self._pieces.update(self.streams)
        self.fail()

    def _connection(self, id: int) -> Connection | None:
        return self._context.connections.get(id) or self._ended.get(id)

    # websocket

    @_fallible
    def send_message(self, conn: int, message: Message, key: str | None, compress: bool) -> None:
        connection = self._connection(conn)
        if connection is not None:
            connection.send(message, key=key, compress=compress)

    @_waiting
    async def send_now(self, conn: int, message: Message, key: str | None, compress: bool) -> None:
        connection = self._connection(conn)
        if connection is not None:
            await connection.send_now(message, key=key, compress=compress)

    @_waiting
    async def send_chunk(self, conn: int, chunk: Data, last: bool) -> None:
        connection = self._context.connections.get(conn)
        if connection is None:
            return
        wire = self.streams.get(conn)
        if wire is None:
            wire = connection.wire
            await wire.drained()
            wire.open_stream()
            self.streams[conn] = wire
        self._pieces.add(conn)
        self.used = True
        wire.send_chunk(chunk.text if isinstance(chunk, Text) else chunk.data, last)
        if last:
            del self.streams[conn]
        await wire.writable()

    async def drained(self, conn: int) -> None:
        connection = self._connection(conn)
        if connection is not None:
            await connection.drained()

    def get_waiting(self, conn: int) -> int:
        connection = self._connection(conn)
        return 0 if connection is None else connection.waiting

    @_fallible
    def close_connection(self, conn: int, code: int, reason: str) -> None:
        connection = self._connection(conn)
        wire = self.streams.pop(conn, None)
        if wire is not None:
            wire.break_stream(begun=True)
        elif connection is not None:
            connection.close(code, reason)

    def get_tags(self, conn: int) -> list[str]:
        connection = self._connection(conn)
        return [] if connection is None else list(connection.tags)

    @_fallible
    def set_tags(self, conn: int, tags: list[str]) -> None:
        connection = self._connection(conn)
        if connection is None:
            check_tags(tags)
        else:
            connection.tags = tags

    def get_attachment(self, conn: int) -> str | None:
        connection = self._connection(conn)
        return None if connection is None else kept_with(connection)

    @_fallible
    def set_attachment(self, conn: int, attachment: str | None) -> None:
        connection = self._connection(conn)
        if connection is not None:
            keep_with(connection, attachment)

    def get_connections(self) -> list[int]:
        return list(self._context.connections)

    def find_connection(self, conn: int) -> Connection | None:
        return self._connection(conn)

    @_fallible
    def broadcast(
        self, message: Message, exclude: list[int], tag: str | None, key: str | None, compress: bool
    ) -> None:
        known = self._context.connections
        excluded = [known[each] for each in exclude if each in known]
        self._context.broadcast(message, excluded, tag, key, compress)

    # actors

    def get_address(self) -> Address:
        return self._context.address

    @_reaching
    async def send(self, address: Address, message: Data) -> None:
        self._context.send(_checked(address), message)  # may start that actor, so never in a worker

    @_reaching
    async def request(self, address: Address, message: Data, timeout: float | None) -> Data | None:
        return await self._context.request(_checked(address), message, timeout)

    # state

    def get_state(self) -> str | None:
        return self._context.state

    @_fallible
    def set_state(self, state: str | None) -> None:
        self._context.keep(state)

    # host

    def log(self, level: str, message: str) -> None:
        self._lines += 1
        self.used = True
        if self._lines < _MAX_LINES:
            text = message[:_MAX_LINE]
            log.log(_LEVELS[level], "%s: %s", self._context.address, text, extra=self._extra)
        elif self._lines == _MAX_LINES:
            log.warning("%s has more to say in one turn than the log takes", self._context.address)

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self, count: int) -> bytes:
        return os.urandom(min(count, _MAX_RANDOM))


class Refused(Exception):
    """What a component asked for cannot be done, and its contract has no words for that: it traps."""


class OldHost(Host):
    """The imports of `wit/0.1.0`."""

    def send_message(self, conn: int, message: Message) -> None:  # type: ignore[override]
        connection = self._connection(conn)
        if connection is not None:
            try:
                connection.send(message)
            except LocalError as error:
                raise Refused(str(error)) from None

    def close_connection(self, conn: int) -> None:  # type: ignore[override]
        self.send_message(conn, Close())


def _checked(address: Address) -> Address:
    if not TYPE_NAME.fullmatch(address.type):
        raise InvalidAddress(str(address))
    return address
