"""A connection, as its actor holds it inside a component."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

from componentize_py_types import Err
from theater.guest.values import facts, lower_data, lower_message, lower_text
from wit_world.imports import types, websocket

from theater.contract import Binary, ConnectionInfo, Message, Text
from theater.contract.connection import check_tags
from theater.contract.plain import pack, unpack
from theater.errors import InvalidMessage, LocalError
from theater.limits import MAX_ATTACHMENT
from theater.protocol.close import encode_close

_FACTS: Final = frozenset(("path", "parameters", "query", "headers", "subprotocol", "peer"))


class Connection(ConnectionInfo):
    """One client of an actor: the facts about it, and what can be done to it.

    All that is done in a turn takes effect when the turn succeeds, and not at all if it raises.
    On a connection that has ended everything is allowed and does nothing.

    The facts are asked of the host when one of them is first read. Of a connection that has ended
    before that, they are not known.
    """

    __slots__ = ("_streaming",)

    def __init__(self, id: int) -> None:
        self.id = id
        self._streaming = False

    def __getattr__(self, name: str) -> Any:
        # Only for attributes that are not set.
        if name not in _FACTS:
            raise AttributeError(f"'Connection' object has no attribute {name!r}")
        found = websocket.find_connection(self.id)
        if found is None:
            raise LocalError(f"connection {self.id} has ended, and its {name} was not asked for before")
        for fact, value in facts(found).items():
            setattr(self, fact, value)
        return getattr(self, name)

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
        try:
            websocket.send_message(self.id, lower_message(message), lower_text(key), compress)
        except Err as error:
            raise LocalError(error.value) from None

    async def send_now(self, message: Message, *, key: str | None = None, compress: bool = True) -> None:
        """Sends a message at once, not with the turn, so it stays sent if the turn fails.

        Where the limit `slow_reader` is `block`, this waits while the client reads too slowly; the
        other arguments and exceptions are those of `send`.
        """
        try:
            websocket.send_now(self.id, lower_message(message), lower_text(key), compress)
        except Err as error:
            raise LocalError(error.value) from None

    def stream(self) -> "OutgoingStream":
        """A message to be sent in pieces while it is being made; use it with `async with`.

        What else is sent to this connection meanwhile goes out behind it.
        """
        return OutgoingStream(self)

    async def drained(self) -> None:
        """Waits until nothing waits for the client any more, or it is gone; see the event `Congested`.

        What this turn has sent does not count: it leaves when the turn has succeeded.
        """
        websocket.drained(self.id)

    @property
    def waiting(self) -> int:
        """Bytes that wait in the server for the client to read."""
        return websocket.get_waiting(self.id)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begins the closing handshake behind all that this turn sends, its reply included.

        `Closed` follows when the connection has ended.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidClose: the code or reason may not be sent.
        """
        payload = encode_close(code, reason)
        try:
            websocket.close_connection(self.id, code, payload[2:].decode())
        except Err as error:
            raise LocalError(error.value) from None

    @property
    def tags(self) -> frozenset[str]:
        """Labels to find connections by, as in `broadcast(tag=...)`; assign a new set to change them."""
        return frozenset(websocket.get_tags(self.id))

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        try:
            websocket.set_tags(self.id, list(check_tags(tags)))
        except Err as error:
            raise LocalError(error.value) from None

    @property
    def attachment(self) -> Any:
        """Plain data kept with the connection, not with the actor's instance, so that it outlives it.

        Each reading gives a new copy: to change it, assign.
        """
        return unpack(websocket.get_attachment(self.id))

    @attachment.setter
    def attachment(self, value: Any) -> None:
        try:
            websocket.set_attachment(self.id, pack(value, "an attachment", MAX_ATTACHMENT))
        except Err as error:
            raise LocalError(error.value) from None

    def __repr__(self) -> str:
        try:
            return f"<Connection {self.id} on {self.path}>"
        except LocalError:
            return f"<Connection {self.id}>"


class OutgoingStream:
    """A message that is sent in pieces; made by `Connection.stream`.

    Each piece leaves at once, not with the turn. If the block is left with an exception after the
    first, the message cannot be completed, and the connection is closed with 1011.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kind: type[Text | Binary] | None = None
        self._open = False

    async def write(self, data: str | bytes) -> None:
        """Sends a piece, and waits while the client does not keep up.

        Raises:
            InvalidMessage: it cannot be sent, or the other pieces were of another kind.
            LocalError: this is not inside the stream's block.
        """
        if not self._open:
            raise LocalError("a stream is written to inside of `async with connection.stream() as stream`")
        piece = Text(data) if isinstance(data, str) else Binary(data)
        lowered = lower_data(piece)
        if self._kind not in (None, type(piece)):
            raise InvalidMessage(data, "all chunks of a message to be text, or all bytes")
        self._send(lowered, last=False)
        self._kind = type(piece)

    async def __aenter__(self) -> Self:
        """Begins the message, behind all that was sent before.

        Raises:
            LocalError: another one is going out in pieces.
        """
        if self._connection._streaming:
            raise LocalError("another message is going out in pieces on this connection")
        websocket.drained(self._connection.id)
        self._connection._streaming = True
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = self._connection._streaming = False
        if error is None:
            self._send(lower_data(Text("") if self._kind is Text else Binary(b"")), last=True)
        elif self._kind is not None:
            self._connection.close(1011)

    def _send(self, piece: types.Data, last: bool) -> None:
        try:
            websocket.send_chunk(self._connection.id, piece, last)
        except Err as error:
            raise LocalError(error.value) from None
