"""What the tests of the protocol share: frames made and read without `src`, and an owner of a machine.

The encoder and the reader here are written again from RFC 6455 §5.2, slowly and without checks, so
that a mistake in `src` meets something that does not make the same one.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import strategies as st

from theater.contract.messages import Binary, Close, Ping, Pong, Text
from theater.limits import ConnectionLimits
from theater.protocol.deflate import Deflate
from theater.protocol.machine import Chunk, Failure, Machine, Output, Role, State

T = TypeVar("T")

both_roles = pytest.mark.parametrize("role", Role)
both_modes = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = bytes.fromhex("37fa213d")  # of the examples in RFC 6455 §5.7
MAX = 1000  # bytes of a message, unless a test says otherwise
NO_MAXIMUM = 2**70  # more than fragments can announce together


def xor(payload: bytes, key: bytes) -> bytes:
    """Masks or unmasks (§5.3)."""
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


class Frame(NamedTuple):
    """One frame, right or wrong.

    Attributes:
        rsv: the three reserved bits, as a number.
        key: masking key, or none for an unmasked frame.
        width: bytes of the extended length, 0, 2 or 8; the right number if none is given.
        announced: the length that the header claims; the payload's if none is given.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    key: bytes | None = None
    width: int | None = None
    announced: int | None = None

    @property
    def first(self) -> int:
        """The first byte."""
        return self.fin << 7 | self.rsv << 4 | self.opcode

    def encode(self) -> bytes:
        """The bytes on the wire."""
        size = len(self.payload) if self.announced is None else self.announced
        width = self.width if self.width is not None else 0 if size < 126 else 2 if size < 65536 else 8
        short = {0: size, 2: 126, 8: 127}[width]
        head = bytes((self.first, short if self.key is None else 0x80 | short))
        head += size.to_bytes(width, "big") if width else b""
        if self.key is None:
            return head + self.payload
        return head + self.key + xor(self.payload, self.key)


def frame(
    role: Role,
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    width: int | None = None,
    announced: int | None = None,
) -> bytes:
    """A frame as the peer of a machine in this role sends it."""
    key = KEY if role is Role.SERVER else None
    return Frame(opcode, payload, fin, rsv, key, width, announced).encode()


def peer_of(role: Role) -> Role:
    """The role at the other end."""
    return Role.CLIENT if role is Role.SERVER else Role.SERVER


def close_payload(code: int, reason: str | bytes = b"") -> bytes:
    """The payload of a close frame, right or wrong."""
    return code.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else reason)


def read_frames(data: bytes) -> Iterator[Frame]:
    """Reads frames without judging them; the last may have less payload than it announces.

    A header that is not all there is left out.
    """
    while len(data) >= 2:
        first, size, masked = data[0], data[1] & 0x7F, data[1] >> 7
        width = {126: 2, 127: 8}.get(size, 0)
        begin = 2 + width + 4 * masked
        if len(data) < begin:
            return
        if width:
            size = int.from_bytes(data[2 : 2 + width], "big")
        key = data[begin - 4 : begin] if masked else None
        payload = data[begin : begin + size]
        yield Frame(
            first & 0xF,
            xor(payload, key) if key else payload,
            bool(first >> 7),
            first >> 4 & 7,
            key,
            width,
            size,
        )
        data = data[begin + size :]


def sent(machine: Machine) -> list[tuple[int, bytes]]:
    """Takes what a machine has put out, as the first byte and payload of each frame.

    They must be whole, of the shortest form, and either all masked or none.
    """
    data = b"".join(machine.out)
    machine.out.clear()
    frames = list(read_frames(data))
    masks = {found.key is not None for found in frames}
    assert len(masks) <= 1
    assert b"".join(Frame(*f[:5]).encode() for f in frames) == data, "not in shortest form, or cut off"
    return [(found.first, found.payload) for found in frames]


def opened(
    role: Role = Role.SERVER,
    max_message: int = MAX,
    stream: bool = False,
    deflate: Deflate | None = None,
    **limits: Any,
) -> Machine:
    """A machine whose masking key is known; its largest frame is its largest message, if not given."""
    limits = {"max_message": max_message, "max_frame": max_message, **limits}
    return Machine(role, ConnectionLimits(**limits), stream=stream, deflate=deflate, masking_key=lambda: KEY)


def moved(
    machine: Machine, role: Role, stream: bool = False, deflate: Deflate | None = None, **limits: Any
) -> Machine:
    """A new machine that goes on where this one stopped."""
    successor = opened(role, stream=stream, deflate=deflate, **limits)
    successor.restore_state(machine.export_state())
    successor.out += machine.out
    return successor


