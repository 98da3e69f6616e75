"""Upgrades over real sockets, byte by byte."""

import asyncio
import logging
from typing import Any

import pytest
from tests.protocol.wire import TEXT
from tests.server.raw import ACCEPT, FIELDS, Answer, client_frame, dial, handshake, request, until
from tests.server.served import pass_time, refused, served

from theater import (
    Accept,
    Actor,
    Closed,
    Connected,
    Connection,
    Event,
    Message,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.config import Manifest
from theater.limits import Limits
from theater.protocol.handshake import accept_key
from theater.runtime.ports import Reply
from theater.server.routing import Pattern, Route
from theater.testing import MemoryTransport, VirtualClock, link, serve, stage

pytestmark = pytest.mark.usefixtures("quiet")


class Echo(Actor):
    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(Text() as text):
                return text
        return None


class Site(Actor):
    """Plain HTTP next to a WebSocket, on `/`."""

    def handle_request(self, request: Request) -> Response:
        return Response.text(f"{request.method} {request.headers.get('upgrade')}\n")


def routes(actor: type[Actor], *handlers: Route) -> Manifest:
    return Manifest("x", actor, handlers)


async def ask(port: int, data: bytes) -> Answer:
    """Sends bytes, and reads the one response behind which the server closes."""
    async with dial(port) as raw:
        raw.write(data)
        answer = await raw.answer()
        assert await raw.rest() == b""
        assert answer.get("connection") == "close"
        return answer


# Malformed handshakes

KEY_FIELD = "Sec-WebSocket-Key"

MALFORMED = {
    "no Host": (handshake(without="Host"), 400, "Host"),
    "two Hosts": (handshake(extra=[("Host", "example.net")]), 400, "Host"),
    "no key": (handshake(without=KEY_FIELD), 400, KEY_FIELD),
    "two keys": (handshake(extra=[(KEY_FIELD, "AQIDBAUGBwgJCgsMDQ4PEA==")]), 400, KEY_FIELD),
    "short key": (handshake(without=KEY_FIELD, extra=[(KEY_FIELD, "c2hvcnQ=")]), 400, "16 bytes"),
    "long key": (
        handshake(without=KEY_FIELD, extra=[(KEY_FIELD, "AQIDBAUGBwgJCgsMDQ4PEBE=")]),
        400,
        "16 bytes",
    ),
    "key not base64": (
        handshake(without=KEY_FIELD, extra=[(KEY_FIELD, "!!!!!!!!!!!!!!!!!!!!!!==")]),
        400,
        "base64",
    ),
    "key not ASCII": (
        handshake(without=KEY_FIELD, extra=[(KEY_FIELD, "dGhlIHNhbXBsZSBub25jZé==")]),
        400,
        "base64",
    ),
    "empty key": (handshake(without=KEY_FIELD, extra=[(KEY_FIELD, "")]), 400, "16 bytes"),
    "no version": (handshake(without="Sec-WebSocket-Version"), 426, "none"),
    "version 8": (
        handshake(without="Sec-WebSocket-Version", extra=[("Sec-WebSocket-Version", "8")]),
        426,
        "not 8",
    ),
    "two versions": (handshake(extra=[("Sec-WebSocket-Version", "8")]), 426, "13, 8"),
    "subprotocol twice": (
        handshake(extra=[("Sec-WebSocket-Protocol", "a, b"), ("Sec-WebSocket-Protocol", "a")]),
        400,
        "twice",
    ),
    "HTTP/1.0": (handshake("GET / HTTP/1.0"), 400, "HTTP/1.0"),
    "unknown path": (handshake("GET /nowhere HTTP/1.1"), 404, "Not Found"),
    "bad percent-encoding": (handshake("GET /%zz HTTP/1.1"), 400, "path"),
    "path not UTF-8": (handshake("GET /%ff HTTP/1.1"), 400, "path"),
    "NUL in the path": (handshake("GET /%00 HTTP/1.1"), 400, "path"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_handshake_is_refused_with_one_plain_sentence(name: str) -> None:
    data, status, word = MALFORMED[name]
    async with serve(Echo) as server:
        answer = await ask(server.port, data)
    assert answer.status == status
    assert (answer.get("content-type") or "").startswith("text/plain")
    text = answer.body.decode()
    assert word in text
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert answer.get("sec-websocket-version") == ("13" if status == 426 else None)
    assert answer.get("upgrade") == ("websocket" if status == 426 else None)


@pytest.mark.parametrize(
    ("data", "status", "field"),
    [
        (handshake("POST / HTTP/1.1"), 405, ("allow", "GET")),
        (handshake(without="Upgrade"), 426, ("upgrade", "websocket")),
        (handshake(without="Connection"), 400, None),
        (handshake(without="Upgrade", extra=[("Upgrade", "h2c")]), 426, ("upgrade", "websocket")),
        (handshake(without="Connection", extra=[("Connection", "keep-alive")]), 400, None),
    ],
)
async def test_what_does_not_even_ask_for_a_websocket_is_told_what_is_missing(
    data: bytes, status: int, field: tuple[str, str] | None
) -> None:
    async with serve(Echo) as server, dial(server.port) as raw:
        raw.write(data)
        answer = await raw.answer()
    assert answer.status == status
    assert answer.body.count(b"\n") == 1
    if field is not None:
        assert field in answer.headers


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        request(fields=[*FIELDS, ("Bad\0Name", "x")]),
        request(fields=[*FIELDS, ("X-Bad", "a\0b")]),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody tries TLS
        handshake("GET http://example.org:99999/ HTTP/1.1"),
        handshake("GET http:///// HTTP/1.1"),
    ],
)
async def test_what_is_no_http_is_answered_400(data: bytes) -> None:
    async with serve(Echo) as server:
        answer = await ask(server.port, data)
    assert answer.status in (400, 404)
    assert b"Traceback" not in answer.body


# Well-formed ones


@pytest.mark.parametrize(
    "data",
    [
        handshake(),
        handshake(without="Connection", extra=[("Connection", "keep-alive, Upgrade")]),
        handshake(without="Connection", extra=[("Connection", "UPGRADE")]),
        handshake(without="Connection", extra=[("Connection", "keep-alive"), ("Connection", "x , upgrade")]),
        handshake(without="Upgrade", extra=[("Upgrade", "websocket, foo")]),
        handshake(without="Upgrade", extra=[("Upgrade", "foo"), ("Upgrade", "WebSocket")]),
        handshake(extra=[("Sec-WebSocket-Extensions", "x; y=1, permessage-what")]),
        handshake(extra=[("Origin", "http://example.org"), ("Content-Length", "0")]),
        handshake("GET http://example.org/ HTTP/1.1"),
        handshake("GET http://example.org HTTP/1.1"),
        handshake("GET /a/.. HTTP/1.1"),
        handshake().replace(b"Host", b"hOsT").replace(b"Upgrade: ", b"uPGRADE:   "),
    ],
)
async def test_well_formed_handshake_opens(data: bytes) -> None:
    async with serve(Echo) as server, dial(server.port) as raw:
        answer = await raw.upgraded(data)
        assert answer.get("upgrade") == "websocket"
        assert answer.get("connection") == "Upgrade"
        assert answer.get("sec-websocket-accept") == ACCEPT
        assert answer.get("sec-websocket-extensions") is None
        assert answer.get("sec-websocket-protocol") is None
        assert answer.get("content-length") is None
        raw.write(client_frame(TEXT, b"hello"))
        assert await raw.frame() == (0x81, b"hello")


DEFLATE = [("Sec-WebSocket-Extensions", "x-unknown, permessage-deflate; client_max_window_bits")]


async def test_compression_is_agreed_on_and_its_memory_given_back() -> None:
    async with serve(Echo) as server:
        budget = server.theater._hub.budget
        async with dial(server.port) as raw:
            answer = await raw.upgraded(handshake(extra=DEFLATE))
            agreed = (answer.get("sec-websocket-extensions") or "").split("; ")
            assert agreed[0] == "permessage-deflate"
            assert budget.taken > 0
            raw.write(client_frame(TEXT, b"hello"))  # it need not be used
            assert await raw.frame() == (0x81, b"hello")
        await until(lambda: budget.taken == 0)


async def test_compression_can_be_switched_off() -> None:
    async with serve(Echo, limits=Limits(compression=False)) as server, dial(server.port) as raw:
        answer = await raw.upgraded(handshake(extra=DEFLATE))
        assert answer.get("sec-websocket-extensions") is None


async def test_compression_takes_no_memory_for_a_connection_that_does_not_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Forger(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Accept | None:
            return Accept("not offered") if request.query.get("forge") else None

    async with serve(Forger) as server:
        for query, status in (("", 403), ("forge=1", 500)):
            answer = await ask(server.port, handshake(f"GET /?{query} HTTP/1.1", extra=DEFLATE))
            assert answer.status == status
            assert server.theater._hub.budget.taken == 0
    assert len(caplog.records) == 1


async def test_handshake_that_arrives_byte_by_byte_opens() -> None:
    async with stage(Echo) as theater:
        connection = await theater.connect(split=1)
        await connection.send(Text("hello"))
        assert await connection.receive() == Text("hello")
        await connection.close()


async def test_frames_in_the_packet_of_the_handshake_are_received() -> None:
    async with serve(Echo) as server, dial(server.port) as raw:
        frames = [client_frame(TEXT, b"%d" % number) for number in range(200)]
        await raw.upgraded(handshake() + b"".join(frames) + client_frame(TEXT, b"cut")[:-1])
        assert [await raw.frame() for _ in frames] == [(0x81, b"%d" % number) for number in range(200)]
        raw.write(client_frame(TEXT, b"cut")[-1:])
        assert await raw.frame() == (0x81, b"cut")


async def test_whole_conversation_in_one_packet() -> None:
    async with serve(Echo) as server, dial(server.port) as raw:
        data = handshake() + client_frame(TEXT, b"one") + client_frame(0x8, b"\x0f\xa0bye")
        await raw.upgraded(data)
        assert await raw.rest() == b"\x81\x03one\x88\x02\x0f\xa0"


@pytest.mark.parametrize("deciding", ["at once", "later"])
async def test_full_mailbox_holds_back_what_came_with_the_handshake(deciding: str) -> None:
    """Otherwise a client that sends faster than the actor works fills the memory."""
    seen: list[str] = []
    go = asyncio.Event()

    class Busy(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            if deciding == "later":
                await asyncio.sleep(0)
            return Accept()

        async def handle_websocket(self, connection: Connection, event: Event) -> None:
            await go.wait()
            match event:
                case Received(Text(text)):
                    seen.append(text)

    frames = b"".join(client_frame(TEXT, b"%d" % number) for number in range(500))
    async with stage(Busy, limits=Limits(mailbox_high_water=8, mailbox_low_water=2)) as theater:
        client, server = _linked(theater.theater.new_connection())
        client.write(handshake() + frames)
        await until(lambda: not server.is_reading() or len(theater.theater._hub.open) > 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(theater.theater._hub.open) == 1
        assert not server.is_reading()
        go.set()
        await until(lambda: len(seen) == 500)
        assert seen == [str(number) for number in range(500)]
        client.abort()
        await until(lambda: not theater.theater._hub.open)


def _linked(protocol: asyncio.Protocol) -> tuple[MemoryTransport, MemoryTransport]:
    client, server = link()
    server.set_protocol(protocol)
    protocol.connection_made(server)
    return client, server


# What the actor says to it


class Chooser(Actor):
    """Accepts the subprotocol that the query names."""

    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        return Accept(request.query.get("choose"))

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        return Text(str(connection.subprotocol)) if isinstance(event, Connected) else None


OFFER = [("Sec-WebSocket-Protocol", "chat, superchat"), ("Sec-WebSocket-Protocol", "mqtt")]


@pytest.mark.parametrize("choice", ["chat", "superchat", "mqtt"])
async def test_subprotocol_of_the_actors_choice(choice: str) -> None:
    async with serve(Chooser) as server, dial(server.port) as raw:
        answer = await raw.upgraded(handshake(f"GET /?choose={choice} HTTP/1.1", extra=OFFER))
        assert answer.get("sec-websocket-protocol") == choice
        assert await raw.frame() == (0x81, choice.encode())


async def test_no_subprotocol_is_a_choice_too() -> None:
    async with serve(Chooser) as server, dial(server.port) as raw:
        answer = await raw.upgraded(handshake(extra=OFFER))
        assert answer.get("sec-websocket-protocol") is None
        assert await raw.frame() == (0x81, b"None")


async def test_subprotocol_that_was_not_offered_is_the_actors_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(Chooser) as server:
        answer = await ask(server.port, handshake("GET /?choose=secret HTTP/1.1", extra=OFFER))
        assert not server.theater._hub.open
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "chooser" in record.getMessage()
    assert "'secret'" in record.getMessage()


async def test_offers_reach_the_actor_in_order() -> None:
    seen: list[UpgradeRequest] = []

    class Spy(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> None:
            seen.append(request)

    async with serve(Spy) as server:
        await ask(server.port, handshake(extra=OFFER))
    assert seen[0].subprotocols == ("chat", "superchat", "mqtt")


async def test_headers_tags_and_attachment_of_the_acceptance() -> None:
    class Host(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            return Accept(
                headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
                tags=["red", "blue"],
                attachment={"user": 7},
            )

        def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
            if isinstance(event, Connected):
                return Text(f"{sorted(connection.tags)} {connection.attachment}")
            return None

    async with serve(Host) as server, dial(server.port) as raw:
        answer = await raw.upgraded()
        assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]
        assert await raw.frame() == (0x81, b"['blue', 'red'] {'user': 7}")


@pytest.mark.parametrize("name", ["Sec-WebSocket-Accept", "upgrade", "Sec-WebSocket-Extensions"])
async def test_headers_of_the_handshake_are_not_the_actors(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Forger(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            return Accept(headers={name: "forged"})

    async with serve(Forger) as server:
        answer = await ask(server.port, handshake())
    assert answer.status == 500
    assert "forged" not in str(answer)
    [record] = caplog.records
    assert name.lower() in record.getMessage()


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
async def test_an_acceptance_has_no_body(name: str) -> None:
    """RFC 9110 §8.6 and RFC 9112 §6.1: neither may stand in a 1xx response."""

    class Forger(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            return Accept(headers={name: "5"})

    async with serve(Forger) as server, dial(server.port) as raw:
        raw.write(handshake())
        answer = await raw.answer()
    assert name.lower() not in dict(answer.headers) or answer.status == 500


@pytest.mark.parametrize(
    "response",
    [
        Response(401, {"WWW-Authenticate": "Bearer"}, "Who are you?"),
        Response(302, {"location": "/elsewhere"}),
        Response.json({"error": "full"}, 503),
        Response(200, body=b"\0\1\2" * 1000),
        Response(599, body="no phrase for it"),
        Response(403, {"Content-Length": "1", "Connection": "keep-alive"}, "forged"),
    ],
)
async def test_refusal_with_any_response(response: Response) -> None:
    class Guard(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Response:
            return response

    async with serve(Guard) as server:
        answer = await ask(server.port, handshake())
        assert not server.theater._hub.open
    assert answer.status == response.status
    assert answer.body == response.body
    assert answer.get("content-length") == str(len(response.body))
    for name, value in response.headers:
        if name not in ("content-length", "connection"):
            assert answer.get(name) == value


@pytest.mark.parametrize("status", [204, 304])
async def test_refusal_that_cannot_have_a_body(status: int) -> None:
    class Guard(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> Response:
            return Response(status, body="a body")

    async with serve(Guard) as server, dial(server.port) as raw:
        raw.write(handshake())
        answer = await raw.answer()
        assert answer.status == status
        assert await raw.rest() == b""
        if status == 204:
            assert answer.get("content-length") is None  # RFC 9110 §8.6


async def test_no_answer_refuses_with_403() -> None:
    class Guard(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> None:
            return None

    async with serve(Guard) as server:
        answer = await ask(server.port, handshake())
    assert (answer.status, answer.body) == (403, b"Forbidden\n")


@pytest.mark.parametrize("when", ["at once", "later", "nonsense", "init"])
async def test_handler_that_raises_refuses_with_500_and_tells_nothing(
    when: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Actor):
        def init(self) -> None:
            if when == "init":
                raise ValueError("the password is hunter2")

        def upgrade_connection(self, request: UpgradeRequest) -> Any:
            if when == "nonsense":
                return "hunter2"
            if when == "later":
                return self.later()
            raise ValueError("the password is hunter2")

        async def later(self) -> Accept:
            await asyncio.sleep(0)
            raise ValueError("the password is hunter2")

    async with serve(Broken) as server:
        answer = await ask(server.port, handshake())
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert "hunter2" not in str(answer)
    [record] = caplog.records
    assert record.exc_info
    assert "broken failed" in record.getMessage()


async def test_decision_may_take_its_time() -> None:
    go = asyncio.Event()
    asked = asyncio.Event()

    class Slow(Echo):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            asked.set()
            await go.wait()
            return Accept(headers={"x-slow": "yes"})

    async with serve(Slow) as server, dial(server.port) as raw:
        raw.write(handshake() + client_frame(TEXT, b"early"))
        await asked.wait()
        raw.write(client_frame(TEXT, b"late"))
        go.set()
        answer = await raw.answer()
        assert (answer.status, answer.get("x-slow")) == (101, "yes")
        assert await raw.frame() == (0x81, b"early")
        assert await raw.frame() == (0x81, b"late")


async def test_decision_that_never_comes_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            await asyncio.Event().wait()
            return Accept()

    clock = VirtualClock()
    async with served(Stuck, Limits(upgrade_timeout=3), clock=clock) as server, dial(server.port) as raw:
        raw.write(handshake())
        await until(lambda: list(server.theater.system))
        await pass_time(clock, 2.9)
        assert not raw.reader.at_eof()
        await pass_time(clock, 0.2)
        answer = await raw.answer()
        assert (answer.status, answer.body) == (503, b"Service Unavailable\n")
        assert await raw.rest() == b""
        assert refused(server) == {"overloaded": 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # the handler, that it hangs


async def test_client_that_vanishes_while_the_actor_decides() -> None:
    go = asyncio.Event()
    asked = asyncio.Event()
    events: list[Event] = []
    decided: list[bool] = []

    class Slow(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            asked.set()
            await go.wait()
            decided.append(True)
            return Accept()

        def handle_websocket(self, connection: Connection, event: Event) -> None:
            events.append(event)

    async with serve(Slow) as server:
        async with dial(server.port) as raw:
            raw.write(handshake())
            await asked.wait()
            raw.reset()
        go.set()
        await until(lambda: decided and not server.theater._hub.open)
        # Either it never was a connection, or it was one that ended at once.
        await until(lambda: not events or len(events) == 2)
        assert events in ([], [Connected(), Closed(1006)])


async def test_transport_that_closes_while_the_actor_decides() -> None:
    go = asyncio.Event()
    asked = asyncio.Event()
    events: list[Event] = []

    class Slow(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            asked.set()
            await go.wait()
            return Accept()

        def handle_websocket(self, connection: Connection, event: Event) -> None:
            events.append(event)

    async with stage(Slow) as theater:
        client, server = _linked(theater.theater.new_connection())
        client.write(handshake())
        await asked.wait()
        client.abort()
        await until(server.is_closing)
        go.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert events == []
        assert not theater.theater._hub.open


async def test_full_mailbox_refuses_with_503() -> None:
    go = asyncio.Event()

    class Stuck(Actor):
        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            await go.wait()
            return Accept()

    limits = Limits(mailbox_high_water=1, mailbox_low_water=0)
    async with (
        serve(Stuck, limits=limits) as server,
        dial(server.port) as first,
        dial(server.port) as second,
    ):
        first.write(handshake())
        await until(lambda: list(server.theater.system))
        second.write(handshake())
        await until(lambda: any(cell.full for cell in server.theater.system))
        answer = await ask(server.port, handshake())
        go.set()
        assert (await first.answer()).status == 101
        assert (await second.answer()).status == 101
    assert answer.status == 503
    assert answer.get("retry-after") == "1"


async def test_no_room_for_another_actor_refuses_with_503() -> None:
    limits = Limits(max_actors=1)
    async with (
        serve(Echo, path="/{key}", instance="{key}", limits=limits) as server,
        dial(server.port) as raw,
    ):
        await raw.upgraded(handshake("GET /one HTTP/1.1"))
        answer = await ask(server.port, handshake("GET /two HTTP/1.1"))
        assert answer.status == 503
        async with dial(server.port) as another:
            await another.upgraded(handshake("GET /one HTTP/1.1"))


# What the connection knows


async def test_facts_of_the_request_are_on_the_connection() -> None:
    seen: list[Connection] = []

    class Spy(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            seen.append(connection)

    async with serve(Spy, path="/rooms/{room}/{seat}", instance="{room}") as server:
        async with dial(server.port) as raw:
            line = "GET /rooms/caf%C3%A9%2F1/./x/../b%20b?a=1&a=2&b=%20 HTTP/1.1"
            await raw.upgraded(handshake(line, extra=[("X-Many", "1"), ("x-many", "2")]))
            await until(lambda: seen)
            connection = seen[0]
            assert connection.path == "/rooms/café/1/b b"
            assert dict(connection.parameters) == {"room": "café/1", "seat": "b b"}
            assert str(connection.query) == "a=1&a=2&b=%20"
            assert connection.query.get_all("a") == ["1", "2"]
            assert connection.query["b"] == " "
            assert connection.headers.get_all("X-Many") == ["1", "2"]
            assert connection.headers["host"] == "example.org"
            assert connection.peer == raw.writer.get_extra_info("sockname")
            assert 0 < connection.id < 2**53
        cells = [str(cell.address) for cell in server.theater.system]
        assert cells == ["spy/café/1"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b/../c", "/a/c"),
        ("/a/./b/%2e%2E/c", "/a/c"),
        ("/../../a/c", "/a/c"),
        ("/a/%63", "/a/c"),
        ("/a/b/../c?x=../..", "/a/c"),
    ],
)
async def test_dot_segments_and_escapes_are_resolved_before_routing(target: str, path: str) -> None:
    seen: list[str] = []

    class Spy(Actor):
        def upgrade_connection(self, request: UpgradeRequest) -> None:
            seen.append(request.path)

    async with serve(Spy, path="/a/c") as server:
        answer = await ask(server.port, handshake(f"GET {target} HTTP/1.1"))
    assert answer.status == 403
    assert seen == [path]


@pytest.mark.parametrize("target", ["/a", "/a/c/", "//a/c", "/a//c", "/A/c", "/a%2Fc"])
async def test_paths_that_only_look_alike_lead_nowhere(target: str) -> None:
    async with serve(Echo, path="/a/c") as server:
        answer = await ask(server.port, handshake(f"GET {target} HTTP/1.1"))
    assert answer.status == 404


# An HTTP actor that answers 101 itself


class ByHand(Actor):
    """As in the proposal's first example."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle_request(self, request: Request) -> Response:
        key = request.headers.get("sec-websocket-key")
        if key is None:
            return Response.text("plain\n")
        if request.query.get("wrong"):
            key = "wrong"
        headers = [("Connection", "upgrade"), ("Upgrade", "websocket"), ("X-Own", "kept")]
        if not request.query.get("none"):
            headers.append(("Sec-WebSocket-Accept", accept_key(key)))
        if choice := request.query.get("choose"):
            headers.append(("Sec-WebSocket-Protocol", choice))
        return Response(101, headers)

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        self.events.append(event)
        match event:
            case Received(Text(text)):
                return Text(f"{text} {connection.subprotocol} {len(self.events)}")
        return None


HTTP_ONLY = routes(ByHand, Route("http-server", Pattern("/"), "x"))


async def test_http_actor_that_answers_101_gets_the_events() -> None:
    async with serve(HTTP_ONLY) as server, dial(server.port) as raw:
        answer = await raw.upgraded(handshake("GET /?choose=mqtt HTTP/1.1", extra=OFFER))
        assert answer.get("sec-websocket-accept") == ACCEPT
        assert answer.get("connection") == "Upgrade"
        assert answer.get("sec-websocket-protocol") == "mqtt"
        assert answer.get("x-own") == "kept"
        raw.write(client_frame(TEXT, b"hi"))
        assert await raw.frame() == (0x81, b"hi mqtt 2")


@pytest.mark.parametrize(
    ("query", "word"), [("wrong=1", accept_key("wrong")), ("none=1", "none"), ("choose=soap", "'soap'")]
)
async def test_http_actor_that_answers_101_wrongly(
    query: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(HTTP_ONLY) as server:
        answer = await ask(server.port, handshake(f"GET /?{query} HTTP/1.1", extra=OFFER))
        assert not server.theater._hub.open
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert word in record.getMessage()


async def test_http_actor_that_answers_an_upgrade_plainly() -> None:
    async with serve(routes(Site, Route("http-server", Pattern("/"), "x"))) as server:
        answer = await ask(server.port, handshake())
    assert (answer.status, answer.body) == (200, b"GET websocket\n")


async def test_upgrade_keeps_to_the_methods_of_an_http_route() -> None:
    only_post = routes(Site, Route("http-server", Pattern("/"), "x", methods=("POST",)))
    async with serve(only_post) as server:
        answer = await ask(server.port, handshake())
    assert answer.status == 405
    assert answer.get("allow") == "POST"


async def test_websocket_route_goes_before_an_http_route() -> None:
    both = routes(
        ByHand, Route("http-server", Pattern("/"), "x"), Route("websocket-server", Pattern("/"), "x")
    )
    async with serve(both) as server:
        async with dial(server.port) as raw:
            answer = await raw.upgraded(handshake("GET /?wrong=1 HTTP/1.1"))
            assert answer.get("x-own") is None  # `upgrade_connection` was asked
        async with dial(server.port) as raw:
            raw.write(request(fields=[("Host", "x")]))
            assert (await raw.answer()).body == b"plain\n"


# Other upgrades, and one connection for several requests


async def test_request_with_another_upgrade_is_answered_and_so_is_the_next() -> None:
    """RFC 9110 §7.8: a server may ignore an Upgrade header that it does not know."""
    plain = routes(Site, Route("http-server", Pattern("/"), "x"))
    async with serve(plain) as server, dial(server.port) as raw:
        fields = [("Host", "x"), ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")]
        for _ in range(2):
            raw.write(request(fields=fields))
            answer = await raw.answer()
            assert (answer.status, answer.body) == (200, b"GET h2c\n")
        raw.write(request(fields=[("Host", "x")]))
        assert (await raw.answer()).body == b"GET None\n"


async def test_upgrade_on_a_connection_that_was_used_for_plain_http() -> None:
    both = routes(
        ByHand, Route("http-server", Pattern("/page"), "x"), Route("websocket-server", Pattern("/"), "x")
    )
    async with serve(both) as server, dial(server.port) as raw:
        raw.write(request("GET /page HTTP/1.1", [("Host", "x")]))
        assert (await raw.answer()).body == b"plain\n"
        await raw.upgraded()
        raw.write(client_frame(TEXT, b"hi"))
        assert await raw.frame() == (0x81, b"hi None 2")


@pytest.mark.parametrize("parts", [1, 2, 3])
async def test_upgrade_behind_an_unanswered_request_waits_for_its_turn(parts: int) -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    class Slow(Echo):
        async def handle_request(self, request: Request) -> Response:
            asked.set()
            await go.wait()
            return Response.text("slow\n")

    both = routes(
        Slow, Route("http-server", Pattern("/page"), "x"), Route("websocket-server", Pattern("/"), "x")
    )
    async with serve(both) as server, dial(server.port) as raw:
        data = [request("GET /page HTTP/1.1", [("Host", "x")]), handshake(), client_frame(TEXT, b"hello")]
        raw.write(b"".join(data[: 4 - parts]))
        await asked.wait()
        for part in data[4 - parts :]:
            raw.write(part)
            await asyncio.sleep(0.01)
        go.set()
        assert (await raw.answer()).body == b"slow\n"
        assert (await raw.answer()).status == 101
        assert await raw.frame() == (0x81, b"hello")


async def test_reply_type_is_the_runtimes() -> None:
    """`Connected` may be answered at once; the reply follows the 101 response."""

    class Greeter(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> Reply:
            return [Text("one"), Text("two")] if isinstance(event, Connected) else None

    async with serve(Greeter) as server, dial(server.port) as raw:
        await raw.upgraded()
        assert [await raw.frame(), await raw.frame()] == [(0x81, b"one"), (0x81, b"two")]
