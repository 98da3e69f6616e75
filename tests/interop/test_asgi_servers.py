"""Theater under other people's ASGI servers and frameworks, and their clients at the other end."""

import asyncio
import gc
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import h2.config
import h2.connection
import h2.events
import h2.settings
import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from tests.server.raw import PATIENCE, dial, handshake, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    TextMessage,
)
from wsproto.events import (
    Event as FrameEvent,
)
from wsproto.events import (
    Message as FrameMessage,
)

from theater import (
    Accept,
    Actor,
    Binary,
    Close,
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
from theater.app import Theater, bind
from theater.config import Manifest
from theater.limits import Limits
from theater.server.asgi import AsgiApplication

# uvicorn's first implementation of WebSockets is still what many run.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `websockets` implementation is deprecated"),
    pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated"),
    pytest.mark.filterwarnings("ignore:remove second argument of ws_handler"),
]

Serve = Callable[[Any], AbstractAsyncContextManager[int]]
"""Serves an ASGI application; gives the port."""


class Stage(Actor):
    """Echoes, closes on request, refuses who says no, and remembers what happened."""

    seen: list[Event]
    connection: Connection

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | Awaitable[Accept | Response]:
        if request.query.get("say") == "no":
            return Response(402, {"content-type": "text/plain", "x-price": "1"}, "Pay first.\n")
        chosen = "second" if "second" in request.subprotocols else None
        return Accept(chosen, {"x-path": request.path})

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        self.seen.append(event)
        match event:
            case Connected():
                type(self).connection = connection
            case Received(Text("close")):
                return Close(4001, "as you wish")
            case Received(Text() | Binary() as message):
                return message
        return None

    def handle_request(self, request: Request) -> Response:
        return Response.json({"path": request.path, "method": request.method, "size": len(request.body)})


def application(
    limits: Limits = Limits(drain_window=0), path: str = "/{room}"
) -> tuple[AsgiApplication, type[Stage]]:
    """An application, and its actor's class, which has a memory of its own."""
    actor = type("Stage", (Stage,), {"seen": []})
    return AsgiApplication(lambda: Theater([Manifest.of(actor, path)], limits)), actor


def ends(actor: type[Stage]) -> list[Closed]:
    return [event for event in actor.seen if isinstance(event, Closed)]


def under_uvicorn(implementation: str) -> Serve:
    @asynccontextmanager
    async def serve(app: Any) -> AsyncIterator[int]:
        config = uvicorn.Config(app, ws=implementation, log_config=None)
        server = uvicorn.Server(config)
        sock = bind("127.0.0.1", 0)
        task = asyncio.create_task(server.serve([sock]))
        await until(lambda: server.started or task.done())
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            async with asyncio.timeout(PATIENCE):
                await task

    return serve


@asynccontextmanager
async def under_hypercorn(app: Any) -> AsyncIterator[int]:
    config = hypercorn.config.Config()
    sock = bind("127.0.0.1", 0)
    sock.listen()
    port = sock.getsockname()[1]
    config.bind = [f"fd://{sock.detach()}"]
    config.graceful_timeout = 1
    ending = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=ending.wait))
    try:
        yield port
    finally:
        ending.set()
        async with asyncio.timeout(PATIENCE):
            await task