def feed(machine: Machine, *reads: bytes | bytearray) -> list[Output]:
    """The events that these reads give, all batches of each."""
    events: list[Output] = []
    for data in reads:
        events += machine.receive(data)
        while machine.behind:
            events += machine.receive()
    return events


def feed_quickly(machine: Machine, *reads: bytes) -> list[Output]:
    """As `feed`, by an owner who takes the short way where there is one."""
    events: list[Output] = []
    for data in reads:
        message = machine.receive_whole(data, len(data))
        events += feed(machine, data) if message is None else [message]
    return events


class Outcome(NamedTuple):
    """All that can be seen of a machine."""

    events: list[Output]
    state: State
    closed: Close
    failed: bool
    out: bytes


def run(machine: Machine, reads: Iterable[bytes], feed: Callable[..., list[Output]] = feed) -> Outcome:
    """Does with the reads what the documentation asks of a machine's owner."""
    events: list[Output] = []
    for data in reads:
        events += feed(machine, data)
        if machine.state is State.ENDING:
            machine.finish()
    return outcome(machine, events)


def outcome(machine: Machine, events: list[Output]) -> Outcome:
    """What is to be seen now."""
    return Outcome(joined(events), machine.state, machine.closed, machine.failed, b"".join(machine.out))


def joined(events: Iterable[Output]) -> list[Output]:
    """The events, with neighbouring chunks of one message made one."""
    result: list[Output] = []
    for event in events:
        before = result[-1] if result else None
        if isinstance(event, Chunk) and isinstance(before, Chunk) and not before.last:
            assert type(event.data) is type(before.data)
            result[-1] = Chunk(before.data + event.data, event.last)  # type: ignore[operator]
        else:
            result.append(event)
    return result


