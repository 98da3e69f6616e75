"""Conversations, what is done to them, and noise."""

import zlib
from itertools import pairwise
from random import Random
from typing import NamedTuple

from .setups import DEFLATES, MASKING_KEY, Setup

TEXTS = ("x", "hello, ", "é", "a€b", "😀", "\0", "\ud7ff\ue000\uffff\U0010ffff", '{"key": [1, 2, 3]}')
SIZES = (0, 1, 2, 3, 10, 19, 20, 21, 40, 63, 64, 65, 100, 125, 126, 127, 200, 300)
LARGE = (499, 500, 501, 999, 1000, 1001, 4095, 4096, 4097, 20_000, 50_000)
CODES = (1000, 1001, 1003, 1007, 1014, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
LENGTHS = (0, 1, 2, 20, 21, 64, 65, 125, 126, 127, 1000, 1001, 65535, 65536, 1 << 20, 1 << 63, (1 << 64) - 1)
OPCODES = (0, 1, 2, 8, 9, 10)
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)
TAIL = b"\x00\x00\xff\xff"


class Frame(NamedTuple):
    """A frame, right or wrong; its length is that of its payload and in its shortest form, unless given."""

    first: int
    payload: bytes
    key: bytes | None
    length: int | None = None
    width: int | None = None  # bytes of the extended length: 0, 2 or 8

    def encode(self) -> bytes:
        payload, key = self.payload, self.key
        length = len(payload) if self.length is None else self.length
        width = 0 if length < 126 else 2 if length < 65536 else 8
        if self.width is not None and length < 1 << (8 * self.width or 7):
            width = self.width
        short = {0: length, 2: 126, 8: 127}[width]
        head = bytes((self.first, short | (0 if key is None else 0x80)))
        head += length.to_bytes(width, "big") if width else b""
        if key is None:
            return head + payload
        keys = int.from_bytes((key * (len(payload) // 4 + 1))[: len(payload)], "big")
        return head + key + (int.from_bytes(payload, "big") ^ keys).to_bytes(len(payload), "big")


class Talker:
    """A peer that breaks no rule, but for close codes and the limits.

    Args:
        dice: makes its choices.
        setup: of the machine that it talks to.
    """

    def __init__(self, dice: Random, setup: Setup) -> None:
        self.frames: list[Frame] = []
        self._dice = dice
        self._masked = setup.role == "server"
        self._deflate = DEFLATES[setup.deflate]
        self._context: zlib._Compress | None = None
        self._bombs = setup.limits == "bombs"

    def talk(self) -> list[Frame]:
        dice = self._dice
        if dice.random() < 0.02:  # more than a batch
            for _ in range(dice.randrange(50, 150)):
                self._add(0x80 | dice.choice((1, 2, 9, 10)), b"x" * dice.randrange(3))
        for _ in range(dice.choice((1, 1, 2, 3))):
            self._message()
        if dice.random() < 0.3:
            reason = dice.choice((b"", b"", b"bye", b"\xc3\xa9", b"\xff"))
            payload = dice.choice(CODES).to_bytes(2, "big") + reason
            self._add(0x88, dice.choice((payload, payload, b"", b"\x03")))
        return self.frames

    def _add(self, first: int, payload: bytes) -> None:
        self.frames.append(Frame(first, payload, self._dice.randbytes(4) if self._masked else None))

    def _message(self) -> None:
        dice = self._dice
        size = dice.choice(SIZES if dice.random() < 0.985 else LARGE)
        first = dice.choice((1, 2))
        if first == 1:
            piece = dice.choice(TEXTS)
            payload = ((dice.choice(TEXTS) + piece * (size // len(piece) + 1))[:size]).encode()
        else:
            payload = dice.choice((dice.randbytes(size), bytes(size), b"\x88\x00" * (size // 2)))
        if self._deflate is not None and dice.random() < 0.75:
            first |= 0x40
            payload = self._compress(payload)
        places = [dice.randrange(len(payload) + 1) for _ in range(dice.choice((0, 0, 0, 1, 2, 5)))]
        edges = [0, *sorted(places), len(payload)]
        for begin, end in pairwise(edges):
            while dice.random() < 0.15:
                self._add(dice.choice((0x89, 0x8A)), dice.randbytes(dice.choice((0, 1, 4, 125))))
            self._add(first if begin == end == 0 or not begin else 0, payload[begin:end])
            first = 0
        last = self.frames[-1]
        self.frames[-1] = last._replace(first=last.first | 0x80)

    def _compress(self, payload: bytes) -> bytes:
        """As RFC 7692 §7.2.1, with blocks of all kinds, some of them final (§7.2.3.4)."""
        dice = self._dice
        if self._bombs and dice.random() < 0.02:
            payload = bytes(dice.choice((1 << 20, 3 << 19)) + dice.randrange(-1, 2))
        context = self._context or self._new_context()
        data = b""
        if dice.random() < 0.2:
            data = context.compress(payload[:50]) + context.flush(
                dice.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH))
            )
            payload = payload[50:]
        data += context.compress(payload)
        if dice.random() < 0.1:
            self._context = None
            return data + context.flush(zlib.Z_FINISH) + b"\x00"
        assert self._deflate is not None
        self._context = context if self._deflate.receive_takeover else None
        return (data + context.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) or b"\x00"

    def _new_context(self) -> "zlib._Compress":
        assert self._deflate is not None
        window = max(self._deflate.receive_window, 9)
        level, strategy = self._dice.choice((0, 1, 6, 9)), self._dice.choice(STRATEGIES)
        return zlib.compressobj(level, zlib.DEFLATED, -window, 1, strategy)


def damage_frames(frames: list[Frame], dice: Random) -> None:
    """Breaks a conversation, where it most likely breaks a rule."""
    place = dice.randrange(len(frames))
    other = dice.randrange(len(frames))
    frame = frames[place]
    match dice.randrange(10):
        case 0 if len(frames) > 1:
            del frames[place]
        case 1:
            frames.insert(other, frame)
        case 2:
            frames[place], frames[other] = frames[other], frame
        case 3:
            frames[place] = frame._replace(first=frame.first ^ 1 << dice.randrange(8))
        case 4:
            frames[place] = frame._replace(first=frame.first & 0xF0 | dice.choice(OPCODES))
        case 5:
            frames[place] = frame._replace(key=MASKING_KEY if frame.key is None else None)
        case 6:
            near = len(frame.payload) + dice.choice((-1, 1))
            frames[place] = frame._replace(length=dice.choice((max(near, 0), dice.choice(LENGTHS))))
        case 7:
            frames[place] = frame._replace(width=dice.choice((0, 2, 8)))
        case _:
            frames[place] = frame._replace(payload=damage_bytes(frame.payload, dice))


def damage_bytes(data: bytes, dice: Random) -> bytes:
    """Flips, cuts, inserts, removes or repeats."""
    place = dice.randrange(len(data) + 1)
    before, after = data[:place], data[place:]
    size = dice.choice((1, 1, 2, 4, 20))
    match dice.randrange(6):
        case 0 | 1:
            return before + bytes(byte ^ 1 << dice.randrange(8) for byte in after[:1]) + after[1:]
        case 2:
            return before + dice.randbytes(size) + after
        case 3:
            return before + after[size:]
        case 4:
            return before + after[:size] + after
        case _:
            return before


def noise(dice: Random) -> bytes:
    """Random bytes, half of the time with openings that are right."""
    if dice.random() < 0.5:
        return dice.randbytes(dice.randrange(60))
    mask = dice.choice((0, 0x80))
    openings = [
        bytes((dice.choice((0, 0x80)) | dice.choice(OPCODES), mask | dice.randrange(10))) for _ in range(6)
    ]
    return b"".join(opening + dice.randbytes(dice.randrange(12)) for opening in openings)
