"""What machines promise about a stream, however it is cut."""

import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, pairwise
from random import Random
from typing import Any, NamedTuple

from theater.contract import Binary, Close, Ping, Pong, Text
from theater.errors import LocalError
from theater.protocol.assembly import BATCH, Assembly
from theater.protocol.close import ABNORMAL, NO_STATUS, may_be_sent
from theater.protocol.deflate import Inflater
from theater.protocol.machine import Chunk, Failure, Output, State

from .setups import DEFLATES, LIMITS, MODES, Setup, promise

SLACK = 2048  # bytes that a machine may keep besides the message that is arriving
EDGE = 300  # bytes at both ends of a stream that come one by one
JUNK = bytes.fromhex("818500000000") + b"Hello\x81\x05Hello"
CORRUPT = "compressed data that cannot be inflated"


class Outcome(NamedTuple):
    """What is to be seen of a machine when a stream has been read."""

    events: list[Output]
    state: State
    closed: Close
    failed: bool
    out: bytes


class Owner:
    """Does what the documentation asks of a machine's owner, and looks at what it gets.

    Args:
        setup: of the machine.
        dice: says when the machine is handed over; it is not, if none is given.
        buffer: what is read into, over and over, by an owner that takes the short way.
    """

    def __init__(self, setup: Setup, dice: Random | None = None, buffer: bytearray | None = None) -> None:
        self.machine = setup.machine()
        self.events: list[Output] = []
        self._setup = setup
        self._dice = dice
        self._buffer = buffer
        self._out: list[bytes] = []
        self._most = SLACK + (0 if MODES[setup.mode] else 4 * LIMITS[setup.limits].max_message)
        if setup.owner == "leaves":
            self.machine.close(1001, "leaving")
            self._write()

    def read(self, data: bytes) -> None:
        """Lets the machine have bytes, and sends what it has for the peer."""
        self._move()
        self._take(self._receive(data))
        while self.machine.behind:
            self._move()
            self._take(self.machine.receive())
        self.machine.finish()
        self._write()

    def look(self) -> None:
        """Looks at what the machine keeps; one that has ended will be thrown away."""
        if self.machine.over:
            return
        size = kept(self.machine)
        promise(size <= self._most, "more bytes are kept than may be", size, self._most)

    def end(self) -> Outcome:
        """Ends the connection; returns what there was to be seen before."""
        machine = self.machine
        out = b"" if self._setup.owner == "echoes" else b"".join(self._out)
        outcome = Outcome(joined(self.events), machine.state, machine.closed, machine.failed, out)
        if machine.over:
            self._expect_silence("after the end")
        promise(machine.lost() == outcome.closed, "the loss of the connection is another end")
        self._expect_silence("after the connection is lost")
        return outcome

    def _receive(self, data: bytes) -> list[Output]:
        if self._buffer is None:
            return self.machine.receive(data)
        size = len(data)
        self._buffer[:size] = data
        message = self.machine.receive_whole(self._buffer, size)
        events: list[Output] = [message] if message else self.machine.receive(self._buffer, size)
        self._buffer[:size] = b"\xff" * size  # nothing may depend on it any more
        return events

    def _write(self) -> None:
        self._out += self.machine.out
        self.machine.out.clear()

    def _take(self, events: list[Output]) -> None:
        if not events:
            return
        ended = bool(self.events) and isinstance(self.events[-1], Close | Failure)
        promise(not ended, "something comes behind the end", self.events[-1:], events)
        promise(len(events) <= BATCH + 1, "a batch is too large", len(events))
        self.events += events
        if self._setup.owner == "echoes":
            for event in events:
                self._echo(event)

    def _echo(self, event: Output) -> None:
        match event:
            case Text() | Binary():
                self.machine.send(event)
            case Chunk(data, last):
                self.machine.send_chunk(data, last)
            case Pong(payload):  # waits, while a message goes out in chunks
                self.machine.send(Binary(payload))

    def _move(self) -> None:
        """Hands over to another machine, now and then."""
        if self._dice is None or self._dice.random() < 0.7:
            return
        successor = self._setup.machine()
        try:
            successor.restore_state(self.machine.export_state())
        except LocalError:
            promise(DEFLATES[self._setup.deflate] is not None, "a state that cannot be exported")
            return
        successor.out = self.machine.out
        self.machine = successor

    def _expect_silence(self, when: str) -> None:
        machine = self.machine
        events: list[Any] = [*machine.receive(JUNK), *machine.receive()]
        whole = machine.receive_whole(JUNK, len(JUNK))
        machine.send(Text("too late"))
        machine.send_chunk(b"too late", True)
        machine.close()
        machine.finish()
        promise(not events and whole is None, f"something comes {when}", events, whole)
        promise(not machine.out, f"something goes out {when}", machine.out)

    def check_answers(self) -> None:
        """Lets the peer read what went out."""
        peer, owner = self._setup.peer(), self._setup.owner
        heard: list[Output] = peer.receive(b"".join(self._out))
        while peer.behind:
            heard += peer.receive()
        ends = [event for event in heard if isinstance(event, Close | Failure)]
        end = self.events[-1] if self.events else None
        expected: list[Output] = []
        if owner == "leaves":
            expected = [Close(1001, "leaving")]
        elif isinstance(end, Failure):
            expected = [Close(end.reason.close_code, end.problem)]
        elif isinstance(end, Close):
            expected = [Close(end.code)]
        promise(ends == expected, "the peer is told another end", expected, ends)
        if owner == "leaves":
            return
        pongs = [Pong(event.payload) for event in self.events if isinstance(event, Ping)]
        found = [event for event in heard if isinstance(event, Pong)]
        promise(found == pongs, "pings are answered by something else", pongs, found)
        data = [event for event in heard if isinstance(event, Text | Binary)]
        due = echoes(self.events) if owner == "echoes" else []
        promise(data == due, "the peer hears something else", due, data)


