"""The proposal's WebSocket actor: what a client sends comes back."""

from theater import Actor, Binary, Connection, Event, Message, Received, Text


class Echo(Actor):
    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(message=Text() | Binary() as message):
                return message
        return None
