"""Outbound WebSockets, against Theater itself and against servers that misbehave."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.protocol.compressed import Packer, Unpacker
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, Frame
from tests.server.raw import until

from theater import (
    Accept,
    Actor,
    Binary,
    Close,
    Closed,
    Connection,
    Event,
    Headers,
    Message,
    Ping,
    Pong,
    Received,
    Response,
    Text,
    UpgradeRequest,
)
from theater.client import ClientConnection, connect
from theater.client.connection import Url
from theater.errors import ConnectFailed, ConnectionEnded, InvalidClose, InvalidHeader, InvalidMessage
from theater.protocol.handshake import accept_key
from theater.testing import serve, stage

pytestmark = pytest.mark.usefixtures("quiet")


class Echo(Actor):
    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response:
        if request.path == "/no":
            return Response.text("Members only.\nAnd more of it.", 401)
        chosen = request.subprotocols[-1] if request.subprotocols else None
        return Accept(chosen, {"x-seen": request.headers.get("x-mine", "nothing")})

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(Text("close")):
                return Close(4001, "as you wish")
            case Received(Text() | Binary() as message):
                return message
        return None


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a server sends it."""
    return Frame(opcode, payload, fin, rsv).encode()


class Peer:
    """A server's end of a connection, in the test's hands.

    Attributes:
        head: the request, once it has come.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def request(self) -> str:
        """Reads the request."""
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return self.head

    @property
    def accept(self) -> str:
        """The right Sec-WebSocket-Accept."""
        found = re.search(r"(?i)sec-websocket-key: (\S+)", self.head)
        assert found
        return accept_key(found[1])

    async def upgrade(self, extra: bytes = b"", accept: str | None = None, behind: bytes = b"") -> None:
        """Reads the request and answers it with 101."""
        await self.request()
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept or self.accept}\r\n".encode()
            + extra
            + b"\r\n"
            + behind
        )

    async def frame(self) -> tuple[int, bytes]:
        """Reads one frame, which must be masked."""
        first, size = await self.reader.readexactly(2)
        assert size & 0x80
        size &= 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        key = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        mask = (key * (size // 4 + 1))[:size]
        unmasked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
        return first, unmasked.to_bytes(size, "big")


@asynccontextmanager
async def listening(behave: Callable[[Peer], Awaitable[object]]) -> AsyncIterator[str]:
    """A server whose connections do what a test says, and then end; gives its URL."""
    peers: list[asyncio.Task[None]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await behave(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?x=1"
    finally:
        server.close()
        for peer in peers:
            peer.cancel()
        await asyncio.gather(*peers)


async def goodbye(peer: Peer) -> None:
    """Waits for the client's close frame; then the connection ends."""
    while (await peer.frame())[0] != 0x88:
        pass


async def forever(peer: Peer) -> None:
    """Does nothing more, until the client goes."""
    while await peer.reader.read(65536):
        pass


# Against Theater


async def test_messages_go_both_ways() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        messages: list[Text | Binary] = [
            Text(""),
            Text("hé"),
            Binary(b""),
            Binary(bytes(range(256)) * 1200),
            Text("".join(f"{number}," for number in range(14_000))),
        ]
        for message in messages:
            await connection.send(message)
        assert [await connection.receive() for _ in messages] == messages
        assert connection.closed is None
    assert connection.closed == Close(1000)


async def test_headers_and_subprotocols() -> None:
    async with serve(Echo) as server:
        connection = await connect(server.url(), headers={"X-Mine": "yes"}, subprotocols=["first", "second"])
        assert connection.subprotocol == "second"
        assert connection.headers["x-seen"] == "yes"
        await connection.close()


async def test_headers_may_replace_the_host() -> None:
    seen: list[str] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())

    async with listening(behave) as url:
        with pytest.raises(ConnectFailed):
            await connect(url, headers=Headers([("Host", "example.org"), ("Origin", "http://x")]))
    lines = seen[0].split("\r\n")
    assert lines[0] == "GET /path?x=1 HTTP/1.1"
    assert [line for line in lines if line.lower().startswith("host:")] == ["host: example.org"]
    assert "origin: http://x" in lines
    assert "sec-websocket-version: 13" in lines
    assert "sec-websocket-extensions: permessage-deflate; client_max_window_bits" in lines


