"""Plain HTTP that leads to actors, over real sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.server.raw import FIELDS, Answer, Raw, dial, request, until

from theater import Accept, Actor, Headers, Request, Response, UpgradeRequest
from theater.config import Manifest
from theater.limits import Limits
from theater.protocol.handshake import accept_key
from theater.server.http import wire_headers
from theater.server.routing import Pattern, Route
from theater.testing import Server, serve

pytestmark = pytest.mark.usefixtures("quiet")

HOST = [("Host", "example.org")]


class Desk(Actor):
    """Answers according to the query's `do`."""

    def handle_request(self, request: Request) -> Response:
        match request.query.get("do"):
            case "echo":
                return Response(200, {"content-type": "application/octet-stream"}, request.body)
            case "describe":
                return Response.json(
                    {
                        "method": request.method,
                        "path": request.path,
                        "parameters": dict(request.parameters),
                        "query": str(request.query),
                        "headers": [list(field) for field in request.headers],
                        "peer": request.peer,
                    }
                )
            case "empty":
                return Response(204, body="never sent")
            case "unchanged":
                return Response(304, {"etag": '"1"'}, "never sent")
            case "raise":
                raise ValueError("the password is hunter2")
            case "forge":
                fields = [("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("Connection", "close")]
                return Response(200, [*fields, ("Keep-Alive", "timeout=9"), ("X-Kept", "yes")], "forged\n")
            case "cookies":
                return Response(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
            case "101":
                return Response(101, {"Sec-WebSocket-Accept": accept_key(FIELDS[3][1])})
            case "599":
                return Response(599, body="odd\n")
        return Response.text(f"{request.method}\n")


def desk(*methods: str) -> Manifest:
    return Manifest("desk", Desk, (Route("http-server", Pattern("/{any}"), "desk", methods=methods),))


@asynccontextmanager
async def opened(
    *served: Manifest | type[Actor], limits: Limits = Limits()
) -> AsyncIterator[tuple[Server, Raw]]:
    async with serve(*(served or (desk(),)), limits=limits) as server, dial(server.port) as raw:
        yield server, raw


async def get(raw: Raw, target: str, method: str = "GET") -> Answer:
    raw.write(request(f"{method} {target} HTTP/1.1", HOST))
    return await raw.answer(method)


# Requests


async def test_facts_of_the_request_reach_the_actor() -> None:
    async with opened() as (_, raw):
        fields = [*HOST, ("X-Many", "1"), ("x-many", " 2 "), ("X-Latin", "é")]
        raw.write(request("GET /a%2Fb/../caf%C3%A9?do=describe&x=%20 HTTP/1.1", fields))
        answer = await raw.answer()
        peer = raw.writer.get_extra_info("sockname")
    assert answer.get("content-type") == "application/json"
    assert json.loads(answer.body) == {
        "method": "GET",
        "path": "/café",
        "parameters": {"any": "café"},
        "query": "do=describe&x=%20",
        "headers": [["host", "example.org"], ["x-many", "1"], ["x-many", "2"], ["x-latin", "é"]],
        "peer": list(peer),
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_is_let_through_where_none_is_named(method: str) -> None:
    async with opened() as (_, raw):
        assert (await get(raw, "/x", method)).body == f"{method}\n".encode()


async def test_head_is_a_get_without_a_body() -> None:
    async with opened(desk("GET")) as (_, raw):
        answer = await get(raw, "/x", "HEAD")
        assert answer.status == 200
        assert answer.get("content-length") == "5"
        assert (await get(raw, "/x")).body == b"GET\n"  # nothing of a body came in between


async def test_wrong_method_is_answered_405() -> None:
    async with opened(desk("GET", "POST")) as (_, raw):
        answer = await get(raw, "/x", "DELETE")
        assert answer.status == 405
        assert sorted((answer.get("allow") or "").split(", ")) == ["GET", "HEAD", "POST"]
        assert (await get(raw, "/x", "POST")).status == 200
    async with opened(desk("POST")) as (_, raw):
        answer = await get(raw, "/x", "HEAD")
        assert (answer.status, answer.get("allow")) == (405, "POST")


@pytest.mark.parametrize(
    ("target", "status"),
    [("/", 404), ("/a/b", 404), ("/%zz", 400), ("/%00", 400), ("/%ff", 400), ("/%2e%2e", 404)],
)
async def test_paths_that_lead_nowhere(target: str, status: int) -> None:
    async with opened() as (_, raw):
        answer = await get(raw, target)
        assert answer.status == status
        assert answer.body.count(b"\n") == 1
        assert (await get(raw, "/x")).status == 200  # the connection goes on


@pytest.mark.parametrize("target", ["*", "example.org:80", "http://example.org:99999/"])
async def test_targets_that_are_no_path(target: str) -> None:
    async with opened() as (_, raw):
        method = "OPTIONS" if target == "*" else "GET"
        answer = await get(raw, target, method)
        assert answer.status == 400
        assert b"Traceback" not in answer.body


async def test_websocket_path_says_that_it_is_one() -> None:
    async with opened(Actor) as (_, raw):
        answer = await get(raw, "/")
        assert answer.status == 426
        assert answer.get("upgrade") == "websocket"
        assert answer.body == b"The Upgrade header must name websocket.\n"
        assert (await get(raw, "/x")).status == 404


async def test_websocket_path_cannot_be_posted_to() -> None:
    async with opened(Actor) as (_, raw):
        raw.write(request("POST / HTTP/1.1", [*HOST, ("Content-Length", "2")], b"hi"))
        answer = await raw.answer()
        assert (answer.status, answer.get("allow")) == (405, "GET")


# Bodies


@pytest.mark.parametrize("size", [0, 1, 1000, 200_000])
async def test_body_with_a_length(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with opened() as (_, raw):
        raw.write(request("POST /x?do=echo HTTP/1.1", [*HOST, ("Content-Length", str(size))], body))
        answer = await raw.answer()
    assert answer.status == 200
    assert answer.body == body


async def test_chunked_body() -> None:
    async with opened() as (_, raw):
        raw.write(request("POST /x?do=echo HTTP/1.1", [*HOST, ("Transfer-Encoding", "chunked")]))
        raw.write(b"5\r\nhello\r\n")
        raw.write(b"7;ext=1\r\n, world\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await raw.answer()).body == b"hello, world"
        assert (await get(raw, "/x")).body == b"GET\n"


async def test_expected_100_is_given() -> None:
    async with opened() as (_, raw):
        fields = [*HOST, ("Content-Length", "2"), ("Expect", "100-continue")]
        raw.write(request("POST /x?do=echo HTTP/1.1", fields))
        assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.write(b"hi")
        assert (await raw.answer()).body == b"hi"


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_that_is_too_large_is_answered_413(chunked: bool) -> None:
    async with opened(limits=Limits(max_body=100)) as (_, raw):
        for size, status in ((100, 200), (101, 413)):
            if chunked:
                raw.write(request("POST /x?do=echo HTTP/1.1", [*HOST, ("Transfer-Encoding", "chunked")]))
                raw.write(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
            else:
                fields = [*HOST, ("Content-Length", str(size))]
                raw.write(request("POST /x?do=echo HTTP/1.1", fields, b"x" * size))
            answer = await raw.answer()
            assert answer.status == status
            if status == 413:
                assert answer.body == b"The request body has more than 100 bytes.\n"


async def test_large_body_is_not_waited_for() -> None:
    async with opened(limits=Limits(max_body=100)) as (_, raw):
        fields = [*HOST, ("Content-Length", "1000000000")]
        raw.write(request("POST /x?do=echo HTTP/1.1", fields, b"x" * 101))
        assert (await raw.answer()).status == 413


async def test_client_that_vanishes_in_its_body_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(desk()) as server:
        async with dial(server.port) as raw:
            raw.write(request("POST /x HTTP/1.1", [*HOST, ("Content-Length", "10")], b"half"))
            await until(lambda: server.theater._listener._state.tasks)
            raw.reset()
            await until(lambda: not server.theater._listener._state.tasks)
        async with dial(server.port) as raw:
            assert (await get(raw, "/x")).status == 200
        assert server.theater.system.counters["desk"].turns == 1  # the actor never heard of the first
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# Responses


async def test_several_requests_on_one_connection() -> None:
    async with opened() as (_, raw):
        for number in range(3):
            assert (await get(raw, f"/{number}")).body == b"GET\n"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with opened() as (_, raw):
        raw.write(b"".join(request(f"{method} /x HTTP/1.1", HOST) for method in ("GET", "DELETE", "PATCH")))
        assert [(await raw.answer()).body for _ in range(3)] == [b"GET\n", b"DELETE\n", b"PATCH\n"]


@pytest.mark.parametrize("line", ["GET /x HTTP/1.0", "GET /x HTTP/1.1"])
async def test_connection_that_is_not_kept(line: str) -> None:
    async with opened() as (_, raw):
        raw.write(request(line, [*HOST, ("Connection", "close")]))
        answer = await raw.answer()
        assert answer.get("connection") == "close"
        assert await raw.rest() == b""


async def test_idle_connection_is_closed_after_keep_alive() -> None:
    async with opened(limits=Limits(keep_alive=0.05)) as (_, raw):
        assert (await get(raw, "/x")).status == 200
        assert await raw.rest() == b""


@pytest.mark.parametrize(("do", "status"), [("empty", 204), ("unchanged", 304)])
async def test_responses_without_a_body(do: str, status: int) -> None:
    async with opened() as (_, raw):
        answer = await get(raw, f"/x?do={do}")
        assert answer.status == status
        assert answer.get("content-length") is None
        assert answer.get("transfer-encoding") is None
        assert (await get(raw, "/x")).body == b"GET\n"


async def test_framing_is_the_servers_own() -> None:
    async with opened() as (_, raw):
        answer = await get(raw, "/x?do=forge")
        assert answer.body == b"forged\n"
        names = [name for name, _ in answer.headers]
        assert sorted(names) == ["content-length", "date", "x-kept"]
        assert (await get(raw, "/x")).body == b"GET\n"


async def test_fields_may_stand_several_times() -> None:
    async with opened() as (_, raw):
        answer = await get(raw, "/x?do=cookies")
        assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]


async def test_status_without_a_phrase() -> None:
    async with opened() as (_, raw):
        assert (await get(raw, "/x?do=599")).status == 599


def test_wire_headers_leaves_out_the_framing() -> None:
    response = Response(200, [("Content-Length", "7"), ("X-Latin", "é"), ("connection", "x")])
    assert wire_headers(response) == [(b"x-latin", b"\xe9"), (b"content-length", b"0")]
    assert response.headers == Headers([("Content-Length", "7"), ("X-Latin", "é"), ("connection", "x")])


# Failures


async def test_handler_that_raises_answers_500_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (_, raw):
        answer = await get(raw, "/x?do=raise")
        assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
        assert "hunter2" not in str(answer)
        assert (await get(raw, "/x")).status == 200
    [record] = caplog.records
    assert "desk failed in handle_request" in record.getMessage()
    assert record.exc_info is not None


async def test_101_to_a_request_that_asks_for_no_upgrade(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (_, raw):
        answer = await get(raw, "/x?do=101")
        assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    [record] = caplog.records
    assert "desk: a 101 response" in record.getMessage()


@pytest.mark.parametrize("result", [None, "text", Accept(), b"bytes"])
async def test_what_is_no_response_is_the_actors_mistake(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Actor):
        def handle_request(self, request: Request) -> Any:
            return result

    async with opened(Wrong) as (_, raw):
        assert (await get(raw, "/")).status == 500
    [record] = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]).startswith("handle_request must return a Response, not ")


async def test_asynchronous_handler() -> None:
    go = asyncio.Event()

    class Slow(Actor):
        async def handle_request(self, request: Request) -> Response:
            await go.wait()
            if request.query.get("raise"):
                raise ValueError("no")
            return Response.text("slow\n")

    async with opened(Slow) as (server, raw):
        raw.write(request(fields=HOST) + request("GET /?raise=1 HTTP/1.1", HOST))
        await until(lambda: list(server.theater.system))
        go.set()
        assert (await raw.answer()).body == b"slow\n"
        assert (await raw.answer()).status == 500


async def test_full_mailbox_answers_503() -> None:
    go = asyncio.Event()

    class Slow(Actor):
        async def handle_request(self, request: Request) -> Response:
            await go.wait()
            return Response.text("slow\n")

    limits = Limits(mailbox_high_water=1, mailbox_low_water=0)
    async with opened(Slow, limits=limits) as (server, first), dial(server.port) as second:
        first.write(request(fields=HOST))
        await until(lambda: list(server.theater.system))
        second.write(request(fields=HOST))
        await until(lambda: any(cell.full for cell in server.theater.system))
        async with dial(server.port) as third:
            answer = await get(third, "/")
        assert answer.status == 503
        assert answer.get("retry-after") == "1"
        go.set()
        assert (await first.answer()).status == (await second.answer()).status == 200


async def test_no_room_for_another_actor_answers_503() -> None:
    class One(Actor):
        def handle_request(self, request: Request) -> Response:
            return Response.text(str(self.address))

    manifest = Manifest("one", One, (Route("http-server", Pattern("/{key}"), "one", "{key}"),))
    async with opened(manifest, limits=Limits(max_actors=1)) as (_, raw):
        assert (await get(raw, "/a")).body == b"one/a"
        assert (await get(raw, "/b")).status == 503
        assert (await get(raw, "/a")).body == b"one/a"


async def test_actor_that_cannot_start_answers_500_and_is_tried_again() -> None:
    attempts: list[int] = []

    class Broken(Actor):
        def init(self) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError("no database")

        def handle_request(self, request: Request) -> Response:
            return Response.text("up\n")

        def upgrade_connection(self, request: UpgradeRequest) -> None:
            return None

    async with opened(Broken) as (_, raw):
        assert (await get(raw, "/")).status == 500
        assert (await get(raw, "/")).body == b"up\n"


# The server's own pages


async def test_health() -> None:
    async with opened() as (_, raw):
        answer = await get(raw, "/_theater/health")
        assert (answer.status, answer.body) == (200, b'{"status": "ok"}')
        assert (await get(raw, "/_theater/health", "HEAD")).get("content-length") == "16"
        answer = await get(raw, "/_theater/health", "POST")
        assert answer.status == 405
        assert answer.get("allow") == "GET, HEAD"
        assert (await get(raw, "/_theater/other")).status == 404
