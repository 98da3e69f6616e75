"""What happens on a connection, as in `wit/0.2.0`, interface `types`."""

import msgspec

from theater.contract.messages import Incoming


class Connected(msgspec.Struct, frozen=True, gc=False):
    """A client arrived. The first event of every connection."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message arrived.

    Pings, which have been answered already, and pongs arrive this way too, so say which kinds you
    mean: `case Received(Text(text))`.
    """

    message: Incoming


class Error(msgspec.Struct, frozen=True, gc=False):
    """Something went wrong with this connection, or while one of its events was handled.

    `problem` is for the actor and its log; it may hold internal text and is never sent to the peer.
    """

    problem: str


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The connection has ended: the last event, exactly once for every `Connected`.

    Attributes:
        code: 1005 if the peer gave none, 1006 if it vanished without a closing handshake
            (RFC 6455 §7.1.5).
        reason: the closing side's words.
    """

    code: int = 1005
    reason: str = ""


Event = Connected | Received | Error | Closed
