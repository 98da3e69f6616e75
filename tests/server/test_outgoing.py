"""Sending, and clients that read slowly: with a kernel's buffers between where they matter, in memory
elsewhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from tests.protocol.wire import BINARY, CLOSE, PING, TEXT
from tests.server.actors import (
    Recorder,
    bare,
    cell_of,
    closed,
    connections,
    counting,
    dial_narrowly,
    narrow,
    nobody_left,
    nothing_kept,
    opened,
    read_again,
    recorder,
    stop_reading,
)
from tests.server.raw import Raw, client_frame, dial, handshake, settle, until

from theater import (
    Actor,
    Binary,
    Close,
    Closed,
    Connected,
    Connection,
    Error,
    Event,
    Message,
    Ping,
    Pong,
    Received,
    Text,
)
from theater.contract import Congested, Drained
from theater.errors import LocalError
from theater.limits import Limits, SlowReader
from theater.runtime.ports import Reply
from theater.testing import Server, serve, stage

pytestmark = pytest.mark.usefixtures("quiet")

PLAIN = Limits(compression=False)


# Writes


async def test_replies_to_one_read_leave_in_few_writes() -> None:
    async with stage(recorder()) as theater:
        connection = await theater.connect()
        written = counting(connection.server_wire)
        connection.wire.write(b"".join(client_frame(TEXT, b"%d" % number) for number in range(50)))
        assert [await connection.receive() for _ in range(50)] == [Text(str(number)) for number in range(50)]
        assert len(written) == 2  # no more than 32 wait for the others
        await connection.close()


class Talker(Actor):
    """Sends each kind of message in each way there is."""

    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        match event:
            case Received(Text("all")):
                connection.send(Ping(b"p"))
                self.broadcast(Binary(b"b"))
                return (message for message in (Text("t"), Pong(b"q")))
        return None


async def test_everything_of_one_turn_leaves_in_order_and_in_one_write() -> None:
    async with stage(Talker) as theater:
        client, sink = bare(theater)
        client.write(handshake())
        await until(lambda: connections(theater))
        written = counting(client._other)
        client.write(client_frame(TEXT, b"all"))
        await until(lambda: len(sink.frames) == 4)
        assert sink.frames == [(0x89, b"p"), (0x82, b"b"), (0x81, b"t"), (0x8A, b"q")]
        assert len(written) == 1
        client.abort()


async def test_replies_of_a_handler_that_waits_leave_in_order() -> None:
    class Later(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> list[Message]:
            await asyncio.sleep(0)
            return [Text("one"), Text("two")] if isinstance(event, Received) else []

    async with stage(Later) as theater:
        connection = await theater.connect()
        await connection.send(Text("go"))
        assert [await connection.receive(), await connection.receive()] == [Text("one"), Text("two")]
        await connection.close()


async def test_large_replies_are_not_joined() -> None:
    async with opened(recorder()) as (_, raw):
        big = bytes(range(256)) * 128
        raw.write(client_frame(BINARY, big) * 4)
        for _ in range(4):
            assert await raw.frame() == (0x82, big)


# Broadcast


async def test_broadcast_leaves_out_who_is_excluded_or_lacks_the_tag() -> None:
    class Room(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            match event:
                case Connected():
                    connection.tags = {connection.path[1:]}
                case Received(Text("others")):
                    self.broadcast(Text("others"), exclude=connection)
                case Received(Text("none")):
                    self.broadcast(Text("none"), exclude=self.connections.values())
                case Received(Text("red")):
                    self.broadcast(Text("red"), tag="red")
                case Received(Text("red others")):
                    self.broadcast(Text("red others"), tag="red", exclude=connection)
                case Received(Text("end")):
                    self.broadcast(Text("end"))
                case Received(Text("close")):
                    self.broadcast(Close(4004, "all out"))

    async with stage(Room, path="/{color}") as theater:
        red, also_red, blue = [await theater.connect(path) for path in ("/red", "/red", "/blue")]
        for text in ("others", "none", "red", "red others", "end", "close"):
            await red.send(Text(text))
        heard = []
        for member in (red, also_red, blue):
            heard.append([message async for message in member])
            assert member._machine.closed == Close(4004, "all out")
        assert heard == [
            [Text("red"), Text("end")],
            [Text("others"), Text("red"), Text("red others"), Text("end")],
            [Text("others"), Text("end")],
        ]
        await until(lambda: nobody_left(theater))


# Compression, as another implementation sees it


class Compressible(Recorder):
    """Says something compressible in the way it is asked to."""

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        self.seen.append(event)
        match event:
            case Received(Text("plain")):
                connection.send(Text("abc" * 10_000), compress=False)
            case Received(Text("all")):
                self.broadcast(Text("abc" * 10_000))
            case Received(Text("all plain")):
                self.broadcast(Text("abc" * 10_000), compress=False)
            case Received(Text() | Binary() as message):
                return message
        return None


@pytest.mark.parametrize("limits", [Limits(), Limits(compression_memory=0), Limits(compression_window=9)])
async def test_another_implementation_reads_and_writes_compressed_messages(limits: Limits) -> None:
    rng = random.Random(1)
    prose = [rng.randbytes(20_000).hex() * 3 for _ in range(2)]
    texts = ["short", prose[0], "", prose[1], prose[0]]
    data = rng.randbytes(50_000)
    async with (
        serve(recorder(), limits=limits) as server,
        websockets.connect(server.url(), compression="deflate") as client,
    ):
        [open_] = connections(server)
        assert open_._machine.deflate is not None
        for text in texts:
            await client.send(text)
            assert await client.recv() == text
        await client.send(data)
        assert await client.recv() == data
        counters = cell_of(server).counters
        assert counters.bytes_in < 300_000  # of 410,000
        assert counters.bytes_out < 300_000
        await client.send(iter(["abc" * 1000] * 5))  # compressed, in fragments
        assert await client.recv() == "abc" * 5000
    assert nothing_kept(server)


async def test_a_broadcast_goes_compressed_to_those_who_can_read_it() -> None:
    async with (
        serve(recorder(Compressible)) as server,
        websockets.connect(server.url(), compression="deflate") as one,
        websockets.connect(server.url(), compression="deflate") as two,
        websockets.connect(server.url(), compression=None) as three,
        dial(server.port) as raw,
    ):
        await raw.upgraded(
            handshake(
                extra=[
                    ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=9"),
                ]
            )
        )
        for client in (one, two, three):  # their contexts differ
            await client.send(f"{client.id}" * 100)
            assert await client.recv() == f"{client.id}" * 100
        for _ in range(2):
            await one.send("all")
            for client in (one, two, three):
                assert await client.recv() == "abc" * 10_000
            first, payload = await raw.frame()
            assert first == 0xC1
            assert len(payload) < 500
        await two.send("all plain")
        for client in (one, two, three):
            assert await client.recv() == "abc" * 10_000
        assert await raw.frame() == (0x81, b"abc" * 10_000)
        for client in (one, two, three):  # what is sent to each alone still fits its context
            await client.send(f"{client.id}" * 100)
            assert await client.recv() == f"{client.id}" * 100


async def test_a_message_may_be_left_uncompressed() -> None:
    async with serve(recorder(Compressible)) as server, dial(server.port) as raw:
        await raw.upgraded(handshake(extra=[("Sec-WebSocket-Extensions", "permessage-deflate")]))
        raw.write(client_frame(TEXT, b"plain") + client_frame(TEXT, b"abc" * 1000))
        assert await raw.frame() == (0x81, b"abc" * 10_000)
        first, payload = await raw.frame()
        assert first == 0xC1
        assert len(payload) < 100


# Slow readers, on sockets


def numbered(number: int, size: int = 10_000) -> bytes:
    """A message that knows its number."""
    return number.to_bytes(4, "big") * (size // 4)


class Feed(Recorder):
    """Sends to all but who tells it to; notes what happens to those at `/slow`."""

    number = 0

    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        if connection.path == "/slow":
            self.seen.append(event)
        match event:
            case Received(Text("feed")):
                type(self).number += 1
                self.broadcast(Binary(numbered(self.number)), key=f"{self.number % 3}", exclude=connection)
                return Text("fed")
            case Received(Text() as message):
                return message
        return None


class Scene:
    """A feed with a client that does not read, one that does, and one that feeds them."""

    def __init__(self, server: Server, slow: Raw, fast: Raw, feeder: Raw) -> None:
        self.server = server
        self.slow = slow
        self.fast = fast
        self.feeder = feeder
        self.most = 0  # bytes that have waited for the slow one

    async def feed(self, times: int) -> None:
        """Everybody but the slow one gets so many messages, each at once."""
        for _ in range(times):
            self.feeder.write(client_frame(TEXT, b"feed"))
            assert await self.feeder.frame() == (0x81, b"fed")
            first, _ = await self.fast.frame()
            assert first == 0x82
            self.most = max([self.most, *(each.waiting for each in connections(self.server))])

    async def heard(self, until_number: int | None = None) -> list[int]:
        """The numbers of the messages that the slow one finds, up to one or to the close frame."""
        read_again(self.slow)
        numbers: list[int] = []
        while not numbers or numbers[-1] != until_number:
            first, payload = await self.slow.frame()
            if first == 0x88:
                assert until_number is None
                return [*numbers, -int.from_bytes(payload[:2], "big")]
            number = int.from_bytes(payload[:4], "big")
            assert (first, payload) == (0x82, numbered(number))
            numbers.append(number)
        return numbers


@asynccontextmanager
async def scene(policy: SlowReader, **limits: Any) -> AsyncIterator[tuple[Scene, type[Feed]]]:
    """Sets it up; the slow one has stopped reading."""
    feed: type[Feed] = recorder(Feed)  # type: ignore[assignment]
    feed.number = 0
    found = Limits(slow_reader=policy, max_send_queue=100_000, compression=False, **limits)
    async with serve(feed, path="/{name}", limits=found) as server, dial_narrowly(server.port) as slow:
        await slow.upgraded(handshake("GET /slow HTTP/1.1"))
        [connection] = connections(server)
        narrow(connection)
        stop_reading(slow)
        async with dial(server.port) as fast, dial(server.port) as feeder:
            await fast.upgraded(handshake("GET /fast HTTP/1.1"))
            await feeder.upgraded(handshake("GET /feeder HTTP/1.1"))
            yield Scene(server, slow, fast, feeder), feed


AT_MOST = 100_000 + 64 * 1024 + 2 * 10_004  # queue, transport's high-water mark, a message past each


async def test_close_gives_a_slow_reader_up_with_1013() -> None:
    async with scene("close") as (play, feed):
        await play.feed(60)
        assert play.most < AT_MOST
        numbers = await play.heard()
        assert numbers == [*range(1, len(numbers)), -1013]
        assert 6 < len(numbers) < 40
        play.slow.write(client_frame(CLOSE, b"\x03\xf5"))
        await until(lambda: closed(feed))
        kinds = [type(event) for event in feed.seen if not isinstance(event, Drained)]
        assert kinds == [Connected, Congested, Error, Closed]
        assert "reads too slowly" in str(feed.seen)
        assert closed(feed) == [Closed(1013)]
        await play.feed(1)


async def test_close_drops_a_reader_that_never_reads_again() -> None:
    async with scene("close", close_timeout=0.2) as (play, feed):
        await play.feed(60)
        await until(lambda: closed(feed))
        assert [type(event) for event in feed.seen] == [Connected, Congested, Error, Closed]
        assert closed(feed) == [Closed(1006)]
        await play.feed(1)


async def catches_up(play: Scene, feed: type[Feed], last: int) -> None:
    """The slow reader, which has read all, is one like the others now."""
    await until(lambda: isinstance(feed.seen[-1], Drained))
    assert [type(event) for event in feed.seen] == [Connected, Congested, Drained]
    await play.feed(1)
    assert await play.heard(last + 1) == [last + 1]
    play.slow.write(client_frame(TEXT, b"still here"))
    assert await play.slow.frame() == (0x81, b"still here")


async def test_drop_oldest_keeps_what_is_new() -> None:
    async with scene("drop-oldest") as (play, feed):
        await play.feed(60)
        assert play.most < AT_MOST
        numbers = await play.heard(60)
        waited = 100_000 // 10_000
        assert numbers[-waited:] == list(range(61 - waited, 61))
        before = numbers[:-waited]  # what had left for the kernel
        assert before == list(range(1, len(before) + 1))
        assert cell_of(play.server).counters.messages_dropped == 60 - len(numbers) > 10
        await catches_up(play, feed, 60)


async def test_drop_newest_keeps_what_waits() -> None:
    async with scene("drop-newest") as (play, feed):
        await play.feed(60)
        assert play.most < AT_MOST
        reading = asyncio.create_task(play.heard(61))
        await until(lambda: isinstance(feed.seen[-1], Drained))
        await play.feed(1)
        numbers = await reading
        assert numbers == [*range(1, len(numbers)), 61]
        assert cell_of(play.server).counters.messages_dropped == 61 - len(numbers) > 10
        await catches_up(play, feed, 61)


async def test_keep_latest_keeps_one_of_each_key() -> None:
    async with scene("keep-latest") as (play, feed):
        await play.feed(60)
        [waiting] = [each.waiting for each in connections(play.server) if each.waiting]
        assert waiting < 64 * 1024 + 10_004 + 3 * 10_000
        assert play.most < AT_MOST
        reading = asyncio.create_task(play.heard(61))
        await until(lambda: isinstance(feed.seen[-1], Drained))
        await play.feed(1)
        numbers = await reading
        before = numbers[:-4]
        assert before == list(range(1, len(before) + 1))
        assert sorted(numbers[-4:]) == [58, 59, 60, 61]
        await catches_up(play, feed, 61)


async def test_keep_latest_gives_up_who_gets_too_many_different_things() -> None:
    class Many(Feed):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            if connection.path == "/slow":
                self.seen.append(event)
            if event == Received(Text("feed")):
                type(self).number += 1
                self.broadcast(Binary(numbered(self.number)), key=f"{self.number}", exclude=connection)
                return Text("fed")
            return None

    actor = recorder(Many)
    limits = Limits(slow_reader="keep-latest", max_send_messages=5, compression=False)
    async with stage(actor, path="/{name}", limits=limits) as theater:
        slow, feeder = await theater.connect("/slow"), await theater.connect("/feeder")
        slow.wire.pause_reading()
        for _ in range(20):
            await feeder.send(Text("feed"))
            assert await feeder.receive() == Text("fed")
        slow.wire.resume_reading()
        assert len([message async for message in slow]) == 7  # of the transport
        await until(lambda: closed(actor))
        assert closed(actor) == [Closed(1013)]
        await feeder.close()


class Blocking(Recorder):
    """One actor for each connection; sends without end, as fast as the client reads."""

    sent = 0

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Text("flood")):
                for number in range(100):
                    await connection.send_now(Binary(numbered(number)))
                    type(self).sent += 1
                return Text("flooded")
            case Received(Text() as message):
                return message
        return None


async def test_block_makes_only_the_sender_wait() -> None:
    actor: type[Blocking] = recorder(Blocking)  # type: ignore[assignment]
    limits = Limits(slow_reader="block", max_send_queue=100_000, compression=False)
    async with (
        serve(actor, path="/{name}", instance="{name}", limits=limits) as server,
        dial_narrowly(server.port) as slow,
    ):
        await slow.upgraded(handshake("GET /slow HTTP/1.1"))
        [connection] = connections(server)
        narrow(connection)
        stop_reading(slow)
        slow.write(client_frame(TEXT, b"flood"))
        await until(lambda: connection.waiting > 64 * 1024)
        async with dial(server.port) as other:
            await other.upgraded(handshake("GET /other HTTP/1.1"))
            for _ in range(100):
                other.write(client_frame(TEXT, b"hello"))
                assert await other.frame() == (0x81, b"hello")
        sent = actor.sent
        assert sent < 40
        assert connection.waiting < AT_MOST
        read_again(slow)
        for number in range(100):
            assert await slow.frame() == (0x82, numbered(number))
        assert await slow.frame() == (0x81, b"flooded")
        slow.write(client_frame(TEXT, b"after"))
        assert await slow.frame() == (0x81, b"after")


async def test_block_gives_up_whoever_is_sent_to_without_waiting() -> None:
    async with scene("block") as (play, _):
        await play.feed(60)
        numbers = await play.heard()
        assert numbers == [*range(1, len(numbers)), -1013]


class Prose(Recorder):
    """Tells all others a story, of which half can be compressed."""

    number = 0
    rng = random.Random(2)

    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        if connection.path == "/slow":
            self.seen.append(event)
        if event == Received(Text("feed")):
            type(self).number += 1
            text = f"{self.number} " + self.rng.randbytes(5000).hex()
            self.broadcast(Text(text), key=f"{self.number % 3}", exclude=connection)
            for other in self.connections.values():
                if other is not connection:
                    other.send(Text(text), key=f"own {self.number % 3}")
            return Text("fed")
        return None


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest", "keep-latest"])
async def test_messages_left_out_do_not_harm_a_compressed_connection(policy: SlowReader) -> None:
    """What waits is compressed when it leaves, so the contexts of both ends stay the same."""
    actor: type[Prose] = recorder(Prose)  # type: ignore[assignment]
    limits = Limits(slow_reader=policy, max_send_queue=100_000)
    async with (
        serve(actor, path="/{name}", limits=limits) as server,
        websockets.connect(server.url("/slow"), compression="deflate", max_queue=1) as slow,
    ):
        narrow(connections(server)[0])
        slow.transport.pause_reading()
        async with websockets.connect(server.url("/feeder"), compression="deflate") as feeder:

            async def feed(times: int) -> None:
                for _ in range(times):
                    await feeder.send("feed")
                    assert await feeder.recv() == "fed"

            async def heard() -> list[int]:
                numbers: list[int] = []
                while not numbers or numbers[-1] != 1001:
                    numbers.append(int(str(await slow.recv()).partition(" ")[0]))
                return numbers

            await feed(1000)
            assert cell_of(server).counters.messages_dropped > 100
            slow.transport.resume_reading()
            reading = asyncio.create_task(heard())
            await until(lambda: isinstance(actor.seen[-1], Drained))
            await feed(1)
            numbers = await reading
            assert numbers == sorted(numbers) or policy == "keep-latest"
            assert len(numbers) < 2000
            assert await slow.recv()  # its own copy of the last
            assert not closed(actor)
    await until(lambda: nothing_kept(server))


# Slow readers, in memory


async def test_client_that_never_reads_again_is_dropped_after_the_deadline() -> None:
    actor = recorder()
    async with stage(
        actor, limits=Limits(max_send_queue=100_000, close_timeout=5, compression=False)
    ) as theater:
        slow = await theater.connect()
        slow.wire.pause_reading()
        [open_] = connections(theater)
        for _ in range(3):
            open_.send(Binary(b"\0" * 80_000))
        await settle()
        assert not closed(actor)
        theater.clock.advance(5.1)
        await until(lambda: nobody_left(theater))
    assert closed(actor) == [Closed(1006)]


async def test_who_does_not_read_is_not_read_until_it_does() -> None:
    actor = recorder()
    async with stage(actor, limits=PLAIN) as theater:
        connection = await theater.connect()
        connection.wire.pause_reading()
        payloads = [bytes([number]) * 30_000 for number in range(20)]
        for payload in payloads:
            connection.wire.write(client_frame(BINARY, payload))
        await settle()
        assert 3 < len(actor.seen) < 10
        assert not connection.server_wire.is_reading()
        connection.wire.resume_reading()
        assert [await connection.receive() for _ in payloads] == [Binary(payload) for payload in payloads]
        assert [event for event in actor.seen if isinstance(event, Received)] == [
            Received(Binary(payload)) for payload in payloads
        ]
        await connection.close()


async def test_marks_of_the_send_queue_are_events() -> None:
    actor = recorder()
    limits = Limits(compression=False, send_high_water=10_000, send_low_water=2000)
    async with stage(actor, limits=limits) as theater:
        client, sink = bare(theater)
        client.write(handshake())
        await until(lambda: sink.data)
        [open_] = connections(theater)
        client.pause_reading()
        for _ in range(9):
            open_.send(Binary(b"\0" * 1000))
        assert actor.seen == [Connected()]
        assert open_.waiting == 9 * 1004
        for _ in range(11):
            open_.send(Binary(b"\0" * 1000))
        assert actor.seen == [Connected(), Congested(10 * 1004)]
        assert open_.waiting == 10 * 1004 + 10 * 1000  # what waits has no header yet
        client.resume_reading()
        await settle()
        assert actor.seen == [Connected(), Congested(10 * 1004), Drained()]
        assert len(sink.frames) == 20
        assert open_.waiting == 0
        client.abort()


async def test_drained_waits_until_nothing_waits() -> None:
    notes: list[str] = []

    class Patient(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            if isinstance(event, Received):
                await connection.drained()
                notes.append("nothing to wait for")
                await connection.send_now(Binary(b"\0" * 70_000))
                await connection.send_now(Binary(b"\0" * 70_000))
                notes.append("sent")
                await connection.drained()
                notes.append(f"drained, {connection.waiting} bytes wait")

    actor = recorder(Patient)
    async with stage(actor, limits=PLAIN) as theater:
        client, _ = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"go"))
        client.pause_reading()
        await until(lambda: len(notes) == 2)
        await settle()
        assert notes == ["nothing to wait for", "sent"]
        client.resume_reading()
        await until(lambda: len(notes) == 3)
        assert notes[2] == "drained, 0 bytes wait"
        await settle()
        # That it was congested, and is no more, is no news when its turn is over.
        assert [type(event) for event in actor.seen] == [Connected, Received]
        client.abort()


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_who_waits_for_a_client_that_goes_is_told(how: str) -> None:
    waited: list[str] = []

    class Patient(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            if isinstance(event, Received):
                await connection.send_now(Binary(b"\0" * 70_000))
                await connection.send_now(Binary(b"\0" * 70_000))
                await connection.drained()
                waited.append("in vain")

    actor = recorder(Patient)
    limits = Limits(compression=False, ping_interval=10)
    async with stage(actor, limits=limits) as theater:
        client, _ = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"go"))
        client.pause_reading()
        await until(lambda: connections(theater) and connections(theater)[0].waiting > 100_000)
        assert not waited
        if how == "reset":
            client.abort()
        else:
            connections(theater)[0].abort()
        await until(lambda: closed(actor))
        assert waited == ["in vain"]


async def test_a_close_stands_behind_what_waits() -> None:
    class Leaver(Recorder):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            if isinstance(event, Received):
                for number in range(3):
                    connection.send(Binary(bytes([number]) * 50_000))
                connection.close(4000, "that was all")

    actor = recorder(Leaver)
    async with stage(actor, limits=PLAIN) as theater:
        client, sink = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"go"))
        client.pause_reading()
        await settle()
        connections(theater)[0].send(Text("too late"))
        client.resume_reading()
        await settle()
        assert [(first, len(payload)) for first, payload in sink.frames] == [
            (0x82, 50_000),
            (0x82, 50_000),
            (0x82, 50_000),
            (0x88, 14),
        ]
        client.write(client_frame(CLOSE, b"\x0f\xa0"))
        await until(lambda: closed(actor))
        assert closed(actor) == [Closed(4000)]


# Streams to a client


class Streamer(Recorder):
    """Sends streams of several kinds."""

    step: asyncio.Event

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Text("text")):
                async with connection.stream() as stream:
                    for word in ("one ", "two ", "é"):
                        await stream.write(word)
            case Received(Text("nothing")):
                async with connection.stream():
                    pass
            case Received(Text("slowly")):
                async with connection.stream() as stream:
                    await stream.write(b"one")
                    await self.step.wait()
                    await stream.write(b"two")
            case Received(Text("fail")):
                async with connection.stream() as stream:
                    await stream.write("half of it")
                    raise ValueError("the source has ended")
            case Received(Text("mixed")):
                async with connection.stream() as stream:
                    await stream.write("text")
                    await stream.write(b"bytes")
            case Received(Text("much")):
                async with connection.stream() as stream:
                    for _ in range(1000):
                        await stream.write(b"\0" * 16_000)
            case Received(Text("two")):
                async with connection.stream() as stream:
                    await stream.write("one ")
                    with pytest.raises(LocalError, match="another message is going out"):
                        async with connection.stream():
                            pass
            case Received(Text("behind")):
                await connection.send_now(Binary(b"\1" * 70_000))
                await connection.send_now(Binary(b"\2" * 70_000))
                async with connection.stream() as stream:
                    await stream.write(b"\3")
            case Received(Text() as message):
                return message
        return None


def streamer() -> type[Recorder]:
    actor: type[Streamer] = recorder(Streamer)  # type: ignore[assignment]
    actor.step = asyncio.Event()
    return actor


async def test_a_stream_goes_out_in_fragments() -> None:
    async with opened(streamer()) as (_, raw):
        raw.write(client_frame(TEXT, b"text"))
        found = [await raw.frame() for _ in range(4)]
        assert found == [(0x01, b"one "), (0x00, b"two "), (0x00, "é".encode()), (0x80, b"")]
        raw.write(client_frame(TEXT, b"nothing"))
        assert await raw.frame() == (0x82, b"")


async def test_a_stream_is_one_message_for_another_implementation() -> None:
    async with (
        serve(streamer()) as server,
        websockets.connect(server.url(), compression="deflate", max_size=None) as client,
    ):
        await client.send("text")
        assert await client.recv() == "one two é"
        await client.send("much")
        assert await client.recv() == b"\0" * 16_000_000
        await client.send("done")
        assert await client.recv() == "done"


async def test_control_frames_go_between_fragments_and_messages_behind_the_last() -> None:
    actor = streamer()
    async with opened(actor) as (server, raw), dial(server.port) as other:
        await other.upgraded()
        raw.write(client_frame(TEXT, b"slowly"))
        assert await raw.frame() == (0x02, b"one")
        raw.write(client_frame(PING, b"now"))
        assert await raw.frame() == (0x8A, b"now")
        mine = next(each for each in connections(server) if each._streaming)
        mine.send(Ping(b"later"))
        mine.send(Text("behind"))
        for each in connections(server):
            each.send(Text("to all"))
        assert await other.frame() == (0x81, b"to all")
        actor.step.set()  # type: ignore[attr-defined]
        found = [await raw.frame() for _ in range(5)]
        assert found == [
            (0x00, b"two"),
            (0x80, b""),
            (0x89, b"later"),
            (0x81, b"behind"),
            (0x81, b"to all"),
        ]
        raw.write(client_frame(TEXT, b"after"))
        assert await raw.frame() == (0x81, b"after")


async def test_a_stream_that_fails_closes_the_connection_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    actor = streamer()
    async with opened(actor) as (_, raw):
        raw.write(client_frame(TEXT, b"fail"))
        assert await raw.frame() == (0x01, b"half of it")
        assert await raw.frame() == (0x88, b"\x03\xf3")  # and nothing about why
        raw.write(client_frame(CLOSE, b"\x03\xf3"))
        assert await raw.rest() == b""
        await until(lambda: closed(actor))
    assert actor.seen[2:] == [Error("ValueError: the source has ended"), Closed(1011)]
    assert len(caplog.records) == 1


async def test_a_stream_of_two_kinds_fails(caplog: pytest.LogCaptureFixture) -> None:
    actor = streamer()
    async with opened(actor) as (_, raw):
        raw.write(client_frame(TEXT, b"mixed"))
        assert await raw.frame() == (0x01, b"text")
        assert await raw.frame() == (0x88, b"\x03\xf3")
    await until(lambda: closed(actor))
    assert "InvalidMessage" in str(actor.seen[2])
    assert caplog.records


async def test_one_stream_at_a_time() -> None:
    async with opened(streamer()) as (_, raw):
        raw.write(client_frame(TEXT, b"two"))
        assert [await raw.frame(), await raw.frame()] == [(0x01, b"one "), (0x80, b"")]


async def test_a_stream_stands_behind_what_waits() -> None:
    async with stage(streamer(), limits=PLAIN) as theater:
        client, sink = bare(theater)
        client.write(handshake() + client_frame(TEXT, b"behind"))
        client.pause_reading()
        await settle()
        client.resume_reading()
        await settle()
        assert [(first, payload[:1]) for first, payload in sink.frames] == [
            (0x82, b"\1"),
            (0x82, b"\2"),
            (0x02, b"\3"),
            (0x80, b""),
        ]
        client.abort()


async def test_a_stream_waits_for_its_client_and_for_nobody_else() -> None:
    actor = streamer()
    async with (
        serve(actor, path="/{name}", instance="{name}", limits=PLAIN) as server,
        dial_narrowly(server.port) as slow,
        dial(server.port) as other,
    ):
        await slow.upgraded(handshake("GET /slow HTTP/1.1"))
        [connection] = connections(server)
        narrow(connection)
        await other.upgraded(handshake("GET /other HTTP/1.1"))
        stop_reading(slow)
        slow.write(client_frame(TEXT, b"much"))
        await until(lambda: connection.waiting > 64 * 1024)
        for _ in range(50):
            other.write(client_frame(TEXT, b"hello"))
            assert await other.frame() == (0x81, b"hello")
            assert connection.waiting < 64 * 1024 + 2 * 16_004
        read_again(slow)
        total = 0
        while total < 16_000_000:
            _, payload = await slow.frame()
            total += len(payload)
        assert await slow.frame() == (0x80, b"")
        slow.write(client_frame(TEXT, b"after"))
        assert await slow.frame() == (0x81, b"after")
        # Whoever sends a stream is held back by `write`, and need not be told.
        assert {type(event) for event in actor.seen} == {Connected, Received}


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_stream_to_a_client_that_has_gone_ends_with_its_handler(how: str) -> None:
    """Even one that would go on for ever leaves others their turns."""
    turns = 0

    class Endless(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            nonlocal turns
            self.seen.append(event)
            if isinstance(event, Received):
                async with connection.stream() as stream:
                    while True:
                        await stream.write(b"\0" * 1000)
                        turns += 1

    actor = recorder(Endless)
    limits = Limits(handler_timeout=0.3, drain_timeout=2)
    async with opened(actor, limits=limits) as (server, raw):
        raw.write(client_frame(TEXT, b"go"))
        await raw.frame()
        if how == "reset":
            raw.reset()
        else:
            raw.write(client_frame(CLOSE, b"\x03\xe8"))
        async with dial(server.port) as other:
            await other.upgraded()  # the loop is not blocked
        await until(lambda: closed(actor))
        assert turns


async def test_a_stream_to_a_fast_reader_leaves_others_their_turns() -> None:
    rounds = 0

    class Endless(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received):
                async with connection.stream() as stream:
                    for _ in range(500):  # the transport takes it all
                        await stream.write(b"\0")

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async with opened(Endless) as (_, raw):
        counting_rounds = asyncio.create_task(count())
        raw.write(client_frame(TEXT, b"go"))
        while (await raw.frame())[0] != 0x80:
            pass
        counting_rounds.cancel()
        assert rounds > 400
