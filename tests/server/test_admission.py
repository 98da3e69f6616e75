"""Who is let in before an actor is asked: the counts by themselves, then over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from tests.protocol.wire import CLOSE, TEXT
from tests.server.raw import Answer, Raw, client_frame, dial, handshake, request, until
from tests.server.served import accepted, admission, pass_time, reached, refused, served

from theater import Accept, Actor, Connection, Event, Received, Request, Response, Text, UpgradeRequest
from theater.config import Manifest
from theater.contract import Headers, Peer
from theater.limits import Limits
from theater.protocol.handshake import Refusal
from theater.runtime.address import Address
from theater.server.admission import NO_SLOT, REASONS, Admission, Policy, Slot
from theater.server.proxies import Source
from theater.server.routing import Pattern, Route
from theater.testing import VirtualClock, serve

# By itself


def door(clock: VirtualClock | None = None, **limits: float) -> Admission:
    return Admission(Limits(**limits), Policy(), clock or VirtualClock(1000.0))  # type: ignore[arg-type]


def slot(admission: Admission) -> Slot:
    found = admission.connect()
    assert found is not None
    return found


def client(address: str, told: bool = False) -> Source:
    return Source(Peer(address, 4711), told)


def status(refusal: Refusal | None) -> int | None:
    return refusal and refusal.status


def test_connections_of_the_process() -> None:
    admission = door(max_connections=2)
    first, _ = slot(admission), slot(admission)
    assert admission.check_connections() is None
    surplus = slot(admission)
    refusal = admission.check_connections()
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (503, (("retry-after", "5"),))
    surplus.release()
    first.release()
    first.release()  # which counts once
    slot(admission)
    assert admission.check_connections() is None
    slot(admission)
    assert status(admission.check_connections()) == 503
    assert admission.refused["connections"] == 2


def test_those_that_are_told_that_there_are_too_many_are_not_too_many_either() -> None:
    admission = door(max_connections=100)
    slots = [slot(admission) for _ in range(100 + 11)]
    assert admission.connect() is None
    assert admission.refused["connections"] == 1
    slots.pop().release()
    slot(admission)


def test_connections_of_an_address() -> None:
    admission = door(max_address_connections=2)
    one = slot(admission)
    assert admission.count(one, client("192.0.2.1")) is None
    assert admission.count(one, client("192.0.2.1")) is None  # it has been counted
    assert admission.count(slot(admission), client("192.0.2.1")) is None
    assert status(admission.count(slot(admission), client("192.0.2.1"))) == 429
    assert status(admission.count(slot(admission), client("::ffff:192.0.2.1"))) == 429
    assert admission.count(slot(admission), client("192.0.2.2")) is None
    one.release()
    assert admission.count(slot(admission), client("192.0.2.1")) is None
    assert admission.refused["address-connections"] == 2


def test_addresses_of_one_ipv6_network_count_together() -> None:
    admission = door(max_address_connections=1)
    assert admission.count(slot(admission), client("2001:db8:0:1::1")) is None
    assert status(admission.count(slot(admission), client("2001:db8:0:1:ffff::2"))) == 429
    assert admission.count(slot(admission), client("2001:db8:0:2::1")) is None


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        (client("127.0.0.1"), False),
        (client("127.9.9.9"), False),
        (client("::1"), False),
        (client("::ffff:127.0.0.1"), False),
        (Source(None), False),
        (client("127.0.0.1", told=True), True),
        (Source(None, told=True), True),
        (client("192.0.2.1"), True),
        (client("10.0.0.1"), True),
    ],
)
def test_this_machine_itself_counts_only_where_a_proxy_says_so(source: Source, counted: bool) -> None:
    admission = door(max_address_connections=1, upgrade_burst=1)
    assert admission.check_upgrade(slot(admission), source) is None
    assert (admission.check_upgrade(slot(admission), source) is not None) is counted
    assert (admission.count(slot(admission), source) is not None) is counted


@pytest.mark.parametrize("burst", [1, 3, 200])
def test_rate_of_upgrades(burst: int) -> None:
    clock = VirtualClock(1_000_000.0)
    admission = door(clock=clock, upgrade_rate=0.3, upgrade_burst=burst, max_address_connections=1000)

    def upgrade(address: str) -> Refusal | None:
        return admission.check_upgrade(slot(admission), client(address))

    assert [upgrade("192.0.2.1") for _ in range(burst)] == [None] * burst
    for _ in range(10):  # which does not make it worse
        refusal = upgrade("192.0.2.1")
        assert refusal is not None
        assert (refusal.status, refusal.headers) == (429, (("retry-after", "4"),))
    assert upgrade("192.0.2.2") is None
    clock.advance(3.3)
    assert status(upgrade("192.0.2.1")) == 429
    clock.advance(0.1)
    assert upgrade("192.0.2.1") is None
    assert status(upgrade("192.0.2.1")) == 429
    assert admission.refused["upgrade-rate"] == 12


def test_a_scan_from_very_many_addresses_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theater.server.admission._MOST_ADDRESSES", 1000)
    clock = VirtualClock()
    admission = door(clock=clock)
    for number in range(10_000):
        found = slot(admission)
        assert admission.check_upgrade(found, client(f"10.0.{number >> 8}.{number & 255}")) is None
        found.release()
        assert len(admission._upgrades) <= 1000
    assert not admission._connections
    clock.advance(5)  # after four seconds a bucket is full again
    for number in range(600):
        admission.check_upgrade(NO_SLOT, client(f"11.0.{number >> 8}.{number & 255}"))
    assert len(admission._upgrades) == 600


def test_a_scan_does_not_make_room_for_who_is_too_fast() -> None:
    admission = door(upgrade_burst=1)
    admission.check_upgrade(NO_SLOT, client("192.0.2.1"))
    for number in range(10_000):
        admission.check_upgrade(NO_SLOT, client(f"10.0.{number >> 8}.{number & 255}"))
    assert status(admission.check_upgrade(NO_SLOT, client("192.0.2.1"))) == 429


def test_connections_of_an_actor() -> None:
    admission = door()
    room = Address("room", "a")
    one, two, three = slot(admission), slot(admission), slot(admission)
    assert admission.join(one, room, 2) is None
    assert admission.join(two, room, 2) is None
    assert admission.join(slot(admission), Address("room", "b"), 2) is None
    assert status(admission.join(three, room, 2)) == 503
    admission.leave(three)  # it never was there
    assert status(admission.join(three, room, 2)) == 503
    admission.leave(two)
    assert admission.join(three, room, 2) is None
    one.release()
    assert admission.join(slot(admission), room, 2) is None
    assert admission.refused["actor-connections"] == 2


def test_what_has_ended_is_not_remembered() -> None:
    admission = door()
    for _ in range(3):
        found = slot(admission)
        admission.count(found, client("192.0.2.1"))
        admission.join(found, Address("room", "a"), 10)
        found.release()
    assert (admission._open, admission._connections, admission._actors) == (0, {}, {})


def test_several_origins_are_none() -> None:
    admission = door()
    same = "http://example.org"
    headers = Headers([("origin", same), ("origin", same)])
    assert status(admission.check_origin(headers, ("*",), "example.org", secure=False)) == 403


def test_all_reasons_are_counted_from_the_start() -> None:
    assert door().refused == dict.fromkeys(REASONS, 0)


# Over real sockets

pytestmark = pytest.mark.usefixtures("quiet")

TOLD = Policy(trusted_proxies=("127.0.0.1", "::1"))


class Echo(Actor):
    asked: list[UpgradeRequest]

    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        self.asked.append(request)
        return Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Received(Text() as text):
                return text
        return None

    def handle_request(self, request: Request) -> Response:
        return Response.text(f"{request.peer and request.peer.address}\n")


@pytest.fixture
def echo() -> type[Echo]:
    """An actor type of the test's own, which notes what it was asked."""
    return type("Echo", (Echo,), {"asked": []})


