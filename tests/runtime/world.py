"""A system of actors without sockets: wires that only record, and behaviours written in the tests."""

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from theater.contract import (
    Accept,
    Binary,
    Close,
    Closed,
    Data,
    Event,
    Message,
    Ping,
    Pong,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.errors import LocalError
from theater.limits import ConnectionLimits, Limits
from theater.protocol.close import decode_close
from theater.protocol.frames import FIN, Opcode, encode_message
from theater.protocol.shared import SharedMessage
from theater.runtime.address import Address
from theater.runtime.cell import Cell
from theater.runtime.connection import Connection
from theater.runtime.ports import Batch, BehaviourFactory, Context, Deliveries, Frame
from theater.runtime.streams import IncomingStream
from theater.runtime.system import ActorSystem, ActorType
from theater.testing import VirtualClock

_ids = itertools.count(1)


def decode_message(first: int, payload: bytes) -> Message:
    """The reverse of `encode_message`."""
    assert first & FIN
    match Opcode(first & 0xF):
        case Opcode.TEXT:
            return Text(payload.decode())
        case Opcode.BINARY:
            return Binary(payload)
        case Opcode.PING:
            return Ping(payload)
        case Opcode.PONG:
            return Pong(payload)
        case Opcode.CLOSE:
            close = decode_close(payload)
            assert isinstance(close, Close), close
            return close
        case Opcode.CONTINUATION:
            raise AssertionError("no message begins with a continuation")


class RecordingWire:
    """The socket side of a connection, on paper. It follows what the client is said to do.

    Args:
        limits: of the connection.

    Attributes:
        sent: the messages that left, decoded.
        frames: those of them that came alone or were shared, as they came: key, and leave to compress.
        chunks: the pieces of streamed messages, and whether each was the last.
        broken: for each streamed message that was given up, whether pieces of it had been sent.
        waiting: bytes that wait for the client, which is up to the test; 0 lets everybody go on.
        reading: whether events may come.
        pauses: how often reading was paused.
    """

    def __init__(self, limits: ConnectionLimits = Limits()) -> None:
        self.limits = limits
        self.sent: list[Message] = []
        self.frames: list[tuple[str | None, bool]] = []
        self.chunks: list[tuple[str | bytes, bool]] = []
        self.streaming = False
        self.broken: list[bool] = []
        self.reading = True
        self.pauses = 0
        self.waiting = 0
        self._empty = asyncio.Event()

    def send(self, message: Message) -> None:
        encode_message(message)
        self.sent.append(message)

    def send_frame(self, frame: Frame) -> None:
        self.sent.append(decode_message(frame.first, frame.payload))
        self.frames.append((frame.key, frame.compress))

    def send_shared(self, message: SharedMessage, key: str | None) -> None:
        self.sent.append(decode_message(message.first, message.payload))
        self.frames.append((key, message.compress))

    def open_stream(self) -> None:
        if self.streaming:
            raise LocalError("another message is going out in pieces")
        self.streaming = True

    def send_chunk(self, data: str | bytes, last: bool) -> None:
        assert self.streaming
        encode_message(Text(data) if isinstance(data, str) else Binary(data))
        self.chunks.append((data, last))
        self.streaming = not last

    def break_stream(self, begun: bool) -> None:
        assert self.streaming
        self.streaming = False
        self.broken.append(begun)

    async def writable(self) -> None:
        await self.drained()

    async def drained(self) -> None:
        if self.waiting:
            await self._empty.wait()

    def catch_up(self) -> None:
        """The client has read all that waited for it."""
        self.waiting = 0
        self._empty.set()

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True


class Client:
    """A connection to an actor, and what its socket would do.

    Args:
        cell: the actor.
        accept: what it has said to the upgrade.
        batch: how the path wants its events handled.
        limits: of the connection.
    """

    def __init__(
        self,
        cell: Cell,
        accept: Accept,
        batch: Batch | None = None,
        limits: ConnectionLimits = Limits(),
    ) -> None:
        self.cell = cell
        self.batch = batch
        self.wire = RecordingWire(limits)
        self.connection = Connection(next(_ids), UpgradeRequest("/"), accept, self.wire, cell.outbox)
        cell.connected(self.connection, batch)

    @property
    def sent(self) -> list[Message]:
        """What the actor has sent to it."""
        return self.wire.sent

    def say(self, *texts: str) -> None:
        """Text messages arrive from it."""
        for text in texts:
            self.give(Received(Text(text)))

    def give(self, event: Event) -> None:
        """Something happens on it."""
        if self.batch is None:
            self.cell.receive(self.connection, event)
        else:
            self.cell.gather(self.connection, event, self.batch)

    def stream(self, *, is_text: bool = True) -> IncomingStream:
        """A streamed message begins to arrive; its reader gets more time with each chunk."""
        stream = IncomingStream(is_text, lambda _: None, self.cell.extend_deadline)
        self.cell.receive_stream(self.connection, Received(stream))
        return stream

    def end(self, code: int = 1000) -> None:
        """Its socket is gone."""
        self.cell.closed(self.connection, Closed(code), self.batch)


class Quiet:
    """A behaviour that accepts everything and says nothing; the base of the tests' behaviours."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def init(self) -> Any:
        return None

    def upgrade_connection(self, request: UpgradeRequest) -> Any:
        return Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        return None

    def handle_batch(self, batch: Deliveries) -> Any:
        return None

    def handle_request(self, request: Request) -> Any:
        return Response.text("hello")

    def handle_message(self, message: Data, sender: Address) -> Any:
        return None


class World:
    """Some kinds of actors, under a virtual clock."""

    def __init__(
        self, types: Mapping[str, BehaviourFactory], limits: Limits, clock: VirtualClock | None = None
    ) -> None:
        self.clock = clock or VirtualClock()
        self.limits = limits
        kinds = [ActorType(name, create, limits) for name, create in types.items()]
        self.system = ActorSystem(kinds, self.clock, limits, asyncio.get_running_loop())

    def cell(self, address: str = "actor") -> Cell:
        return self.system.cell(Address.parse(address))

    def connect(
        self, address: str = "actor", accept: Accept | None = None, batch: Batch | None = None
    ) -> Client:
        return Client(self.cell(address), accept or Accept(), batch, self.limits)


def text_of(event: Event) -> str:
    """What was received; of other events the name of their kind."""
    if isinstance(event, Received) and isinstance(event.message, Text):
        return event.message.text
    return type(event).__name__


async def settle() -> None:
    """Lets the loop run until what can happen without time or sockets has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def pass_time(world: World, seconds: float) -> None:
    """Lets time pass, and what falls due happen."""
    world.clock.advance(seconds)
    await settle()


def error_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The failures of turns that were logged."""
    return [
        record for record in caplog.records if record.name == "theater.actor" and record.levelname == "ERROR"
    ]


def raised(records: list[Any]) -> list[BaseException]:
    """The exceptions of log records."""
    return [record.exc_info[1] for record in records]
