"""A room on bare picows. Usage: python -m benchmarks.servers.picows_broadcast PORT"""

import asyncio
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Member(WSListener):
    """Sends every text and binary frame to all members."""

    def __init__(self, members: set[WSTransport]) -> None:
        self._members = members

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._members.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._members.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        kind, payload = frame.msg_type, frame.get_payload_as_bytes()
        for member in self._members:
            member.send(kind, payload)


async def main(port: int) -> None:
    members: set[WSTransport] = set()

    def accept(_request: WSUpgradeRequest) -> Member:
        return Member(members)

    server: asyncio.Server = await ws_create_server(accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
