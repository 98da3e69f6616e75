"""A client's WebSocket frames, made before the measurement begins."""

import struct

from picows import WSMsgType

MASK = b"\x37\xfa\x21\x3d"
"""The key of RFC 6455's own examples: not zero, so that no server can skip unmasking."""


def client_frame(kind: WSMsgType, payload: bytes, *, fin: bool = True, compressed: bool = False) -> bytes:
    """A masked frame (RFC 6455 section 5.2); by itself a whole message."""
    return client_head(kind, len(payload), fin=fin, compressed=compressed) + masked(payload)


def client_head(kind: WSMsgType, size: int, *, fin: bool = True, compressed: bool = False) -> bytes:
    """What stands before the masked payload of so many bytes."""
    first = fin << 7 | compressed << 6 | kind.value
    if size < 126:
        return struct.pack("!BB", first, 0x80 | size) + MASK
    if size < 1 << 16:
        return struct.pack("!BBH", first, 0x80 | 126, size) + MASK
    return struct.pack("!BBQ", first, 0x80 | 127, size) + MASK


def masked(payload: bytes) -> bytes:
    """A payload, or a piece of one whose size is a multiple of four, under `MASK`."""
    size = len(payload)
    key = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