def split(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cuts data in pieces of these sizes, over and over."""
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        yield data[position : position + size]
        position += size
        turn += 1


def split_frames(wire: bytes) -> Iterator[bytes]:
    """Cuts a stream between its frames, as far as it has any."""
    for found in read_frames(wire):
        size = len(found.encode())
        yield wire[:size]
        wire = wire[size:]
    yield wire


# Streams to try


class Stream(NamedTuple):
    """Frames that break no rule, and the events they are."""

    frames: list[Frame]
    events: list[Output]

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return b"".join(found.encode() for found in self.frames)


class Dice:
    """Makes choices out of bytes that hypothesis drew, ten times faster than drawing each choice.

    Zeros, which hypothesis shrinks towards, make the first choice; so does running out of bytes.
    """

    def __init__(self, drawn: bytes) -> None:
        self._bytes = iter(drawn)

    def roll(self, sides: int) -> int:
        """A number from 0 to `sides` - 1, of 256 at most."""
        return next(self._bytes, 0) % sides

    def choose(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.roll(len(options))]

    def bytes(self, most: int) -> bytes:
        """At most so many bytes."""
        return bytes(self.roll(256) for _ in range(self.roll(most + 1)))


_TEXTS = [
    "",
    "hello",
    "é",
    "a€b",
    "😀😀",
    "\0",
    "\ud7ff\ue000\uffff\U0010ffff",
    "x" * 125,
    "é" * 63,
    "x" * 127,
]
_BINARIES = [
    b"",
    b"\x81\x05Hello",
    b"\xff",
    bytes(range(120, 255)),
    bytes(125),
    bytes(127),
    b"\x88\x00" * 130,
]
_CODES = [1000, 1001, 1003, 1007, 1014, 3000, 4999]
_KEYS = [KEY, bytes(4), b"\xff\x00\x80\x7f"]
_DRAWN = st.binary(min_size=120, max_size=120)


def _add_controls(stream: Stream, dice: Dice, key: bytes | None) -> None:
    for _ in range(dice.choose([0, 0, 0, 0, 1, 2])):
        payload = dice.choose([b"", b"\xff", b"ping", bytes(125)])
        ping = dice.roll(2)
        stream.frames.append(Frame(PING if ping else PONG, payload, key=key))
        stream.events.append(Ping(payload) if ping else Pong(payload))


def _add_message(stream: Stream, dice: Dice, role: Role) -> None:
    message = (
        Binary(dice.choose(_BINARIES)) if dice.roll(2) else Text(dice.choose(_TEXTS) + dice.choose(_TEXTS))
    )
    payload = message.text.encode() if isinstance(message, Text) else message.data
    opcode = TEXT if isinstance(message, Text) else BINARY
    cuts = sorted(dice.roll(len(payload) + 1) for _ in range(dice.choose([0, 0, 1, 3])))
    for begin, end in itertools.pairwise([0, *cuts, len(payload)]):
        key = dice.choose(_KEYS) if role is Role.SERVER else None
        _add_controls(stream, dice, key)
        stream.frames.append(Frame(opcode, payload[begin:end], key=key, fin=False))
        opcode = CONTINUATION
    stream.frames[-1] = stream.frames[-1]._replace(fin=True)
    stream.events.append(message)


def _valid(dice: Dice, role: Role) -> Stream:
    stream = Stream([], [])
    key = KEY if role is Role.SERVER else None
    for _ in range(dice.choose([1, 2, 3, 4, 0, 1, 2, 3])):
        _add_message(stream, dice, role)
    if dice.roll(2):
        _add_controls(stream, dice, key)
        close = Close(dice.choose(_CODES), dice.choose(_TEXTS[:4]))
        stream.frames.append(Frame(CLOSE, close.code.to_bytes(2, "big") + close.reason.encode(), key=key))
        stream.events.append(close)
    return stream


def _change_frame(found: Frame, dice: Dice) -> Frame:
    """A frame with something in its header, or its whole payload, changed."""
    match dice.choose(["payload", "opcode", "fin", "rsv", "width", "announced", "key"]):
        case "payload":
            if found.opcode == CLOSE:
                code = dice.choose([999, 1004, 1005, 1006, 1012, 1014, 1015, 1016, 2999, 3000, 5000])
                return found._replace(payload=code.to_bytes(2, "big") + dice.choose([b"", b"ok", b"\xff"]))
            return found._replace(
                payload=dice.choose([*_BINARIES, b"\xc3", b"\xed\xa0", b"\xf0\x9f\x98"]), width=None
            )
        case "opcode":
            return found._replace(opcode=dice.roll(16))
        case "fin":
            return found._replace(fin=not found.fin)
        case "rsv":
            return found._replace(rsv=1 + dice.roll(7))
        case "width":
            size = len(found.payload) if found.announced is None else found.announced
            widths = [width for width, limit in ((0, 126), (2, 2**16), (8, 2**64)) if size < limit]
            return found._replace(width=dice.choose(widths))
        case "announced":
            size = dice.choose([MAX, MAX + 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
            return found._replace(announced=size, width=None)
        case _:
            return found._replace(key=KEY if found.key is None else None)


def _change_bytes(wire: bytes, dice: Dice) -> bytes:
    """A stream with some bytes changed, put in, taken out or cut off."""
    position = (dice.roll(256) << 8 | dice.roll(256)) % (len(wire) + 1)
    before, after = wire[:position], wire[position:]
    match dice.choose(["change", "insert", "delete", "cut"]):
        case "change":
            return before + bytes((dice.roll(256),)) + after[1:]
        case "insert":
            return before + dice.bytes(4) + after
        case "delete":
            return before + after[1 + dice.roll(4) :]
        case _:
            return before


def _mutated(dice: Dice, role: Role) -> bytes:
    frames = _valid(dice, role).frames or [Frame(TEXT, b"x", key=KEY if role is Role.SERVER else None)]
    rounds = dice.choose([1, 1, 2])
    if dice.roll(3):
        for _ in range(rounds):
            index = dice.roll(len(frames))
            frames[index] = _change_frame(frames[index], dice)
            match dice.choose(["leave", "repeat", "drop"]):
                case "repeat":
                    frames.insert(dice.roll(len(frames) + 1), dice.choose(frames))
                case "drop" if len(frames) > 1:
                    del frames[dice.roll(len(frames))]
                case _:
                    pass
        return b"".join(found.encode() for found in frames)
    wire = b"".join(found.encode() for found in frames)
    for _ in range(rounds):
        wire = _change_bytes(wire, dice)
    return wire


def valid_streams(role: Role) -> st.SearchStrategy[Stream]:
    """Messages in one frame or more, cut between any bytes, with control frames anywhere."""
    return _DRAWN.map(lambda drawn: _valid(Dice(drawn), role))


def mutated_streams(role: Role) -> st.SearchStrategy[bytes]:
    """Streams that most likely break a rule."""
    return _DRAWN.map(lambda drawn: _mutated(Dice(drawn), role))


def any_streams(role: Role) -> st.SearchStrategy[bytes]:
    """Valid streams and, more often, others."""

    def make(drawn: bytes) -> bytes:
        dice = Dice(drawn)
        return _mutated(dice, role) if dice.roll(4) else _valid(dice, role).encode()

    return _DRAWN.map(make)


SPLITS = st.binary(min_size=1, max_size=6).map(lambda drawn: [1 + byte % 40 for byte in drawn])
"""For `split`."""


def verdict(events: Sequence[Output]) -> tuple[list[Output], Close | Failure | None]:
    """The messages, and what ended them."""
    if events and isinstance(events[-1], Close | Failure):
        return list(events[:-1]), events[-1]
    return list(events), None