SERVERS: dict[str, Serve] = {
    "uvicorn-websockets": under_uvicorn("websockets"),
    "uvicorn-websockets-sansio": under_uvicorn("websockets-sansio"),
    "uvicorn-wsproto": under_uvicorn("wsproto"),
    "hypercorn": under_hypercorn,
}
each = pytest.mark.parametrize("name", SERVERS)


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test if anybody had something to log that is worse than an information."""
    yield
    gc.collect(0)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


# All servers


@each
async def test_messages(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port, connect(f"ws://127.0.0.1:{port}/room") as client:
        for message in ("", "hello", "héllo → 🎭", b"", bytes(range(256)), "é" * 150_000, b"\0" * 300_000):
            await client.send(message)
            assert await client.recv() == message
    assert len(ends(actor)) == 1


@each
async def test_messages_of_aiohttp(name: str) -> None:
    app, _ = application()
    async with SERVERS[name](app) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/room"
        async with session.ws_connect(url, compress=15, protocols=["first", "second"]) as client:
            assert client.protocol == "second"
            await client.send_str("hello " * 1000)
            assert await client.receive_str() == "hello " * 1000
            await client.send_bytes(b"\0" * 100_000)
            assert await client.receive_bytes() == b"\0" * 100_000
            await client.send_str("close")
            await client.receive()
            assert client.close_code == 4001
        async with session.post(url, data=b"x" * 100_000) as response:
            assert await response.json() == {"path": "/room", "method": "POST", "size": 100_000}


@each
async def test_acceptance(name: str) -> None:
    app, _ = application()
    async with SERVERS[name](app) as port:
        url = f"ws://127.0.0.1:{port}/a%2Fb%20c"
        async with connect(url, subprotocols=["first", "second"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "second"
            assert client.response is not None
            assert client.response.headers["x-path"] == "/a/b c"
            assert "permessage-deflate" in client.response.headers["sec-websocket-extensions"]  # the server's


@each
async def test_refusal(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{port}/room?say=no")
    response = caught.value.response
    assert (response.status_code, response.body) == (402, b"Pay first.\n")
    assert response.headers["x-price"] == "1"
    assert actor.seen == []


@each
async def test_actor_closes(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port, connect(f"ws://127.0.0.1:{port}/room") as client:
        await client.send("close")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4001, "as you wish")
        await until(lambda: ends(actor) == [Closed(4001)])


@each
async def test_client_closes(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port, connect(f"ws://127.0.0.1:{port}/room") as client:
        await client.send("last words")
        await client.close(4002, "tired")
        # hypercorn keeps to itself what the client said.
        expected = Closed(1006) if name == "hypercorn" else Closed(4002, "tired")
        await until(lambda: ends(actor) == [expected])
        assert actor.seen[1] == Received(Text("last words"))


@each
async def test_client_vanishes_while_it_is_sent_to(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port:
        for _ in range(5):
            actor.seen.clear()
            client = await connect(f"ws://127.0.0.1:{port}/room")
            await until(lambda: actor.seen)
            for number in range(200):
                actor.connection.send(Text(f"{number}" * 1000))
                if number == 100:
                    client.transport.abort()
                await asyncio.sleep(0)
            await until(lambda: ends(actor))
            assert len(ends(actor)) == 1


@each
async def test_client_vanishes_before_the_decision(name: str) -> None:
    class Undecided(Stage):
        asked = asyncio.Event()

        async def upgrade_connection(self, request: UpgradeRequest) -> Accept:
            self.asked.set()
            await asyncio.sleep(0.05)
            return Accept()

    theater: list[Theater] = []

    def build() -> Theater:
        theater.append(Theater([Manifest.of(Undecided)], Limits(drain_window=0)))
        return theater[0]

    Undecided.seen = []
    async with SERVERS[name](AsgiApplication(build)) as port:
        async with dial(port) as raw:
            raw.write(handshake())
            await Undecided.asked.wait()
        await until(lambda: theater[0].admission._open == 0)
        assert len(ends(Undecided)) == sum(isinstance(event, Connected) for event in Undecided.seen)


@each
async def test_server_ends(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](app) as port:
        clients = [await connect(f"ws://127.0.0.1:{port}/{number}") for number in range(3)]
        await until(lambda: len(actor.seen) == 3)
    await until(lambda: len(ends(actor)) == 3)
    for client in clients:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        await client.close()


@each
async def test_client_that_does_not_read_costs_no_memory(name: str) -> None:
    """100 MB for a client that reads nothing, and its neighbour gets all of them."""
    limits = Limits(slow_reader="drop-oldest", max_send_queue=1_000_000, drain_window=0)
    app, actor = application(limits, path="/")
    async with SERVERS[name](app) as port:
        with socket.create_connection(("127.0.0.1", port)) as mute:
            mute.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(
                mute,
                b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            )
            await until(lambda: actor.seen)
            silent = actor.connection
            async with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
                await until(lambda: len(actor.seen) == 2)
                tracemalloc.start()
                try:
                    for number in range(1000):
                        message = Binary(number.to_bytes(4, "big") * 25_000)
                        silent.send(message)
                        actor.connection.send(message)
                        received = await client.recv()
                        assert (len(received), received[:4]) == (100_000, message.data[:4])
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
            assert silent.waiting < 1_300_000
            assert peak < 8_000_000
            assert ends(actor) == [] or len(ends(actor)) == 1  # that of the neighbour
    await until(lambda: len(ends(actor)) == 2)


# FastAPI and Starlette


def mounted(app: AsgiApplication) -> FastAPI:
    outer = FastAPI()

    @outer.get("/about")
    async def about() -> dict[str, str]:
        return {"about": "us"}

    outer.mount("/live", app)
    return outer


@each
async def test_mounted_in_fastapi(name: str) -> None:
    app, actor = application()
    async with SERVERS[name](mounted(app)) as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/about") as response:
            assert await response.json() == {"about": "us"}
        async with session.get(f"http://127.0.0.1:{port}/live/a%2Fb") as response:
            assert (await response.json())["path"] == "/a/b"
        async with connect(f"ws://127.0.0.1:{port}/live/a%2Fb") as client:
            assert client.response is not None
            assert client.response.headers["x-path"] == "/a/b"
            await client.send("hello")
            assert await client.recv() == "hello"
        await until(lambda: ends(actor))
        await app.stop()


def test_starlette_s_test_client() -> None:
    app, actor = application()
    with TestClient(mounted(app)) as client:
        assert client.get("/about").json() == {"about": "us"}
        assert client.get("/live/room").json()["path"] == "/room"
        with client.websocket_connect("/live/room", subprotocols=["second"]) as session:
            assert str(session.accepted_subprotocol) == "second"  # its type says None
            session.send_text("hello")
            assert session.receive_text() == "hello"
            session.send_bytes(b"\0")
            assert session.receive_bytes() == b"\0"
            session.send_text("close")
            with pytest.raises(WebSocketDisconnect) as caught:
                session.receive_text()
            assert (caught.value.code, caught.value.reason) == (4001, "as you wish")
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/live/room?say=no"):
            pass
        assert (denied.value.status_code, denied.value.text) == (402, "Pay first.\n")
        with client.websocket_connect("/live/room") as session:
            session.close(4005, "through")
        assert client.portal is not None
        client.portal.call(app.stop)
    assert ends(actor) == [Closed(4001), Closed(4005, "through")]


# HTTP/2


class Http2:
    """A client of HTTP/2 by prior knowledge (RFC 9113 §3.3), with WebSockets on its streams (RFC 8441)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams: dict[int, Stream] = {}
        self.deaf: set[int] = set()  # streams whose data is not read
        self.settled = asyncio.Event()
        self._reader = reader
        self._writer = writer

    def flush(self) -> None:
        self._writer.write(self.connection.data_to_send())

    async def run(self) -> None:
        self.connection.initiate_connection()
        self.flush()
        while data := await self._reader.read(65536):
            for event in self.connection.receive_data(data):
                match event:
                    case h2.events.RemoteSettingsChanged():
                        self.settled.set()
                    case h2.events.DataReceived(stream_id=int(number), data=bytes(body)):
                        if number not in self.deaf:
                            length = event.flow_controlled_length
                            assert length is not None
                            self.connection.acknowledge_received_data(length, number)
                            self.streams[number].take(event, body)
                    case (
                        h2.events.ResponseReceived(stream_id=int(number))
                        | h2.events.StreamEnded(stream_id=int(number))
                        | h2.events.StreamReset(stream_id=int(number))
                    ):
                        self.streams[number].take(event)
                    case h2.events.WindowUpdated():
                        for stream in self.streams.values():
                            stream.pour()
            self.flush()

    def request(self, *fields: tuple[str, str], end: bool = False) -> "Stream":
        number = self.connection.get_next_available_stream_id()
        headers = [(":scheme", "http"), (":authority", "a.example"), *fields]
        headers.sort(key=lambda field: not field[0].startswith(":"))
        self.connection.send_headers(number, headers, end_stream=end)
        self.flush()
        stream = self.streams[number] = Stream(self, number)
        return stream

    def websocket(self, path: str, *fields: tuple[str, str]) -> "Stream":
        """RFC 8441 §4: an extended CONNECT, without the fields that belong to HTTP/1.1."""
        return self.request(
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":path", path),
            ("sec-websocket-version", "13"),
            *fields,
        )