def through(address: str, **fields: str) -> bytes:
    """A handshake as a proxy passes it on."""
    return handshake(extra=[("X-Forwarded-For", address), *fields.items()])


async def ask(port: int, data: bytes) -> Answer:
    """Sends bytes, and reads the one response behind which the server closes."""
    async with dial(port) as raw:
        raw.write(data)
        answer = await raw.answer()
        assert answer.get("connection") == "close"
        assert await raw.rest() == b""
        return answer


async def ended(raw: Raw) -> None:
    raw.write(client_frame(CLOSE, b"\x03\xe8"))
    await raw.rest()


@pytest.mark.parametrize("value", ["https://evil.example", "null", "http://example.org:81", "nonsense", ""])
async def test_pages_of_other_origins_are_refused_before_the_actor_is_asked(
    echo: type[Echo], value: str
) -> None:
    async with served(echo) as server:
        answer = await ask(server.port, handshake(extra=[("Origin", value)]))
        assert answer.status == 403
        assert answer.body == b"Pages of this origin may not connect here.\n"
        assert not list(server.theater.system)
        assert refused(server) == {"origin": 1}


@pytest.mark.parametrize("value", ["http://example.org", "https://EXAMPLE.org", "http://example.org:80"])
async def test_pages_of_the_same_origin_are_let_in(echo: type[Echo], value: str) -> None:
    async with served(echo) as server, dial(server.port) as raw:
        await raw.upgraded(handshake(extra=[("Origin", value)]))


