"""HTTP/1.1 from clients that are slow, endless, malformed or rude, over real sockets and in virtual time."""

import asyncio
import gc
import resource
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.protocol.wire import TEXT
from tests.server.raw import FIELDS, Raw, client_frame, dial, handshake, request, until
from tests.server.served import accepted, admission, pass_time, refused, served

from theater import Accept, Actor, Connection, Event, Received, Request, Response, Text, UpgradeRequest
from theater.limits import Limits
from theater.server.http1 import Http1Connection
from theater.server.hub import READ_BUFFER
from theater.testing import Server, VirtualClock, link, stage

pytestmark = pytest.mark.usefixtures("quiet")

HOST = [("Host", "example.org")]
GET = request(fields=HOST)
LIMITS = Limits()
LATE = LIMITS.handshake_timeout + 2  # seconds: deadlines are looked at once a second


class Site(Actor):
    """Plain HTTP and a WebSocket on `/`; notes whom it has heard of."""

    seen: list[Request]
    go: asyncio.Event

    async def handle_request(self, request: Request) -> Response:
        self.seen.append(request)
        if request.query.get("wait"):
            await self.go.wait()
        size = request.query.get("size")
        return Response(200, body=bytes(int(size)) if size else b"%d\n" % len(request.body))

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | None:
        return None if request.query.get("no") else Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Received(Text() as text):
                return text
        return None


@pytest.fixture
def site() -> type[Site]:
    """An actor type of the test's own."""
    return type("Site", (Site,), {"seen": [], "go": asyncio.Event()})


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def trickle(raw: Raw, clock: VirtualClock, data: bytes) -> None:
    """Sends one byte a second, until the server has had enough."""
    for index in range(len(data)):
        if raw.reader.at_eof() or raw.reader._buffer:  # type: ignore[attr-defined]
            return
        with suppress(ConnectionResetError):
            raw.write(data[index : index + 1])
        await asyncio.sleep(0.001)
        clock.advance(1)
        await asyncio.sleep(0)


def post(size: int, *fields: tuple[str, str]) -> bytes:
    return request("POST / HTTP/1.1", [*HOST, ("Content-Length", str(size)), *fields])


def chunked(line: str = "POST / HTTP/1.1") -> bytes:
    return request(line, [*HOST, ("Transfer-Encoding", "chunked")])


# Slow heads


async def test_silent_connection_is_cut(site: type[Site], clock: VirtualClock) -> None:
    async with served(site, clock=clock) as server:
        async with dial(server.port) as raw:
            await accepted(server, 1)
            await pass_time(clock, LIMITS.handshake_timeout - 1)
            assert not raw.reader.at_eof()
            await pass_time(clock, 3)
            assert await raw.rest() == b""
        await accepted(server, 0)
        assert refused(server) == {"head-timeout": 1}


@pytest.mark.parametrize("data", [GET * 2, handshake(), b"GET /" + b"x" * 1000])
async def test_head_sent_one_byte_a_second_is_answered_408(
    site: type[Site], clock: VirtualClock, data: bytes
) -> None:
    async with served(site, clock=clock) as server:
        async with dial(server.port) as raw:
            await accepted(server, 1)
            await trickle(raw, clock, data)
            answer = await raw.answer()
            assert (answer.status, answer.get("connection")) == (408, "close")
            assert answer.body == b"The head of the request took too long.\n"
            assert await raw.rest() == b""
            assert LIMITS.handshake_timeout <= clock.now() <= LATE
        await accepted(server, 0)
        assert refused(server) == {"head-timeout": 1}
    assert not site.seen


async def test_time_for_the_first_head_counts_from_the_beginning(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, clock=clock) as server, dial(server.port) as raw:
        await accepted(server, 1)
        await pass_time(clock, LIMITS.handshake_timeout - 2)
        raw.write(GET[:-2])
        await pass_time(clock, 4)
        assert (await raw.answer()).status == 408


async def test_time_for_later_heads_counts_from_their_first_byte(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, Limits(keep_alive=100), clock=clock) as server, dial(server.port) as raw:
        await accepted(server, 1)
        await pass_time(clock, LIMITS.handshake_timeout - 2)
        for _ in range(3):
            raw.write(GET)
            assert (await raw.answer()).status == 200
            await pass_time(clock, 30)
        raw.write(GET[:-2])
        await pass_time(clock, LIMITS.handshake_timeout - 1)
        raw.write(GET[-2:])
        assert (await raw.answer()).status == 200
        await trickle(raw, clock, GET)
        assert (await raw.answer()).status == 408


