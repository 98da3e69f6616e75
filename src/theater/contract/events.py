"""What happens on a connection, as in `wit/0.2.0`, interface `types`."""

import msgspec

from theater.contract.messages import Incoming, Stream


class Connected(msgspec.Struct, frozen=True, gc=False):
    """A client arrived. The first event of every connection."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message arrived.

    Pings, which have been answered already, and pongs arrive this way too, so say which kinds you
    mean: `case Received(Text(text))`. On a path with `messages = "stream"`, texts and binary messages
    come as `Stream`.
    """

    message: Incoming | Stream


class Error(msgspec.Struct, frozen=True, gc=False):
    """Something went wrong with this connection, or while one of its events was handled.

    `problem` is for the actor and its log; it may hold internal text and is never sent to the peer.
    """

    problem: str


class Congested(msgspec.Struct, frozen=True, gc=False):
    """The client reads more slowly than it is sent to: `waiting` bytes have gathered for it.

    Its own messages are not read meanwhile. `Drained` follows when it has caught up.
    """

    waiting: int


class Drained(msgspec.Struct, frozen=True, gc=False):
    """The client has caught up after `Congested`."""


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The connection has ended: the last event, exactly once for every `Connected`.

    Attributes:
        code: 1005 if the peer gave none, 1006 if it vanished without a closing handshake
            (RFC 6455 §7.1.5).
        reason: the closing side's words.
    """

    code: int = 1005
    reason: str = ""


Event = Connected | Received | Error | Congested | Drained | Closed