@pytest.mark.parametrize(
    ("value", "status"),
    [("https://a.example.org", 101), ("https://b.example", 101), ("http://example.org", 403)],
)
async def test_origins_of_a_path(echo: type[Echo], value: str, status: int) -> None:
    route = Route(
        "websocket-server", Pattern("/"), "x", origins=("https://*.example.org", "https://b.example")
    )
    async with served(Manifest("x", echo, (route,))) as server, dial(server.port) as raw:
        raw.write(handshake(extra=[("Origin", value)]))
        assert (await raw.answer()).status == status


async def test_origin_is_checked_for_upgrades_that_an_http_actor_answers(echo: type[Echo]) -> None:
    route = Route("http-server", Pattern("/"), "x")
    async with served(Manifest("x", echo, (route,))) as server:
        answer = await ask(server.port, handshake(extra=[("Origin", "https://evil.example")]))
        assert answer.status == 403


@pytest.mark.parametrize(
    ("line", "host", "status"),
    [
        ("GET / HTTP/1.1", "example.org", 200),
        ("GET / HTTP/1.1", "EXAMPLE.org:8080", 200),
        ("GET / HTTP/1.1", "a.example.net", 200),
        ("GET / HTTP/1.1", "example.net", 421),
        ("GET / HTTP/1.1", "127.0.0.1", 421),
        ("GET / HTTP/1.1", "", 421),
        ("GET http://example.org/ HTTP/1.1", "evil.example", 200),
        ("GET http://evil.example/ HTTP/1.1", "example.org", 421),
    ],
)
@pytest.mark.parametrize("upgrade", [False, True])
async def test_hosts(echo: type[Echo], line: str, host: str, status: int, upgrade: bool) -> None:
    policy = Policy(hosts=("example.org", "*.example.net"))
    async with served(echo, policy=policy) as server, dial(server.port) as raw:
        own = [("Host", host)]
        raw.write(handshake(line, without="Host", extra=own) if upgrade else request(line, own))
        answer = await raw.answer()
        assert answer.status == (101 if upgrade and status == 200 else status)
        if status == 421:
            assert answer.body == b"This server is not there for that host.\n"
            assert answer.get("connection") == "close"
            assert refused(server) == {"host": 1}
            assert not list(server.theater.system)


async def test_surplus_connection_is_told_so_before_it_says_anything(echo: type[Echo]) -> None:
    async with served(echo, Limits(max_connections=2)) as server:
        async with dial(server.port) as one, dial(server.port) as two:
            await accepted(server, 2)
            async with dial(server.port) as raw:
                answer = await raw.answer()
                assert (answer.status, answer.get("retry-after")) == (503, "5")
                assert answer.body == b"The server has too many connections.\n"
                assert await raw.rest() == b""
            await one.upgraded()
            await ended(one)
            two.write(request())
            await accepted(server, 1)
        await accepted(server, 0)
        async with dial(server.port) as raw:
            await raw.upgraded()
        assert refused(server) == {"connections": 1}


