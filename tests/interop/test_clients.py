"""Other people's clients against the echo example: all of them must agree on what happens."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import picows
import pytest
from tests.server.raw import until
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed

from theater import Accept, Actor, Close, Closed, Connection, Event, Message, Received, Text, UpgradeRequest
from theater.testing import Server, serve

ECHO = str(Path(__file__).parents[2] / "examples" / "echo")
PATIENCE = 20

MESSAGES: dict[str, str | bytes] = {
    "text": "hello",
    "unicode": "héllo → 🎭",
    "empty text": "",
    "empty binary": b"",
    "binary": bytes(range(256)),
    "125 bytes": "x" * 125,
    "126 bytes": "x" * 126,
    "64 KiB": b"\0" * 65536,
    "300 KB of text": "é" * 150_000,
    "300 KB of bytes": bytes(range(256)) * 1200,
}


class Referee(Actor):
    """Chooses a subprotocol, closes on request, and remembers how connections ended."""

    ends: list[Closed]

    def upgrade_connection(self, request: UpgradeRequest) -> Accept:
        return Accept("second" if "second" in request.subprotocols else None)

    def handle_websocket(self, connection: Connection, event: Event) -> Message | None:
        match event:
            case Received(Text("close")):
                return Close(4001, "as you wish")
            case Closed():
                self.ends.append(event)
        return None


class Client(Protocol):
    """What every client is made to do.

    Attributes:
        answer: the code with which it answers the server's 4001.
    """

    answer: int

    async def echo(self, url: str, messages: list[str | bytes]) -> list[str | bytes]:
        """Sends messages, one after the other's answer, and returns the answers."""

    async def ping(self, url: str) -> bytes:
        """Pings, and returns the payload of the pong."""

    async def subprotocol(self, url: str, offer: list[str]) -> str | None:
        """The subprotocol that the server chose."""

    async def closed(self, url: str) -> tuple[int, str]:
        """Sends "close", and returns how the server closes."""

    async def close(self, url: str) -> None:
        """Closes with 4002 and "tired"."""


class Websockets:
    answer = 4001

    async def echo(self, url: str, messages: list[str | bytes]) -> list[str | bytes]:
        async with websockets_connect(url) as socket:
            answers = []
            for message in messages:
                await socket.send(message)
                answers.append(await socket.recv())
            return answers

    async def ping(self, url: str) -> bytes:
        async with websockets_connect(url) as socket:
            await (await socket.ping(b"payload"))
            return b"payload"  # it matches pongs by payload itself

    async def subprotocol(self, url: str, offer: list[str]) -> str | None:
        async with websockets_connect(url, subprotocols=offer) as socket:  # type: ignore[arg-type]
            return socket.subprotocol

    async def closed(self, url: str) -> tuple[int, str]:
        async with websockets_connect(url) as socket:
            await socket.send("close")
            with pytest.raises(ConnectionClosed) as error:
                await socket.recv()
            assert error.value.rcvd is not None
            return error.value.rcvd.code, error.value.rcvd.reason

    async def close(self, url: str) -> None:
        async with websockets_connect(url) as socket:
            await socket.close(4002, "tired")
            assert socket.close_code == 4002


