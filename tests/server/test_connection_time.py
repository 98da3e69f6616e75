"""How fast an open connection may be, and how long it may be silent, idle or there at all; in memory."""

import asyncio
from typing import Any

import pytest
from tests.protocol.wire import BINARY, CLOSE, PING, PONG, TEXT
from tests.server.actors import (
    Recorder,
    cell_of,
    closed,
    connections,
    entered,
    later,
    nobody_left,
    recorder,
)
from tests.server.raw import client_frame, settle, until

from theater import (
    Binary,
    Closed,
    Connected,
    Connection,
    Error,
    Event,
    Pong,
    Received,
)
from theater.contract import Congested
from theater.limits import Limits
from theater.runtime.ports import Frame as EncodedFrame

pytestmark = pytest.mark.usefixtures("quiet")


# Rates


async def test_delay_reads_no_faster_than_the_rate() -> None:
    actor = recorder()
    limits = Limits(message_rate=8, message_burst=5)
    async with entered(actor, limits=limits) as (theater, client, sink):
        for number in range(20):
            client.write(client_frame(TEXT, b"%d" % number))
        await settle()
        assert len(sink.frames) == 6  # that there are too many is seen with the first of them
        heard = []
        for _ in range(14):
            await later(theater, 0.125)
            heard.append(len(sink.frames))
        assert heard == list(range(7, 21))
        assert [payload for _, payload in sink.frames] == [b"%d" % number for number in range(20)]
        assert cell_of(theater).counters.throttled == 15
        assert cell_of(theater).counters.messages_dropped == 0


async def test_delay_holds_back_what_came_in_one_read() -> None:
    actor = recorder()
    limits = Limits(message_rate=10, message_burst=5)
    async with entered(actor, limits=limits) as (theater, client, sink):
        client.write(client_frame(TEXT, b"x") * 640)
        await settle()
        for second in range(64):
            # A batch of the parser may be in hand when the rate is exceeded.
            assert len(sink.frames) <= 5 + 10 * second + 64
            assert not client._other.is_reading()
            await later(theater, 1)
        assert len(sink.frames) == 640
        await later(theater, 1)
        assert client._other.is_reading()


async def test_a_rate_of_bytes() -> None:
    actor = recorder()
    limits = Limits(byte_rate=1000, byte_burst=3000)
    async with entered(actor, limits=limits) as (theater, client, sink):
        for _ in range(6):
            client.write(client_frame(BINARY, b"\0" * 992))  # a thousand with its header
        await settle()
        assert len(sink.frames) == 4
        await later(theater, 0.9)
        assert len(sink.frames) == 4
        await later(theater, 0.2)
        assert len(sink.frames) == 5
        await later(theater, 1)
        assert len(sink.frames) == 6


async def test_drop_leaves_out_what_is_too_much() -> None:
    actor = recorder()
    limits = Limits(message_rate=10, message_burst=5, rate_action="drop", ping_interval=1000)
    async with entered(actor, limits=limits) as (theater, client, sink):
        client.write(b"".join(client_frame(TEXT, b"%d" % number) for number in range(20)))
        await settle()
        assert [payload for _, payload in sink.frames] == [b"0", b"1", b"2", b"3", b"4"]
        assert cell_of(theater).counters.messages_dropped == 15
        await later(theater, 0.3)
        for number in range(20, 25):
            client.write(client_frame(TEXT, b"%d" % number))
        await settle()
        assert [payload for _, payload in sink.frames[5:]] == [b"20", b"21", b"22"]
        await later(theater, 100)
        client.write(client_frame(TEXT, b"x") * 6)
        await settle()
        assert len(sink.frames) == 13  # never more than the burst