async def test_header_that_cannot_be_sent() -> None:
    with pytest.raises(InvalidHeader):
        await connect("ws://127.0.0.1:1/", headers={"x": "a\r\nb: c"})


async def test_chunks_arrive_as_one_message() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        await connection.send_chunk("one, ", last=False)
        await connection.send(Ping(b"between"))
        await connection.send_chunk("twö, ", last=False)
        await connection.send_chunk("", last=True)
        assert await connection.receive() == Text("one, twö, ")
        await connection.send_chunk(b"bytes", last=True)
        assert await connection.receive() == Binary(b"bytes")


async def test_ping_gives_the_time_of_the_round_trip() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        assert 0 <= await connection.ping() < 10
        assert 0 <= await connection.ping(b"payload") < 10


async def test_several_pings_at_once() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        times = await asyncio.gather(*(connection.ping() for _ in range(10)))
        assert all(0 <= time < 10 for time in times)


async def test_pings_with_equal_payloads_are_all_answered() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        async with asyncio.timeout(2):
            await asyncio.gather(connection.ping(b"same"), connection.ping(b"same"))


async def test_iteration_ends_with_the_connection() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        for text in ("one", "two", "close"):
            await connection.send(Text(text))
        assert [message async for message in connection] == [Text("one"), Text("two")]
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
    assert (error.value.code, error.value.reason) == (4001, "as you wish")
    assert str(error.value) == "the connection was closed with code 4001: as you wish"
    assert connection.closed == Close(4001, "as you wish")


async def test_close_tells_the_server_why() -> None:
    events: list[Event] = []

    class Spy(Actor):
        def handle_websocket(self, connection: Connection, event: Event) -> None:
            events.append(event)

    async with serve(Spy) as server:
        connection = await connect(server.url())
        with pytest.raises(InvalidClose):
            await connection.close(1005)
        with pytest.raises(InvalidClose):
            await connection.close(1000, "x" * 124)
        await connection.close(4002, "tired")
        assert connection.closed == Close(4002)
        await connection.close(4003)  # again is harmless
        await until(lambda: len(events) == 2)
    assert events[-1] == Closed(4002, "tired")


async def test_nothing_can_be_sent_after_the_end() -> None:
    async with serve(Echo) as server:
        connection = await connect(server.url())
        await connection.close()
        with pytest.raises(ConnectionEnded):
            await connection.send(Text("late"))
        with pytest.raises(ConnectionEnded):
            await connection.send_chunk("late", last=True)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionEnded):
                await connection.ping()


async def test_what_is_no_message_is_not_sent() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        with pytest.raises(InvalidMessage):
            await connection.send("text")  # type: ignore[arg-type]
        await connection.send(Text("fine"))
        assert await connection.receive() == Text("fine")


async def test_refusal_is_told_with_its_status_and_first_words() -> None:
    async with serve(Echo, path="/{x}") as server:
        with pytest.raises(ConnectFailed) as error:
            await connect(server.url("/no"))
    assert error.value.status == 401
    assert error.value.problem == "the server answered with HTTP status 401: Members only."


async def test_abort_is_a_connection_that_ends_without_words() -> None:
    async with serve(Echo) as server:
        connection = await connect(server.url())
        receiving = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        connection.abort()
        with pytest.raises(ConnectionEnded) as error:
            await receiving
        assert error.value.code == 1006
        await until(lambda: not server.theater._hub.open)


async def test_abort_before_there_is_a_connection() -> None:
    connection = ClientConnection("ws://x/", Url.parse("ws://x/"), Headers(), (), 1000)
    connection.abort()
    assert connection.closed is None
    connection.opened.cancel()