class Stream:
    """One stream, with frames that wsproto makes and reads."""

    def __init__(self, client: Http2, number: int) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset = False
        self.frames: list[FrameEvent] = []
        self._client = client
        self.number = number
        self._out = b""
        self._codec = Frames(ConnectionType.CLIENT)

    def take(self, event: h2.events.Event, data: bytes = b"") -> None:
        match event:
            case h2.events.ResponseReceived():
                assert event.headers is not None
                self.headers = {str(name): str(value) for name, value in event.headers}
            case h2.events.DataReceived():
                if self.headers[":status"] == "200" and "content-length" not in self.headers:
                    self._codec.receive_data(data)
                    self.frames += self._codec.events()
                else:
                    self.body += data
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset():
                self.reset = True

    def pour(self) -> None:
        """Sends as much as the windows allow."""
        connection = self._client.connection
        while self._out:
            size = min(
                len(self._out),
                connection.local_flow_control_window(self.number),
                connection.max_outbound_frame_size,
            )
            if not size:
                break
            connection.send_data(self.number, self._out[:size])
            self._out = self._out[size:]
        self._client.flush()

    def send(self, event: FrameEvent) -> None:
        self._out += self._codec.send(event)
        self.pour()

    def vanish(self) -> None:
        self._client.connection.reset_stream(self.number)
        self._client.flush()

    async def answered(self) -> dict[str, str]:
        await until(lambda: self.headers)
        return self.headers

    async def message(self) -> str | bytes:
        """The next message."""
        await until(lambda: any(isinstance(f, FrameMessage) and f.message_finished for f in self.frames))
        parts = []
        while True:
            frame = self.frames.pop(0)
            assert isinstance(frame, FrameMessage)
            parts.append(frame.data)
            if frame.message_finished:
                return "".join(parts) if isinstance(frame.data, str) else b"".join(map(bytes, parts))