async def test_head_behind_a_request_has_its_time_from_the_response_on(
    site: type[Site], clock: VirtualClock
) -> None:
    limits = Limits(handler_timeout=1000)
    async with served(site, limits, clock=clock) as server, dial(server.port) as raw:
        raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + GET[:10])
        await until(lambda: site.seen)
        await pass_time(clock, 100)
        raw.write(GET[10:20])
        await pass_time(clock, 100)
        site.go.set()
        assert (await raw.answer()).status == 200
        await pass_time(clock, LIMITS.handshake_timeout - 1)
        assert not raw.reader._buffer  # type: ignore[attr-defined]
        raw.write(GET[20:])
        assert (await raw.answer()).status == 200
        raw.write(GET[:10])
        await pass_time(clock, LATE)
        assert (await raw.answer()).status == 408


async def test_line_breaks_keep_no_connection_alive(site: type[Site], clock: VirtualClock) -> None:
    async with served(site, clock=clock) as server, dial(server.port) as raw:
        raw.write(GET)
        assert (await raw.answer()).status == 200
        await trickle(raw, clock, b"\r\n" * 20)
        assert (await raw.answer()).status == 408
        assert await raw.rest() == b""


async def test_idle_connection_is_closed_after_keep_alive(site: type[Site], clock: VirtualClock) -> None:
    async with served(site, clock=clock) as server, dial(server.port) as raw:
        raw.write(GET)
        assert (await raw.answer()).status == 200
        await pass_time(clock, LIMITS.keep_alive - 1)
        assert not raw.reader.at_eof()
        await pass_time(clock, 3)
        assert await raw.rest() == b""
        assert refused(server) == {}


def http_connections() -> int:
    """How many there are in this process."""
    return sum(isinstance(each, Http1Connection) for each in gc.get_objects())


async def test_many_silent_connections_are_gone_and_their_memory_too(
    site: type[Site], clock: VirtualClock
) -> None:
    number = min(2000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)
    gc.collect()
    others = http_connections()  # of a test that has failed, as long as its traceback is kept
    async with served(site, clock=clock) as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address):  # whatever is made once is made now
            await accepted(server, 1)
        await accepted(server, 0)
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        clients = []
        for index in range(number):
            clients.append(socket.create_connection(address))
            if index % 100 == 99:
                await accepted(server, index + 1)
        await accepted(server, number)
        held, _ = tracemalloc.get_traced_memory()
        await pass_time(clock, LATE)
        await accepted(server, 0)
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        clients.clear()
        await asyncio.sleep(0.01)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (held - before) / number < 12 * 1024
        assert left - before < (held - before) / 20
        assert not server.theater._listener._state.connections
        assert http_connections() == others
        assert refused(server) == {"head-timeout": number}


# Endless heads


