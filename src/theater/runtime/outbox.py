"""What an actor does to the world in one turn, kept back until the turn has succeeded."""

from collections.abc import Callable
from typing import assert_never

import msgspec

from theater.contract import Close, Data, Message, Text
from theater.errors import LocalError
from theater.protocol.frames import encode_message
from theater.protocol.shared import SharedMessage
from theater.runtime.address import Address
from theater.runtime.ports import Frame, Wire


class SendFrame(msgspec.Struct, frozen=True):
    """Send an encoded message to one connection."""

    wire: Wire
    frame: Frame
    last: bool = False  # behind all else that the turn does


class SendShared(msgspec.Struct, frozen=True):
    """Send one message to many connections."""

    wires: list[Wire]
    message: SharedMessage
    key: str | None


class SendToActor(msgspec.Struct, frozen=True):
    """Send a message to another actor."""

    address: Address
    message: Data


Command = SendFrame | SendShared | SendToActor


class Undo(msgspec.Struct, frozen=True):
    """How to take back a change that took effect at once, should the turn fail."""

    restore: Callable[[], None]


class Outbox:
    """Collects what is done while a turn is open.

    Messages are encoded when they are put in, so that what cannot be sent raises in the handler,
    at the line that is wrong, and a turn never fails half-way through its commands.

    Args:
        execute: carries out a command; called at once for those that come when no turn is open.
        limit: commands of one turn.
        size_limit: bytes of the messages of one turn.

    Attributes:
        open: whether a turn is under way.
        entries: what it has done so far.
    """

    __slots__ = ("_execute", "_limit", "_size", "_size_limit", "entries", "open")

    def __init__(self, execute: Callable[[Command], None], limit: int, size_limit: int) -> None:
        self.open = False
        self.entries: list[Command | Undo] = []
        self._execute = execute
        self._limit = limit
        self._size = 0
        self._size_limit = size_limit

    def send(self, wire: Wire, message: Message, key: str | None = None, compress: bool = True) -> None:
        """Sends to one connection; raises what `encode_message` does."""
        self.put(SendFrame(wire, Frame(*encode_message(message), key, compress)))

    def close(self, wire: Wire, code: int, reason: str) -> None:
        """Closes a connection when all that the turn sends has been sent."""
        self.put(SendFrame(wire, Frame(*encode_message(Close(code, reason))), last=True))

    def put(self, command: Command) -> None:
        """Keeps a command for the end of the turn.

        Raises:
            LocalError: the turn has done too much.
        """
        if self.open:
            self._keep(command)
        else:
            self._execute(command)

    def on_failure(self, restore: Callable[[], None]) -> None:
        """Remembers how to take back a change, should the turn fail."""
        if self.open:
            self._keep(Undo(restore))

    def commit(self) -> None:
        """Carries out what the turn has done."""
        entries, self.entries = self.entries, []
        self._size = 0
        last = []
        for entry in entries:
            if isinstance(entry, SendFrame) and entry.last:
                last.append(entry)
            elif not isinstance(entry, Undo):
                self._execute(entry)
        for entry in last:
            self._execute(entry)

    def drop(self) -> None:
        """Takes back what the turn has done."""
        self._size = 0
        while self.entries:
            entry = self.entries.pop()
            if isinstance(entry, Undo):
                entry.restore()

    def _keep(self, entry: Command | Undo) -> None:
        if len(self.entries) >= self._limit:
            raise LocalError(f"a turn has at most {self._limit} effects")
        size = self._size + _size(entry)
        if size > self._size_limit:
            raise LocalError(f"a turn sends at most {self._size_limit} bytes")
        self._size = size
        self.entries.append(entry)


def _size(entry: Command | Undo) -> int:
    match entry:
        case SendFrame(_, frame):
            return len(frame.payload)
        case SendShared(_, message):
            return message.size
        case SendToActor(_, message):
            return len(message.text if isinstance(message, Text) else message.data)
        case Undo():
            return 0
        case _:
            assert_never(entry)
