"""Theater as an ASGI application: scopes as servers and frameworks make them, plain HTTP, and its life."""

import asyncio
import json
import logging
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.server.host import DENIAL, Host, Hosted, hosted, scope
from tests.server.raw import settle

import theater
from theater import (
    Accept,
    Actor,
    Closed,
    Connection,
    Event,
    Headers,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)
from theater.app import Theater
from theater.config import Manifest
from theater.errors import ConfigError
from theater.limits import Limits
from theater.server.admission import Policy
from theater.server.asgi import AsgiApplication
from theater.server.routing import Pattern, Route
from theater.testing import VirtualClock

pytestmark = pytest.mark.usefixtures("quiet")


class Desk(Actor):
    """Describes requests, those to upgrade in a message."""

    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        return Accept(attachment=describe(request))

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        return Text(json.dumps(connection.attachment)) if isinstance(event, Received) else None

    def handle_request(self, request: Request) -> Response:
        if request.method == "POST":
            return Response(201, {"x-size": str(len(request.body))}, request.body)
        return Response.json(describe(request))


def describe(request: Request | UpgradeRequest) -> dict[str, Any]:
    return {
        "path": request.path,
        "any": request.parameters.get("any"),
        "query": str(request.query),
        "headers": [list(field) for field in request.headers],
        "subprotocols": list(getattr(request, "subprotocols", ())),
        "peer": request.peer,
    }


DESK = Manifest(
    "desk",
    Desk,
    tuple(
        Route(kind, Pattern(path), "desk")
        for path in ("/", "/{any}")
        for kind in ("websocket-server", "http-server")
    ),
)


DESK_AT_HOME = Manifest("home", Desk, (Route("http-server", Pattern("/home"), "home"),))