async def test_close_ends_the_connection_with_1008() -> None:
    actor = recorder()
    limits = Limits(message_rate=10, message_burst=5, rate_action="close")
    async with entered(actor, limits=limits) as (_, client, sink):
        client.write(client_frame(TEXT, b"x") * 20)
        await settle()
        assert len(sink.frames) == 6
        assert sink.frames[-1] == (0x88, b"\x03\xf0too much at once")
        client.write(client_frame(CLOSE, b"\x03\xf0"))
        await until(lambda: closed(actor))
    problem = "sends more than 10 messages or 1.34218e+08 bytes a second"
    assert actor.seen[-2:] == [Error(problem), Closed(1008)]


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_control_frames_count_too(opcode: int) -> None:
    actor = recorder()
    limits = Limits(message_rate=10, message_burst=5)
    async with entered(actor, limits=limits) as (theater, client, _):
        client.write(client_frame(opcode, b"x") * 1000)
        await settle()
        assert len(actor.seen) == 65
        await later(theater, 7)
        assert len(actor.seen) == 129


async def test_a_rate_holds_while_the_actor_is_behind() -> None:
    """Reading goes on when neither the mailbox nor the rate is against it."""
    go = asyncio.Event()

    class Busy(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            await go.wait()

    actor = recorder(Busy)
    limits = Limits(
        message_rate=10, message_burst=5, mailbox_high_water=3, mailbox_low_water=1, handler_timeout=100
    )
    async with entered(actor, limits=limits) as (theater, client, _):
        for _ in range(8):
            client.write(client_frame(TEXT, b"x"))
        await settle()
        assert not client._other.is_reading()
        await later(theater, 60)
        assert not client._other.is_reading()
        go.set()
        await settle()
        assert client._other.is_reading()
        assert len(actor.seen) == 9


async def test_what_is_left_of_a_connection_that_was_lost_is_not_looked_at() -> None:
    """It waits for the rate; the time comes when the connection has gone."""
    actor = recorder()
    limits = Limits(message_rate=10, message_burst=5)
    async with entered(actor, limits=limits) as (theater, client, _):
        client.write(client_frame(TEXT, b"x") * 500)
        await settle()
        client.abort()
        await until(lambda: nobody_left(theater))
        await later(theater, 100)
        assert len(actor.seen) == 1 + 64 + 1


# Time


def quiet_limits(**others: Any) -> Limits:
    return Limits(ping_interval=10, pong_timeout=5, handler_timeout=10_000, compression=False, **others)


async def test_a_quiet_client_is_pinged_and_its_answer_timed() -> None:
    actor = recorder()
    async with entered(actor, limits=quiet_limits()) as (theater, client, sink):
        await later(theater, 9)
        assert not sink.frames
        while not sink.frames:
            await later(theater, 1)
        assert theater.clock.now() <= 12
        [(first, payload)] = sink.frames
        assert first == 0x89
        await later(theater, 0.25)
        client.write(client_frame(PONG, payload))
        await settle()
        round_trips = cell_of(theater).counters.round_trips
        assert round_trips.sum == pytest.approx(0.25)
        assert round_trips.buckets()[-1] == ("+Inf", 1)
        client.write(client_frame(PONG, payload))  # once more, so it is no answer
        await settle()
        await later(theater, 8)
        assert len(sink.frames) == 1
        await later(theater, 4)
        assert len(sink.frames) == 2
        assert sink.frames[1][1] != payload
        assert actor.seen == [Connected(), Received(Pong(payload))]


async def test_a_client_that_does_not_answer_is_gone() -> None:
    actor = recorder()
    async with entered(actor, limits=quiet_limits()) as (theater, _, sink):
        await later(theater, 12)
        assert len(sink.frames) == 1
        assert actor.seen == [Connected()]
        await later(theater, 7)
        assert sink.ended
        assert len(sink.frames) == 1
        problem = "did not answer a ping within 5 s"
        assert actor.seen == [Connected(), Error(problem), Closed(1006)]


@pytest.mark.parametrize("sign", [client_frame(TEXT, b"x"), client_frame(PONG), b"\x81"])
async def test_anything_at_all_is_a_sign_of_life(sign: bytes) -> None:
    async with entered(recorder(), limits=quiet_limits()) as (theater, client, sink):
        await later(theater, 12)
        client.write(sign)
        await settle()
        await later(theater, 7)
        assert not sink.ended
        assert [first for first, _ in sink.frames].count(0x89) == 1


async def test_a_client_that_speaks_is_not_pinged() -> None:
    async with entered(recorder(), limits=quiet_limits()) as (theater, client, sink):
        for _ in range(100):
            client.write(client_frame(PONG))
            await later(theater, 1)
        assert not sink.frames


async def test_who_is_not_listened_to_is_not_taken_for_silent() -> None:
    go = asyncio.Event()

    class Busy(Recorder):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            self.seen.append(event)
            await go.wait()

    actor = recorder(Busy)
    limits = quiet_limits(mailbox_high_water=2, mailbox_low_water=1)
    async with entered(actor, limits=limits) as (theater, client, sink):
        for _ in range(4):
            client.write(client_frame(TEXT, b"x"))
        await settle()
        assert not client._other.is_reading()
        for _ in range(10):
            await later(theater, 10)
        assert not sink.frames
        go.set()
        await settle()
        assert len(actor.seen) == 5
        await later(theater, 12)
        assert len(sink.frames) == 1
        await later(theater, 7)
        assert closed(actor) == [Closed(1006)]


async def test_a_client_that_reads_nothing_is_given_up() -> None:
    actor = recorder()
    async with entered(actor, limits=quiet_limits()) as (theater, client, _):
        client.pause_reading()
        connections(theater)[0].send(Binary(b"\0" * 100_000))
        await settle()
        await later(theater, 9)
        assert not closed(actor)
        await later(theater, 30)
        assert [type(event) for event in actor.seen] == [Connected, Congested, Error, Closed]
        assert actor.seen[2:] == [Error("has read nothing for 10 s"), Closed(1006)]


async def test_a_client_that_reads_slowly_is_not() -> None:
    actor = recorder()
    async with entered(actor, limits=quiet_limits()) as (theater, client, _):
        client.pause_reading()
        client.split = 1000
        connections(theater)[0].send(Binary(b"\0" * 100_000))
        for _ in range(80):
            client.resume_reading()
            client._arrive()
            client.pause_reading()
            await later(theater, 5)
            assert not closed(actor)


async def test_a_connection_without_messages_is_closed() -> None:
    actor = recorder()
    limits = Limits(idle_timeout=60, ping_interval=1000)
    async with entered(actor, limits=limits) as (theater, client, sink):
        for _ in range(3):
            await later(theater, 40)
            client.write(client_frame(TEXT, b"x"))  # in
            await settle()
        await later(theater, 40)
        connections(theater)[0].send_frame(EncodedFrame(0x81, b"out"))
        await later(theater, 40)
        client.write(client_frame(PING) + client_frame(PONG))  # these are no messages
        await settle()
        assert [first for first, _ in sink.frames] == [0x81] * 4 + [0x8A]
        await later(theater, 22)
        assert sink.frames[5:] == [(0x88, b"\x03\xe8idle for too long")]
        client.write(client_frame(CLOSE, b"\x03\xe8"))
        await until(lambda: closed(actor))
        assert closed(actor) == [Closed(1000)]


async def test_a_connection_lives_no_longer_than_it_may() -> None:
    actor = recorder()
    async with entered(actor, limits=Limits(max_lifetime=100, close_timeout=5)) as (theater, client, sink):
        for _ in range(99):
            client.write(client_frame(TEXT, b"x"))
            await later(theater, 1)
        assert [first for first, _ in sink.frames] == [0x81] * 99
        client.write(client_frame(TEXT, b"x"))
        await later(theater, 3)
        assert sink.frames[100:] == [(0x88, b"\x03\xe9open for long enough")]
        await later(theater, 6)  # it ignores that
        assert closed(actor) == [Closed(1006)]
