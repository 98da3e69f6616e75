"""Theater: a server for real-time applications. Every WebSocket connection talks to an actor."""

from typing import TYPE_CHECKING

from theater.contract import (
    Accept,
    Binary,
    Close,
    Closed,
    Congested,
    Connected,
    Data,
    Drained,
    Error,
    Event,
    Headers,
    Message,
    Peer,
    Ping,
    Pong,
    Query,
    Received,
    Request,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater.native.actor import Actor
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.ports import Deliveries

if TYPE_CHECKING:
    from theater.app import asgi

__version__ = "0.1.0"

__all__ = [
    "Accept",
    "Actor",
    "Address",
    "Binary",
    "Close",
    "Closed",
    "Congested",
    "Connected",
    "Connection",
    "Data",
    "Deliveries",
    "Drained",
    "Error",
    "Event",
    "Headers",
    "Message",
    "Peer",
    "Ping",
    "Pong",
    "Query",
    "Received",
    "Request",
    "Response",
    "Stream",
    "Text",
    "UpgradeRequest",
    "asgi",
]


def __getattr__(name: str) -> object:
    """Finds `asgi`, which brings the whole server with it, when it is first asked for."""
    if name != "asgi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from theater.app import asgi

    return asgi
