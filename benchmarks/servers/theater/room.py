"""Rooms: what a client says goes to everyone in the room."""

from collections.abc import Sequence

from theater import Actor, Connection, Event, Received, Text


class Room(Actor):
    """Hears one message a turn."""

    def handle_websocket(self, connection: Connection, event: Event) -> None:
        match event:
            case Received(Text() as text):
                self.broadcast(text)


class BatchedRoom(Room):
    """Hears in one turn all messages that are there."""

    def handle_batch(self, batch: Sequence[tuple[Connection, Event]]) -> None:
        for connection, event in batch:
            self.handle_websocket(connection, event)
