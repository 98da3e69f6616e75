"""The metrics page, read by Prometheus' own parser."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.protocol.wire import BINARY, CLOSE, PING, PONG, TEXT
from tests.server.actors import connections
from tests.server.raw import Raw, client_frame, dial, handshake, request, settle, until
from tests.server.served import served

from theater import Actor, Close, Connected, Connection, Event, Received, Text
from theater.app import Theater
from theater.config import Manifest
from theater.contract import Congested
from theater.limits import Limits
from theater.protocol.deflate import ContextBudget
from theater.runtime.ports import Reply
from theater.server.admission import REASONS
from theater.server.metrics import Metrics
from theater.testing import Server, VirtualClock, serve, stage

pytestmark = pytest.mark.usefixtures("quiet")

Values = dict[tuple[str, ...], float]
"""By name, and values of the labels."""


class Busy(Actor):
    def handle_websocket(self, connection: Connection, event: Event) -> Reply:
        match event:
            case Connected():
                return Text("welcome")
            case Received(Text("raise")):
                raise ValueError("no")
            case Received(Text("broadcast")):
                self.broadcast(Text("all"))
            case Received(Text("close")):
                return Close(4000)
        return None


class Idle(Actor):
    """Nobody talks to it."""


def manifests() -> list[Manifest]:
    return [Manifest.of(Busy, "/busy/{key}", "{key}"), Manifest.of(Idle, "/idle")]


def read(text: str) -> Values:
    found: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert [*sample.labels] == LABELS.get(sample.name, ["actor"]), sample
            found[sample.name, *sample.labels.values()] = sample.value
    return found


async def scrape(server: Server) -> Values:
    async with dial(server.port) as raw:
        raw.write(request("GET /_theater/metrics HTTP/1.1", [("Host", "x")]))
        answer = await raw.answer()
    assert answer.status == 200
    assert (answer.get("content-type") or "").startswith("text/plain; version=")
    return read(answer.body.decode())


async def join(raw: Raw, key: str) -> None:
    await raw.upgraded(handshake(f"GET /busy/{key} HTTP/1.1"))
    assert await raw.frame() == (0x81, b"welcome")


BUCKET = "theater_round_trip_seconds_bucket"
BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"]
LABELS = {
    "theater_closed_total": ["actor", "code"],
    "theater_instances_ended_total": ["actor", "reason"],
    BUCKET: ["actor", "le"],
    "theater_refused_total": ["reason"],
    "theater_compression_memory_bytes": [],
}
NAMES = [
    "theater_connections_total",
    "theater_messages_received_total",
    "theater_messages_sent_total",
    "theater_bytes_received_total",
    "theater_bytes_sent_total",
    "theater_messages_dropped_total",
    "theater_throttled_total",
    "theater_turns_total",
    "theater_errors_total",
    "theater_actors",
    "theater_open_connections",
    "theater_queue_depth",
]
ROUND_TRIPS = ["theater_round_trip_seconds_count", "theater_round_trip_seconds_sum"]


def closed(values: Values) -> dict[str, float]:
    """How connections to the actor `busy` have ended, by code."""
    return {code[1]: value for (name, *code), value in values.items() if name == "theater_closed_total"}


async def test_all_metrics_stand_there_from_the_start_and_at_zero() -> None:
    """But for the codes of connections that have ended: those that may come are thousands."""
    zeros: list[tuple[str, ...]] = [
        *((name, actor) for name in (*NAMES, *ROUND_TRIPS) for actor in ("busy", "idle")),
        *((BUCKET, actor, bound) for actor in ("busy", "idle") for bound in BOUNDS),
        *(("theater_refused_total", reason) for reason in REASONS),
        ("theater_compression_memory_bytes",),
    ]
    async with serve(*manifests()) as server:
        assert await scrape(server) == dict.fromkeys(zeros, 0)


async def test_values_move_by_actor_type(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(*manifests()) as server:
        async with dial(server.port) as one, dial(server.port) as two, dial(server.port) as other:
            await join(one, "a")
            await join(two, "a")
            await join(other, "b")
            sent = [
                client_frame(TEXT, b"broadcast"),
                client_frame(BINARY, b"\0" * 1000),
                client_frame(PING, b"p"),
                client_frame(PONG),
                client_frame(TEXT, b"raise"),
            ]
            one.write(b"".join(sent))
            assert {await one.frame(), await one.frame()} == {(0x81, b"all"), (0x8A, b"p")}
            assert await two.frame() == (0x81, b"all")
            values = await scrape(server)
            busy = {name: values[name, "busy"] for name in NAMES}
            assert busy == {
                "theater_connections_total": 3,
                "theater_messages_received_total": 5,
                "theater_messages_sent_total": 3 + 2,
                "theater_bytes_received_total": sum(map(len, sent)),
                "theater_bytes_sent_total": 3 * len(b"\x81\x07welcome") + 2 * len(b"\x81\x03all") + 3,
                "theater_messages_dropped_total": 0,
                "theater_throttled_total": 0,
                # upgrade_connection and Connected for each, five messages, and the Error event
                "theater_turns_total": 3 * 2 + 5 + 1,
                "theater_errors_total": 1,
                "theater_actors": 2,
                "theater_open_connections": 3,
                "theater_queue_depth": 0,
            }
            assert {values[name, "idle"] for name in NAMES} == {0}
        await until(lambda: not server.theater._hub.open)
        values = await scrape(server)
        assert values["theater_open_connections", "busy"] == 0
        assert values["theater_connections_total", "busy"] == 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("last", [client_frame(CLOSE, b"\x03\xe8"), client_frame(0x3)])
async def test_the_end_of_a_connection_is_no_message(last: bytes) -> None:
    async with serve(*manifests()) as server:
        async with dial(server.port) as raw:
            await join(raw, "a")
            raw.write(client_frame(TEXT, b"one") + last)
            await raw.rest()
        await until(lambda: not server.theater._hub.open)
        values = await scrape(server)
    assert values["theater_messages_received_total", "busy"] == 1


async def test_refusals_by_reason() -> None:
    async with serve(*manifests()) as server:
        for field in (("Origin", "https://evil.example"), ("Sec-WebSocket-Key", "a second one")):
            async with dial(server.port) as raw:
                raw.write(handshake("GET /busy/a HTTP/1.1", extra=[field]))
                assert (await raw.answer()).status >= 400
        values = await scrape(server)
    refused = {key: value for key, value in values.items() if key[0] == "theater_refused_total" and value}
    assert refused == {("theater_refused_total", "origin"): 1, ("theater_refused_total", "handshake"): 1}


async def test_ends_by_code(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(*manifests()) as server:
        for last in (
            client_frame(CLOSE, b"\x03\xe8"),  # 1000
            client_frame(CLOSE),
            client_frame(TEXT, b"close"),
            client_frame(0x3),
            client_frame(0x3),
        ):
            async with dial(server.port) as raw:
                await join(raw, "a")
                raw.write(last)
                while (await raw.frame())[0] != 0x88:
                    pass
                if last == client_frame(TEXT, b"close"):
                    raw.write(client_frame(CLOSE, b"\x0f\xa0"))
                await raw.rest()
        async with dial(server.port) as raw:
            await join(raw, "a")
            raw.reset()
        await until(lambda: not server.theater._hub.open)
        values = await scrape(server)
    assert closed(values) == {"1000": 1, "1002": 2, "1005": 1, "1006": 1, "4000": 1}
    assert values["theater_connections_total", "busy"] == sum(closed(values).values())


async def test_messages_beyond_the_rate_count_as_received_and_as_dropped() -> None:
    limits = Limits(message_rate=0.001, message_burst=2, rate_action="drop")
    async with serve(Busy, limits=limits) as server, dial(server.port) as raw:
        await raw.upgraded()
        raw.write(client_frame(TEXT, b"x") * 9 + client_frame(CLOSE))
        await raw.rest()
        values = await scrape(server)
    assert values["theater_messages_received_total", "busy"] == 9
    assert values["theater_messages_dropped_total", "busy"] == 7
    assert values["theater_throttled_total", "busy"] == 0


async def test_messages_that_a_slow_reader_misses_count_as_sent_and_as_dropped() -> None:
    class Loud(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            match event:
                case Received():
                    return Text("x" * 20_000)
                case Congested():
                    return [Text("x" * 1000)] * 100
            return None

    limits = Limits(
        send_high_water=10_000, max_send_queue=20_000, slow_reader="drop-newest", compression=False
    )
    async with stage(Loud, limits=limits) as theater, await theater.connect() as client:
        client.wire.pause_reading()
        await client.send(Text("go"))
        await settle()
        page = theater.theater._metrics_page()
        values = read(page.body.decode())
        client.wire.resume_reading()
    assert values["theater_messages_sent_total", "loud"] == 101
    assert values["theater_messages_dropped_total", "loud"] == 80


async def test_pauses_of_who_exceeds_its_rate() -> None:
    clock = VirtualClock()
    limits = Limits(message_rate=1, message_burst=1)
    async with served(Busy, limits, clock=clock) as server, dial(server.port) as raw:
        await raw.upgraded()
        [connection] = connections(server)
        for expected in (1, 2):
            raw.write(client_frame(TEXT, b"x") * 3)
            await until(lambda: connection._paused)
            assert (await scrape(server))["theater_throttled_total", "busy"] == expected
            clock.advance(5)
            await until(lambda: not connection._paused)
        values = await scrape(server)
    assert values["theater_throttled_total", "busy"] == 2
    assert values["theater_messages_received_total", "busy"] == 6
    assert values["theater_messages_dropped_total", "busy"] == 0


async def test_round_trips_of_pings() -> None:
    clock = VirtualClock()
    limits = Limits(ping_interval=25, pong_timeout=20)
    async with served(Busy, limits, clock=clock) as server, dial(server.port) as raw:
        await raw.upgraded()
        assert await raw.frame() == (0x81, b"welcome")
        for number, seconds in enumerate((0.2, 0.25, 3), 1):
            clock.advance(26 * number - clock.now())  # the second behind that in which it is due
            first, payload = await raw.frame()
            assert first == 0x89
            clock.advance(seconds)
            # Neither a second answer nor a pong that answers nothing is a round trip.
            raw.write(client_frame(PONG, payload) * 2 + client_frame(PONG) + client_frame(PING))
            assert await raw.frame() == (0x8A, b"")
        values = await scrape(server)
    assert values["theater_round_trip_seconds_count", "busy"] == 3
    assert values["theater_round_trip_seconds_sum", "busy"] == pytest.approx(3.45)
    buckets = [values[BUCKET, "busy", bound] for bound in BOUNDS]
    assert buckets == [0, 0, 0, 0, 0, 2, 2, 2, 2, 3, 3, 3]


async def test_memory_for_compression_while_a_connection_has_it() -> None:
    async with serve(*manifests()) as server:
        async with dial(server.port) as raw:
            offer = ("Sec-WebSocket-Extensions", "permessage-deflate")
            await raw.upgraded(handshake("GET /busy/a HTTP/1.1", extra=[offer]))
            taken = (await scrape(server))["theater_compression_memory_bytes",]
            assert taken == server.theater._hub.budget.taken > 1024
        await until(lambda: not server.theater._hub.open)
        assert (await scrape(server))["theater_compression_memory_bytes",] == 0


async def test_queue_depth() -> None:
    go = asyncio.Event()

    class Slow(Actor):
        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            if isinstance(event, Received):
                await go.wait()

    async with serve(Slow, limits=Limits(mailbox_high_water=10)) as server, dial(server.port) as raw:
        await raw.upgraded()
        raw.write(client_frame(TEXT, b"x") * 5)
        await until(lambda: any(cell.queued for cell in server.theater.system))
        assert (await scrape(server))["theater_queue_depth", "slow"] == 4
        go.set()
        await until(lambda: not any(cell.queued for cell in server.theater.system))
        assert (await scrape(server))["theater_queue_depth", "slow"] == 0


async def test_page_has_no_metrics_of_the_process() -> None:
    """They would be those of whoever embeds Theater."""
    theater = Theater(manifests())
    page = Metrics(theater.system, theater.admission.refused, ContextBudget(0)).page()
    assert {name for name, *_ in read(page.body.decode())} == {
        *NAMES,
        *ROUND_TRIPS,
        *(LABELS.keys() - {"theater_closed_total", "theater_instances_ended_total"}),
    }
    await theater.stop()


@pytest.mark.parametrize(("health", "metrics"), [(False, True), (True, False)])
async def test_pages_can_be_left_out(health: bool, metrics: bool) -> None:
    theater = Theater(manifests(), health=health, metrics=metrics)
    assert sorted(theater._pages(health, metrics)) == [
        *(["/_theater/health"] if health else []),
        *(["/_theater/metrics"] if metrics else []),
    ]
    await theater.stop()
