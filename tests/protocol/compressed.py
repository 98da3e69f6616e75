"""What the tests of compression share: a peer that compresses, and streams of what it sends."""

import itertools
import zlib

from hypothesis import strategies as st
from tests.protocol.wire import BINARY, CONTINUATION, KEY, PING, TEXT, Dice, Frame, Stream, read_frames

from theater.contract.messages import Binary, Ping, Text
from theater.protocol.deflate import Deflate
from theater.protocol.machine import Role

TAIL = b"\x00\x00\xff\xff"
RSV1 = 4  # as a number of `Frame`
KEEPS = Deflate(15, True, 15, True)
RESETS = Deflate(15, False, 15, False)
AGREEMENTS = [
    Deflate(send, takeover, receive, takeover)
    for send, receive in [(15, 15), (9, 9), (12, 10), (9, 15)]
    for takeover in (True, False)
]


class Packer:
    """Compresses messages as the peer of a machine does, without a line of `src`.

    Args:
        deflate: what was agreed on, as the machine sees it.
        level: of zlib.
    """

    def __init__(self, deflate: Deflate = KEEPS, level: int = 6) -> None:
        self._deflate = deflate
        self._level = level
        self._context = self._new_context()

    def _new_context(self) -> "zlib._Compress":
        return zlib.compressobj(self._level, zlib.DEFLATED, -self._deflate.receive_window)

    def pack(self, payload: bytes, final: bool = False) -> bytes:
        """The payload of a message; `final` sets that bit of its last block (RFC 7692 §7.2.3.4)."""
        if not self._deflate.receive_takeover:
            self._context = self._new_context()
        data = self._context.compress(payload)
        if final:
            data += self._context.flush(zlib.Z_FINISH) + b"\x00"
            self._context = self._new_context()
            return data
        return (data + self._context.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) or b"\x00"


class Unpacker:
    """Inflates what a machine sends, as a peer does that was written by others.

    Attributes:
        context: zlib's.
    """

    def __init__(self, deflate: Deflate = KEEPS) -> None:
        self._deflate = deflate
        self.context = self._new_context()

    def _new_context(self) -> "zlib._Decompress":
        return zlib.decompressobj(-self._deflate.send_window)

    def unpack(self, payload: bytes) -> bytes:
        """What the payload of a compressed message holds."""
        if not self._deflate.send_takeover:
            self.context = self._new_context()
        return self.context.decompress(payload + TAIL)


def trips_others(deflate: Deflate, wire: bytes) -> bool:
    """Whether a compressed message of a stream has no block, or one with its "final" bit set."""
    unpacker = Unpacker(Deflate(deflate.receive_window, deflate.receive_takeover, 15, True))
    payload, compressed = b"", False
    for found in read_frames(wire):
        if found.opcode in (TEXT, BINARY):
            payload, compressed = b"", found.rsv == RSV1
        if found.opcode < 8:
            payload += found.payload
            if found.fin and compressed:
                if not payload:
                    return True
                try:
                    unpacker.unpack(payload)
                except zlib.error:
                    return False
                if unpacker.context.eof:
                    return True
    return False


def packed(
    role: Role, payload: bytes, opcode: int = BINARY, rsv: int = RSV1, cuts: tuple[int, ...] = ()
) -> bytes:
    """The frames of a message that has been compressed; `cuts` says where it is cut."""
    frames = cut(Frame(opcode, payload, rsv=rsv, key=KEY if role is Role.SERVER else None), cuts)
    return b"".join(found.encode() for found in frames)


def cut(whole: Frame, cuts: tuple[int, ...]) -> list[Frame]:
    """A message in fragments."""
    frames: list[Frame] = []
    for begin, end in itertools.pairwise([0, *cuts, len(whole.payload)]):
        fragment = whole._replace(payload=whole.payload[begin:end], fin=False)
        frames.append(fragment if not frames else fragment._replace(opcode=CONTINUATION, rsv=0))
    frames[-1] = frames[-1]._replace(fin=True)
    return frames


_TEXTS = ["", "hello", "hello, hello, hello", "é" * 20, "a€b😀" * 3, "{}" * 300]
_BINARIES = [b"", b"\xff", bytes(range(256)), bytes(700), b"\x00\x00\xff\xff" * 2, b"\x88\x00" * 130]


def _valid(dice: Dice, role: Role, deflate: Deflate, common: bool = False) -> Stream:
    stream = Stream([], [])
    key = KEY if role is Role.SERVER else None
    packer = Packer(deflate, dice.choose([6, 1, 9, 0]))
    for _ in range(dice.choose([2, 1, 3, 4])):
        message = (
            Binary(dice.choose(_BINARIES))
            if dice.roll(2)
            else Text(dice.choose(_TEXTS) + dice.choose(_TEXTS))
        )
        payload = message.text.encode() if isinstance(message, Text) else message.data
        opcode = TEXT if isinstance(message, Text) else BINARY
        if dice.roll(4):
            whole = Frame(
                opcode, packer.pack(payload, final=not common and dice.roll(5) == 4), rsv=RSV1, key=key
            )
        else:
            whole = Frame(opcode, payload, key=key)  # an endpoint may choose for every message
        cuts = sorted(dice.roll(len(whole.payload) + 1) for _ in range(dice.choose([0, 0, 1, 3])))
        for found in cut(whole, tuple(cuts)):
            if not common and dice.roll(5) == 4:
                stream.frames.append(Frame(PING, b"ping", key=key))
                stream.events.append(Ping(b"ping"))
            stream.frames.append(found)
        stream.events.append(message)
    return stream


def _mutated(dice: Dice, role: Role, deflate: Deflate, common: bool) -> bytes:
    frames = _valid(dice, role, deflate, common).frames
    index = dice.roll(len(frames))
    found = frames[index]
    match dice.choose(["byte", "cut", "insert", "rsv", "opcode", "fin", "drop"]):
        case "byte" if found.payload:
            place = dice.roll(len(found.payload))
            changed = bytes((found.payload[place] ^ 1 << dice.roll(8),))
            found = found._replace(payload=found.payload[:place] + changed + found.payload[place + 1 :])
        case "cut":
            found = found._replace(payload=found.payload[: dice.roll(len(found.payload) + 1)])
        case "insert":
            place = dice.roll(len(found.payload) + 1)
            found = found._replace(payload=found.payload[:place] + dice.bytes(4) + found.payload[place:])
        case "rsv":
            found = found._replace(rsv=dice.roll(8))
        case "opcode":
            found = found._replace(opcode=dice.roll(16))
        case "fin":
            found = found._replace(fin=not found.fin)
    if dice.roll(7) == 6:
        del frames[index]
    else:
        frames[index] = found
    return b"".join(found.encode() for found in frames)


_DRAWN = st.binary(min_size=80, max_size=80)


def compressed_streams(role: Role, deflate: Deflate, common: bool = False) -> st.SearchStrategy[Stream]:
    """Messages, most of them compressed, cut anywhere, with pings anywhere.

    `common` leaves out what other libraries trip over: final blocks, and control frames between the
    fragments of a compressed message.
    """
    return _DRAWN.map(lambda drawn: _valid(Dice(drawn), role, deflate, common))


def damaged_streams(role: Role, deflate: Deflate, common: bool = False) -> st.SearchStrategy[bytes]:
    """The same with something changed in them."""
    return _DRAWN.map(lambda drawn: _mutated(Dice(drawn), role, deflate, common))
