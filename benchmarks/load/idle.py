"""Load client for idle connections: opens them and holds them open.

Usage: python -m benchmarks.load.idle URL plain|deflate|deflate-used
Command: how many more connections to open (may be 0). Reply: {"open": how many are open now}.

With `deflate`, compression is agreed on; with `deflate-used`, a compressed message of 1 KiB has also been
echoed, so that the server has used its contexts in both directions.
"""

import asyncio
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.commands import LoadError, Reply, serve_commands
from benchmarks.load.deflate import Inflater, connect_compressed, deflate, json_messages
from benchmarks.load.frames import client_frame
from benchmarks.load.opening import open_all

ECHO_SECONDS = 10.0
MESSAGE = json_messages(seed=0, count=1, size=1024)[0]
FRAME = client_frame(WSMsgType.TEXT, deflate(MESSAGE), compressed=True)


class IdleConnections:
    """The open connections of one client."""

    def __init__(self, url: str, variant: str) -> None:
        self._url = url
        self._variant = variant
        self._open = 0

    async def open_more(self, count: float) -> Reply:
        await open_all(self._open_one, int(count))
        return {"open": self._open}

    async def _open_one(self, _number: int) -> None:
        connection = IdleConnection(self)
        if self._variant == "plain":
            await ws_connect(lambda: connection, self._url)
        else:
            transport = await connect_compressed(connection, self._url)
            if self._variant == "deflate-used":
                transport.underlying_transport.write(FRAME)
                await connection.echoed()
        self._open += 1

    def closed_one(self) -> None:
        self._open -= 1


class IdleConnection(WSListener):
    """Sends nothing by itself; answers pings, as picows does."""

    def __init__(self, connections: IdleConnections) -> None:
        self._connections = connections
        self._echo: asyncio.Future[bool] | None = None

    async def echoed(self) -> None:
        """Wait until `FRAME`, just sent, has come back."""
        self._echo = asyncio.get_running_loop().create_future()
        try:
            right = await asyncio.wait_for(self._echo, ECHO_SECONDS)
        except TimeoutError:
            right = False
        self._echo = None
        if not right:
            raise LoadError("a compressed message was not echoed, compressed")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._echo and not self._echo.done():
            right = frame.rsv1 and Inflater().inflate(frame.get_payload_as_bytes()) == MESSAGE
            self._echo.set_result(right)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._connections.closed_one()


async def main(url: str, variant: str) -> None:
    await serve_commands(IdleConnections(url, variant).open_more)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