@pytest.mark.parametrize("split", [1, 3, 1000])
async def test_bytes_may_arrive_in_any_pieces(split: int) -> None:
    async with stage(Echo) as theater:
        connection = await theater.connect()
        connection.wire.split = split
        await connection.send(Text("é" * 100))
        await connection.send(Binary(bytes(300)))
        assert await connection.receive() == Text("é" * 100)
        assert await connection.receive() == Binary(bytes(300))
        await connection.close()


# Compression

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
LARGE = Text("".join(f"{number}," for number in range(1000)))


async def test_compression_is_not_offered_if_it_is_not_wanted() -> None:
    seen: list[str] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())

    async with listening(behave) as url:
        with pytest.raises(ConnectFailed):
            await connect(url, compression=False)
    assert "extensions" not in seen[0].lower()


@pytest.mark.parametrize("compression", [True, False])
async def test_messages_are_compressed_if_the_server_accepts(compression: bool) -> None:
    told: list[tuple[int, bytes]] = []

    async def behave(peer: Peer) -> None:
        await peer.upgrade(extra=DEFLATE if compression else b"")
        told.append(await peer.frame())
        told.append(await peer.frame())
        await goodbye(peer)

    async with listening(behave) as url, await connect(url, compression=compression) as connection:
        await connection.send(Text("small"))
        await connection.send(LARGE)
    (small, _), (large, payload) = told
    assert small == 0x81
    assert large == (0xC1 if compression else 0x81)
    assert (Unpacker().unpack(payload) if compression else payload) == LARGE.text.encode()


async def test_compressed_messages_arrive() -> None:
    packer = Packer()
    payload = packer.pack(LARGE.text.encode())
    frames = [
        frame(TEXT, payload[:100], rsv=4, fin=False),
        frame(PING),
        frame(CONTINUATION, payload[100:]),
        frame(BINARY, packer.pack(LARGE.text.encode()), rsv=4),
    ]

    async def behave(peer: Peer) -> None:
        await peer.upgrade(extra=DEFLATE, behind=b"".join(frames))
        await goodbye(peer)

    async with listening(behave) as url, await connect(url) as connection:
        assert await connection.receive() == LARGE
        assert await connection.receive() == Binary(LARGE.text.encode())


@pytest.mark.parametrize("maximum", [1_000_000, 16_000_000], ids=["too large", "inflates too well"])
async def test_a_server_cannot_send_a_bomb(maximum: int) -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade(extra=DEFLATE, behind=frame(BINARY, Packer().pack(bytes(2_000_000)), rsv=4))
        await goodbye(peer)

    async with listening(behave) as url:
        connection = await connect(url, max_message=maximum)
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
    assert error.value.code == 1009


@pytest.mark.parametrize("compression", [True, False])
async def test_both_ends_are_ours(compression: bool) -> None:
    async with serve(Echo) as server, await connect(server.url(), compression=compression) as connection:
        for message in (LARGE, Text("small"), LARGE, Binary(bytes(60_000))):
            await connection.send(message)
            assert await connection.receive() == message
        assert ("sec-websocket-extensions" in connection.headers) is compression


# Where there is no server, or one that is none


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "expected a URL"),
        ("127.0.0.1:8080", "expected a URL"),
        ("ftp://127.0.0.1/", "expected a URL"),
        ("ws://", "expected a URL"),
        ("ws:///path", "expected a URL"),
        ("ws://127.0.0.1:port/", "Port"),
        ("ws://127.0.0.1:99999/", "Port"),
        ("ws://[::1/", "IPv6"),
        ("ws://127.0.0.1/#top", "fragment"),
        ("ws://127.0.0.1/é", "percent-encoded"),
        ("ws://127.0.0.1/a b", "percent-encoded"),
    ],
)
async def test_what_is_no_url(url: str, word: str) -> None:
    with pytest.raises(ConnectFailed, match=word) as error:
        await connect(url)
    assert error.value.url == url
    assert error.value.status is None
    assert str(error.value).startswith(f"cannot connect to {url}: ")


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("ws://a.example", Url(False, "a.example", 80, "/"), "a.example"),
        ("ws://a.example:80/x", Url(False, "a.example", 80, "/x"), "a.example"),
        ("ws://a.example:8080?q=1", Url(False, "a.example", 8080, "/?q=1"), "a.example:8080"),
        ("wss://A.example/x?q", Url(True, "a.example", 443, "/x?q"), "a.example"),
        ("wss://a.example:80/", Url(True, "a.example", 80, "/"), "a.example:80"),
        ("http://[::1]:8080/", Url(False, "::1", 8080, "/"), "[::1]:8080"),
        ("https://[::1]/", Url(True, "::1", 443, "/"), "[::1]"),
    ],
)
def test_urls(text: str, url: Url, authority: str) -> None:
    assert Url.parse(text) == url
    assert Url.parse(text).authority == authority


