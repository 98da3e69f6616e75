"""Messages too large to hold: taken in chunks."""

from theater import Actor, Connection, Event, Received, Stream, Text


class Sink(Actor):
    """Answers a message with its size in bytes."""

    async def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Received(Stream() as stream):
                size = 0
                async for chunk in stream:
                    size += len(chunk)
                return Text(str(size))
        return None


class Relay(Actor):
    """Sends a binary message back while it comes."""

    async def handle_websocket(self, connection: Connection, event: Event) -> None:
        match event:
            case Received(Stream() as stream):
                async with connection.stream() as out:
                    async for chunk in stream:
                        await out.write(chunk)
