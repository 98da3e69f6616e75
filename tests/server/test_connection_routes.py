"""What a route may ask for: answers without the actor, messages as streams, events in batches."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT
from tests.server.actors import (
    Recorder,
    bare,
    bulk,
    cell_of,
    closed,
    connections,
    entered,
    later,
    nobody_left,
    nothing_kept,
    opened,
    recorder,
    routed,
)
from tests.server.raw import Raw, client_frame, dial, handshake, settle, until

from theater import (
    Actor,
    Binary,
    Closed,
    Connected,
    Connection,
    Error,
    Event,
    Ping,
    Received,
    Text,
)
from theater.contract import Stream
from theater.errors import ConnectionEnded
from theater.limits import Limits, RateAction
from theater.runtime.ports import Batch, Deliveries, Reply
from theater.testing import serve, stage

pytestmark = pytest.mark.usefixtures("quiet")


# Answers


async def test_answers_do_not_wake_the_actor() -> None:
    go = asyncio.Event()

    class Busy(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            self.seen.append(event)
            if isinstance(event, Received):
                await go.wait()
            return None

    actor = recorder(Busy)
    manifest = routed(actor, answers={"ping": "pong", "é": "ü" * 500})
    async with opened(manifest) as (server, raw):
        raw.write(client_frame(TEXT, b"wait"))
        await until(lambda: len(actor.seen) == 2)
        for _ in range(3):
            raw.write(client_frame(TEXT, b"ping") + client_frame(TEXT, "é".encode()))
            assert await raw.frame() == (0x81, b"pong")
            assert await raw.frame() == (0x81, ("ü" * 500).encode())
        raw.write(client_frame(BINARY, b"ping") + client_frame(TEXT, b"ping!"))
        go.set()
        await until(lambda: len(actor.seen) == 4)
        assert actor.seen[2:] == [Received(Binary(b"ping")), Received(Text("ping!"))]
        counters = cell_of(server).counters
        assert (counters.messages_in, counters.messages_out) == (9, 6)


async def test_answers_count_for_the_rate_and_as_messages() -> None:
    manifest = routed(recorder(), answers={"ping": "pong"})
    limits = Limits(message_rate=10, message_burst=5, rate_action="drop", idle_timeout=10)
    async with entered(manifest, limits=limits) as (theater, client, sink):
        client.write(client_frame(TEXT, b"ping") * 10)
        await settle()
        assert sink.frames == [(0x81, b"pong")] * 5
        for _ in range(5):
            await later(theater, 8)
            client.write(client_frame(TEXT, b"ping"))
            await settle()
        assert sink.frames == [(0x81, b"pong")] * 10


# Streams from a client


class Reader(Recorder):
    """Reads streams as a text before it says; tells how many chunks of what size there were."""

    chunks: list[str | bytes]
    go: asyncio.Event
    ended: list[BaseException]

    async def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        self.seen.append(event)
        match event:
            case Received(Stream() as stream):
                try:
                    return await self.read(connection, stream)
                except BaseException as error:
                    self.ended.append(error)
                    raise
        return None

    async def read(self, connection: Connection, stream: Stream) -> Reply:
        found: list[str | bytes] = []
        if connection.path != "/eager":
            await self.go.wait()
        if connection.path == "/not":
            return Text("not read")
        async for chunk in stream:
            assert chunk
            assert isinstance(chunk, str) is stream.is_text
            found.append(chunk)
            if connection.path == "/some":
                return Text("read some")
            if connection.path == "/fail":
                raise ValueError("by request")
        self.chunks.extend(found)
        return Text(f"{sum(map(len, found))}")


def reader(path: str = "/{how}") -> tuple[type[Reader], Any]:
    actor = type("Reader", (Reader,), {"seen": [], "chunks": [], "go": asyncio.Event(), "ended": []})
    return actor, routed(actor, path, "{how}", stream=True)


@asynccontextmanager
async def reading(
    how: str, limits: Limits = Limits(), deflate: bool = False
) -> AsyncIterator[tuple[type[Reader], Raw, Any]]:
    """A server with a reader, and a connection to it."""
    actor, manifest = reader()
    extra = [("Sec-WebSocket-Extensions", "permessage-deflate")] if deflate else []
    async with serve(manifest, limits=limits) as server, dial(server.port) as raw:
        await raw.upgraded(handshake(f"GET /{how} HTTP/1.1", extra=extra))
        yield actor, raw, server
        if not raw.writer.is_closing():
            raw.reset()
        await until(lambda: nothing_kept(server))


async def test_a_stream_of_one_huge_frame() -> None:
    async with reading("eager") as (actor, raw, _):
        data = random.Random(3).randbytes(3_000_000)
        raw.write(bulk(BINARY, data))
        assert await raw.frame() == (0x81, b"3000000")
        assert b"".join(actor.chunks) == data  # type: ignore[arg-type]
        assert max(map(len, actor.chunks)) <= 256 * 1024


async def test_a_stream_of_many_fragments_with_text_cut_anywhere() -> None:
    text = "aé€😀" * 10_000
    data = text.encode()
    frames = [client_frame(TEXT, data[:1001], fin=False)]
    for start in range(1001, len(data), 1001):
        frames.append(client_frame(PING, b"%d" % start) if start % 3 == 0 else b"")
        frames.append(client_frame(CONTINUATION, data[start : start + 1001], fin=False))
    async with reading("eager") as (actor, raw, _):
        raw.write(b"".join(frames) + client_frame(CONTINUATION))
        while True:
            first, payload = await raw.frame()
            if first != 0x8A:
                break
        assert (first, payload) == (0x81, b"%d" % len(text))
        assert "".join(actor.chunks) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_stream_of_another_implementation(compression: str | None) -> None:
    actor, manifest = reader()
    async with (
        serve(manifest) as server,
        websockets.connect(server.url("/eager"), compression=compression) as client,
    ):
        rng = random.Random(5)
        parts = [rng.randbytes(3000).hex() for _ in range(300)]
        await client.send(parts)
        assert await client.recv() == "1800000"
        assert "".join(actor.chunks) == "".join(parts)  # type: ignore[arg-type]
        await client.send("short")
        assert await client.recv() == "5"


async def test_a_stream_that_nobody_reads_holds_its_client_back() -> None:
    async with reading("later") as (actor, raw, server):
        raw.write(bulk(BINARY, b"\0" * 20_000_000))
        await until(lambda: len(actor.seen) == 2)
        [connection] = connections(server)
        await until(lambda: connection._paused)
        before = connection._streamed
        await asyncio.sleep(0.05)
        assert connection._streamed == before < 2 * 256 * 1024
        assert raw.writer.transport.get_write_buffer_size() > 0
        actor.go.set()
        assert await raw.frame() == (0x81, b"20000000")


@pytest.mark.parametrize("how", ["not", "some"])
async def test_the_rest_of_a_stream_is_thrown_away_with_its_turn(how: str) -> None:
    async with reading(how) as (actor, raw, server):
        raw.write(bulk(BINARY, b"\0" * 500_000, fin=False))
        await until(lambda: len(actor.seen) == 2)
        actor.go.set()
        assert await raw.frame() == (0x81, b"not read" if how == "not" else b"read some")
        raw.write(bulk(CONTINUATION, b"\0" * 2_000_000))
        raw.write(client_frame(TEXT, b"next"))
        assert await raw.frame() == (0x81, b"not read" if how == "not" else b"read some")
        assert connections(server)[0]._streamed == 0


async def test_a_handler_that_fails_in_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    async with reading("fail") as (actor, raw, _):
        actor.go.set()
        raw.write(bulk(BINARY, b"\0" * 2_000_000))
        raw.write(client_frame(TEXT, b"next"))
        await until(lambda: len(actor.seen) == 5)
        kinds = [type(event) for event in actor.seen]
        assert kinds == [Connected, Received, Error, Received, Error]
        assert actor.seen[2] == Error("ValueError: by request")
        assert len(caplog.records) == 2
        raw.write(client_frame(CLOSE, b"\x03\xe8"))
        assert await raw.rest() == b"\x88\x02\x03\xe8"


@pytest.mark.parametrize("end", ["reset", "half-close", "close", "fault"])
async def test_a_stream_whose_connection_ends(end: str, caplog: pytest.LogCaptureFixture) -> None:
    async with reading("eager", Limits(close_timeout=0.2)) as (actor, raw, _):
        raw.write(client_frame(BINARY, b"\0" * 100_000, fin=False))
        await until(lambda: len(actor.seen) == 2)
        await asyncio.sleep(0.01)
        match end:
            case "reset":
                raw.reset()
            case "half-close":
                raw.writer.write_eof()
            case "close":
                raw.write(client_frame(CLOSE, b"\x0f\xa0over"))
            case _:
                raw.write(client_frame(TEXT, b"another"))
        await until(lambda: closed(actor))
        [error] = actor.ended
        assert isinstance(error, ConnectionEnded)
        code = {"close": 4000, "fault": 1002}.get(end, 1006)
        assert error.code == code
        assert closed(actor)[0].code == code
        assert [type(event) for event in actor.seen][:2] == [Connected, Received]


async def test_a_stream_larger_than_may_be_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with reading("eager", Limits(max_stream=1000)) as (actor, raw, _):
        raw.write(client_frame(BINARY, b"\0" * 600, fin=False) + client_frame(CONTINUATION, b"\0" * 401))
        first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xf1")
        raw.writer.write_eof()
        await until(lambda: closed(actor))
        problem = "a message of 1,001 bytes, at most 1,000 are allowed"
        assert closed(actor) == [Closed(1009, problem)]
        assert Error(problem) in actor.seen
        assert [type(error) for error in actor.ended] == [ConnectionEnded]


async def test_messages_behind_a_stream_come_in_order() -> None:
    async with reading("later") as (actor, raw, _):
        raw.write(
            client_frame(TEXT, b"one")
            + client_frame(PING, b"!")
            + client_frame(BINARY, b"\0" * 4000)
            + client_frame(TEXT, b"three", fin=False)
        )
        assert await raw.frame() == (0x8A, b"!")
        actor.go.set()
        assert await raw.frame() == (0x81, b"3")
        assert await raw.frame() == (0x81, b"4000")
        raw.write(client_frame(CONTINUATION, b"!"))
        assert await raw.frame() == (0x81, b"6")
        assert [type(event.message) for event in actor.seen if isinstance(event, Received)][1] is Ping


async def test_each_chunk_gives_a_handler_its_time_anew() -> None:
    actor, manifest = reader()
    limits = Limits(handler_timeout=30, ping_interval=10_000, idle_timeout=10_000, compression=False)
    async with stage(manifest, limits=limits) as theater:
        client, sink = bare(theater)
        client.write(handshake("GET /eager HTTP/1.1") + client_frame(TEXT, b"0", fin=False))
        await settle()
        for _ in range(10):
            await later(theater, 20)
            client.write(client_frame(CONTINUATION, b"x", fin=False))
            await settle()
        assert len(actor.seen) == 2
        client.write(client_frame(CONTINUATION))
        await settle()
        assert sink.frames == [(0x81, b"11")]
        client.write(client_frame(TEXT, b"0", fin=False))
        await settle()
        await later(theater, 32)
        assert "took longer than 30 s" in str(actor.seen[-1])
        client.abort()


@pytest.mark.parametrize("action", ["delay", "drop"])
async def test_streams_keep_to_the_rate_of_bytes(action: RateAction) -> None:
    """No part of a message can be left out, so `drop` delays, too."""
    _, manifest = reader()
    limits = Limits(byte_rate=100_000, byte_burst=100_000, rate_action=action, ping_interval=1000)
    async with stage(manifest, limits=limits) as theater:
        client, sink = bare(theater)
        client.write(handshake("GET /eager HTTP/1.1"))
        await settle()
        client._other.split = 10_000
        client.write(bulk(BINARY, b"\0" * 1_000_000))
        await settle()
        await later(theater, 8)
        assert not sink.frames
        for _ in range(20):
            await later(theater, 0.1)
        assert sink.frames == [(0x81, b"1000000")]
        client.abort()


# Batches


class Gatherer(Actor):
    """Notes batches, and echoes what is in them."""

    batches: list[list[Event]]

    def handle_batch(self, batch: Deliveries) -> None:
        self.batches.append([event for _, event in batch])
        for connection, event in batch:
            match event:
                case Received(Text("fail")):
                    raise ValueError("by request")
                case Received(Text() as message):
                    connection.send(message)


def gatherer(batch: Batch) -> tuple[type[Gatherer], Any]:
    actor = type("Gatherer", (Gatherer,), {"batches": []})
    return actor, routed(actor, batch=batch)


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_batches_have_all_events_in_order(compression: str | None) -> None:
    actor, manifest = gatherer(Batch(max_messages=50))
    async with serve(manifest) as server:
        async with (
            websockets.connect(server.url(), compression=compression) as one,
            websockets.connect(server.url(), compression=compression) as two,
        ):
            texts = [f"{number} " + "x" * 2000 * (number % 7 == 0) for number in range(500)]
            for text in texts:
                await asyncio.gather(one.send(text), two.send(text))
            assert [await one.recv() for _ in texts] == texts
            assert [await two.recv() for _ in texts] == texts
        await until(lambda: nothing_kept(server))
    events = [event for batch in actor.batches for event in batch]
    assert len(events) == 2 + 1000 + 2
    assert events[0] == Connected()
    assert events[-1] == Closed(1000)
    assert max(map(len, actor.batches)) <= 50
    assert len(actor.batches) < 1000


async def test_events_of_one_read_are_one_batch() -> None:
    actor, manifest = gatherer(Batch())
    async with opened(manifest) as (_, raw):
        await until(lambda: actor.batches)
        raw.write(client_frame(TEXT, b"x") * 30)
        assert [await raw.frame() for _ in range(30)] == [(0x81, b"x")] * 30
    assert [len(batch) for batch in actor.batches[:2]] == [1, 30]


async def test_a_batch_waits_for_others_no_longer_than_it_may() -> None:
    actor, manifest = gatherer(Batch(max_messages=10, max_wait=0.5))
    async with entered(manifest) as (theater, client, _):
        await later(theater, 1)
        assert actor.batches == [[Connected()]]
        for number in range(3):
            client.write(client_frame(TEXT, b"%d" % number))
            await settle()
            await later(theater, 0.2)
        assert actor.batches[1:] == [[Received(Text(f"{number}")) for number in range(3)]]
        client.write(client_frame(TEXT, b"x") * 25)
        await settle()
        assert list(map(len, actor.batches[2:]))[:2] == [10, 10]
        await later(theater, 1)
        assert sum(map(len, actor.batches[2:])) == 25


async def test_a_batch_that_fails_is_an_error_of_each_of_its_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    actor, manifest = gatherer(Batch(max_messages=10, max_wait=1))
    async with entered(manifest) as (theater, client, sink):
        other, heard = bare(theater)
        other.write(handshake())
        await settle()
        await later(theater, 2)
        client.write(client_frame(TEXT, b"a"))
        await settle()
        other.write(client_frame(TEXT, b"fail") + client_frame(TEXT, b"b"))
        await settle()
        await later(theater, 1)
        await later(theater, 1)
        assert actor.batches[-1] == [Error("ValueError: by request")] * 2
        assert not sink.frames
        assert not heard.frames
        client.write(client_frame(TEXT, b"c"))
        await later(theater, 1)
        await later(theater, 1)
        assert sink.frames == [(0x81, b"c")]
        assert len(caplog.records) == 1
        other.abort()


async def test_closing_ends_a_batch() -> None:
    actor, manifest = gatherer(Batch(max_messages=10, max_wait=5))
    async with entered(manifest) as (theater, client, _):
        client.write(client_frame(TEXT, b"a") + client_frame(CLOSE, b"\x03\xe8"))
        await until(lambda: nobody_left(theater))
        await later(theater, 6)
        assert actor.batches == [[Connected(), Received(Text("a")), Closed(1000)]]
