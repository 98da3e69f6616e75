"""Outbound WebSockets: `connect`."""

from theater.client.connection import ClientConnection, connect

__all__ = ["ClientConnection", "connect"]
