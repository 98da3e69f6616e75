"""The test kit, for Theater's own tests and for those of its users."""

from theater.client import ClientConnection, connect
from theater.testing.clock import VirtualClock
from theater.testing.memory import MemoryTransport, link
from theater.testing.serving import Server, Stage, StageConnection, serve, stage

__all__ = [
    "ClientConnection",
    "MemoryTransport",
    "Server",
    "Stage",
    "StageConnection",
    "VirtualClock",
    "connect",
    "link",
    "serve",
    "stage",
]
