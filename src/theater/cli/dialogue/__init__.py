"""`theater connect`: talking to a WebSocket server, by hand or from a script."""

from theater.cli.dialogue.target import Target, talk

__all__ = ["Target", "talk"]
