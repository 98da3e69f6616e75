"""The actor that clients are tried with; every connection has one of its own."""

import asyncio

from theater import (
    Accept,
    Actor,
    Binary,
    Close,
    Closed,
    Connection,
    Event,
    Message,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)

CLOSE_CODE = 4001
CLOSE_REASON = "trop fatigué 🎭"
QUIET = 3.0  # seconds; the server's heartbeat is up to two seconds late


class Referee(Actor):
    """Echoes, closes on request, and remembers how its connection ended."""

    def __init__(self) -> None:
        self.ends: list[Closed] = []

    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        return Accept("second" if "second" in request.subprotocols else None)

    async def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(Text("close")):
                return Close(CLOSE_CODE, CLOSE_REASON)
            case Received(Text() | Binary() as message) if connection.path.startswith("/stream/"):
                await self._stream(connection, message)
            case Received(Text() | Binary() as message):
                if connection.path.startswith("/quiet/"):
                    await asyncio.sleep(QUIET)
                return message
            case Closed():
                self.ends.append(event)
        return None

    async def _stream(self, connection: Connection, message: Text | Binary) -> None:
        """Sends a message back in three pieces."""
        data = message.text if isinstance(message, Text) else message.data
        third = len(data) // 3
        async with connection.stream() as stream:
            for piece in (data[:third], data[third : 2 * third], data[2 * third :]):
                await stream.write(piece)

    def handle_request(self, request: Request) -> Response:
        return Response.json([[end.code, end.reason] for end in self.ends])