async def answer(application: Hosted, *body: bytes, **changes: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and body of the answer to a plain request."""
    host = Host(application.application, scope("http", **changes))
    for index, part in enumerate(body or (b"",)):
        host.put("http.request", body=part, more_body=index < len(body) - 1)
    await host.ended()
    start, end = host.sent
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    assert not end.get("more_body")
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, end["body"]


async def described(application: Hosted, kind: str, **changes: Any) -> dict[str, Any]:
    """What the actor sees of a request."""
    if kind == "http":
        status, _, body = await answer(application, **changes)
        assert status == 200, body
        seen: dict[str, Any] = json.loads(body)
    else:
        host = await application.connect(**changes)
        host.text("tell me")
        seen = json.loads((await host.next())["text"])
        host.put("websocket.disconnect")
        await host.ended()
    return seen


async def refusal(application: Hosted, **changes: Any) -> tuple[int, str]:
    """Status and body of the answer to a WebSocket that is refused."""
    host = await application.connecting(extensions=DENIAL, **changes)
    await host.ended()
    start, body = host.sent
    return start["status"], body["body"].decode()


both = pytest.mark.parametrize("kind", ["http", "websocket"])

# Paths


@both
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # as uvicorn, hypercorn, daphne and granian have them
        ({"path": "/room", "raw_path": b"/room", "root_path": ""}, "/room"),
        ({"path": "/a/b", "raw_path": b"/a%2Fb", "root_path": ""}, "/a/b"),
        ({"path": "/é", "raw_path": b"/%C3%A9"}, "/é"),
        ({"path": "/50%25", "raw_path": b"/50%2525"}, "/50%25"),
        ({"path": "/room", "raw_path": b"/room?old=servers"}, "/room"),
        # without what ASGI leaves to the server
        ({"path": "/room"}, "/room"),
        ({"path": "/room", "raw_path": None, "root_path": None}, "/room"),
        ({"path": "/50% é?#"}, "/50% é?#"),
        # mounted by Starlette, by one older than 0.33, and by those who strip both
        ({"path": "/live/room", "raw_path": b"/live/room", "root_path": "/live"}, "/room"),
        ({"path": "/room", "raw_path": b"/live/room", "root_path": "/live"}, "/room"),
        ({"path": "/room", "raw_path": b"/room", "root_path": "/live"}, "/room"),
        ({"path": "/live/room", "root_path": "/live"}, "/room"),
        ({"path": "/room", "root_path": "/live"}, "/room"),
        # mounted below odd paths
        ({"path": "/a b/ü/x y", "raw_path": b"/a%20b/%C3%BC/x%20y", "root_path": "/a b/ü"}, "/x y"),
        ({"path": "/a/b/c", "raw_path": b"/a%2Fb/c", "root_path": "/a/b"}, "/c"),
        ({"path": "/live/room", "raw_path": b"/live/room", "root_path": "/live/"}, "/room"),
        # the mounted path itself, and one that only begins like it
        ({"path": "/live", "raw_path": b"/live", "root_path": "/live"}, "/"),
        ({"path": "/live/", "raw_path": b"/live/", "root_path": "/live"}, "/"),
        ({"path": "/lively", "raw_path": b"/lively", "root_path": "/live"}, "/lively"),
        ({"path": "/li", "raw_path": b"/li", "root_path": "/live"}, "/li"),
    ],
)
async def test_paths(kind: str, given: dict[str, Any], expected: str) -> None:
    async with hosted(DESK) as application:
        seen = await described(application, kind, **given)
        assert seen["path"] == expected
        assert seen["any"] == (expected[1:] or None)


async def test_path_of_nothing_but_slashes_takes_no_time() -> None:
    async with hosted(DESK) as application:
        raw = b"/" * 60_000
        status, _, _ = await answer(application, path=raw.decode(), raw_path=raw, root_path="/live")
        assert status == 404


@both
@pytest.mark.parametrize("raw", [b"/%zz", b"/%ff", b"room", b"http://a.example/room", b"*"])
async def test_malformed_path(kind: str, raw: bytes) -> None:
    async with hosted(DESK) as application:
        if kind == "http":
            assert (await answer(application, path="/", raw_path=raw))[0] == 400
        else:
            assert (await refusal(application, path="/", raw_path=raw))[0] == 400


# Heads


@both
async def test_query_and_headers(kind: str) -> None:
    fields = [(b"Host", b"a.example"), (b"x-name", b"\xe9"), (b"x-many", b"1"), (b"x-many", b"2")]
    async with hosted(DESK) as application:
        seen = await described(application, kind, query_string=b"a=%20&b", headers=fields)
        assert seen["query"] == "a=%20&b"
        own = [["host", "a.example"], ["x-name", "é"], ["x-many", "1"], ["x-many", "2"]]
        assert seen["headers"][-4:] == own


async def test_what_may_be_missing_is_missing() -> None:
    async with hosted(DESK) as application:
        seen = await described(application, "websocket", headers=[], query_string=None, subprotocols=None)
        assert (seen["query"], seen["subprotocols"], seen["peer"]) == ("", [], None)


async def test_handshake_is_the_server_s() -> None:
    """Over HTTP/2 most of its fields are missing; over HTTP/1.1 they are dealt with."""
    fields = [
        (b"host", b"a.example"),
        (b"sec-websocket-version", b"8"),
        (b"sec-websocket-key", b"none"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"sec-websocket-protocol", b"other"),
        (b"connection", b"keep-alive"),
    ]
    async with hosted(DESK) as application:
        seen = await described(application, "websocket", headers=fields, subprotocols=["one", "two"])
        assert seen["subprotocols"] == ["one", "two"]
        headers = Headers(map(tuple, seen["headers"]))
        assert headers.get_all("sec-websocket-version") == ["13"]
        assert headers.get_all("connection") == ["Upgrade"]
        assert "sec-websocket-extensions" not in headers


@both
async def test_cookies_that_http2_has_split(kind: str) -> None:
    fields = [(b"cookie", b"a=1"), (b"host", b"a.example"), (b"cookie", b"b=2; c=3")]
    async with hosted(DESK) as application:
        seen = await described(application, kind, headers=fields)
        assert [value for name, value in seen["headers"] if name == "cookie"] == ["a=1; b=2; c=3"]


@both
@pytest.mark.parametrize("field", [(b"x", b"1\r\ny: 2"), (b"x\r\ny", b"1"), (b"", b"1"), (b"x", b"\0")])
async def test_malformed_field_that_the_server_let_through(kind: str, field: tuple[bytes, bytes]) -> None:
    fields = [(b"host", b"a.example"), field]
    async with hosted(DESK) as application:
        if kind == "http":
            assert (await answer(application, headers=fields))[0] == 400
        else:
            assert (await refusal(application, headers=fields))[0] == 400
        assert application.theater.admission.refused["malformed"] == 1


@pytest.mark.parametrize("subprotocols", [["one", "one"], ["one\r\nx: y"]])
async def test_malformed_subprotocols(subprotocols: list[str]) -> None:
    async with hosted(DESK) as application:
        assert (await refusal(application, subprotocols=subprotocols))[0] == 400


@both
@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("192.0.2.1", 4711), ["192.0.2.1", 4711]),
        (["2001:db8::1", 4711], ["2001:db8::1", 4711]),
        (("192.0.2.1", "4711"), ["192.0.2.1", 4711]),  # granian
        (("192.0.2.1", None), ["192.0.2.1", 0]),
        (("testclient", 50000), ["testclient", 50000]),  # Starlette
        (("", 0), None),
        (None, None),
    ],
)
async def test_peer(kind: str, client: Any, expected: Any) -> None:
    async with hosted(DESK) as application:
        assert (await described(application, kind, client=client))["peer"] == expected


# Admission


@both
async def test_host_that_is_not_served(kind: str) -> None:
    async with hosted(DESK, policy=Policy(hosts=("b.example",))) as application:
        if kind == "http":
            assert (await answer(application))[0] == 421
        else:
            assert (await refusal(application))[0] == 421
        await described(application, kind, headers=[(b"host", b"b.example:8443")])


@both
async def test_client_of_a_trusted_proxy(kind: str) -> None:
    fields = [(b"host", b"a.example"), (b"x-forwarded-for", b"203.0.113.5, 192.0.2.7")]
    async with hosted(DESK, policy=Policy(trusted_proxies=("192.0.2.0/24",))) as application:
        seen = await described(application, kind, headers=fields, client=("192.0.2.1", 1))
        assert seen["peer"] == ["203.0.113.5", 0]
        seen = await described(application, kind, headers=fields, client=("198.51.100.1", 1))
        assert seen["peer"] == ["198.51.100.1", 1]


@pytest.mark.parametrize(
    ("origin", "scheme", "allowed"),
    [
        (b"https://a.example", "wss", True),
        (b"http://a.example", "ws", True),
        (b"http://a.example", "wss", False),
        (b"https://evil.example", "wss", False),
    ],
)
async def test_origin(origin: bytes, scheme: str, allowed: bool) -> None:
    fields = [(b"host", b"a.example"), (b"origin", origin)]
    async with hosted(DESK) as application:
        if allowed:
            await described(application, "websocket", headers=fields, scheme=scheme)
        else:
            assert (await refusal(application, headers=fields, scheme=scheme))[0] == 403
            assert application.theater.admission.refused["origin"] == 1


async def test_connections_of_an_address() -> None:
    async with hosted(DESK, Limits(max_address_connections=2)) as application:
        first = await application.connect(client=("192.0.2.1", 1))
        await application.connect(client=("192.0.2.1", 2))
        status, sentence = await refusal(application, client=("192.0.2.1", 3))
        assert (status, sentence) == (429, "There are too many connections from your address.\n")
        await application.connect(client=("192.0.2.2", 1))
        first.put("websocket.disconnect")
        await first.ended()
        await application.connect(client=("192.0.2.1", 4))


async def test_connections_of_the_process() -> None:
    async with hosted(DESK, Limits(max_connections=1)) as application:
        await application.connect()
        assert (await refusal(application))[0] == 503
        assert application.counted == 1


async def test_connections_of_an_actor() -> None:
    async with hosted(DESK, Limits(max_actor_connections=1)) as application:
        await application.connect()
        assert (await refusal(application))[0] == 503
        assert application.theater.admission.refused["actor-connections"] == 1


async def test_upgrades_that_come_too_fast() -> None:
    async with hosted(DESK, Limits(upgrade_rate=1.0, upgrade_burst=2)) as application:
        for _ in range(2):
            await described(application, "websocket", client=("192.0.2.1", 1))
        assert (await refusal(application, client=("192.0.2.1", 1)))[0] == 429
        await application.later(2)
        await described(application, "websocket", client=("192.0.2.1", 1))


async def test_path_that_nobody_serves() -> None:
    async with hosted(DESK) as application:
        assert (await refusal(application, path="/a/b"))[0] == 404
        assert (await answer(application, path="/a/b"))[0] == 404


# Plain HTTP


async def test_body_in_parts() -> None:
    async with hosted(DESK) as application:
        status, headers, body = await answer(application, b"ab", b"", b"cd", method="POST")
        assert (status, headers, body) == (201, {"x-size": "4", "content-length": "4"}, b"abcd")


async def test_body_that_is_too_large() -> None:
    async with hosted(DESK, Limits(max_body=3)) as application:
        assert (await answer(application, b"ab", b"cd", method="POST"))[0] == 413


async def test_body_that_takes_too_long() -> None:
    async with hosted(DESK, Limits(body_timeout=0.02)) as application:
        host = Host(application.application, scope("http", method="POST"))
        host.put("http.request", body=b"a", more_body=True)
        await host.ended()
        assert host.sent[0]["status"] == 408
        assert application.theater.admission.refused["body-timeout"] == 1


async def test_client_vanishes_before_its_body_is_there() -> None:
    async with hosted(DESK) as application:
        host = Host(application.application, scope("http", method="POST"))
        host.put("http.request", body=b"a", more_body=True)
        host.put("http.disconnect")
        host.failure = OSError("gone")
        await host.ended()


async def test_client_vanishes_before_the_response(caplog: pytest.LogCaptureFixture) -> None:
    async with hosted(DESK) as application:
        host = Host(application.application, scope("http"))
        host.failure = OSError("gone")
        host.put("http.request")
        await host.ended()
    assert caplog.records == []


async def test_own_pages() -> None:
    async with hosted(DESK) as application:
        path = {"path": "/live/_theater/health", "raw_path": b"/live/_theater/health", "root_path": "/live"}
        assert json.loads((await answer(application, **path))[2]) == {"status": "ok"}
        status, _, page = await answer(application, path="/_theater/metrics")
        assert status == 200
        assert b"theater_" in page


async def test_websocket_path_that_is_asked_by_plain_http() -> None:
    manifest = Manifest("desk", Desk, (Route("websocket-server", Pattern("/"), "desk"),))
    async with hosted(manifest) as application:
        assert (await answer(application))[0] == 426


# What can be served


async def test_what_asgi_takes() -> None:
    application = theater.asgi(Desk, "examples/echo", DESK_AT_HOME, path="/desk/{any}", instance="{any}")
    for path in ("/desk/one", "/home"):
        host = Host(application, scope("http", path=path))
        host.put("http.request")
        await host.ended()
        assert json.loads(host.sent[1]["body"])["path"] == path
    host = Host(application, scope(path="/"))
    host.put("websocket.connect")
    assert (await host.next())["type"] == "websocket.accept"
    host.put("websocket.disconnect")
    await host.ended()
    await application.stop()


async def test_limits_and_policy_that_asgi_takes() -> None:
    application = theater.asgi(Desk, limits=Limits(max_body=1), policy=Policy(hosts=("b.example",)))
    for name, status in ((b"a.example", 421), (b"b.example", 413)):
        host = Host(application, scope("http", headers=[(b"host", name)]))
        host.put("http.request", body=b"ab")
        await host.ended()
        assert host.sent[0]["status"] == status
    await application.stop()


def test_mistakes_are_told_before_anything_is_served() -> None:
    with pytest.raises(ConfigError):
        theater.asgi("examples/none")


# Its life


async def test_lifespan() -> None:
    async with hosted(DESK) as application:
        host = Host(application.application, {"type": "lifespan", "asgi": {"version": "3.0"}})
        host.put("lifespan.startup")
        assert await host.next() == {"type": "lifespan.startup.complete"}
        connection = await application.connect()
        host.put("lifespan.shutdown")
        await application.later(3)  # drain_window
        assert (await connection.next())["code"] == 1001
        assert await host.next() == {"type": "lifespan.shutdown.complete"}
        await host.ended()
        await connection.ended()


async def test_scope_that_is_unknown() -> None:
    async with hosted(DESK) as application:
        with pytest.raises(ValueError, match="'webtransport'"):
            await Host(application.application, {"type": "webtransport"}).ended()


async def test_access_log_of_the_server_around_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn's settings are of the process, and those of Theater's own use of it are others."""
    logger = logging.getLogger("uvicorn.access")
    handler = logging.NullHandler()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", True)
    async with hosted(DESK) as application:
        await answer(application)
        assert (logger.handlers, logger.propagate) == ([handler], True)


class Counter(Actor):
    """Counts its requests."""

    count = 0

    def handle_request(self, request: Request) -> Response:
        self.count += 1
        return Response.text(str(self.count))

    async def handle_websocket(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Closed):
            await asyncio.sleep(0.01)


COUNTER = Manifest.of(Counter)


def counting() -> AsgiApplication:
    return AsgiApplication(lambda: Theater([COUNTER], Limits(drain_window=0), clock=VirtualClock()))


async def count(application: AsgiApplication) -> str:
    host = Host(application, scope("http"))
    host.put("http.request")
    await host.ended()
    return str(host.sent[0]["status"]) if len(host.sent) != 2 else host.sent[1]["body"].decode()


async def test_stop_is_harmless_before_and_after() -> None:
    application = counting()
    await application.stop()
    assert await count(application) == "1"
    await application.stop()
    await application.stop()


async def test_application_that_is_used_again_after_it_was_stopped_begins_anew() -> None:
    application = counting()
    for _ in range(2):
        assert [await count(application), await count(application)] == ["1", "2"]
        await application.stop()


async def test_application_that_stops_twice_at_once_lets_nobody_in_meanwhile() -> None:
    application = counting()
    host = Host(application, scope())
    host.put("websocket.connect")
    await host.next()
    first = asyncio.ensure_future(application.stop())
    await settle()
    await application.stop()
    assert not first.done()
    late = Host(application, scope(extensions=DENIAL))
    late.put("websocket.connect")
    assert (await late.next())["status"] == 503
    await first
    await asyncio.gather(host.task, late.task)


async def test_application_that_is_mounted_twice_has_its_actors_once() -> None:
    application = counting()
    for root, expected in (("/a", "1"), ("/b", "2")):
        host = Host(application, scope("http", path=f"{root}/", root_path=root))
        host.put("http.request")
        await host.ended()
        assert host.sent[1]["body"].decode() == expected
    await application.stop()


async def test_each_event_loop_has_actors_of_its_own() -> None:
    application = counting()
    assert await count(application) == "1"

    async def elsewhere() -> str:
        assert await count(application) == "1"
        found = await count(application)
        await application.stop()
        return found

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == "2"
    assert await count(application) == "2"
    await application.stop()


async def test_event_loop_that_ends_without_a_stop_is_forgotten() -> None:
    application = counting()
    run: Awaitable[str] = asyncio.to_thread(asyncio.run, count(application))
    await run
    assert await count(application) == "1"
    assert list(application._parts) == [asyncio.get_running_loop()]
    await application.stop()
