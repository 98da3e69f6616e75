"""Random histories of open connections, through shell, machine and cell: clients that say anything and
read or not, an actor that does anything, and time that passes."""

import asyncio
import gc
import logging
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.server.actors import Sink, bare, connections, nothing_kept, routed
from tests.server.raw import client_frame, handshake

from theater import Actor, Binary, Close, Closed, Connected, Connection, Event, Received, Text
from theater.contract import Ping, Stream
from theater.errors import Reason
from theater.limits import ConnectionLimits, Limits
from theater.protocol.extensions import Agreed, check_answer, parse_extensions
from theater.protocol.machine import Failure, Machine, Role
from theater.runtime.ports import Batch, Deliveries, Reply
from theater.testing import MemoryTransport, Stage, stage

LONGEST: Final = 400  # seconds in which every connection has ended whose client says nothing any more
GENEROUS: Final = ConnectionLimits(max_message=2**40, max_inflation=10**6)
DEFLATE: Final = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]


def deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -9)
    return (squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]


ORDERS: Final = (
    "raise", "wait", "close", "flood", "all", "several", "out", "out fail", "now", "drain", "answer me",
    "outside",
)  # fmt: skip

SPEECH: Final[dict[str, bytes]] = {
    **{order: client_frame(TEXT, order.encode()) for order in ORDERS},
    "thirty": client_frame(TEXT, b"x") * 30,
    "many": client_frame(TEXT, b"x") * 200,
    "binary": client_frame(BINARY, b"\0" * 5000),
    "large": client_frame(BINARY, b"\0" * 9_000) * 4,
    "ping": client_frame(PING, b"ping"),
    "pings": client_frame(PING) * 100,
    "pong": client_frame(PONG),
    "answer": client_frame(PONG, b"\0\0\0\1"),
    "fragments": client_frame(BINARY, b"\0", fin=False) + client_frame(PING) + client_frame(CONTINUATION),
    "to abandon": client_frame(TEXT, b"abandon", fin=False) + client_frame(CONTINUATION, b"rest"),
    "to raise": client_frame(TEXT, b"raise", fin=False) + client_frame(CONTINUATION, b"rest"),
    "long": client_frame(TEXT, b"wait", fin=False)
    + client_frame(CONTINUATION, b"x", fin=False) * 300
    + client_frame(CONTINUATION),
    "compressed": client_frame(TEXT, deflated(b"abc" * 1000), rsv=4),
    "compressed zeros": client_frame(BINARY, deflated(bytes(9_000)), rsv=4),
    "compressed fragments": client_frame(TEXT, deflated(b"abc")[:2], fin=False, rsv=4)
    + client_frame(CONTINUATION, deflated(b"abc")[2:]),
}
"""What may be said, compressed messages only where that was agreed on."""

PARTS: Final[dict[str, bytes]] = {
    "begin": client_frame(TEXT, b"begin", fin=False),
    "begin to abandon": client_frame(TEXT, b"abandon", fin=False),
    "begin to raise": client_frame(TEXT, b"raise", fin=False),
    "go on": client_frame(CONTINUATION, b"more", fin=False),
    "end": client_frame(CONTINUATION, b"end"),
    "end empty": client_frame(CONTINUATION),
    "begin compressed": client_frame(TEXT, deflated(b"abc")[:2], fin=False, rsv=4),
    "end compressed": client_frame(CONTINUATION, deflated(b"abc")[2:]),
}
"""What is right or wrong, depending on what was said before."""

GARBAGE: Final[dict[str, bytes]] = {
    "opcode": client_frame(0xB),
    "no UTF-8": client_frame(TEXT, b"\xff"),
    "half a character": client_frame(TEXT, b"\xf0\x9f", fin=False),
    "too large": client_frame(BINARY, b"\0" * 10_001),
    "reserved": client_frame(TEXT, b"x", rsv=2),
    "bomb": client_frame(BINARY, deflated(bytes(3_000_000)), rsv=4),
    "no blocks": client_frame(BINARY, b"\xff\xff\xff", rsv=4),
    "unmasked": b"\x81\x01x",
    "endless": b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
    "bad close": b"\x88\x81\0\0\0\0x",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}

