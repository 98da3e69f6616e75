"""What a broadcast costs at the least: one write per socket.

Usage: python -m benchmarks.servers.uvloop_broadcast PORT

No WebSocket server: it opens connections, and then takes whatever comes in one read for one frame with a
text of less than 126 bytes. The frame that it sends for that is made once and kept.
"""

import asyncio
import base64
import hashlib
import re
import sys
from typing import cast

import uvloop

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
REFUSAL = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Room:
    """The members, and the frames that are ready to be sent."""

    def __init__(self) -> None:
        self.members: set[asyncio.Transport] = set()
        self._ready: dict[bytes, bytes] = {}

    def relay(self, heard: bytes) -> None:
        frame = self._ready.get(heard)
        if frame is None:
            frame = self._ready[heard] = _unmasked(heard)
        for member in self.members:
            member.write(frame)


class Member(asyncio.Protocol):
    """One connection. Its request comes in one read, or fails."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        self._room.members.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport in self._room.members:
            self._room.relay(data)
        elif key := KEY.search(data):
            accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
            self._transport.write(b"%bSec-WebSocket-Accept: %b\r\n\r\n" % (UPGRADE, accept))
            self._room.members.add(self._transport)
        else:
            self._transport.write(REFUSAL)
            self._transport.close()


def _unmasked(frame: bytes) -> bytes:
    """A client's frame as a server sends it (RFC 6455 section 5.2)."""
    key, masked = frame[2:6], frame[6:]
    text = bytes(byte ^ key[place % 4] for place, byte in enumerate(masked))
    return bytes([frame[0], len(text)]) + text


async def main(port: int) -> None:
    room = Room()
    server = await asyncio.get_running_loop().create_server(lambda: Member(room), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
