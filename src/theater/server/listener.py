"""Listening, and ending in good order."""

import asyncio
import logging
import math
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from typing import Any, Final, TypeVar, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from theater.errors import Reason
from theater.server import descriptors
from theater.server.admission import Admission
from theater.server.http import HttpApplication
from theater.server.http1 import Http1Connection
from theater.server.hub import Hub
from theater.server.sockets import BACKLOG
from theater.server.upgrade import Upgrader

_ACCEPTED_AT_ONCE: Final = 64  # by asyncio, before anything else is done
_PAUSE: Final = 1.0  # seconds until it is tried again to accept
_SILENCE: Final = 60.0  # seconds until it is said again that accepting pauses
_CLOSED_AT_ONCE: Final = 100  # clients that may all come back at the same time
_ROUND: Final = 0.05  # seconds between groups of clients that are closed

T = TypeVar("T")

log = logging.getLogger("theater.server")


class Listener:
    """One listening socket for HTTP and WebSocket.

    Args:
        application: for plain requests.
        upgrader: for requests to upgrade.
        hub: what the WebSockets share.
        admission: who is let in, and with what limits.
        loop: the event loop.
    """

    def __init__(
        self,
        application: HttpApplication,
        upgrader: Upgrader,
        hub: Hub,
        admission: Admission,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits = admission.limits
        self._config = Config(
            application,
            interface="asgi3",
            http=Http1Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=self._limits.keep_alive,  # type: ignore[arg-type]  # goes to call_later
        )
        self._config.load()
        self._state = ServerState()
        self._upgrader = upgrader
        self._hub = hub
        self._admission = admission
        self._loop = loop
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None  # none while accepting pauses, too
        self._retry: asyncio.TimerHandle | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._told = -math.inf  # when it was last said that accepting pauses
        self._clockwork: asyncio.TimerHandle | None = None

    async def start(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accepts connections on a bound socket, which is the listener's from now on.

        Args:
            sock: of TCP or Unix.
            tls: for TLS.

        Raises:
            OSError: it cannot be listened on.
        """
        self._socket = sock
        self._tls = tls
        await self._accept(sock)
        self._tick()

    def new_connection(self) -> Http1Connection:
        """The protocol for an accepted connection."""
        return Http1Connection(self._config, self._state, self._loop, self._upgrader, self._admission)

    # Accepting. Where descriptors run out, uvloop accepts connections only to drop them, and asyncio
    # reports hundreds of errors a second. Closing the server before it comes to that lets clients
    # wait in the socket's queue instead, as long as the socket itself stays open.

    async def _accept(self, sock: socket.socket) -> None:
        options: dict[str, Any] = {"backlog": _ACCEPTED_AT_ONCE, "ssl": self._tls}
        if self._tls is not None:
            options["ssl_handshake_timeout"] = self._limits.handshake_timeout
            options["ssl_shutdown_timeout"] = self._limits.close_timeout
        create: Any = self._loop.create_server
        if sock.family == socket.AF_UNIX:
            create = self._loop.create_unix_server
            if sys.version_info >= (3, 13):
                options["cleanup_socket"] = False  # the file is not the listener's
        own = sock.dup()  # the server closes the one that it is given
        try:
            server: asyncio.Server = await create(self._accepted, sock=own, **options)
        except BaseException:
            own.close()
            raise
        if self._socket is None:  # it has been stopped meanwhile
            server.close()
            return
        self._server = server
        sock.listen(BACKLOG)  # to asyncio, `backlog` is both this and how many it accepts at once

    def _accepted(self) -> Http1Connection:
        if self._socket is not None and descriptors.look_scarce(self._socket):
            self._loop.call_soon(self._pause)  # not from inside the server that it closes
        return self.new_connection()

    def _pause(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if self._loop.time() - self._told >= _SILENCE:
            self._told = self._loop.time()
            log.warning("no file descriptors are left of %d; new connections wait", descriptors.limit())
        self._retry = self._loop.call_later(_PAUSE, self._try_again)

    def _try_again(self) -> None:
        if self._socket is None:
            return
        if descriptors.are_scarce(self._socket):
            self._retry = self._loop.call_later(_PAUSE, self._try_again)
        else:
            self._resuming = self._loop.create_task(self._resume(self._socket))

    async def _resume(self, sock: socket.socket) -> None:
        try:
            await self._accept(sock)
        except OSError:  # they were taken meanwhile
            self._retry = self._loop.call_later(_PAUSE, self._try_again)

    def _tick(self) -> None:
        """Keeps the Date header (RFC 9110 §6.6.1) up to date, and an eye on the descriptors."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        if self._hub.stopping:
            self._state.default_headers.append((b"connection", b"close"))
        elif self._socket is not None and descriptors.are_scarce(self._socket):
            self._pause()
        if self._clockwork is not None:
            self._clockwork.cancel()
        self._clockwork = self._loop.call_later(1, self._tick)

    # The end

    async def drain(self, reason: Reason) -> None:
        """Accepts no more, says goodbye to all connections, and waits until they have ended.

        Idle HTTP connections stay until the WebSockets are gone: whoever asks for the health of the
        server on one of them is to know.
        """
        self._stop_accepting()
        self._hub.stopping = True
        self._tick()
        for http in self._http():
            cycle: RequestResponseCycle | None = http.cycle  # None before the first request
            if cycle is not None and not cycle.response_complete:
                http.shutdown()  # once it has its response
        reporting = asyncio.create_task(self._report())
        try:
            await self._say_goodbye(reason)
            await self._hub.until_empty()
            for http in self._http():
                http.shutdown()
            while self._state.tasks:
                await asyncio.wait(self._state.tasks)
        finally:
            reporting.cancel()

    async def _say_goodbye(self, reason: Reason) -> None:
        """Closes the WebSockets, many of them one group after the other over `drain_window`."""
        window = min(self._limits.drain_window, self._limits.drain_timeout / 2)
        for index, group in enumerate(groups(list(self._hub.open), window)):
            if index:
                await asyncio.sleep(_ROUND)
            for connection in group:
                if connection in self._hub.open:  # it may have ended while others had their turn
                    connection.shut_down(reason)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(1)
            log.info("connections left: %d", len(self._hub.open) + len(self._state.connections))

    def _http(self) -> list[Http1Connection]:
        return cast(list[Http1Connection], list(self._state.connections))

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._retry is not None:
            self._retry.cancel()

    def drop(self) -> int:
        """Ends what is left at once; returns how many WebSockets that were."""
        self._stop_accepting()
        left = list(self._hub.open)
        for connection in left:
            connection.abort()
        for http in self._http():
            http.transport.abort()
        if self._clockwork is not None:
            self._clockwork.cancel()
        return len(left)


def groups(connections: Sequence[T], window: float) -> Iterator[Sequence[T]]:
    """Parts connections into groups of the same size, one for each 50 ms of a window.

    A hundred or fewer are one group, whose clients may all come back at the same time.
    """
    rounds = round(window / _ROUND) if len(connections) > _CLOSED_AT_ONCE else 1
    size = max(1, math.ceil(len(connections) / max(1, rounds)))
    return (connections[start : start + size] for start in range(0, len(connections), size))
