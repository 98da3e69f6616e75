"""Theater: a server for real-time applications. Every WebSocket connection talks to an actor."""

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
]
