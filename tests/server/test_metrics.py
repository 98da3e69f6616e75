"""The metrics page, read by Prometheus' own parser."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.protocol.wire import BINARY, CLOSE, PING, PONG, TEXT
from tests.server.raw import Raw, client_frame, dial, handshake, request, until

from theater import Actor, Close, Connected, Connection, Event, Received, Text
from theater.app import Theater
from theater.config import Manifest
from theater.limits import Limits
from theater.runtime.ports import Reply
from theater.server.admission import REASONS
from theater.server.metrics import Metrics
from theater.testing import Server, serve

pytestmark = pytest.mark.usefixtures("quiet")

Values = dict[tuple[str, str], float]


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
            [(label, value)] = sample.labels.items()
            assert label == ("reason" if sample.name in SERVERS else "actor"), sample
            found[sample.name, value] = sample.value
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


SERVERS = {"theater_refused_total"}  # not of an actor
NAMES = [
    "theater_connections_total",
    "theater_messages_received_total",
    "theater_messages_sent_total",
    "theater_bytes_received_total",
    "theater_bytes_sent_total",
    "theater_turns_total",
    "theater_errors_total",
    "theater_actors",
    "theater_open_connections",
    "theater_queue_depth",
]


async def test_all_metrics_stand_there_from_the_start_and_at_zero() -> None:
    async with serve(*manifests()) as server:
        values = await scrape(server)
    assert values == {
        **{(name, actor): 0 for name in NAMES for actor in ("busy", "idle")},
        **{("theater_refused_total", reason): 0 for reason in REASONS},
    }


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
    refused = {label: value for (name, label), value in values.items() if name in SERVERS and value}
    assert refused == {"origin": 1, "handshake": 1}


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
    page = Metrics(theater.system, theater.admission.refused).page()
    assert {name for name, _ in read(page.body.decode())} == {*NAMES, *SERVERS}
    await theater.stop()


@pytest.mark.parametrize(("health", "metrics"), [(False, True), (True, False)])
async def test_pages_can_be_left_out(health: bool, metrics: bool) -> None:
    theater = Theater(manifests(), health=health, metrics=metrics)
    assert sorted(theater._pages(health, metrics)) == [
        *(["/_theater/health"] if health else []),
        *(["/_theater/metrics"] if metrics else []),
    ]
    await theater.stop()
