"""Frames on the wire: RFC 6455 §5.

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-------+-+-------------+-------------------------------+
|F|R|R|R| opcode|M| length      | extended length, 0, 2 or 8 B  |
|I|S|S|S|       |A| 0..125, or  +-------------------------------+
|N|V|V|V|       |S| 126 or 127  | masking key, 0 or 4 bytes     |
| |1|2|3|       |K|             +-------------------------------+
+-+-+-+-+-------+-+-------------+ payload ...                   |
"""

import enum
from typing import Final

from theater.contract.messages import Binary, Close, Ping, Pong, Text
from theater.errors import InvalidMessage
from theater.protocol.close import encode_close

try:  # the C routine; its package has a Python twin for platforms without it
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover
    from websockets.utils import apply_mask

__all__ = [
    "FIN",
    "MASK",
    "MAX_CONTROL_PAYLOAD",
    "RSV1",
    "Opcode",
    "apply_mask",
    "encode_frame",
    "encode_head",
    "encode_message",
]

FIN = 0x80
RSV1 = 0x40  # of the first frame of a compressed message, RFC 7692 §6
MASK = 0x80
MAX_CONTROL_PAYLOAD = 125  # RFC 6455 §5.5


class Opcode(enum.IntEnum):
    """RFC 6455 §11.8; the others are reserved."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


CLOSE_FRAME: Final = FIN | Opcode.CLOSE
"""First byte of a close frame."""


def encode_head(first: int, size: int, masked: bool = False) -> bytes:
    """Encodes the head of a frame, up to its masking key.

    Args:
        first: the first byte: FIN, reserved bits and opcode.
        size: bytes of payload.
        masked: whether a masking key follows.
    """
    mask = MASK if masked else 0
    # §5.2: "the minimal number of bytes MUST be used to encode the length"
    if size < 126:
        return bytes((first, mask | size))
    if size < 65536:
        return bytes((first, mask | 126, size >> 8, size & 0xFF))
    return bytes((first, mask | 127)) + size.to_bytes(8, "big")


def encode_frame(first: int, payload: bytes, masking_key: bytes | None = None) -> bytes:
    """Encodes one frame.

    Args:
        first: the first byte: FIN, reserved bits and opcode.
        payload: what it carries, unmasked.
        masking_key: 4 bytes that a client draws afresh for every frame (§5.3); none for a server.
    """
    if masking_key is None:
        return encode_head(first, len(payload)) + payload
    return encode_head(first, len(payload), True) + masking_key + apply_mask(payload, masking_key)


def encode_message(message: object) -> tuple[int, bytes]:
    """Turns a message into the first byte and payload of a frame that carries all of it.

    Raises:
        InvalidMessage: it is no message, or holds what its kind cannot carry.
        InvalidClose: a close code or reason that may not be sent.
    """
    match message:
        case Text(text):
            try:
                return FIN | Opcode.TEXT, text.encode()
            except (AttributeError, UnicodeEncodeError) as error:
                raise InvalidMessage(message, "text without lone surrogates") from error
        case Binary(data):
            return FIN | Opcode.BINARY, _as_bytes(message, data)
        case Ping(payload):
            return FIN | Opcode.PING, _control_payload(message, payload)
        case Pong(payload):
            return FIN | Opcode.PONG, _control_payload(message, payload)
        case Close(code, reason):
            return CLOSE_FRAME, encode_close(code, reason)
        case _:
            raise InvalidMessage(message, "Text, Binary, Ping, Pong or Close")


def _as_bytes(message: object, data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise InvalidMessage(message, "bytes")


def _control_payload(message: object, payload: object) -> bytes:
    encoded = _as_bytes(message, payload)
    if len(encoded) > MAX_CONTROL_PAYLOAD:
        raise InvalidMessage(message, f"at most {MAX_CONTROL_PAYLOAD} bytes of payload")
    return encoded
