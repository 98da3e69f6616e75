"""Every default limit in one place; `docs/reference/limits.md` is this table for readers.

Nothing is unlimited by default. Which limit can be set where follows from the class it stands in:
those of a connection for a handler, a whole manifest or a whole server, those of an actor for a
manifest or a server, and those of the process for the server alone.
"""

from typing import Annotated, Literal

import msgspec

MAX_TAGS = 16
"""Tags of one connection."""

MAX_TAG_LENGTH = 256
"""Characters of one tag."""

MAX_ATTACHMENT = 16 * 1024
"""Bytes of a connection's attachment, as JSON in UTF-8."""

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Rate = Annotated[float, msgspec.Meta(gt=0)]

SlowReader = Literal["close", "drop-oldest", "drop-newest", "keep-latest", "block"]
"""What happens when more waits for a client than may:

close: the connection is closed with 1013.
drop-oldest: the messages that have waited longest are not sent.
drop-newest: the message that was to join them is not sent.
keep-latest: a message takes the place of one with the same key; if that does not help, close.
block: `await connection.send_now(...)` waits until there is room; whoever does not wait: close.
"""

RateAction = Literal["delay", "drop", "close"]
"""What happens to messages beyond a rate: the socket is not read for a while, they are thrown away,
or the connection is closed with 1008."""


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one WebSocket.

    Attributes:
        max_message: bytes of one incoming message, inflated; a larger one closes with 1009.
        max_frame: bytes of one incoming frame as it is on the wire; likewise. As many as of a message,
            if 0.
        max_fragments: frames of one incoming message; more close with 1008.
        max_stream: bytes of one incoming message on a path with `messages = "stream"`, where
            `max_message`, `max_frame` and `max_fragments` do not count.
        max_send_queue: bytes that may wait for a client that reads slowly.
        max_send_messages: messages that may.
        send_high_water: bytes waiting at which the actor gets the event `Congested`.
        send_low_water: bytes waiting at which it gets `Drained` after that.
        slow_reader: what happens when more than `max_send_queue` or `max_send_messages` wait.
        message_rate: incoming messages a second, pings and pongs included.
        message_burst: messages that may come at once; as many as in a second, if 0.
        byte_rate: incoming bytes a second; where compression was agreed on, those of inflated messages
            count as well.
        byte_burst: bytes that may come at once; as many as in a second, if 0.
        rate_action: what happens to more than that.
        ping_interval: seconds of silence from the client after which it is pinged.
        pong_timeout: seconds it then has to send anything at all; otherwise it is gone (1006).
        idle_timeout: seconds without a message in either direction after which the connection is
            closed with 1000.
        max_lifetime: seconds after which a connection is closed with 1001, however busy; none by
            default, since time alone harms nobody.
        close_timeout: seconds a peer has to answer a close frame.
        compression: take part in permessage-deflate when the client offers it.
        compression_min: bytes below which a message is sent uncompressed.
        compression_level: of zlib, 1 to 9.
        compression_window: bits of the largest window that is kept for a direction, 9 to 15.
        max_inflation: an incoming message may be this many times larger inflated than compressed,
            once it is larger than 1 MiB; otherwise 1009.
    """

    max_message: Count = 1024 * 1024
    max_frame: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_fragments: Count = 16_384
    max_stream: Count = 4 * 1024 * 1024 * 1024
    max_send_queue: Count = 1024 * 1024
    max_send_messages: Count = 10_000
    send_high_water: Count = 64 * 1024
    send_low_water: Count = 16 * 1024
    slow_reader: SlowReader = "close"
    message_rate: Rate = 10_000.0
    message_burst: Annotated[int, msgspec.Meta(ge=0)] = 0
    byte_rate: Rate = 128.0 * 1024 * 1024
    byte_burst: Annotated[int, msgspec.Meta(ge=0)] = 0
    rate_action: RateAction = "delay"
    ping_interval: Seconds = 25.0
    pong_timeout: Seconds = 20.0
    idle_timeout: Seconds = 86_400.0
    max_lifetime: Seconds | None = None
    close_timeout: Seconds = 5.0
    compression: bool = True
    compression_min: Annotated[int, msgspec.Meta(ge=0)] = 1024
    compression_level: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    compression_window: Annotated[int, msgspec.Meta(ge=9, le=15)] = 12
    max_inflation: Count = 100


class ActorLimits(ConnectionLimits, frozen=True, kw_only=True):
    """The limits of one actor, and of each of its connections; the last four are those of components.

    Attributes:
        max_actor_connections: WebSockets of one actor; past it a client is told 503.
        mailbox_high_water: events waiting for one actor at which the connections that feed it are
            no longer read, and other actors' messages are refused.
        mailbox_low_water: events at which they are read again.
        max_outbox: messages and other effects of one turn; past it the handler gets an exception.
        max_outbox_bytes: bytes of the messages that one turn sends; a broadcast counts once.
        max_state: bytes of an actor's state, as JSON in UTF-8.
        handler_timeout: seconds that a handler may take; then it is cancelled, and its turn has failed.
            Each chunk of a streamed message that it takes starts them anew. One that blocks the event
            loop is ended in the same way, in servers that `theater run` has started.
        upgrade_timeout: the same for `upgrade_connection`.
        request_timeout: seconds an actor has to answer another's `request`, unless the call says
            otherwise.
        turn_time: seconds that a component may compute in one turn, waiting not counted; then its
            instance is ended.
        start_time: the same for making an instance and for its `init`.
        max_memory: bytes of memory that one instance may have.
        max_value: bytes that one call may carry from a component to the host.
    """

    max_actor_connections: Count = 32_768
    mailbox_high_water: Count = 256
    mailbox_low_water: Annotated[int, msgspec.Meta(ge=0)] = 64
    max_outbox: Count = 10_000
    max_outbox_bytes: Count = 64 * 1024 * 1024
    max_state: Count = 1024 * 1024
    handler_timeout: Seconds = 30.0
    upgrade_timeout: Seconds = 10.0
    request_timeout: Seconds = 5.0
    turn_time: Seconds = 1.0
    start_time: Seconds = 5.0
    max_memory: Count = 128 * 1024 * 1024
    max_value: Count = 16 * 1024 * 1024


class Limits(ActorLimits, frozen=True, kw_only=True):
    """The limits of one server, of its actors, and of their connections.

    Attributes:
        max_connections: TCP connections of the process; past it they are told 503. Lower where the
            system allows fewer open files.
        max_address_connections: TCP connections from one address; past it 429. Those from this
            machine itself are not counted, since they are a proxy's.
        upgrade_rate: upgrades a second from one address; past it 429.
        upgrade_burst: upgrades that may come at once from one address.
        max_head: bytes of a request's head; a larger one is answered 431.
        max_headers: header fields of a request; more are answered 431.
        handshake_timeout: seconds from accepting a connection until the head of its first request
            is here, and for every later head from its first byte; then 408.
        body_timeout: seconds for a request's body; then 408.
        max_body: bytes of one HTTP request body; a larger one is answered 413.
        keep_alive: seconds an idle HTTP connection is kept.
        max_actors: actors in one process; past it no new one is made and the client is told 503.
        max_instances: instances of components in one process; past it an actor cannot start.
        max_stack: bytes of stack that a component may use.
        compression_memory: bytes of all contexts for compression together; past it new connections
            keep none between messages.
        drain_window: seconds over which connections are closed when the server stops, so that
            their clients do not all come back at once.
        drain_timeout: seconds that connections and turns have to end when the server stops.
    """

    max_connections: Count = 100_000
    max_address_connections: Count = 1_000
    upgrade_rate: Rate = 50.0
    upgrade_burst: Count = 200
    max_head: Count = 32 * 1024
    max_headers: Count = 100
    handshake_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    max_body: Count = 1024 * 1024
    keep_alive: Seconds = 5.0
    max_actors: Count = 100_000
    max_instances: Count = 8_000
    max_stack: Annotated[int, msgspec.Meta(ge=64 * 1024, le=64 * 1024 * 1024)] = 2 * 1024 * 1024
    compression_memory: Annotated[int, msgspec.Meta(ge=0)] = 64 * 1024 * 1024
    drain_window: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    drain_timeout: Seconds = 10.0
