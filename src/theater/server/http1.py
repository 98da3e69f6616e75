"""HTTP/1.1 on a socket: uvicorn's httptools protocol, with the upgrade led to ours.

uvicorn would hand an upgrade to a class given as `ws=`, but only after it has lost the HTTP version
and what came behind the request, and it does not read `Upgrade` and `Connection` as lists
(RFC 9110 §7.8, §7.6.1). So three of its methods are overridden here.
"""

import asyncio

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from theater.contract import Headers, Peer
from theater.server.upgrade import UpgradeHead, Upgrader


class Http1Connection(HttpToolsProtocol):
    """One TCP connection, for as long as it speaks HTTP.

    Args:
        config: uvicorn's settings, with the application for plain requests.
        state: uvicorn's record of open connections.
        loop: the event loop.
        upgrader: what handles requests to upgrade.
    """

    def __init__(
        self, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop, upgrader: Upgrader
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=loop)
        self._upgrader = upgrader

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _should_upgrade(self) -> bool:
        # Other methods are answered as plain HTTP, which has a body and can say 405.
        if self.scope["method"] != "GET":
            return False
        headers = Headers.from_wire(self.headers)
        return _names(headers, "upgrade", "websocket") and _names(headers, "connection", "upgrade")

    def _upgrade(self, early: bytes) -> None:
        self.connections.discard(self)
        # It points back here; without it the two go when they are no longer needed, not when the
        # garbage collector comes round.
        self.parser = None  # type: ignore[assignment]
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever it says
        if cycle is not None and not cycle.response_complete:
            # An earlier request is still being answered, so there is no one to upgrade with.
            self.transport.close()
            return
        try:
            url = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            self.send_400_response("Invalid HTTP request received.")
            return
        head = UpgradeHead(
            method=self.scope["method"],
            path=(url.path or b"/").decode("latin-1"),
            query=(url.query or b"").decode("latin-1"),
            http_version=self.scope["http_version"],
            headers=Headers.from_wire(self.headers),
            peer=Peer(*self.client) if self.client else None,
        )
        self._upgrader.upgrade(head, self.transport, early)


def _names(headers: Headers, field: str, token: str) -> bool:
    return token in (found.lower() for found in headers.tokens(field))