def check_frames(setup: Setup, wire: bytes) -> str:
    """Feeds a stream to machines in all ways; returns how it ended."""
    dice = Random(zlib.crc32(wire))  # the stream decides how it is cut, so that it can be fed again
    places = list(cuts(wire, dice))
    owners = Owner(setup), Owner(setup), Owner(setup, buffer=bytearray(len(wire))), Owner(setup, dice)
    reads = [wire], pieces(wire, every_byte(len(wire))), pieces(wire, places), pieces(wire, places)
    whole: Outcome | None = None
    for owner, cut in zip(owners, reads, strict=True):
        for number, data in enumerate(cut):
            owner.read(data)
            if owner.machine.over:
                break  # `end` tries what comes behind it
            if number % 64 == 63:
                owner.look()
        owner.look()
        outcome = owner.end()
        owner.check_answers()
        if whole is None:
            whole = outcome
            check_events(setup, whole)
        else:
            promise(same(setup, outcome, whole), "not read at once, it is something else", whole, outcome)
    assert whole is not None
    return ending(whole)


def every_byte(size: int) -> list[int]:
    """Places to cut a stream after every byte; in the middle of one that is very long, seldom."""
    if size <= 2 * EDGE:
        return list(range(1, size))
    return [*range(1, EDGE), *range(EDGE, size - EDGE, EDGE), *range(size - EDGE, size)]


def cuts(wire: bytes, dice: Random) -> Iterator[int]:
    """Places to cut a stream: between frames and anywhere, or every few bytes."""
    if dice.random() < 0.2:
        yield from range(0, len(wire), dice.randrange(2, 5))
        return
    for _ in range(dice.randrange(6)):
        yield dice.randrange(len(wire) + 1)
    position = 0
    while position + 2 <= len(wire):
        short, width = wire[position + 1] & 0x7F, {126: 2, 127: 8}.get(wire[position + 1] & 0x7F, 0)
        size = int.from_bytes(wire[position + 2 : position + 2 + width], "big") if width else short
        position += 2 + width + (wire[position + 1] >> 7) * 4 + size
        if dice.random() < 0.7:
            yield min(position, len(wire))


def pieces(wire: bytes, places: Iterable[int]) -> list[bytes]:
    """A stream, cut at these places."""
    return [wire[begin:end] for begin, end in pairwise([0, *sorted(places), len(wire)])]


