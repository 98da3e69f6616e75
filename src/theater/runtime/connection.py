"""A connection, as its actor holds it."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from theater.contract import ConnectionInfo, Message
from theater.contract.connection import check_tags
from theater.contract.http import Accept, UpgradeRequest
from theater.contract.plain import check_size, pack, unpack
from theater.errors import LocalError
from theater.limits import MAX_ATTACHMENT
from theater.protocol.frames import encode_message
from theater.runtime.outbox import Outbox
from theater.runtime.ports import Frame, Wire


class Connection(ConnectionInfo):
    """One client of an actor: the facts about it, and what can be done to it.

    All that is done in a turn takes effect when the turn succeeds, and not at all if it raises.
    On a connection that has ended everything is allowed and does nothing.
    """

    __slots__ = ("_attachment", "_outbox", "_tags", "wire")

    def __init__(self, id: int, request: UpgradeRequest, accept: Accept, wire: Wire, outbox: Outbox) -> None:
        super().__init__(
            id,
            request.path,
            request.parameters,
            request.query,
            request.headers,
            accept.subprotocol,
            request.peer,
        )
        self._tags = accept.tags
        self._attachment = pack(accept.attachment, "an attachment", MAX_ATTACHMENT)
        self._outbox = outbox
        self.wire = wire

    def send(self, message: Message, *, key: str | None = None, compress: bool = True) -> None:
        """Sends a message.

        Args:
            message: what to send.
            key: where the limit `slow_reader` is `keep-latest`, it takes the place of a message with
                the same key that still waits for the client.
            compress: whether it may be compressed; not, if a secret in it stands beside text that
                somebody else has chosen.

        Raises:
            InvalidMessage: it is no message, or holds what its kind cannot carry.
            InvalidClose: a close code or reason that may not be sent.
            LocalError: the turn has done too much.
        """
        self._outbox.send(self.wire, message, key, compress)

    async def send_now(self, message: Message, *, key: str | None = None, compress: bool = True) -> None:
        """Sends a message at once, not with the turn, so it stays sent if the turn fails.

        Where the limit `slow_reader` is `block`, this waits while the client reads too slowly; the
        other arguments and exceptions are those of `send`.
        """
        frame = Frame(*encode_message(message), key, compress)
        if self.wire.limits.slow_reader == "block":
            await self.wire.drained()
        self.wire.send_frame(frame)

    def stream(self) -> "OutgoingStream":
        """A message to be sent in pieces while it is being made; use it with `async with`.

        What else is sent to this connection meanwhile goes out behind it.
        """
        return OutgoingStream(self.wire)

    async def drained(self) -> None:
        """Waits until nothing waits for the client any more, or it is gone; see the event `Congested`.

        What this turn has sent does not count: it leaves when the turn has succeeded.
        """
        await self.wire.drained()

    @property
    def waiting(self) -> int:
        """Bytes that wait in the server for the client to read."""
        return self.wire.waiting

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begins the closing handshake behind all that this turn sends, its reply included.

        `Closed` follows when the connection has ended.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidClose: the code or reason may not be sent.
        """
        self._outbox.close(self.wire, code, reason)

    @property
    def tags(self) -> frozenset[str]:
        """Labels to find connections by, as in `broadcast(tag=...)`; assign a new set to change them."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        before, after = self._tags, check_tags(tags)
        self._outbox.on_failure(lambda: setattr(self, "_tags", before))
        self._tags = after

    @property
    def attachment(self) -> Any:
        """Plain data kept with the connection, not with the actor's instance, so that it outlives it.

        Each reading gives a new copy: to change it, assign.
        """
        return unpack(self._attachment)

    @attachment.setter
    def attachment(self, value: Any) -> None:
        self._keep(pack(value, "an attachment", MAX_ATTACHMENT))

    def _keep(self, text: str | None) -> None:
        before = self._attachment
        self._outbox.on_failure(lambda: setattr(self, "_attachment", before))
        self._attachment = text

    def __repr__(self) -> str:
        return f"<Connection {self.id} on {self.path}>"


def kept_with(connection: Connection) -> str | None:
    """A connection's attachment as JSON."""
    return connection._attachment


def keep_with(connection: Connection, attachment: str | None) -> None:
    """Gives a connection an attachment in JSON.

    Raises:
        ValueError: it is too large, or no Unicode.
        LocalError: the turn has done too much.
    """
    if attachment is not None:
        check_size(attachment, "an attachment", MAX_ATTACHMENT)
    connection._keep(attachment)


class OutgoingStream:
    """A message that is sent in pieces; made by `Connection.stream`.

    Each piece leaves at once, not with the turn. If the block is left with an exception after the
    first, the message cannot be completed, and the connection is closed with 1011.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._kind: type[str | bytes] | None = None
        self._open = False

    async def write(self, data: str | bytes) -> None:
        """Sends a piece, and waits while the client does not keep up.

        Raises:
            InvalidMessage: it cannot be sent, or the other pieces were of another kind.
            LocalError: this is not inside the stream's block.
        """
        if not self._open:
            raise LocalError("a stream is written to inside of `async with connection.stream() as stream`")
        self._wire.send_chunk(data, last=False)
        self._kind = str if isinstance(data, str) else bytes
        await self._wire.writable()

    async def __aenter__(self) -> Self:
        """Begins the message, behind all that was sent before.

        Raises:
            LocalError: another one is going out in pieces.
        """
        await self._wire.drained()
        self._wire.open_stream()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if error is None:
            self._wire.send_chunk("" if self._kind is str else b"", last=True)
        else:
            self._wire.break_stream(begun=self._kind is not None)
