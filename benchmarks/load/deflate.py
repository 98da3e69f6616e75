"""permessage-deflate (RFC 7692) as a client, and messages that are worth compressing."""

import json
import random
import uuid
import zlib

from picows import WSListener, WSTransport, ws_connect

from benchmarks.load.commands import LoadError

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
"""What browsers offer."""

TAIL = b"\x00\x00\xff\xff"
"""What ends a message's data, and is not sent (RFC 7692 section 7.2.1)."""

WINDOW_BITS = 12  # no server here asks for less, and the messages are shorter than the window

WORDS = (
    "after", "board", "clear", "cover", "eight", "field", "front", "later",
    "money", "north", "party", "plant", "power", "price", "round", "share",
    "sound", "space", "start", "still", "stone", "story", "thing", "third",
)  # fmt: skip


def json_messages(seed: int, count: int, size: int) -> list[bytes]:
    """Events of an order tracker as JSON, `size` bytes each, all different and the same in every run."""
    numbers = random.Random(seed)
    return [_json_message(numbers, sequence, size) for sequence in range(count)]


def _json_message(numbers: random.Random, sequence: int, size: int) -> bytes:
    event = {
        "type": numbers.choice(("created", "updated", "shipped", "cancelled")),
        "id": str(uuid.UUID(int=numbers.getrandbits(128), version=4)),
        "sequence": sequence,
        "at": f"2026-03-{numbers.randint(1, 31):02}T09:26:{numbers.uniform(10, 59):.3f}Z",
        "user": {
            "id": numbers.randint(1, 10**7),
            "name": f"{numbers.choice(WORDS)}.{numbers.choice(WORDS)}",
            "active": numbers.random() < 0.8,
        },
        "items": [
            {
                "sku": f"{numbers.choice(WORDS).upper()}-{numbers.randint(1000, 9999)}",
                "quantity": numbers.randint(1, 12),
                "price": round(numbers.uniform(1, 500), 2),
                "in_stock": numbers.random() < 0.9,
            }
            for _ in range(5)
        ],
        "position": {"lat": round(numbers.uniform(-90, 90), 6), "lon": round(numbers.uniform(-180, 180), 6)},
        "note": "",
    }
    note = " ".join(numbers.choices(WORDS, k=size // 4))
    event["note"] = note[: size - len(json.dumps(event))]
    return json.dumps(event).encode()


def deflate(payload: bytes) -> bytes:
    """A message's payload, compressed without the context of earlier ones (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-WINDOW_BITS)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(TAIL)


class Inflater:
    """The server's messages of one connection, decompressed with or without context takeover."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(self, payload: bytes) -> bytes:
        return self._decompressor.decompress(payload + TAIL)


async def connect_compressed(listener: WSListener, url: str) -> WSTransport:
    """Open a connection with compression agreed on."""
    transport: WSTransport
    transport, _ = await ws_connect(lambda: listener, url, extra_headers=OFFER)
    if "permessage-deflate" not in transport.response.headers.get("Sec-WebSocket-Extensions", ""):
        raise LoadError("the server declines permessage-deflate")
    return transport