def check_events(setup: Setup, outcome: Outcome) -> None:
    """What is true of all events, and of how they end."""
    limits = LIMITS[setup.limits]
    most = limits.max_stream if MODES[setup.mode] else limits.max_message
    for event in outcome.events:
        match event:
            case Text(content) | Binary(content) | Chunk(content):
                right = (
                    bytes if isinstance(event, Binary) else str if isinstance(event, Text) else (str, bytes)
                )
                promise(isinstance(content, right), "the content is of the wrong type", event)
                promise(MODES[setup.mode] == isinstance(event, Chunk), "the wrong mode", event)
                size = len(content.encode() if isinstance(content, str) else content)
                promise(size <= most, "a message is too large", size, most)
            case Ping(payload) | Pong(payload):
                promise(type(payload) is bytes and len(payload) <= 125, "no control frame", event)
            case Close(code, reason):
                promise(code == NO_STATUS or may_be_sent(code), "no close code", event)
                promise(len(reason.encode()) <= 123, "no close reason", event)
    end = outcome.events[-1] if outcome.events else None
    match end:
        case Failure(cause, problem):
            closed, state = Close(cause.close_code, problem), State.CLOSED
        case Close():
            closed, state = end, State.CLOSED
        case _:
            closed, state = Close(ABNORMAL), State.CLOSING if setup.owner == "leaves" else State.OPEN
    found = outcome.closed, outcome.state, outcome.failed
    promise(found == (closed, state, isinstance(end, Failure)), "the wrong end", end, found)


def same(setup: Setup, one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes differ in nothing that they must not."""
    if one == other:
        return True
    corrupt, found = (one, other) if one.closed.reason == CORRUPT else (other, one)
    if corrupt.closed.reason != CORRUPT:
        return False
    before, after = complete(corrupt.events), complete(found.events)
    if found.closed.code in (1007, 1009) and before == after:
        # zlib does not give what it has inflated before a fault, which depends on the reads. So does
        # whether that was found to be no UTF-8, or the one byte too many.
        return True
    # Whether zlib notices that the peer refers back beyond its window depends on the reads, too.
    deflate = DEFLATES[setup.deflate]
    return deflate is not None and deflate.receive_window < 15 and after[: len(before)] == before


def complete(events: Iterable[Output]) -> list[Output]:
    """The events without the end, and without the unfinished message before it."""
    return [
        event
        for event in events
        if not isinstance(event, Close | Failure) and not (isinstance(event, Chunk) and not event.last)
    ]


def ending(outcome: Outcome) -> str:
    """In a few words, for the statistics."""
    match outcome.events[-1:]:
        case [Failure(reason)]:
            return f"failed, {reason.close_code}"
        case [Close()]:
            return "closed"
        case _:
            return "open"


def joined(events: Iterable[Output]) -> list[Output]:
    """The events, with neighbouring chunks of one message made one."""
    result: list[Output] = []
    for event in events:
        before = result[-1] if result else None
        if isinstance(event, Chunk) and isinstance(before, Chunk) and not before.last:
            promise(type(event.data) is type(before.data), "chunks differ", before, event)
            result[-1] = Chunk(before.data + event.data, event.last)  # type: ignore[operator]
        else:
            result.append(event)
    return result


def echoes(events: Iterable[Output]) -> list[Output]:
    """What an owner that echoes has to say: what comes between two chunks goes out behind the last."""
    said: list[Output] = []
    waiting: list[Output] = []
    chunks: list[str | bytes] = []
    for event in events:
        match event:
            case Text() | Binary():
                said.append(event)
            case Pong(payload):
                (waiting if chunks else said).append(Binary(payload))
            case Chunk(data, last):
                chunks.append(data)
                if last:
                    text = isinstance(data, str)
                    said.append(Text("".join(chunks)) if text else Binary(b"".join(chunks)))  # type: ignore[arg-type]
                    said += waiting
                    waiting, chunks = [], []
    return said


def kept(found: object) -> int:
    """Bytes that an object keeps in text, bytes and lists, but for what is to be sent."""
    if isinstance(found, str | bytes):
        return sys.getsizeof(found)
    if isinstance(found, list | tuple):
        return sys.getsizeof(found) + sum(map(kept, found))
    if isinstance(found, Assembly | Inflater):
        return sum([kept(getattr(found, name)) for name in _names(type(found).__mro__)])
    return 0


@cache
def _names(kinds: tuple[type, ...]) -> set[str]:
    slots: list[tuple[str, ...]] = [getattr(kind, "__slots__", ()) for kind in kinds]
    return set(chain(*slots)) - {"out", "_waiting", "_compressed"}
