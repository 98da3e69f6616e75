"""Theater inside a component: what `from theater import ...` finds there.

The classes of the contract, the errors and `Actor` are the host's own files, which `theater.build.python`
puts beside these; only what reaches the host is different. `theater.asgi` stays with the server.
"""

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
]


def __getattr__(name: str) -> object:
    if name == "asgi":
        raise ImportError("theater.asgi belongs to a server; there is none inside a component")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