async def test_surplus_connections_cannot_pile_up(echo: type[Echo]) -> None:
    async with (
        served(echo, Limits(max_connections=1)) as server,
        dial(server.port),
        dial(server.port) as surplus,
    ):
        assert (await surplus.answer()).status == 503
        async with dial(server.port) as dropped:
            with suppress(ConnectionResetError):
                assert await dropped.rest() == b""
        assert refused(server) == {"connections": 2}


async def test_connections_of_an_address_through_a_proxy(echo: type[Echo]) -> None:
    """They count from the upgrade until the end of the WebSocket."""
    limits = Limits(max_address_connections=2)
    async with served(echo, limits, TOLD) as server:
        async with dial(server.port) as one, dial(server.port) as two, dial(server.port) as other:
            await one.upgraded(through("192.0.2.1"))
            await two.upgraded(through("198.51.100.1, 192.0.2.1"))
            answer = await ask(server.port, through("192.0.2.1"))
            assert (answer.status, answer.get("retry-after")) == (429, "5")
            await other.upgraded(through("192.0.2.2"))
            await ended(one)
            await accepted(server, 2)
            async with dial(server.port) as again:
                await again.upgraded(through("192.0.2.1"))
        await accepted(server, 0)
        assert admission(server)._connections == {}
        assert refused(server) == {"address-connections": 1}
        assert [request.peer for request in echo.asked] == [
            Peer("192.0.2.1", 0),
            Peer("192.0.2.1", 0),
            Peer("192.0.2.2", 0),
            Peer("192.0.2.1", 0),
        ]


async def test_whom_a_plain_request_is_from(echo: type[Echo]) -> None:
    for policy, address in ((TOLD, b"192.0.2.1\n"), (Policy(), b"127.0.0.1\n")):
        async with served(echo, policy=policy) as server, dial(server.port) as raw:
            for _ in range(2):
                raw.write(request(fields=[("Host", "x"), ("Forwarded", "for=192.0.2.1")]))
                assert (await raw.answer()).body == address


async def test_rate_of_upgrades_through_a_proxy(echo: type[Echo]) -> None:
    clock = VirtualClock()
    limits = Limits(upgrade_rate=0.5, upgrade_burst=2)
    async with served(echo, limits, TOLD, clock) as server:
        for _ in range(2):
            async with dial(server.port) as raw:
                await raw.upgraded(through("2001:db8::1"))
        answer = await ask(server.port, through("2001:db8::2"))
        assert (answer.status, answer.get("retry-after")) == (429, "2")
        assert answer.body == b"There are too many new connections from your address.\n"
        async with dial(server.port) as raw:
            await raw.upgraded(through("2001:db8:0:1::1"))
        clock.advance(2)
        async with dial(server.port) as raw:
            await raw.upgraded(through("2001:db8::1"))
        assert refused(server) == {"upgrade-rate": 1}


