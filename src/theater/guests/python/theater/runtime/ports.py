"""What `theater.native.actor` asks of the world around it; here, that is the host of a component."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from theater.guest.context import Context as Context

from theater.contract import Event, Message

if TYPE_CHECKING:
    from theater.runtime.connection import Connection

Deliveries = Sequence[tuple["Connection", Event]]
"""Events that are handled in one turn, in the order in which they came."""

Reply = Message | Iterable[Message] | None
"""What `handle_websocket` returns: nothing, one message or several."""

Behaviour = Any
"""An instance of an actor."""

BehaviourFactory = Callable[[Context], Behaviour]
"""Makes an instance; an exception means that the actor cannot start."""