async def test_nobody_listens() -> None:
    async with listening(forever) as url:
        pass
    with pytest.raises(ConnectFailed) as error:
        await connect(url)
    assert "refused" in error.value.problem.lower()
    assert error.value.status is None


async def test_unknown_host() -> None:
    with pytest.raises(ConnectFailed):
        await connect("ws://no-such-host.invalid/")


@pytest.mark.parametrize("given", [False, True])
async def test_tls_to_a_server_without_it(given: bool) -> None:
    async with serve(Echo) as server:
        tls = ssl.create_default_context() if given else None
        with pytest.raises(ConnectFailed) as error:
            await connect(server.url(scheme="wss"), tls=tls, timeout=5)
    assert error.value.status is None
    assert error.value.problem


async def test_server_that_never_answers() -> None:
    gone = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await forever(peer)
        gone.set()

    async with listening(behave) as url:
        with pytest.raises(ConnectFailed, match=r"no answer within 0\.05 s"):
            await connect(url, timeout=0.05)
        async with asyncio.timeout(5):
            await gone.wait()  # the connection was not left open


async def test_cancelled_connect_leaves_nothing_open() -> None:
    asked = asyncio.Event()
    gone = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await forever(peer)
        gone.set()

    async with listening(behave) as url:
        connecting = asyncio.ensure_future(connect(url))
        await asked.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        async with asyncio.timeout(5):
            await gone.wait()