GOODBYES: Final[dict[str, bytes]] = {
    "close": client_frame(CLOSE, b"\x03\xe8"),
    "empty close": client_frame(CLOSE),
    "close and more": client_frame(CLOSE, b"\x0f\xa0bye") + client_frame(TEXT, b"late"),
}

ALL: Final = {**SPEECH, **PARTS, **GARBAGE, **GOODBYES}
speech = st.sampled_from(sorted(SPEECH))
anything = st.sampled_from(sorted(ALL))

ROUTES: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "stream": {"stream": True},
    "batch": {"batch": Batch(max_messages=5)},
    "waiting batch": {"batch": Batch(max_messages=5, max_wait=0.5)},
    "answers": {"answers": {"answer me": "so be it"}},
}


class Subject(Actor):
    """Does what it is told, at once or after a while."""

    history: "ConnectionMachine"

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        self.history.note(connection, event)
        match event:
            case Received(Text(text)):
                return self.obey(connection, text)
            case Received(Binary() as message):
                return message
            case Received(Stream() as stream):
                return self.read(connection, stream)
        return None

    def handle_batch(self, batch: Deliveries) -> None:
        for connection, event in batch:
            self.history.note(connection, event)
        for connection, event in batch:
            match event:
                case Received(Text("raise")):
                    raise ValueError("by request")
                case Received(Text("close")):
                    connection.close(4000)
                case Received(Text() | Binary() as message):
                    connection.send(message)

    def obey(self, connection: Connection, text: str) -> Reply | Awaitable[Reply]:
        match text:
            case "raise":
                connection.send(Text("never"))
                raise ValueError("by request")
            case "close":
                connection.close(4000, "by request")
            case "flood":
                for number in range(10):
                    self.broadcast(Binary(bytes(7_000)), key=f"{number % 3}")
            case "all":
                self.broadcast(Text("all" * 1000), compress=len(self.connections) % 2 == 0)
            case "several":
                return [Text("a"), Ping(b"b"), Binary(b"c"), Close(4001), Text("never")]
            case "outside":
                asyncio.get_running_loop().call_soon(connection.send, Text("out of turn"))
            case "wait" | "out" | "out fail" | "now" | "drain":
                return self.work(connection, text)
            case _:
                return Text(text)
        return None

    async def work(self, connection: Connection, text: str) -> Reply:
        match text:
            case "out" | "out fail":
                async with connection.stream() as stream:
                    await stream.write("one" * 1000)
                    await self.history.gate()
                    await stream.write("two" * 1000)
                    if text == "out fail":
                        raise ValueError("by request")
            case "now":
                for _ in range(5):
                    await connection.send_now(Binary(bytes(9_000)))
            case "drain":
                await connection.drained()
            case _:
                await self.history.gate()
        return Text("done")

    async def read(self, connection: Connection, stream: Stream) -> Reply:
        size = 0
        async for chunk in stream:
            size += len(chunk)
            if chunk == "abandon":
                return Text("abandoned")
            if chunk == "raise":
                raise ValueError("by request")
            if chunk in ("wait", "out", "now"):
                await self.work(connection, str(chunk))
            if chunk == "close":
                connection.close(4000)
        return Text(f"{size}")


@dataclass
class Client:
    """One client, and what it has heard.

    Attributes:
        taken: bytes that have been looked at.
        machine: what understands them, when the handshake is over.
    """

    wire: MemoryTransport
    sink: Sink
    taken: int = 0
    machine: Machine | None = None
    heard: list[Any] = field(default_factory=list)

    def listen(self) -> None:
        """Takes in what has arrived, which must be faultless."""
        if self.machine is None:
            head, end, _ = self.sink.data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 ") or not end:
                assert head[:13] in (b"", b"HTTP/1.1 503 ", b"HTTP/1.1 500 "), head
                return
            self.taken = len(head) + len(end)
            self.machine = Machine(Role.CLIENT, GENEROUS, deflate=_agreed(head).deflate)
        data = self.sink.data[self.taken :]
        self.taken += len(data)
        events = self.machine.receive(data)
        while self.machine.behind:
            events += self.machine.receive()
        self.heard += events
        assert not any(isinstance(event, Failure) for event in events), events
        if data and self.machine.over:
            opcodes = [opcode for opcode, _ in self.sink.frames]
            behind = opcodes[opcodes.index(0x80 | CLOSE) + 1 :]
            # RFC 6455 §5.5.2: pings are answered as long as the other end has not closed.
            assert set(behind) <= {0x80 | PONG}, "something came behind the close frame"


