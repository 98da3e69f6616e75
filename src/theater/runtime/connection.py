"""A connection, as its actor holds it."""

from collections.abc import Iterable
from typing import Any

from theater.contract import ConnectionInfo, Message
from theater.contract.connection import check_tags, pack_attachment, unpack_attachment
from theater.contract.http import Accept, UpgradeRequest
from theater.runtime.outbox import Outbox
from theater.runtime.ports import Wire


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
        self._attachment = pack_attachment(accept.attachment)
        self._outbox = outbox
        self.wire = wire

    def send(self, message: Message) -> None:
        """Sends a message.

        Raises:
            InvalidMessage: it is no message, or holds what its kind cannot carry.
            InvalidClose: a close code or reason that may not be sent.
        """
        self._outbox.send(self.wire, message)

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
        return unpack_attachment(self._attachment)

    @attachment.setter
    def attachment(self, value: Any) -> None:
        before, after = self._attachment, pack_attachment(value)
        self._outbox.on_failure(lambda: setattr(self, "_attachment", before))
        self._attachment = after

    def __repr__(self) -> str:
        return f"<Connection {self.id} on {self.path}>"