def response(head: str, body: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


RIGHT = "HTTP/1.1 101 x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: {accept}"


@pytest.mark.parametrize(
    ("data", "problem", "status"),
    [
        (b"", "closed the connection before it answered", None),
        (b"SSH-2.0-OpenSSH_9.7\r\n", "does not speak HTTP", None),
        (b"\0\xff" * 100, "does not speak HTTP", None),
        (b"HTTP/1.1 ", "closed the connection before it answered", None),
        (response("HTTP/1.1 200 OK\nContent-Length: 2", b"hi"), "status 200: hi", 200),
        (response("HTTP/1.1 404 x\nContent-Length: 0"), "status 404", 404),
        (response("HTTP/1.1 204 No Content"), "status 204", 204),
        (response("HTTP/1.1 403 x\nContent-Length: 500", b"x" * 500), "x" * 200, 403),
        (response("HTTP/1.1 500 x\nTransfer-Encoding: chunked", b"2\r\nno\r\n0\r\n\r\n"), "500: no", 500),
        (response("HTTP/1.1 400 x\nContent-Length: 1", b"\xff"), "\ufffd", 400),
        (response("HTTP/1.1 403 x\nConnection: close", b"Go away."), "status 403: Go away", 403),
        (response(RIGHT.replace("{accept}", "d3Jvbmc=")), "Sec-WebSocket-Accept is wrong", 101),
        (response(RIGHT.replace("{accept}", "x\nSec-WebSocket-Accept: x")), "Accept is wrong", 101),
        (response(RIGHT.replace("Upgrade: websocket", "Upgrade: h2c")), "did not upgrade", 101),
        (response(RIGHT.replace("Upgrade: websocket\n", "")), "did not upgrade", 101),
        (response(RIGHT.replace("Connection: Upgrade\n", "")), "Connection header", 101),
        (
            response(RIGHT + "\nSec-WebSocket-Extensions: permessage-inflate"),
            "the extension permessage-inflate, which was not offered",
            101,
        ),
        (response(RIGHT + "\nSec-WebSocket-Protocol: soap"), "'?soap'?, which was not offered", 101),
        (response(RIGHT + "\nSec-WebSocket-Protocol: a\nSec-WebSocket-Protocol: b"), "not offered", 101),
    ],
)
async def test_answers_that_do_not_open(data: bytes, problem: str, status: int | None) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(data.replace(b"{accept}", peer.accept.encode()))
        if status is not None and b"Connection: close" not in data:
            await forever(peer)  # it keeps the connection open: the answer is enough

    async with listening(behave) as url:
        with pytest.raises(ConnectFailed, match=problem) as error:
            await connect(url, subprotocols=["a", "b"], timeout=3)
    assert error.value.status == status


async def test_interim_response_is_passed_over() -> None:
    """RFC 9110 §15.2: a client must be able to parse one or more 1xx responses before the final one."""

    async def behave(peer: Peer) -> None:
        peer.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await peer.upgrade()
        await forever(peer)

    async with listening(behave) as url:
        connection = await connect(url, timeout=3)
        connection.abort()


# Servers that misbehave once it is open


async def test_frames_right_behind_the_response() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(TEXT, b"early") + frame(CLOSE, b"\x03\xe8"))
        await goodbye(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        assert [message async for message in connection] == [Text("early")]
        assert connection._machine.closed == Close(1000)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(TEXT, b"masked", key=KEY).encode(), 1002),
        (frame(0x3), 1002),
        (frame(TEXT, b"compressed", rsv=4), 1002),
        (frame(CONTINUATION), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(BINARY, b"x" * 1001), 1009),
        (frame(CLOSE, b"\x03\xee"), 1002),
    ],
)
async def test_server_that_breaks_the_protocol_is_told_so(data: bytes, code: int) -> None:
    told: list[tuple[int, bytes]] = []

    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(TEXT, b"fine") + data)
        told.append(await peer.frame())

    async with listening(behave) as url:
        connection = await connect(url, max_message=1000)
        assert await connection.receive() == Text("fine")
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
    assert error.value.code == code
    assert error.value.reason
    assert [(first, payload[:2]) for first, payload in told] == [(0x88, code.to_bytes(2, "big"))]


async def test_a_large_message_may_come_in_many_fragments() -> None:
    fragments = frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 20_000

    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=fragments + frame(CONTINUATION))
        await goodbye(peer)

    async with listening(behave) as url:
        async with await connect(url, max_message=2 * 1024 * 1024) as connection:
            assert await connection.receive() == Binary(b"x" * 20_001)
        connection = await connect(url)
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
    assert error.value.code == 1008


async def test_server_that_vanishes() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(TEXT, b"last") + frame(TEXT, b"unfinished")[:-1])

    async with listening(behave) as url:
        connection = await connect(url)
        pinging = asyncio.ensure_future(connection.ping())
        assert await connection.receive() == Text("last")
        with pytest.raises(ConnectionEnded) as error:
            await connection.receive()
        assert error.value.code == 1006
        with pytest.raises(ConnectionEnded):
            await pinging
        assert connection.closed == Close(1006)
        await connection.close()  # harmless
        assert connection.closed == Close(1006)