def _agreed(head: bytes) -> Agreed:
    values = [
        line.partition(":")[2]
        for line in head.decode().split("\r\n")
        if line.lower().startswith("sec-websocket-extensions:")
    ]
    extensions = parse_extensions(values)
    assert not isinstance(extensions, str)
    agreed = check_answer(extensions, GENEROUS)
    assert isinstance(agreed, Agreed)
    return agreed


class Problems(logging.Handler):
    """Keeps what must not happen."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class ConnectionMachine(RuleBasedStateMachine):
    clients: Bundle[Client] = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.problems = Problems()
        self.loop.set_exception_handler(lambda _, context: self.problems.found.append(str(context)))
        logging.getLogger("theater.server").addHandler(self.problems)
        logging.getLogger("theater.actor").setLevel(logging.CRITICAL + 1)
        self.all: list[Client] = []
        self.seen: dict[int, list[Event]] = {}
        self.gates: list[asyncio.Future[None]] = []
        self.theater: Stage
        self.context: Any

    @initialize(
        route=st.sampled_from(sorted(ROUTES)),
        policy=st.sampled_from(["close", "drop-oldest", "drop-newest", "keep-latest", "block"]),
        action=st.sampled_from(["delay", "drop", "close"]),
        rate=st.sampled_from([1e6, 50.0]),
        memory=st.sampled_from([2**30, 0]),
    )
    def begin(self, route: str, policy: Any, action: Any, rate: float, memory: int) -> None:
        limits = Limits(
            slow_reader=policy,
            rate_action=action,
            message_rate=rate,
            compression_memory=memory,
            compression_min=100,
            max_message=10_000,
            max_stream=100_000,
            max_send_queue=50_000,
            send_high_water=10_000,
            send_low_water=1_000,
            mailbox_high_water=10,
            mailbox_low_water=3,
            ping_interval=20,
            pong_timeout=10,
            handler_timeout=30,
            drain_timeout=1,
        )
        subject = type("Subject", (Subject,), {"history": self})
        self.context = stage(routed(subject, **ROUTES[route]), limits=limits)
        self.theater = self.do(self.context.__aenter__)

    def do(self, action: Callable[[], Any], rounds: int = 0) -> Any:
        """Does something inside the loop, and lets so many of its rounds pass."""

        async def run() -> Any:
            result = action()
            if isinstance(result, Coroutine):
                result = await result
            for _ in range(rounds):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    # What the actor calls

    def note(self, connection: Connection, event: Event) -> None:
        events = self.seen.setdefault(connection.id, [])
        events.append(event)

    async def gate(self) -> None:
        self.gates.append(self.loop.create_future())
        await self.gates[-1]

    # What clients do

    @precondition(lambda self: len(self.all) < 6)
    @rule(target=clients, deflate=st.booleans(), early=st.lists(speech, max_size=2))
    def connect(self, deflate: bool, early: list[str]) -> Client:
        client = Client(*self.do(lambda: bare(self.theater)))
        self.all.append(client)
        data = handshake(extra=DEFLATE if deflate else ()) + b"".join(ALL[name] for name in early)
        self.do(lambda: client.wire.write(data), 5)
        return client

    @rule(client=clients, names=st.lists(speech, min_size=1, max_size=4))
    def say(self, client: Client, names: list[str]) -> None:
        self.do(lambda: client.wire.write(b"".join(ALL[name] for name in names)), 3)

    @rule(client=clients, name=anything)
    def babble(self, client: Client, name: str) -> None:
        self.do(lambda: client.wire.write(ALL[name]), 3)

    @rule(client=clients, name=speech, cut=st.integers(1, 20), rest=st.booleans())
    def stammer(self, client: Client, name: str, cut: int, rest: bool) -> None:
        """A frame in two pieces, of which the second may never come."""
        self.do(lambda: client.wire.write(ALL[name][:cut]), 3)
        if rest:
            self.do(lambda: client.wire.write(ALL[name][cut:]), 3)

    @rule(client=clients)
    def stop_reading(self, client: Client) -> None:
        self.do(client.wire.pause_reading)

    @rule(client=clients)
    def read_again(self, client: Client) -> None:
        self.do(client.wire.resume_reading, 5)

    @rule(client=clients, size=st.sampled_from([None, 1, 7, 1000]))
    def split(self, client: Client, size: int | None) -> None:
        client.wire._other.split = size

    @rule(client=consumes(clients))
    def half_close(self, client: Client) -> None:
        self.do(client.wire.write_eof, 3)

    @rule(client=consumes(clients))
    def reset(self, client: Client) -> None:
        self.do(client.wire.abort, 3)

    # What others do

    @rule(rounds=st.integers(1, 30))
    def settle(self, rounds: int) -> None:
        self.do(lambda: None, rounds)

    @rule(seconds=st.sampled_from([0.1, 1, 5, 12, 40]))
    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.do(lambda: self.theater.clock.advance(1), 3)
        self.do(lambda: self.theater.clock.advance(seconds % 1), 3)

    @precondition(lambda self: bool(self.gates))
    @rule(which=st.integers(0, 100))
    def go_on(self, which: int) -> None:
        """A handler that waits has waited long enough."""
        gate = self.gates.pop(which % len(self.gates))
        if not gate.done():
            self.do(lambda: gate.set_result(None), 3)

    @precondition(lambda self: bool(connections(self.theater)))
    @rule(which=st.integers(0, 100), how=st.sampled_from(["shut down", "abort", "close", "send"]))
    def interfere(self, which: int, how: str) -> None:
        """The server, or something outside of all turns."""
        found = sorted(connections(self.theater), key=lambda each: each._connection.id)
        connection = found[which % len(found)]
        match how:
            case "shut down":
                self.do(lambda: connection.shut_down(Reason.GOING_AWAY), 3)
            case "abort":
                self.do(connection.abort, 3)
            case "close":
                self.do(lambda: connection._connection.close(4002), 3)
            case _:
                self.do(lambda: connection._connection.send(Binary(bytes(5_000))), 3)

    # What must hold at any time

    @invariant()
    def events_begin_and_end_as_they_should(self) -> None:
        for events in self.seen.values():
            kinds = [type(event) for event in events]
            assert kinds[0] is Connected
            assert kinds.count(Connected) == 1
            assert Closed not in kinds[:-1]

    @invariant()
    def clients_hear_nothing_wrong_and_nothing_behind_the_end(self) -> None:
        for client in self.all:
            client.listen()

    @invariant()
    def failed_turns_have_sent_nothing(self) -> None:
        for client in self.all:
            assert Text("never") not in client.heard

    @invariant()
    def little_waits(self) -> None:
        for connection in connections(self.theater) if self.all else ():
            # What may, what a turn has sent before it was looked at, and what a batch was answered.
            assert connection.waiting < 50_000 + 10_000 + 2 * 80_000
            assert len(connection._machine._rest) <= 256 * 1024

    @invariant()
    def nothing_has_escaped(self) -> None:
        assert not self.problems.found

    def teardown(self) -> None:
        try:
            if self.all:
                self.finish()
        finally:
            logging.getLogger("theater.server").removeHandler(self.problems)
            logging.getLogger("theater.actor").setLevel(logging.NOTSET)
            if hasattr(self, "theater"):
                self.do(lambda: self.context.__aexit__(None, None, None))
                del self.theater, self.context  # Hypothesis keeps some of its machines
            self.all.clear()
            self.seen.clear()
            self.loop.close()

    def finish(self) -> None:
        """Nobody says anything any more, and everything has ended in bounded time."""
        for client in self.all:
            client.wire._other.split = None
        for _ in range(LONGEST):
            if nothing_kept(self.theater):
                break
            self.do(lambda: self.theater.clock.advance(1), 20)
        gc.collect(0)
        self.do(lambda: None, 5)
        assert nothing_kept(self.theater)
        self.nothing_has_escaped()
        self.events_begin_and_end_as_they_should()
        for events in self.seen.values():
            assert type(events[-1]) is Closed
        assert len(self.seen) == len([client for client in self.all if client.machine]) or not all(
            client.wire._reading for client in self.all
        )


TestConnection = ConnectionMachine.TestCase
TestConnection.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestConnection = pytest.mark.timeout(120)(TestConnection)
