"""What has been counted, by actor type; plain integers, since some move with every message."""


class Counters:
    """Totals of one actor type since the process started.

    Attributes:
        connections: connections that were accepted.
        messages_in: WebSocket messages that arrived, of all kinds.
        messages_out: those that actors sent.
        bytes_in, bytes_out: bytes of WebSocket traffic, frame headers included.
        turns: turns that were begun.
        errors: turns that failed.
    """

    __slots__ = ("bytes_in", "bytes_out", "connections", "errors", "messages_in", "messages_out", "turns")

    def __init__(self) -> None:
        self.connections = 0
        self.messages_in = 0
        self.messages_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.turns = 0
        self.errors = 0
