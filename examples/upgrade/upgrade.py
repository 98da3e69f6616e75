"""The proposal's HTTP example: one handler answers plain HTTP, and upgrades to WebSocket by hand."""

from theater import Actor, Connected, Connection, Event, Received, Request, Response, Text
from theater.protocol.handshake import accept_key


class Upgrade(Actor):
    """Says hello over HTTP; over a WebSocket it greets whoever tells it a name."""

    def handle_request(self, request: Request) -> Response:
        if is_websocket_upgrade(request):
            return handle_websocket_upgrade(request)
        return Response.text("Hello. Ask me for a WebSocket, and tell me your name.\n")

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Connected():
                return Text("What is your name?")
            case Received(Text(name)):
                return Text(f"Hello, {name}.")
        return None


def is_websocket_upgrade(request: Request) -> bool:
    """Whether the client asks for a WebSocket."""
    return "websocket" in (name.lower() for name in request.headers.tokens("upgrade"))


def handle_websocket_upgrade(request: Request) -> Response:
    """The answer that opens a WebSocket. The host has checked the rest of the handshake (RFC 6455 §4.2.1)."""
    accept = accept_key(request.headers["sec-websocket-key"])
    return Response(101, {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept})
