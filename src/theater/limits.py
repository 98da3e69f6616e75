"""Every default limit in one place; `docs/reference/limits.md` is this table for readers.

Nothing is unlimited by default.
"""

import msgspec

MAX_TAGS = 16
"""Tags of one connection."""

MAX_TAG_LENGTH = 256
"""Characters of one tag."""

MAX_ATTACHMENT = 16 * 1024
"""Bytes of a connection's attachment, encoded as MessagePack."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one server.

    Attributes:
        max_message: bytes of one incoming WebSocket message; a larger one closes with 1009.
        max_body: bytes of one HTTP request body; a larger one is answered 413.
        max_send_queue: bytes that may wait for a client that reads slowly; when more are waiting
            and another message is sent, the connection is closed with 1013.
        mailbox_high_water: events waiting for one actor at which the connections that feed it are
            no longer read, and other actors' messages are refused.
        mailbox_low_water: events at which they are read again.
        max_outbox: messages and other effects of one turn; past it the handler gets an exception.
        max_actors: actors in one process; past it no new one is made and the client is told 503.
        close_timeout: seconds a peer has to answer a close frame.
        request_timeout: seconds an actor has to answer another's `request`, unless the call says
            otherwise.
        keep_alive: seconds an idle HTTP connection is kept.
        drain_timeout: seconds that connections and turns have to end when the server stops.
    """

    max_message: int = 1024 * 1024
    max_body: int = 1024 * 1024
    max_send_queue: int = 1024 * 1024
    mailbox_high_water: int = 256
    mailbox_low_water: int = 64
    max_outbox: int = 10_000
    max_actors: int = 100_000
    close_timeout: float = 5.0
    request_timeout: float = 5.0
    keep_alive: float = 5.0
    drain_timeout: float = 10.0
