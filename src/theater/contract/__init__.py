"""The vocabulary that native and component actors share: the Python mirror of `wit/0.2.0`."""

from theater.contract.connection import ConnectionInfo
from theater.contract.events import Closed, Congested, Connected, Drained, Error, Event, Received
from theater.contract.fields import Headers, Peer, Query
from theater.contract.http import Accept, Request, Response, UpgradeRequest
from theater.contract.messages import Binary, Close, Data, Incoming, Message, Ping, Pong, Stream, Text

__all__ = [
    "Accept",
    "Binary",
    "Close",
    "Closed",
    "Congested",
    "Connected",
    "ConnectionInfo",
    "Data",
    "Drained",
    "Error",
    "Event",
    "Headers",
    "Incoming",
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
