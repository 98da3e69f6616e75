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
from theater.limits import Limits
from theater.protocol.close import decode_close
from theater.protocol.frames import FIN, Opcode, encode_message
from theater.runtime.address import Address
from theater.runtime.cell import Cell
from theater.runtime.connection import Connection
from theater.runtime.ports import BehaviourFactory, Context
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


def decode_frame(frame: bytes) -> Message:
    """Reads one short unmasked frame."""
    assert frame[1] == len(frame) - 2
    return decode_message(frame[0], frame[2:])


class RecordingWire:
    """The socket side of a connection, on paper.

    Attributes:
        sent: the messages that left, decoded.
        reading: whether events may come.
        pauses: how often reading was paused.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.reading = True
        self.pauses = 0

    def send(self, message: Message) -> None:
        encode_message(message)
        self.sent.append(message)

    def send_frame(self, first: int, payload: bytes) -> None:
        self.sent.append(decode_message(first, payload))

    def send_encoded(self, frame: bytes) -> None:
        self.sent.append(decode_frame(frame))

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True


class Client:
    """A connection to an actor, and what its socket would do."""

    def __init__(self, cell: Cell, accept: Accept) -> None:
        self.cell = cell
        self.wire = RecordingWire()
        self.connection = Connection(next(_ids), UpgradeRequest("/"), accept, self.wire, cell.outbox)
        cell.connected(self.connection)

    @property
    def sent(self) -> list[Message]:
        """What the actor has sent to it."""
        return self.wire.sent

    def say(self, *texts: str) -> None:
        """Text messages arrive from it."""
        for text in texts:
            self.cell.receive(self.connection, Received(Text(text)))

    def end(self, code: int = 1000) -> None:
        """Its socket is gone."""
        self.cell.closed(self.connection, Closed(code))


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
        kinds = [ActorType(name, create) for name, create in types.items()]
        self.system = ActorSystem(kinds, self.clock, limits, asyncio.get_running_loop())

    def cell(self, address: str = "actor") -> Cell:
        return self.system.cell(Address.parse(address))

    def connect(self, address: str = "actor", accept: Accept | None = None) -> Client:
        return Client(self.cell(address), accept or Accept())


def text_of(event: Event) -> str:
    """What was received; of other events the name of their kind."""
    if isinstance(event, Received) and isinstance(event.message, Text):
        return event.message.text
    return type(event).__name__


async def settle() -> None:
    """Lets the loop run until what can happen without time or sockets has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def error_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The failures of turns that were logged."""
    return [
        record for record in caplog.records if record.name == "theater.actor" and record.levelname == "ERROR"
    ]
