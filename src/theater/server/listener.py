"""Listening, and ending in good order."""

import asyncio
import socket
from email.utils import formatdate

from uvicorn.config import Config
from uvicorn.server import ServerState

from theater.errors import Reason
from theater.limits import Limits
from theater.server.connection import Hub
from theater.server.http import HttpApplication
from theater.server.http1 import Http1Connection
from theater.server.upgrade import Upgrader


class Listener:
    """One listening socket for HTTP and WebSocket.

    Args:
        application: for plain requests.
        upgrader: for requests to upgrade.
        hub: what the WebSockets share.
        limits: for keep-alive.
        loop: the event loop.
    """

    def __init__(
        self,
        application: HttpApplication,
        upgrader: Upgrader,
        hub: Hub,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = Config(
            application,
            interface="asgi3",
            http=Http1Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # goes to call_later
        )
        self._config.load()
        self._state = ServerState()
        self._upgrader = upgrader
        self._hub = hub
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._clockwork: asyncio.TimerHandle | None = None

    async def start(self, sock: socket.socket) -> None:
        """Accepts connections on a bound socket."""
        self._tick()
        self._server = await self._loop.create_server(self.new_connection, sock=sock, backlog=2048)

    def new_connection(self) -> Http1Connection:
        """The protocol for an accepted connection."""
        return Http1Connection(self._config, self._state, self._loop, self._upgrader)

    def _tick(self) -> None:
        """Keeps the Date header (RFC 9110 §6.6.1) up to date."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._clockwork = self._loop.call_later(1, self._tick)

    async def drain(self, reason: Reason) -> None:
        """Accepts no more, says goodbye to all connections, and waits until they have ended."""
        if self._server is not None:
            self._server.close()
        self._hub.stopping = True
        for connection in list(self._hub.open):
            connection.shut_down(reason)
        for http in list(self._state.connections):
            http.shutdown()
        while self._state.tasks:
            await asyncio.wait(self._state.tasks)
        await self._hub.until_empty()

    def drop(self) -> int:
        """Ends what is left at once; returns how many WebSockets that were."""
        left = list(self._hub.open)
        for connection in left:
            connection.abort()
        for http in list(self._state.connections):
            http.transport.abort()
        if self._clockwork is not None:
            self._clockwork.cancel()
        return len(left)