async def test_server_that_does_not_answer_a_close() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade()
        await forever(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        await connection.close(timeout=0.05)
        assert connection.closed == Close(1006)


async def test_pings_of_the_server_are_answered_and_pongs_nobody_asked_for_ignored() -> None:
    answers: list[tuple[int, bytes]] = []

    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(PONG, b"?") + frame(PING, b"are you there") + frame(TEXT, b"x"))
        answers.append(await peer.frame())
        await forever(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        assert await connection.receive() == Text("x")
        await until(lambda: answers)
        connection.abort()
    assert answers == [(0x8A, b"are you there")]


async def test_pong_is_matched_to_its_ping() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade()
        payloads = [(await peer.frame())[1] for _ in range(2)]
        peer.writer.write(frame(PONG, b"other") + frame(PONG, payloads[1]))
        await forever(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        first = asyncio.ensure_future(connection.ping(b"1"))
        second = asyncio.ensure_future(connection.ping(b"2"))
        await second
        assert not first.done()
        connection.abort()
        with pytest.raises(ConnectionEnded):
            await first


async def test_ping_that_is_given_up_leaves_nothing_behind() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade()
        _, payload = await peer.frame()
        peer.writer.write(frame(TEXT, b"asked"))
        _, go = await peer.frame()
        peer.writer.write(frame(PONG, payload) + frame(TEXT, go))
        await forever(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        pinging = asyncio.ensure_future(connection.ping())
        assert await connection.receive() == Text("asked")
        pinging.cancel()
        await connection.send(Text("go"))
        assert await connection.receive() == Text("go")  # the late pong did no harm
        connection.abort()


# Backpressure


async def test_what_nobody_receives_is_not_read() -> None:
    sent = 0
    chunk = frame(BINARY, b"\0" * 60_000) * 10

    async def behave(peer: Peer) -> None:
        nonlocal sent
        await peer.upgrade()
        while sent < 1000:
            peer.writer.write(chunk)
            sent += 10
            await peer.writer.drain()
        peer.writer.write(frame(CLOSE, b"\x03\xe8"))
        await goodbye(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        await until(lambda: connection._paused)
        before = -1
        while before != sent:  # until the server is stuck
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 500
        assert len(connection._messages) < 200
        received = 0
        async for message in connection:
            assert len(message.data) == 60_000  # type: ignore[union-attr]
            received += 1
        assert received == sent == 1000


async def test_small_messages_are_held_back_too_and_come_in_order() -> None:
    data = b"".join(frame(TEXT, b"%d" % number) for number in range(3000))

    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=data)
        peer.writer.write(frame(CLOSE, b"\x03\xe8"))
        await goodbye(peer)

    async with listening(behave) as url:
        connection = await connect(url)
        await until(lambda: connection._paused)
        assert len(connection._messages) <= 16 + 64
        assert [message async for message in connection] == [Text(str(number)) for number in range(3000)]


async def test_send_waits_for_a_server_that_does_not_read() -> None:
    go = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.upgrade()
        await go.wait()
        while True:
            first, _ = await peer.frame()
            if first == 0x88:
                peer.writer.write(frame(CLOSE, b"\x03\xe8"))
                break

    async with listening(behave) as url:
        connection = await connect(url)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(150):
                await connection.send(Binary(b"\0" * 60_000))
                sent += 1

        flooding = asyncio.ensure_future(flood())
        await until(lambda: not connection._writable.is_set())
        assert not flooding.done()
        assert sent < 150
        go.set()
        await flooding
        await connection.close()
    assert connection.closed == Close(1000)


async def test_close_while_paused_finds_the_servers_answer() -> None:
    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(TEXT, b"x") * 500)
        await goodbye(peer)
        peer.writer.write(frame(CLOSE, b"\x0f\xa1"))

    async with listening(behave) as url:
        connection = await connect(url)
        await until(lambda: connection._paused)
        async with asyncio.timeout(4):
            await connection.close(4001)
    assert connection.closed == Close(4001)


async def test_replies_go_out_before_the_servers_close_is_answered() -> None:
    order: list[tuple[int, bytes]] = []

    async def behave(peer: Peer) -> None:
        await peer.upgrade(behind=frame(TEXT, b"question") + frame(CLOSE, b"\x03\xe8"))
        order.extend([await peer.frame(), await peer.frame()])

    async with listening(behave) as url:
        connection = await connect(url)
        assert await connection.receive() == Text("question")
        await connection.send(Text("answer"))
        with pytest.raises(ConnectionEnded):
            await connection.receive()
    assert order == [(0x81, b"answer"), (0x88, b"\x03\xe8")]


async def test_pong_to_a_ping_of_ours_may_carry_any_payload() -> None:
    async with serve(Echo) as server, await connect(server.url()) as connection:
        await connection.send(Pong(b"unasked"))
        assert await connection.ping(b"") >= 0
