"""A client's WebSocket frames, made before the measurement begins."""

import struct

from picows import WSMsgType

MASK = b"\x37\xfa\x21\x3d"
"""The key of RFC 6455's own examples: not zero, so that no server can skip unmasking."""


def client_frame(kind: WSMsgType, payload: bytes) -> bytes:
    """A whole message as one masked frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | kind.value, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind.value, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | kind.value, 0x80 | 127, size)
    key = (MASK * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + MASK + masked.to_bytes(size, "big")