async def test_connections_of_an_actor_count_while_it_decides() -> None:
    go = asyncio.Event()

    class Room(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept | None:
            await go.wait()
            return None if request.query.get("no") else Accept()

    manifest = Manifest.of(Room, "/{room}", "{room}")
    async with served(manifest, Limits(max_actor_connections=2)) as server:
        async with dial(server.port) as one, dial(server.port) as two, dial(server.port) as other:
            one.write(handshake("GET /a HTTP/1.1"))
            two.write(handshake("GET /a?no=1 HTTP/1.1"))
            other.write(handshake("GET /b HTTP/1.1"))
            await until(lambda: sum(admission(server)._actors.values()) == 3)
            answer = await ask(server.port, handshake("GET /a HTTP/1.1"))
            assert (answer.status, answer.get("retry-after")) == (503, "5")
            assert answer.body == b"There are too many connections to this address.\n"
            go.set()
            assert [(await raw.answer()).status for raw in (one, two, other)] == [101, 403, 101]
            async with dial(server.port) as three:  # in the place of the one that was refused
                await three.upgraded(handshake("GET /a HTTP/1.1"))
                assert (await ask(server.port, handshake("GET /a HTTP/1.1"))).status == 503
        await until(lambda: not admission(server)._actors)
        assert refused(server) == {"actor-connections": 2, "actor": 1}


async def test_client_that_vanishes_while_the_actor_decides_counts_no_longer() -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    class Slow(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            asked.set()
            await go.wait()
            return Accept()

    async with served(Slow) as server:
        async with dial(server.port) as raw:
            raw.write(handshake())
            await asked.wait()
            raw.reset()
        go.set()
        await accepted(server, 0)
        assert not admission(server)._actors


async def test_actor_that_is_refused_for_is_not_even_made(echo: type[Echo]) -> None:
    manifest = Manifest.of(echo, "/{room}", "{room}")
    async with served(manifest) as server:
        for data in (
            handshake("GET /a HTTP/1.1", extra=[("Origin", "https://evil.example")]),
            handshake("GET /b HTTP/1.1", without="Sec-WebSocket-Key"),
        ):
            assert (await ask(server.port, data)).status >= 400
        assert not list(server.theater.system)
        assert refused(server) == {"origin": 1, "handshake": 1}


# PROXY protocol

SPEAKS = Policy(trusted_proxies=("127.0.0.1",), proxy_protocol=True)
PREAMBLE = b"PROXY TCP4 192.0.2.1 198.51.100.1 5678 443\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def pieces(data: bytes, size: int | None) -> Iterable[bytes]:
    return [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [None, 1, 10])
async def test_proxy_protocol_says_who_a_client_is(echo: type[Echo], size: int | None) -> None:
    async with served(echo, Limits(max_address_connections=1), SPEAKS) as server:
        async with dial(server.port) as raw:
            for piece in pieces(PREAMBLE + handshake(), size):
                raw.write(piece)
                await asyncio.sleep(0)
            assert (await raw.answer()).status == 101
            raw.write(client_frame(TEXT, b"hello"))
            assert await raw.frame() == (0x81, b"hello")
            # It counts from here on, not from the upgrade.
            answer = await ask(server.port, PREAMBLE)
            assert answer.status == 429
        assert echo.asked[0].peer == Peer("192.0.2.1", 5678)
        await accepted(server, 0)
        assert not admission(server)._connections


async def test_proxy_that_speaks_for_itself(echo: type[Echo]) -> None:
    async with served(echo, policy=SPEAKS) as server, dial(server.port) as raw:
        raw.write(LOCAL + request(fields=[("Host", "x")]))
        assert (await raw.answer()).body == b"127.0.0.1\n"


@pytest.mark.parametrize(
    "data",
    [request(fields=[("Host", "x")]), b"PROXY nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\xff\xff\0\0", b"P1"],
)
async def test_connection_of_a_proxy_without_its_header_is_cut(
    echo: type[Echo], data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(echo, policy=SPEAKS) as server:
        async with dial(server.port) as raw:
            raw.write(data)
            with suppress(ConnectionResetError):
                assert await raw.rest() == b""
        await accepted(server, 0)
        assert refused(server) == {"proxy-protocol": 1}
    [record] = caplog.records
    assert "127.0.0.1" in record.getMessage()


async def test_header_that_never_ends_is_cut(echo: type[Echo]) -> None:
    clock = VirtualClock()
    async with served(echo, policy=SPEAKS, clock=clock) as server, dial(server.port) as raw:
        raw.write(b"PROXY TCP4 ")
        await accepted(server, 1)
        await pass_time(clock, 12)
        assert await raw.rest() == b""


@pytest.mark.parametrize("policy", [Policy(), Policy(trusted_proxies=("192.0.2.9",), proxy_protocol=True)])
async def test_nobody_else_is_believed(echo: type[Echo], policy: Policy) -> None:
    async with served(echo, policy=policy) as server:
        assert (await ask(server.port, PREAMBLE + handshake())).status == 400
        async with dial(server.port) as raw:
            raw.write(request(fields=[("Host", "x"), ("X-Forwarded-For", "192.0.2.1")]))
            assert (await raw.answer()).body == b"127.0.0.1\n"


async def test_proxies_behind_each_other(echo: type[Echo]) -> None:
    """One that balances TCP, and one behind it that speaks HTTP."""
    policy = Policy(trusted_proxies=("127.0.0.1", "10.0.0.0/8"), proxy_protocol=True)
    async with served(echo, policy=policy) as server, dial(server.port) as raw:
        raw.write(b"PROXY TCP4 10.0.0.1 198.51.100.1 5678 443\r\n")
        raw.write(request(fields=[("Host", "x"), ("X-Forwarded-For", "192.0.2.1")]))
        assert (await raw.answer()).body == b"192.0.2.1\n"


# Other kinds of socket


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6(echo: type[Echo]) -> None:
    async with served(echo, Limits(max_address_connections=1), TOLD, host="::1") as server:
        async with reached(asyncio.open_connection("::1", server.port)) as one:
            await one.upgraded(through("2001:db8::1"))
            async with reached(asyncio.open_connection("::1", server.port)) as two:
                two.write(through("2001:db8::2"))
                assert (await two.answer()).status == 429
        assert echo.asked[0].peer == Peer("2001:db8::1", 0)
    async with (
        served(echo, host="::1") as server,
        reached(asyncio.open_connection("::1", server.port)) as raw,
    ):
        raw.write(request(fields=[("Host", "x")]))
        assert (await raw.answer()).body == b"::1\n"


@pytest.mark.parametrize(("trusted", "address"), [((), b"None\n"), (("unix",), b"192.0.2.1\n")])
async def test_unix_socket(
    echo: type[Echo], tmp_path: Path, trusted: tuple[str, ...], address: bytes
) -> None:
    path = str(tmp_path / "socket")
    limits = Limits(max_address_connections=1)
    async with served(echo, limits, Policy(trusted_proxies=trusted)) as server:
        loop = asyncio.get_running_loop()
        listening = await loop.create_unix_server(server.theater.new_connection, path)
        async with (
            reached(asyncio.open_unix_connection(path)) as one,
            reached(asyncio.open_unix_connection(path)) as two,
        ):
            for raw, status in ((one, 101), (two, 429 if trusted else 101)):
                raw.write(request(fields=[("Host", "x"), ("X-Forwarded-For", "192.0.2.1")]))
                assert (await raw.answer()).body == address
                raw.write(through("192.0.2.1"))
                assert (await raw.answer()).status == status
        listening.close()
        await accepted(server, 0)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server on 127.0.0.1, and for a client of it."""
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return server, client


@pytest.mark.parametrize(("value", "status"), [("https://example.org", 101), ("http://example.org", 403)])
async def test_page_that_came_without_tls_is_another_origin(
    echo: type[Echo], contexts: tuple[ssl.SSLContext, ssl.SSLContext], value: str, status: int
) -> None:
    async with (
        served(echo, tls=contexts[0]) as server,
        reached(asyncio.open_connection("127.0.0.1", server.port, ssl=contexts[1])) as raw,
    ):
        raw.write(handshake(extra=[("Origin", value)]))
        assert (await raw.answer()).status == status


async def test_refusal_by_tls_reaches_a_client_that_goes_on_sending(
    echo: type[Echo], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with served(echo, tls=contexts[0]) as server:
        async with reached(asyncio.open_connection("127.0.0.1", server.port, ssl=contexts[1])) as raw:
            raw.write(handshake(extra=[("Origin", "null")]) + b"x" * 500_000)
            assert (await raw.answer()).status == 403
        await accepted(server, 0)


async def test_loopback_has_no_limit_of_its_own(echo: type[Echo]) -> None:
    """What connects from there is a proxy, or somebody who has the machine anyway."""
    limits = Limits(max_address_connections=1, upgrade_burst=1)
    async with serve(echo, limits=limits) as server, dial(server.port) as one, dial(server.port) as two:
        await one.upgraded()
        await two.upgraded()