class Aiohttp:
    answer = 1000  # it never echoes a code

    async def echo(self, url: str, messages: list[str | bytes]) -> list[str | bytes]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            answers: list[str | bytes] = []
            for message in messages:
                if isinstance(message, str):
                    await socket.send_str(message)
                    answers.append(await socket.receive_str())
                else:
                    await socket.send_bytes(message)
                    answers.append(await socket.receive_bytes())
            return answers

    async def ping(self, url: str) -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, autoping=False) as socket,
        ):
            await socket.ping(b"payload")
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.PONG
            return bytes(message.data)

    async def subprotocol(self, url: str, offer: list[str]) -> str | None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=offer) as socket:
            return socket.protocol

    async def closed(self, url: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_str("close")
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.CLOSE
            return message.data, message.extra or ""

    async def close(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.close(code=4002, message=b"tired")
            assert socket.close_code == 4002


class _Frames(picows.WSListener):
    def __init__(self) -> None:
        self.frames: asyncio.Queue[tuple[picows.WSMsgType, bytes, int, str]] = asyncio.Queue()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        payload = bytes(frame.get_payload_as_bytes())
        code, reason = 0, ""
        if frame.msg_type == picows.WSMsgType.CLOSE:
            code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
            transport.send_close(frame.get_close_code())
        self.frames.put_nowait((frame.msg_type, payload, code, reason))


class Picows:
    answer = 4001

    async def _connect(self, url: str, **options: Any) -> tuple[Any, _Frames]:
        transport, listener = await picows.ws_connect(_Frames, url, **options)
        assert isinstance(listener, _Frames)
        return transport, listener

    async def echo(self, url: str, messages: list[str | bytes]) -> list[str | bytes]:
        transport, listener = await self._connect(url)
        answers: list[str | bytes] = []
        for message in messages:
            text = isinstance(message, str)
            data = message.encode() if isinstance(message, str) else message
            transport.send(picows.WSMsgType.TEXT if text else picows.WSMsgType.BINARY, data)
            kind, payload, _, _ = await listener.frames.get()
            answers.append(payload.decode() if kind == picows.WSMsgType.TEXT else payload)
        transport.disconnect()
        await transport.wait_disconnected()
        return answers

    async def ping(self, url: str) -> bytes:
        transport, listener = await self._connect(url)
        transport.send_ping(b"payload")
        kind, payload, _, _ = await listener.frames.get()
        assert kind == picows.WSMsgType.PONG
        transport.disconnect()
        await transport.wait_disconnected()
        return payload

    async def subprotocol(self, url: str, offer: list[str]) -> str | None:
        headers = {"Sec-WebSocket-Protocol": ", ".join(offer)} if offer else {}
        transport, _ = await self._connect(url, extra_headers=headers)
        chosen = transport.response.headers.get("Sec-WebSocket-Protocol")
        transport.disconnect()
        await transport.wait_disconnected()
        return chosen if chosen is None else str(chosen)

    async def closed(self, url: str) -> tuple[int, str]:
        transport, listener = await self._connect(url)
        transport.send(picows.WSMsgType.TEXT, b"close")
        _, _, code, reason = await listener.frames.get()
        await transport.wait_disconnected()
        return code, reason

    async def close(self, url: str) -> None:
        transport, listener = await self._connect(url)
        transport.send_close(4002, b"tired")
        _, _, code, _ = await listener.frames.get()
        assert code == 4002
        await transport.wait_disconnected()


NODE_SCRIPT = """
const WebSocket = require("ws");
const [task, url, rest] = process.argv.slice(2);
const done = (value) => { console.log(JSON.stringify(value)); };
const fail = (error) => { console.error(error); process.exit(1); };
const messages = JSON.parse(rest || "[]");
const socket = new WebSocket(url, task === "subprotocol" ? messages : []);
socket.on("error", fail);
const tasks = {
  echo() {
    const answers = [];
    const next = () => {
      if (answers.length === messages.length) { done(answers); return socket.close(); }
      const [kind, data] = messages[answers.length];
      socket.send(Buffer.from(data, "base64"), { binary: kind === "binary" });
    };
    socket.on("message", (data, binary) => {
      answers.push([binary ? "binary" : "text", data.toString("base64")]);
      next();
    });
    next();
  },
  ping() {
    socket.on("pong", (data) => { done(data.toString("base64")); socket.close(); });
    socket.ping("payload");
  },
  subprotocol() { done(socket.protocol || null); socket.close(); },
  closed() {
    socket.on("close", (code, reason) => done([code, reason.toString()]));
    socket.send("close");
  },
  close() {
    socket.on("close", (code) => done(code));
    socket.close(4002, "tired");
  },
};
socket.on("open", () => tasks[task]());
"""


class Node:
    """The client of the `ws` package, in a process of its own."""

    answer = 4001

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def _run(self, task: str, url: str, rest: object = ()) -> Any:
        # What is to be sent may be longer than an argument can be, so it goes by a file.
        script = self._folder / f"{task}.js"
        script.write_text(NODE_SCRIPT.replace('JSON.parse(rest || "[]")', json.dumps(rest)))
        process = await asyncio.create_subprocess_exec(
            "node", str(script), task, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    async def echo(self, url: str, messages: list[str | bytes]) -> list[str | bytes]:
        pairs = [
            ("text", base64.b64encode(message.encode()).decode())
            if isinstance(message, str)
            else ("binary", base64.b64encode(message).decode())
            for message in messages
        ]
        answers: list[str | bytes] = []
        for kind, data in await self._run("echo", url, pairs):
            payload = base64.b64decode(data)
            answers.append(payload.decode() if kind == "text" else payload)
        return answers

    async def ping(self, url: str) -> bytes:
        return base64.b64decode(await self._run("ping", url))

    async def subprotocol(self, url: str, offer: list[str]) -> str | None:
        chosen: str | None = await self._run("subprotocol", url, offer)
        return chosen

    async def closed(self, url: str) -> tuple[int, str]:
        code, reason = await self._run("closed", url)
        return code, reason

    async def close(self, url: str) -> None:
        assert await self._run("close", url) == 4002


@pytest.fixture(scope="module")
def node_folder() -> Path:
    """Where `ws` is installed, once for all runs."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"INTEROP WITH NODE ws NOT TESTED: {' and '.join(missing)} not installed")
    folder = Path(tempfile.gettempdir()) / "theater-interop-ws-8"
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules" / "ws" / "package.json").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "ws@8"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=50)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"INTEROP WITH NODE ws NOT TESTED: npm cannot install it ({error})")
    return folder


@pytest.fixture(params=["websockets", "aiohttp", "picows", "node ws"])
def client(request: pytest.FixtureRequest) -> Client:
    match request.param:
        case "websockets":
            return Websockets()
        case "aiohttp":
            return Aiohttp()
        case "picows":
            return Picows()
    return Node(request.getfixturevalue("node_folder"))


@pytest.fixture
async def referee() -> AsyncIterator[tuple[Server, list[Closed]]]:
    ends: list[Closed] = []
    actor: type[Actor] = type("Referee", (Referee,), {"ends": ends})
    async with serve(actor) as server:
        yield server, ends


async def test_messages_come_back_as_they_were(client: Client) -> None:
    async with serve(ECHO) as server, asyncio.timeout(PATIENCE):
        answers = await client.echo(server.url(), list(MESSAGES.values()))
    assert dict(zip(MESSAGES, answers, strict=True)) == MESSAGES


async def test_ping_is_answered_with_its_payload(client: Client) -> None:
    async with serve(ECHO) as server, asyncio.timeout(PATIENCE):
        assert await client.ping(server.url()) == b"payload"


@pytest.mark.parametrize(
    ("offer", "chosen"), [(["first", "second"], "second"), ([], None)], ids=["offered", "not offered"]
)
async def test_subprotocol(
    client: Client, referee: tuple[Server, list[Closed]], offer: list[str], chosen: str | None
) -> None:
    server, _ = referee
    async with asyncio.timeout(PATIENCE):
        assert await client.subprotocol(server.url(), offer) == chosen


async def test_close_of_the_server(client: Client, referee: tuple[Server, list[Closed]]) -> None:
    server, ends = referee
    async with asyncio.timeout(PATIENCE):
        assert await client.closed(server.url()) == (4001, "as you wish")
        await until(lambda: ends)
    assert [end.code for end in ends] == [client.answer]


async def test_close_of_the_client(client: Client, referee: tuple[Server, list[Closed]]) -> None:
    server, ends = referee
    async with asyncio.timeout(PATIENCE):
        await client.close(server.url())
        await until(lambda: ends)
    assert ends == [Closed(4002, "tired")]