@asynccontextmanager
async def http2(port: int) -> AsyncIterator[Http2]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Http2(reader, writer)
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await client.settled.wait()
        # RFC 8441 §3: a client must not ask for it otherwise
        assert client.connection.remote_settings.enable_connect_protocol == 1
        yield client
    finally:
        writer.transport.abort()
        await asyncio.gather(running, return_exceptions=True)


async def test_websocket_over_http2() -> None:
    app, actor = application()
    async with under_hypercorn(app) as port, http2(port) as client:
        stream = client.websocket("/a%2Fb?x=1", ("sec-websocket-protocol", "first, second"))
        headers = await stream.answered()
        # RFC 8441 §5: 200 in the place of 101
        assert headers[":status"] == "200"
        assert (headers["sec-websocket-protocol"], headers["x-path"]) == ("second", "/a/b")
        assert "sec-websocket-accept" not in headers
        for text in ("hello", "", "é" * 100_000):
            stream.send(TextMessage(data=text))
            assert await stream.message() == text
        for size in (0, 1, 300_000):
            stream.send(BytesMessage(data=b"\xff" * size))
            assert await stream.message() == b"\xff" * size
        stream.send(CloseConnection(code=1000))
        await until(lambda: ends(actor))
        await until(lambda: stream.frames)
        assert stream.frames == [CloseConnection(code=1000, reason="")]
        assert len(ends(actor)) == 1


async def test_actor_closes_over_http2() -> None:
    app, actor = application()
    async with under_hypercorn(app) as port, http2(port) as client:
        stream = client.websocket("/room")
        await stream.answered()
        stream.send(TextMessage(data="close"))
        await until(lambda: stream.frames and (stream.ended or stream.reset))
        assert stream.frames == [CloseConnection(code=4001, reason="as you wish")]
        await until(lambda: ends(actor) == [Closed(4001)])


async def test_refusal_over_http2() -> None:
    app, actor = application()
    async with under_hypercorn(app) as port, http2(port) as client:
        stream = client.websocket("/room?say=no")
        await until(lambda: stream.ended)
        assert (stream.headers[":status"], stream.headers["x-price"]) == ("402", "1")
        assert stream.body == b"Pay first.\n"
        foreign = client.websocket("/room", ("origin", "http://evil.example"))
        await until(lambda: foreign.ended)
        assert foreign.headers[":status"] == "403"
        assert actor.seen == []


async def test_websockets_and_requests_on_one_connection_of_http2() -> None:
    app, actor = application()
    async with under_hypercorn(app) as port, http2(port) as client:
        streams = [client.websocket(f"/{number}") for number in range(10)]
        for number, stream in enumerate(streams):
            await stream.answered()
            stream.send(TextMessage(data=f"I am {number}"))
        plain = client.request((":method", "GET"), (":path", "/room"), end=True)
        await until(lambda: plain.ended)
        assert b'"/room"' in plain.body
        for number, stream in enumerate(streams):
            assert await stream.message() == f"I am {number}"
        streams[0].vanish()
        await until(lambda: ends(actor) == [Closed(1006)])
        streams[1].send(TextMessage(data="still here"))
        assert await streams[1].message() == "still here"
    await until(lambda: len(ends(actor)) == 10)


async def test_client_that_does_not_read_over_http2() -> None:
    """The window of its stream closes; those of others on the same connection do not."""
    limits = Limits(slow_reader="drop-oldest", max_send_queue=200_000, drain_window=0)
    app, actor = application(limits, path="/")
    async with under_hypercorn(app) as port, http2(port) as client:
        other = client.websocket("/")
        await other.answered()
        await until(lambda: actor.seen)
        neighbour = actor.connection
        mute = client.websocket("/")
        await mute.answered()
        await until(lambda: len(actor.seen) == 2)
        # It takes the 64 KiB that every stream begins with; the connection's window stays open.
        client.deaf.add(mute.number)
        client.connection.increment_flow_control_window(1 << 20)
        client.flush()
        for number in range(100):
            actor.connection.send(Text(f"{number}" * 5000))
            neighbour.send(Text(f"{number}"))
            assert await other.message() == f"{number}"
        assert actor.connection.waiting < 400_000
    await until(lambda: len(ends(actor)) == 2)
