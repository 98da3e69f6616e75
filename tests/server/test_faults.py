"""Hostile clients and broken networks, on real sockets."""

import asyncio
import statistics
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Any, Final

import msgspec
import pytest
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.server.actors import (
    Recorder,
    bulk,
    cell_of,
    closed,
    connections,
    dial_narrowly,
    narrow,
    nothing_kept,
    opened,
    recorder,
    resident,
    routed,
    stop_reading,
)
from tests.server.raw import Raw, client_frame, dial, handshake, until
from tests.server.served import pass_time, served

from theater import Accept, Actor, Binary, Closed, Connected, Connection, Error, Event, Received, Text
from theater.config import Manifest
from theater.contract import Stream, UpgradeRequest
from theater.limits import ConnectionLimits, Limits, SlowReader
from theater.runtime.ports import Batch, Deliveries, Reply
from theater.testing import Server, VirtualClock, serve

pytestmark = pytest.mark.usefixtures("quiet")

MIB: Final = 1024 * 1024
DEFLATE: Final = [("Sec-WebSocket-Extensions", "permessage-deflate")]


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Fails if this process has grown by more bytes in the end."""
    before = resident()
    yield
    assert resident() - before < size


# A client that never reads


class Room(Actor):
    """Sends 100 KB to everyone in the room, as often as it is asked to."""

    payload = Binary(b"\0" * 100_000)

    def handle_websocket(self, connection: Connection, event: Event) -> None:
        if event == Received(Text("go")):
            self.broadcast(self.payload, exclude=connection, key="latest")


async def enter(stack: AsyncExitStack, server: Server, room: str) -> Raw:
    raw = await stack.enter_async_context(dial(server.port))
    await raw.upgraded(handshake(f"GET /{room} HTTP/1.1"))
    return raw


async def deliver(feeder: Raw, members: list[Raw]) -> float:
    """One broadcast; seconds until all of these have it."""
    begun = time.perf_counter()
    feeder.write(client_frame(TEXT, b"go"))
    for member in members:
        first, payload = await member.frame()
        assert (first, len(payload)) == (0x82, 100_000)
    return time.perf_counter() - begun


@pytest.mark.parametrize("policy", ["close", "drop-oldest"])
async def test_100_mb_are_broadcast_to_a_room_with_one_who_never_reads(policy: SlowReader) -> None:
    """Its neighbours get everything as fast as those in a room without one.

    The bound of the ratio is 3 instead of 2, since the test shares its machine, and its process, with
    the clients; both rooms are served in turn so that what else happens there strikes both.
    """
    limits = Limits(slow_reader=policy, compression=False, message_rate=100_000)
    async with (
        serve(Room, path="/{room}", instance="{room}", limits=limits) as server,
        AsyncExitStack() as stack,
    ):
        slow = await stack.enter_async_context(dial_narrowly(server.port))
        await slow.upgraded(handshake("GET /slow HTTP/1.1"))
        [connection] = connections(server)
        narrow(connection)
        stop_reading(slow)
        rooms = {
            room: (await enter(stack, server, room), [await enter(stack, server, room) for _ in range(3)])
            for room in ("slow", "quick")
        }
        times: dict[str, list[float]] = {"slow": [], "quick": []}
        with no_more_than(32 * MIB):
            for number in range(1000):
                for room in sorted(rooms, reverse=bool(number % 2)):
                    times[room].append(await deliver(*rooms[room]))
                if number % 100 == 0:
                    assert connection.waiting < limits.max_send_queue + limits.send_high_water + 200_100
        assert connection._machine.may_send() is (policy == "drop-oldest")
        slowed, normal = (statistics.quantiles(times[room], n=100)[98] for room in ("slow", "quick"))
        assert slowed < 3 * normal


# Frames that announce more than they may


async def test_a_frame_header_of_1_gib_is_refused_at_once() -> None:
    actor = recorder()
    async with opened(actor) as (_, raw):
        with no_more_than(4 * MIB):
            raw.write(bytes((0x82, 0xFF)) + (1 << 30).to_bytes(8, "big") + bytes(4) + b"\0" * 1000)
            first, payload = await raw.frame()
        assert first == 0x88
        assert payload == b"\x03\xf1a message of 1,073,741,824 bytes, at most 1,048,576 are allowed"
        raw.writer.write_eof()
        assert await raw.rest() == b""
        await until(lambda: closed(actor))


async def test_fragments_that_announce_too_much_together_are_refused() -> None:
    async with opened(recorder()) as (_, raw):
        raw.write(client_frame(BINARY, b"\0", fin=False))
        raw.write(bytes((0x80, 0xFF)) + (MIB).to_bytes(8, "big") + bytes(4))
        first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xf1")


async def test_empty_fragments_without_end_are_refused() -> None:
    async with opened(recorder(), limits=Limits(message_rate=1e6)) as (_, raw):
        with no_more_than(8 * MIB):
            raw.write(
                client_frame(TEXT, b"", fin=False) + client_frame(CONTINUATION, b"", fin=False) * 100_000
            )
            first, payload = await raw.frame()
        assert (first, payload) == (0x88, b"\x03\xf0a message of more than 16,384 frames")


class Swallow(Recorder):
    """Reads streams, and keeps nothing of them."""

    size = 0

    async def handle_websocket(self, connection: Connection, event: Event) -> None:
        self.seen.append(event)
        match event:
            case Received(Stream() as stream):
                async for chunk in stream:
                    type(self).size += len(chunk)


async def test_a_frame_of_1_gib_on_a_streamed_path_takes_no_memory_until_it_comes() -> None:
    actor: type[Swallow] = recorder(Swallow)  # type: ignore[assignment]
    async with opened(routed(actor, stream=True)) as (server, raw):
        with no_more_than(8 * MIB):
            raw.write(bytes((0x82, 0xFF)) + (1 << 30).to_bytes(8, "big") + bytes(4))
            block = bytes(256 * 1024)
            for _ in range(64):
                raw.write(block)
                await raw.writer.drain()
            await until(lambda: actor.size == 64 * len(block))
        raw.reset()
        await until(lambda: closed(actor))
        await until(lambda: nothing_kept(server))


# Deflate bombs


@cache
def bomb(size: int) -> bytes:
    """So many zeros, compressed to about a thousandth."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeezer.compress(bytes(MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    assert size % MIB == 0
    return (block * (size // MIB))[:-4]


@asynccontextmanager
async def compressed(actor: Any, limits: Limits = Limits()) -> AsyncIterator[tuple[Server, Raw]]:
    """A connection with permessage-deflate."""
    async with serve(actor, limits=limits) as server, dial(server.port) as raw:
        answer = await raw.upgraded(handshake(extra=DEFLATE))
        assert answer.get("sec-websocket-extensions")
        yield server, raw
        raw.reset()
        await until(lambda: nothing_kept(server))


@pytest.mark.parametrize("limits", [Limits(), Limits(max_inflation=10**9), Limits(max_message=2**40)])
@pytest.mark.parametrize("fragment", [None, 100, 10_000])
async def test_a_bomb_does_not_go_off(limits: Limits, fragment: int | None) -> None:
    """Whether its size gives it away or its ratio, and however it comes."""
    actor = recorder()
    data = bomb(1024 * MIB) if fragment != 100 else bomb(64 * MIB)
    if fragment is None:
        wire = bulk(BINARY, data[:100_000], rsv=4)  # a hundred times as much may be kept of it
    else:
        pieces = [data[start : start + fragment] for start in range(0, len(data), fragment)]
        wire = bulk(BINARY, pieces[0], fin=False, rsv=4)
        wire += b"".join(bulk(CONTINUATION, piece, fin=False) for piece in pieces[1:])
        wire += bulk(CONTINUATION, b"")
    async with compressed(actor, limits) as (_, raw):
        begun = time.process_time()
        with no_more_than(16 * MIB):
            raw.write(wire)
            first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xf1")
        assert time.process_time() - begun < 1  # a gigabyte would take more
        raw.writer.write_eof()
        await until(lambda: closed(actor))
        assert [type(event) for event in actor.seen] == [Connected, Error, Closed]


async def test_a_bomb_on_a_streamed_path_does_not_go_off() -> None:
    actor: type[Swallow] = recorder(Swallow)  # type: ignore[assignment]
    async with compressed(routed(actor, stream=True)) as (_, raw):
        with no_more_than(16 * MIB):
            raw.write(bulk(BINARY, bomb(512 * MIB), rsv=4))
            first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xf1")
        assert actor.size <= 100 * len(bomb(512 * MIB))


class Repeater(Recorder):
    """Tells everyone what it was told."""

    def handle_websocket(self, connection: Connection, event: Event) -> None:
        match event:
            case Received(Text() | Binary() as message):
                self.broadcast(message, exclude=connection)


@pytest.mark.parametrize("extra", [[], DEFLATE], ids=["plain", "deflate"])
async def test_the_largest_bomb_that_may_be_does_little_when_it_is_broadcast(extra: Any) -> None:
    """1 MiB out of 1 KiB, ten times, for 60 who do not read: each has a queue of 1 MiB, those who can
    take it compressed need little of that, and what waits for several is the same."""
    async with compressed(recorder(Repeater)) as (server, raw), AsyncExitStack() as stack:
        for _ in range(60):
            member = await stack.enter_async_context(dial_narrowly(server.port))
            await member.upgraded(handshake(extra=extra))
            stop_reading(member)
        for connection in connections(server):
            narrow(connection)
        with no_more_than(80 * MIB if not extra else 8 * MIB):
            for number in range(1, 11):
                raw.write(bulk(BINARY, bomb(MIB), rsv=4))
                await until(lambda: cell_of(server).counters.messages_in == number)  # noqa: B023
        assert cell_of(server).counters.messages_out >= 60


# Pings at full speed


@pytest.mark.parametrize("reads", [True, False])
async def test_pings_at_full_speed_for_a_second(reads: bool) -> None:
    """They are read no faster than the rate allows, so others are served and little is kept."""
    actor = recorder()
    limits = Limits(message_rate=5000)
    async with opened(actor, limits=limits) as (server, raw), dial(server.port) as other:
        await other.upgraded()
        [flooder] = [
            each
            for each in connections(server)
            if each._transport.get_extra_info("peername")[1] == raw.writer.get_extra_info("sockname")[1]
        ]
        pings = client_frame(PING, b"x" * 8) * 1000
        served_ = 0

        async def flood() -> None:
            while True:
                raw.write(pings)
                await raw.writer.drain()

        async def read() -> None:
            while await raw.reader.read(1 << 16):
                pass

        if not reads:
            stop_reading(raw)
        with no_more_than(16 * MIB):
            begun = time.monotonic()
            tasks = [asyncio.create_task(flood()), *([asyncio.create_task(read())] if reads else [])]
            while time.monotonic() < begun + 1:
                other.write(client_frame(TEXT, b"hello"))
                assert await other.frame() == (0x81, b"hello")
                served_ += 1
            elapsed = time.monotonic() - begun
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        heard = cell_of(server).counters.messages_in - served_
        assert 1000 < heard < 5000 * (1 + elapsed) + 5000 / 16 + 64
        assert served_ > 100
        assert flooder.waiting < 2 * limits.send_high_water
        assert cell_of(server).counters.throttled
        raw.reset()


# The end, at every point of the life cycle


class Anything(Recorder):
    """Is slow at everything, so that each thing can be interrupted."""

    go: asyncio.Event

    async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        if request.path == "/undecided":
            await self.go.wait()
        return Accept()

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Text("wait")):
                await self.go.wait()
                return Text("too late")
            case Received(Text("flood")):
                for _ in range(20):
                    await connection.send_now(Binary(b"\0" * 100_000))
            case Received(Text("stream")):
                async with connection.stream() as stream:
                    await stream.write("one")
                    await self.go.wait()
                    await stream.write("two")
            case Received(Text("close")):
                connection.close(4000)
            case Received(Text("raise")):
                raise ValueError("by request")
            case Received(Stream() as stream_):
                async for _ in stream_:
                    pass
        return None

    async def handle_batch(self, batch: Deliveries) -> None:
        self.seen += [event for _, event in batch]


TEXT_FRAME: Final = client_frame(TEXT, b"a" * 300)

POINTS: dict[str, tuple[bytes, bytes]] = {  # the request, and what follows once it is answered
    "connected": (b"", b""),
    "in the head": (handshake()[:40], b""),
    "undecided": (handshake("GET /undecided HTTP/1.1"), b""),
    "with the head": (handshake(), b""),
    "refused": (handshake(without="Sec-WebSocket-Key"), b""),
    "open": (handshake(), b""),
    "in a frame's header": (handshake(), TEXT_FRAME[:3]),
    "in a payload": (handshake(), TEXT_FRAME[:-5]),
    "between fragments": (handshake(), client_frame(TEXT, b"a", fin=False)),
    "in a compressed message": (handshake(extra=DEFLATE), client_frame(TEXT, b"\xaa", fin=False, rsv=4)),
    "in a turn": (handshake(), client_frame(TEXT, b"wait")),
    "with messages waiting": (handshake(), client_frame(TEXT, b"wait") + TEXT_FRAME * 500),
    "behind an error": (handshake(), client_frame(TEXT, b"raise")),
    "congested": (handshake(), client_frame(TEXT, b"flood") * 3),
    "in a stream to it": (handshake(), client_frame(TEXT, b"stream")),
    "in a stream from it": (handshake("GET /stream HTTP/1.1"), client_frame(TEXT, b"a", fin=False)),
    "in a batch": (handshake("GET /batch HTTP/1.1"), TEXT_FRAME * 5),
    "too fast": (handshake("GET /rate HTTP/1.1"), TEXT_FRAME * 500),
    "closed by it": (handshake(), client_frame(CLOSE, b"\x03\xe8")),
    "closed by the server": (handshake(), client_frame(TEXT, b"close")),
    "closed by both": (handshake(), client_frame(TEXT, b"close") + client_frame(CLOSE, b"\x0f\xa0")),
    "at fault": (handshake(), client_frame(0x3)),
}  # fmt: skip
UNANSWERED = ("connected", "in the head", "undecided", "with the head")


def close_frame(raw: Raw) -> None:
    raw.write(client_frame(CLOSE, b"\x03\xe8"))


def half_close(raw: Raw) -> None:
    raw.writer.write_eof()


def nothing(raw: Raw) -> None:
    """It stays until the server has had enough."""


@pytest.mark.parametrize("end", [Raw.reset, half_close, close_frame, nothing], ids=lambda end: end.__name__)
@pytest.mark.parametrize("point", POINTS)
async def test_the_end_may_come_at_any_point(
    point: str, end: Callable[[Raw], None], caplog: pytest.LogCaptureFixture
) -> None:
    actor: type[Anything] = recorder(Anything)  # type: ignore[assignment]
    actor.go = asyncio.Event()
    request, behind = POINTS[point]
    limits = Limits(mailbox_high_water=10, mailbox_low_water=2, keep_alive=0.01)
    routes = [
        *routed(actor, "/").routes,
        *routed(actor, "/undecided").routes,
        *routed(actor, "/stream", stream=True).routes,
        *routed(actor, "/batch", batch=Batch(max_wait=0.01)).routes,
        *routed(actor, "/rate", limits=ConnectionLimits(message_rate=10)).routes,
    ]
    manifest = msgspec.structs.replace(Manifest.of(actor), routes=tuple(routes))
    clock = VirtualClock()
    async with (
        served(manifest, clock=clock, limits=limits) as server,
        dial_narrowly(server.port) as raw,
    ):
        raw.write(request)
        if point not in UNANSWERED:
            await raw.answer()
        if point in ("congested", "open"):
            stop_reading(raw)
        raw.write(behind)
        await asyncio.sleep(0.005)
        end(raw)
        await asyncio.sleep(0.005)
        actor.go.set()
        for _ in range(200):
            if nothing_kept(server):
                break
            clock.advance(0.5)
            await asyncio.sleep(0.001)
        else:
            pytest.fail("it has not ended within 100 s")
        assert not [record for record in caplog.records if record.name == "theater.server"]
        kinds = [type(event) for event in actor.seen]
        assert kinds.count(Connected) == kinds.count(Closed) <= 1
        if kinds:
            assert kinds[0] is Connected
            assert kinds[-1] is Closed


# Handlers that never return


async def test_a_handler_that_never_returns_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            self.seen.append(event)
            match event:
                case Received(Text("stick")):
                    connection.send(Text("never"))
                    await asyncio.Event().wait()
                case Received(Text("stubborn")):
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        await asyncio.sleep(0.05)
                        return Text("not quite never")
                case Received(Text() as message):
                    return message
            return None

    actor = recorder(Stuck)
    async with opened(actor, limits=Limits(handler_timeout=0.1)) as (server, raw):
        raw.write(client_frame(TEXT, b"stick") + client_frame(TEXT, b"next"))
        assert await raw.frame() == (0x81, b"next")
        assert actor.seen[2] == Error("HandlerTimeout: a handler of 'recorder' took longer than 0.1 s")
        assert len(caplog.records) == 1
        raw.write(client_frame(TEXT, b"stubborn") + client_frame(TEXT, b"next"))
        frames = [await raw.frame()]
        if frames != [(0x81, b"next")]:
            assert frames == [(0x81, b"not quite never")]
            assert await raw.frame() == (0x81, b"next")
        assert connections(server)


# Clients that are there no more


async def test_half_open_connections_are_found_out() -> None:
    """The other end's machine is gone, or its process hangs: nothing comes, not even an end."""
    actor = recorder()
    clock = VirtualClock()
    async with served(actor, clock=clock, limits=Limits()) as server, AsyncExitStack() as stack:
        for _ in range(20):
            raw = await stack.enter_async_context(dial(server.port))
            await raw.upgraded()
        alive = await stack.enter_async_context(dial(server.port))
        await alive.upgraded()
        for _ in range(5):
            for _ in range(10):
                await pass_time(clock, 1)
            alive.write(client_frame(PONG))
        await until(lambda: len(connections(server)) == 1)
        assert closed(actor) == [Closed(1006)] * 20
        assert actor.seen.count(Error("did not answer a ping within 20 s")) == 20
        alive.write(client_frame(TEXT, b"still here"))
        while True:
            first, payload = await alive.frame()
            if first != 0x89:
                break
        assert (first, payload) == (0x81, b"still here")
