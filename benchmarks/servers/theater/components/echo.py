"""Texts and binary messages come back as they were."""

from theater import Actor, Binary, Connection, Event, Message, Received, Text


class Echo(Actor):
    """The native server is of this class, too."""

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(message=Text() | Binary() as message):
                return message
        return None