def endless() -> dict[str, Iterator[bytes]]:
    def repeat(head: bytes, piece: bytes) -> Iterator[bytes]:
        yield head
        while True:
            yield piece

    return {
        "headers": repeat(b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: " + b"y" * 900 + b"\r\n"),
        "a header": repeat(b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y" * 1000),
        "a name": repeat(b"GET / HTTP/1.1\r\nHost: x\r\n", b"y" * 1000),
        "white space": repeat(b"GET / HTTP/1.1\r\nHost: x\r\nX:", b" " * 1000),
        "a target": repeat(b"GET /", b"y" * 1000),
        "line breaks": repeat(b"\r\n", b"\r\n" * 500),
        "a method": repeat(b"", b"G" * 1000),
    }


@pytest.mark.parametrize("what", endless())
async def test_head_without_end_is_answered_431(site: type[Site], what: str) -> None:
    async with served(site) as server, dial(server.port) as raw:
        sent = 0
        for piece in endless()[what]:
            raw.write(piece)
            sent += len(piece)
            await asyncio.sleep(0)
            if raw.reader._buffer or sent > 4 * LIMITS.max_head:  # type: ignore[attr-defined]
                break
        answer = await raw.answer()
        assert answer.status == (400 if what == "a method" else 431)
        assert answer.get("connection") == "close"
        assert answer.body.count(b"\n") == 1
        assert await raw.rest() == b""
        assert sum(refused(server).values()) == 1
    assert not site.seen


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("size", [None, 1, 700])
async def test_size_of_a_head_is_counted_exactly(site: type[Site], upgrade: bool, size: int | None) -> None:
    limits = Limits(max_head=2500)
    fields = list(FIELDS) if upgrade else HOST
    for length, status in ((2500, 101 if upgrade else 200), (2501, 431)):
        data = request(fields=[*fields, ("X", "")])
        data = request(fields=[*fields, ("X", "y" * (length - len(data)))])
        assert len(data) == length
        async with served(site, limits) as server, dial(server.port) as raw:
            for start in range(0, length, size or length):
                raw.write(data[start : start + (size or length)])
                await asyncio.sleep(0)
            answer = await raw.answer()
            assert answer.status == status
            if status == 431:
                assert answer.body == b"The head of the request is too large.\n"
                assert refused(server) == {"head-size": 1}


@pytest.mark.parametrize("upgrade", [False, True])
async def test_number_of_header_fields(site: type[Site], upgrade: bool) -> None:
    fields = list(FIELDS) if upgrade else HOST
    for number, status in ((20, 101 if upgrade else 200), (21, 431)):
        async with served(site, Limits(max_headers=20)) as server, dial(server.port) as raw:
            raw.write(request(fields=[*fields, *[("X", "y")] * (number - len(fields))]))
            answer = await raw.answer()
            assert answer.status == status
            if status == 431:
                assert answer.body == b"The request has too many header fields.\n"
                assert refused(server) == {"head-fields": 1}


async def test_later_heads_have_the_same_limits(site: type[Site]) -> None:
    big = request(fields=[*HOST, ("X", "y" * 4000)])
    async with served(site, Limits(max_head=2500)) as server, dial(server.port) as raw:
        raw.write(GET + post(5) + b"hello" + big)
        assert [(await raw.answer()).status for _ in range(3)] == [200, 200, 431]
        assert await raw.rest() == b""


# Bodies


async def test_body_sent_one_byte_a_second_is_answered_408(site: type[Site], clock: VirtualClock) -> None:
    async with served(site, clock=clock) as server:
        async with dial(server.port) as raw:
            raw.write(post(1000))
            await until(lambda: server.theater._listener._state.tasks)
            await trickle(raw, clock, b"x" * 100)
            answer = await raw.answer()
            assert (answer.status, answer.get("connection")) == (408, "close")
            assert answer.body == b"The body of the request took too long.\n"
            assert await raw.rest() == b""
            assert LIMITS.body_timeout <= clock.now() <= LIMITS.body_timeout + 2
        await accepted(server, 0)
        assert refused(server) == {"body-timeout": 1}
    assert not site.seen


async def test_body_whose_response_has_gone_is_not_waited_for_forever(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, Limits(max_body=10), clock=clock) as server:
        async with dial(server.port) as raw:
            raw.write(post(1000) + b"x" * 11)
            assert (await raw.answer()).status == 413
            await pass_time(clock, LIMITS.body_timeout + 2)
            assert await raw.rest() == b""
        await accepted(server, 0)


async def test_connection_whose_body_came_after_the_response_is_kept_for_no_longer(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, Limits(max_body=10), clock=clock) as server, dial(server.port) as raw:
        raw.write(post(20) + b"x" * 11)
        assert (await raw.answer()).status == 413
        raw.write(b"x" * 9)
        await pass_time(clock, 0)
        raw.write(GET)
        assert (await raw.answer()).status == 200
        await pass_time(clock, LIMITS.keep_alive + 2)
        assert await raw.rest() == b""


async def test_slow_body_behind_a_request_has_its_time_from_the_response_on(
    site: type[Site], clock: VirtualClock
) -> None:
    limits = Limits(handler_timeout=1000)
    async with served(site, limits, clock=clock) as server, dial(server.port) as raw:
        raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + post(10) + b"hello")
        await until(lambda: site.seen)
        await pass_time(clock, 100)
        site.go.set()
        assert (await raw.answer()).status == 200
        await pass_time(clock, LIMITS.body_timeout - 1)
        raw.write(b"world")
        assert (await raw.answer()).body == b"10\n"


async def test_slow_body_behind_a_request_is_answered_in_its_turn(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, Limits(handler_timeout=1000), clock=clock) as server, dial(server.port) as raw:
        raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + chunked() + b"nonsense\r\n")
        await until(lambda: site.seen)
        await pass_time(clock, 0)
        site.go.set()
        assert [(await raw.answer()).status for _ in range(2)] == [200, 400]
        assert await raw.rest() == b""
    assert len(site.seen) == 1


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"5;", b"x" * 1000),
        (b"5\r\nhello\r\n0\r\n", b"X: " + b"y" * 900 + b"\r\n"),
        (b"5\r\nhello\r\n0\r\nX: ", b"y" * 1000),
        (b"0" * 100, b"0" * 1000),
    ],
    ids=["extension", "trailers", "trailer", "size"],
)
async def test_what_surrounds_a_body_has_an_end(site: type[Site], head: bytes, piece: bytes) -> None:
    async with served(site) as server, dial(server.port) as raw:
        raw.write(chunked() + head)
        sent = 0
        while not raw.reader._buffer and sent < 4 * LIMITS.max_head:  # type: ignore[attr-defined]
            raw.write(piece)
            sent += len(piece)
            await asyncio.sleep(0)
        answer = await raw.answer()
        assert (answer.status, answer.get("connection")) == (431, "close")
        assert await raw.rest() == b""
    assert not site.seen


async def test_trailer_fields_are_no_header_fields(site: type[Site]) -> None:
    """RFC 9110 §6.5.1"""
    async with served(site) as server, dial(server.port) as raw:
        raw.write(chunked() + b"5\r\nhello\r\n0\r\nAuthorization: root\r\nHost: evil.example\r\n\r\n" + GET)
        assert [(await raw.answer()).body for _ in range(2)] == [b"5\n", b"0\n"]
    assert [name for name, _ in site.seen[0].headers] == ["host", "transfer-encoding"]
    assert [name for name, _ in site.seen[1].headers] == ["host"]


# What is not well-formed, or not the same to everybody

NEXT = request("GET /smuggled HTTP/1.1", HOST)
CHUNKED = ("Transfer-Encoding", "chunked")
PLAIN = ("Content-Length", str(len(NEXT)))
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "h2c")]

MALFORMED = {
    "length and coding": (request("POST / HTTP/1.1", [*HOST, PLAIN, CHUNKED]) + b"0\r\n\r\n", 400),
    "coding and length": (request("POST / HTTP/1.1", [*HOST, CHUNKED, PLAIN]) + b"0\r\n\r\n", 400),
    "two lengths": (request("POST / HTTP/1.1", [*HOST, PLAIN, ("Content-Length", "0")]), 400),
    "the same length twice": (request("POST / HTTP/1.1", [*HOST, PLAIN, PLAIN]), 400),
    "a list of lengths": (request("POST / HTTP/1.1", [*HOST, ("Content-Length", "5, 5")]), 400),
    "a signed length": (request("POST / HTTP/1.1", [*HOST, ("Content-Length", "+5")]), 400),
    "a negative length": (request("POST / HTTP/1.1", [*HOST, ("Content-Length", "-5")]), 400),
    "no length": (request("POST / HTTP/1.1", [*HOST, ("Content-Length", "")]), 400),
    "a length too large": (request("POST / HTTP/1.1", [*HOST, ("Content-Length", "9" * 40)]), 400),
    "chunked twice": (request("POST / HTTP/1.1", [*HOST, CHUNKED, CHUNKED]) + b"0\r\n\r\n", 400),
    "chunked not last": (
        request("POST / HTTP/1.1", [*HOST, ("Transfer-Encoding", "chunked, identity")]) + b"0\r\n\r\n",
        400,
    ),
    "another coding before": (
        request("POST / HTTP/1.1", [*HOST, ("Transfer-Encoding", "gzip, chunked")]) + b"0\r\n\r\n",
        501,
    ),
    "identity before": (
        request("POST / HTTP/1.1", [*HOST, ("Transfer-Encoding", "identity"), CHUNKED]) + b"0\r\n\r\n",
        501,
    ),
    "another coding": (request("POST / HTTP/1.1", [*HOST, ("Transfer-Encoding", "xchunked")]), 501),
    "chunked in HTTP/1.0": (chunked("POST / HTTP/1.0") + b"0\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    "a folded coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n", 400),
    "space before the first name": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "bare LF between fields": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    "NUL": (b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n", 400),
    "bad chunk size": (chunked() + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "space behind a chunk size": (chunked() + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "LF in a chunk": (chunked() + b"5\nhello\n0\n\n", 400),
    "LF in an extension": (chunked() + b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    "chunk size too large": (chunked() + b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n", 400),
    "chunk longer than its size": (chunked() + b"5\r\nhello!\r\n0\r\n\r\n", 400),
    "length in a trailer": (chunked() + b"0\r\nContent-Length: 5\r\n\r\n", 400),
    "HTTP/2.0": (request("GET / HTTP/2.0", HOST), 505),
    "HTTP/0.9": (request("GET / HTTP/0.9", HOST), 505),
    "HTTP/1.2": (request("GET / HTTP/1.2", HOST), 400),
    "HTTP/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 505),
    "unknown method": (request("FETCH / HTTP/1.1", HOST), 400),
    "method in lower case": (request("get / HTTP/1.1", HOST), 400),
    "space in the target": (request("GET /a b HTTP/1.1", HOST), 400),
    "no Host": (request(fields=[("X", "y")]), 400),
    "two Hosts": (request(fields=[*HOST, *HOST]), 400),
    "a proxy's method": (request("CONNECT example.org:443 HTTP/1.1", HOST), 501),
    "upgrade with a body": (request("POST / HTTP/1.1", [*HOST, *UPGRADE, PLAIN]), 400),
    "upgrade with chunks": (request("POST / HTTP/1.1", [*HOST, *UPGRADE, CHUNKED]) + b"0\r\n\r\n", 400),
    "WebSocket with a body": (handshake(extra=[PLAIN]), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_is_answered_once_and_ends_the_connection(
    site: type[Site], name: str
) -> None:
    """Whatever stands behind it is no request: others may see its end elsewhere."""
    data, status = MALFORMED[name]
    async with served(site) as server, dial(server.port) as raw:
        raw.write(data + NEXT)
        answer = await raw.answer()
        assert (answer.status, answer.get("connection")) == (status, "close")
        assert (answer.get("content-type") or "").startswith("text/plain")
        assert answer.body.endswith(b".\n")
        assert answer.body.count(b"\n") == 1
        assert await raw.rest() == b""
        assert refused(server) == {"malformed": 1}
        await until(lambda: not server.theater._listener._state.tasks)
    assert not site.seen


class Collector(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_in_pieces_is_answered_likewise(
    site: type[Site], name: str, size: int
) -> None:
    data, status = MALFORMED[name]
    async with stage(site) as theater:
        client, server = link()
        collector = Collector()
        client.set_protocol(collector)
        server.split = size
        protocol = theater.theater.new_connection()
        server.set_protocol(protocol)
        protocol.connection_made(server)
        client.write(data + NEXT)
        await until(client.is_closing)
        assert collector.received.startswith(b"HTTP/1.1 %d " % status)
        assert collector.received.count(b"\r\ndate: ") == 1
    assert not site.seen


async def test_other_upgrades_are_not_made(site: type[Site]) -> None:
    async with served(site) as server, dial(server.port) as raw:
        raw.write(request(fields=[*HOST, *UPGRADE]) + GET)
        assert [(await raw.answer()).status for _ in range(2)] == [200, 200]


# Pipelines


async def test_pipelined_requests_are_answered_in_order(site: type[Site]) -> None:
    async with served(site) as server, dial(server.port) as raw:
        numbers = range(2000)
        data = b"".join(post(number % 7) + b"x" * (number % 7) for number in numbers)
        raw.write(data)
        assert [(await raw.answer()).body for _ in numbers] == [b"%d\n" % (number % 7) for number in numbers]


async def test_pipelined_requests_wait_unparsed(site: type[Site]) -> None:
    async with served(site) as server, dial(server.port) as raw:
        tiny = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
        raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + tiny * 100_000)
        await until(lambda: site.seen)
        await asyncio.sleep(0.05)
        [connection] = server.theater._listener._state.connections
        assert isinstance(connection, Http1Connection)
        assert len(connection.pipeline) < 50
        assert len(connection._rest) <= 1024 * 1024
        assert not connection.transport.is_reading()
        site.go.set()
        for _ in range(200):
            assert (await raw.answer()).status == 200


async def test_what_is_wrong_behind_a_request_is_said_behind_its_response(site: type[Site]) -> None:
    async with served(site) as server, dial(server.port) as raw:
        raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + GET + b"nonsense\r\n\r\n" + NEXT)
        await until(lambda: site.seen)
        site.go.set()
        assert [(await raw.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await raw.rest() == b""
    assert len(site.seen) == 2


async def test_client_that_vanishes_leaves_nothing_behind(site: type[Site]) -> None:
    async with served(site) as server:
        async with dial(server.port) as raw:
            raw.write(request("GET /?wait=1 HTTP/1.1", HOST) + GET * 100)
            await until(lambda: site.seen)
            raw.reset()
        await accepted(server, 0)
        site.go.set()
        await until(lambda: not server.theater._listener._state.tasks)
        assert not server.theater._listener._state.connections
        assert not admission(server).wheel._slots


# The last response


@pytest.mark.parametrize(
    "data",
    [
        handshake("GET /?no=1 HTTP/1.1"),
        handshake("GET /nowhere HTTP/1.1"),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101,
    ],
)
async def test_refusal_reaches_a_client_that_goes_on_sending(site: type[Site], data: bytes) -> None:
    """Closing at once would reset the connection, and throw away what the client has not read yet."""
    async with served(site) as server:
        async with dial(server.port) as raw:
            raw.write(data + b"x" * 4_000_000)
            await raw.writer.drain()
            answer = await raw.answer()
            assert answer.status >= 400
            assert await raw.rest() == b""
        await accepted(server, 0)


async def test_surplus_connection_reads_its_refusal_although_it_sends(site: type[Site]) -> None:
    async with served(site, Limits(max_connections=1)) as server, dial(server.port) as one:
        await one.upgraded()
        async with dial(server.port) as raw:
            raw.write(GET + b"x" * 1_000_000)
            await raw.writer.drain()
            assert (await raw.answer()).status == 503
            assert await raw.rest() == b""


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", handshake("GET /?no=1 HTTP/1.1")])
async def test_client_that_does_not_go_is_dropped(site: type[Site], clock: VirtualClock, data: bytes) -> None:
    async with served(site, clock=clock) as server, dial(server.port) as raw:
        raw.write(data)
        assert (await raw.answer()).status >= 400
        await asyncio.sleep(0.01)
        assert admission(server)._open == 1
        await pass_time(clock, LIMITS.close_timeout + 2)
        await accepted(server, 0)


@pytest.mark.parametrize("fields", [HOST, [*HOST, ("Connection", "close")]])
async def test_client_that_does_not_read_its_response_is_dropped(
    site: type[Site], clock: VirtualClock, fields: list[tuple[str, str]]
) -> None:
    async with served(site, clock=clock) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        with sock:
            sock.sendall(request("GET /?size=20000000 HTTP/1.1", fields))
            await until(lambda: site.seen)
            await pass_time(clock, 0.1)
            for _ in range(3):
                await pass_time(clock, LIMITS.body_timeout + 2)
            await accepted(server, 0)


async def test_client_that_reads_its_response_slowly_gets_all_of_it(
    site: type[Site], clock: VirtualClock
) -> None:
    async with served(site, clock=clock) as server, dial(server.port) as raw:
        raw.write(request("GET /?size=20000000 HTTP/1.1", HOST))
        await until(lambda: site.seen)
        await raw.reader.readuntil(b"\r\n\r\n")
        for _ in range(10):
            await pass_time(clock, LIMITS.body_timeout / 2)
            assert len(await raw.reader.readexactly(2_000_000)) == 2_000_000
        await accepted(server, 0)


async def test_frames_behind_a_handshake_are_not_part_of_its_head(site: type[Site]) -> None:
    async with served(site, Limits(max_head=1000)) as server, dial(server.port) as raw:
        frames = b"".join(client_frame(TEXT, b"%d" % number) for number in range(1000))
        await raw.upgraded(handshake() + frames)
        assert [await raw.frame() for _ in range(1000)] == [(0x81, b"%d" % n) for n in range(1000)]


async def test_more_than_a_client_may_send_before_the_response(site: type[Site]) -> None:
    """It has to wait for it (RFC 6455 §4.1), so only what may come in one read is kept."""
    for size, status in ((READ_BUFFER, 101), (READ_BUFFER + 1, 400)):
        async with stage(site) as theater:
            client, server = link()
            collector = Collector()
            client.set_protocol(collector)
            protocol = theater.theater.new_connection()
            server.set_protocol(protocol)
            protocol.connection_made(server)
            client.write(handshake() + client_frame(TEXT, b"x" * (size - 14)))
            await until(lambda: collector.received)  # noqa: B023
            assert collector.received.startswith(b"HTTP/1.1 %d " % status)
            client.abort()


async def test_stopping_ends_all_of_them(site: type[Site]) -> None:
    server: Server
    async with served(site) as server:
        silent = await asyncio.open_connection("127.0.0.1", server.port)
        half = await asyncio.open_connection("127.0.0.1", server.port)
        half[1].write(GET[:10])
        told = await asyncio.open_connection("127.0.0.1", server.port)
        told[1].write(b"nonsense\r\n\r\n")
        await told[0].readuntil(b".\n")
        await accepted(server, 3)
    for reader, writer in (silent, half, told):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.transport.abort()
    assert admission(server)._open == 0
