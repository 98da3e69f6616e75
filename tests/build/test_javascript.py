"""Actors in JavaScript: `tests/build/probe.js` is built once, and runs as it does on a server."""

import asyncio
import json
import logging
import shutil
import stat
import time
from collections.abc import AsyncIterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID

import pytest

from theater import Actor, Address, Binary, Connection, Event, Ping, Received, Text
from theater.build import BuildError, javascript
from theater.errors import ActorFailed, ConnectFailed, ConnectionEnded
from theater.testing import StageConnection, serve, stage
from theater.wasm.component import inspect

missing = [name for name in ("node", "npm") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} is missing: JavaScript is not built"),
    pytest.mark.timeout(100),  # compilers
]

MANIFEST = """
name = "probe"
component = "probe.wasm"

[[handlers]]
type = "websocket-server"
path = "/probe/{name}"

[[handlers]]
type = "websocket-server"
path = "/pieces"
messages = "stream"

[[handlers]]
type = "http-server"
path = "/probe/{name}"
"""
SOCKET = """
[[handlers]]
type = "websocket-server"
path = "/"
"""


def ignore(step: str) -> None:
    """Takes the steps of a build."""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest and the built component."""
    folder = tmp_path_factory.mktemp("probe")
    package = folder / "node_modules" / "thrice"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "thrice", "type": "module", "main": "index.js"}')
    (package / "index.js").write_text("export default (text) => text.repeat(3);")
    (folder / "lib").mkdir()
    (folder / "lib" / "more.mjs").write_text("export const twice = (text) => text.repeat(2);")
    source = shutil.copy(Path(__file__).with_name("probe.js"), folder)
    steps: list[str] = []
    (folder / "probe.wasm").write_bytes(javascript.build(Path(source), steps.append))
    assert steps[-2:] == ["reading probe.js", "compiling probe.js"]
    (folder / "theater.toml").write_text(MANIFEST)
    return folder


@pytest.fixture
async def client(probe: Path) -> AsyncIterator[StageConnection]:
    """A connection to the probe."""
    async with asyncio.timeout(60), stage(str(probe)) as theater:
        yield await theater.connect("/probe/x")


async def ask(client: StageConnection, *what: object) -> str:
    """What the probe answers."""
    await client.send(Text(json.dumps(what)))
    answer = await client.receive()
    assert isinstance(answer, Text)
    return answer.text


async def test_events(probe: Path) -> None:
    async with asyncio.timeout(60), stage(str(probe)) as theater:
        first = await theater.connect("/probe/x")
        await first.send(Ping(b"\1\2"))
        await first.send(Text('["fail", "error"]'))
        await first.close(4001, "bye")
        second = await theater.connect("/probe/x")
        events = json.loads(await ask(second, "seen"))
    problem = events[3].pop("problem")
    assert "cannot read property 'foo' of null, at fail (probe.js:" in problem
    assert events == [
        "init",
        {"type": "connected"},
        {"type": "Ping", "bytes": [1, 2]},
        {"type": "error"},
        {"type": "closed", "code": 4001, "reason": "bye"},
        {"type": "connected"},
    ]


async def test_binary_messages(client: StageConnection) -> None:
    await client.send(Binary(bytes(range(255))))
    assert await client.receive() == Binary(bytes(range(1, 256)))


async def test_an_upgrade_is_decided(probe: Path) -> None:
    async with asyncio.timeout(60), stage(str(probe)) as theater:
        accepted = await theater.connect(
            "/probe/a%20b?as=accept&as=%C3%A4+b&bad=%FF", headers=[("X-Test", "o")], subprotocols=["p", "q"]
        )
        assert accepted.headers["x-seen"] == "o"
        assert json.loads(await ask(accepted, "facts")) == {
            "path": "/probe/a b",
            "parameters": {"name": "a b"},
            "subprotocol": "q",
            "tags": ["one", "two"],
            "attachment": {"all": ["accept", "ä b"], "text": "as=accept&as=%C3%A4+b&bad=%FF"},
            "waiting": 0,
            "peer": {"address": "127.0.0.1", "port": 50000},
            "same": True,
        }
        for way, status in (("refuse", 409), ("nothing", 403), ("wrong", 500)):
            with pytest.raises(ConnectFailed) as failed:
                await theater.connect(f"/probe/x?as={way}")
            assert failed.value.status == status


async def test_what_is_kept(client: StageConnection) -> None:
    await client.send(Text('["change"]'))
    facts = json.loads(await ask(client, "facts"))
    assert (facts["tags"], facts["attachment"]) == (["three"], {"list": [1, None, "ä"]})
    assert await ask(client, "kept") == "null"
    await client.send(Text('["keep", {"a": [1.5]}]'))
    assert await ask(client, "kept") == '{"a":[1.5]}'


async def test_the_state_outlives_a_crash(client: StageConnection, caplog: pytest.LogCaptureFixture) -> None:
    await client.send(Text('["keep", 7]'))
    with caplog.at_level(logging.CRITICAL):
        await client.send(Text('["fail", "stack"]'))
        while json.loads(await ask(client, "seen"))[0] != "init":
            """The next instance has begun."""
    assert await ask(client, "kept") == "7"


async def test_what_can_be_sent(client: StageConnection) -> None:
    await client.send(Text('["pieces"]'))
    assert await client.receive() == Text("in pieces")
    await client.send(Text('["several"]'))
    assert await client.receive() == Text("at once")
    assert await client.receive() == Text("first")
    assert await client.receive() == Binary(b"\x09")
    with pytest.raises(ConnectionEnded, match="4000: done"):
        await client.receive()


async def test_who_hears_a_broadcast(probe: Path) -> None:
    async with asyncio.timeout(60), stage(str(probe)) as theater:
        one = await theater.connect("/probe/x")
        two = await theater.connect("/probe/x?as=accept", subprotocols=["p"], headers=[("X-Test", "o")])
        await one.send(Text('["tell", "two"]'))
        assert await two.receive() == Text("to the tagged")
        assert await two.receive() == Text("to others")
        await two.send(Text('["tell", "two"]'))
        assert await one.receive() == Text("to others")


async def test_messages_in_pieces(probe: Path) -> None:
    async with asyncio.timeout(60), stage(str(probe)) as theater:
        client = await theater.connect("/pieces")
        await client.send_chunk("abc", last=False)
        assert await client.receive() == Text("String 3 false")
        await client.send_chunk("", last=True)
        assert await client.receive() == Text("String 0 true")
        await client.send_chunk(b"ab", last=False)
        assert await client.receive() == Text("Uint8Array 2 false")


@pytest.mark.parametrize(
    ("query", "status", "kind", "body"),
    [
        ("", 200, "text/plain; charset=utf-8", b"POST /probe/x 5 127.0.0.1"),
        ("as=page", 200, "text/html; charset=utf-8", b"<p>"),
        ("as=bytes", 201, None, b"\1\2"),
        ("as=nothing", 500, "text/plain; charset=utf-8", None),
    ],
)
async def test_plain_http(probe: Path, query: str, status: int, kind: str | None, body: bytes | None) -> None:
    def post(port: int) -> tuple[int, str | None, list[str] | None, bytes]:
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("POST", f"/probe/x?{query}", b'{"n": 5}')
            response = connection.getresponse()
            headers = response.headers
            return response.status, headers["content-type"], headers.get_all("x-a"), response.read()

    async with serve(str(probe)) as server:
        found = await asyncio.to_thread(post, server.port)
    assert found[:3] == (status, kind, ["1", "2"] if query == "as=bytes" else None)
    assert body is None or found[3] == body


class Other(Actor):
    """Talks to the probe, and is talked to."""

    async def handle_websocket(self, connection: Connection, event: Event) -> Text | Binary | None:
        match event:
            case Received(Text() | Binary() as message):
                try:
                    return await self.request("probe", message)
                except ActorFailed:
                    return Text("failed")
        return None

    def handle_message(self, message: Text | Binary, sender: Address) -> Text | Binary | None:
        if message == Text("raise"):
            raise ValueError(f"{sender} told me to")
        return None if message == Text("nothing") else message


async def test_other_actors(probe: Path) -> None:
    async with asyncio.timeout(60), stage(str(probe), Other) as theater:
        other = await theater.connect("/")
        for sent, answer in (
            (Text("hello"), Text("other said hello")),
            (Binary(b"\0\1"), Binary(b"\0\1")),
            (Text("fail"), Text("failed")),
        ):
            await other.send(sent)
            assert await other.receive() == answer
        client = await theater.connect("/probe/x")
        assert await ask(client, "ask", "other", "hi") == "hi"
        assert await ask(client, "ask", {"type": "other"}, "nothing", {"timeout": 1.5}) == "no answer"
        refused = await ask(client, "ask", "other", "raise")
        assert refused == "ActorError actor-failed: actor failed"
        assert await ask(client, "ask", "nobody/x", "hi") == "ActorError no-such-actor: no such actor"
        assert (await ask(client, "ask", "probe", "hi")).startswith("ActorError local-error: ")


async def test_text_and_bytes(client: StageConnection) -> None:
    text = "aä€😀\ufffd\ufeff"
    assert json.loads(await ask(client, "texts")) == [list(text.encode()), text]
    assert await ask(client, "lonely") == "\ufffd"
    for data in (
        b"\xef\xbb\xbfx",
        b"a\xffb",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        b"\xf5",
    ):
        expected = data.decode("utf-8-sig", "replace")
        assert await ask(client, "decode", list(data)) == expected
    await client.send(Text('["strict", [97, 255]]'))
    assert "TypeError: the bytes are no UTF-8" in json.loads(await ask(client, "seen"))[-1]["problem"]


async def test_time_and_chance(client: StageConnection) -> None:
    now, zero, same, monotonic = json.loads(await ask(client, "time"))
    assert abs(now / 1000 - time.time()) < 100
    assert (zero, same, monotonic) == ("1970-01-01T00:00:00.000Z", True, True)
    numbers, uuid, kinds, born = json.loads(await ask(client, "chance"))
    assert all(0 <= each < 1 for each in numbers)
    assert len(set(numbers)) == 1000
    assert 0.4 < sum(numbers) / 1000 < 0.6
    assert UUID(uuid).version == 4
    assert kinds == 256
    assert born["address"] == {"type": "probe", "key": ""}
    assert 0 <= born["chance"] < 1


async def test_each_instance_has_its_own_chance(probe: Path) -> None:
    found = set()
    for _ in range(2):
        async with asyncio.timeout(60), stage(str(probe)) as theater:
            found.add(json.loads(await ask(await theater.connect("/probe/x"), "chance"))[0][0])
    assert len(found) == 2


async def test_the_console(client: StageConnection, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await client.send(Text('["log"]'))
        await ask(client, "seen")
    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert any(level == "INFO" and 'one {"two":2} 1' in line for level, line in lines)
    assert any(level == "ERROR" and "Error: four, at log (probe.js:" in line for level, line in lines)


async def test_imported_modules(client: StageConnection) -> None:
    assert await ask(client, "words") == "aabbb"


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("error", "TypeError: cannot read property 'foo' of null, at fail (probe.js:"),
        ("text", "thrown: a text"),
        ("number", "what handleWebsocket returns must be a string or a Uint8Array, not number"),
        ("promise", "a handler returned a Promise: handlers answer at once"),
        ("close", "a close code is a whole number such as 1000, not 70000"),
        ("host", "999"),
        ("exclude", "exclude takes connections, not number"),
    ],
)
async def test_what_goes_wrong_is_an_error(client: StageConnection, how: str, problem: str) -> None:
    await client.send(Text(json.dumps(["fail", how])))
    events = json.loads(await ask(client, "seen"))
    assert events[-1]["type"] == "error"
    assert problem in events[-1]["problem"]
    assert events[0] == "init"  # the same instance as before


async def test_a_handler_that_is_a_field(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The builder has not seen it, so nobody would call it."""
    source = tmp_path / 'a "room".js'
    source.write_text(CLASS + ' handleWebsocket() { return "x"; } handleMessage = () => "y"; }')
    (tmp_path / "probe.wasm").write_bytes(javascript.build(source, ignore))
    (tmp_path / "theater.toml").write_text(MANIFEST.partition("\n\n[[handlers]]")[0] + SOCKET)
    async with asyncio.timeout(60), stage(str(tmp_path)) as theater:
        with pytest.raises(ConnectFailed):
            await theater.connect("/")
    assert "handleMessage must be a method of the class, not a field of its objects" in caplog.text


# Building

START = 'import { Actor } from "theater";\n'
CLASS = f"{START}export default class extends Actor {{"


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("export class Room {}", "the module has no class that extends Actor as its default export"),
        (CLASS + " async handleMessage() {} }", "handleMessage is async: handlers answer at once"),
        (CLASS + "\n  handleMessage( {\n}", "    at room.js:"),
        (START + 'import x from "./gone.js";', "'./gone.js' from 'room.js'"),
        (START + "Date.now();", "there is no clock while a component is built: ask for it in init()\n    at"),
    ],
)
def test_mistakes_of_a_module(tmp_path: Path, source: str, output: str) -> None:
    file = tmp_path / "room.js"
    file.write_text(source)
    with pytest.raises(BuildError) as failed:
        javascript.build(file, ignore)
    assert failed.value.problem == f"{file} cannot be built"
    assert output in failed.value.output
    assert "theater-entry" not in failed.value.output
    assert "node_modules" not in failed.value.output


def test_a_component_has_what_its_class_has(tmp_path: Path) -> None:
    """Also where a handler is inherited, or only mentioned."""
    file = tmp_path / "room.mjs"
    file.write_text(
        START + "class Base extends Actor {}\n"
        'Base.prototype["handle" + "Message"] = () => "yes";\n'
        "export default class Room extends Base {} // has no handleRequest\n"
    )
    found = inspect(javascript.build(file, ignore))
    assert found.contract.version == "0.2.0"
    assert set(found.exports) == {"lifecycle", "message-actor"}
    assert found.foreign == ()


def test_handlers_of_events_come_with_the_last_event(tmp_path: Path) -> None:
    file = tmp_path / "room.js"
    file.write_text(CLASS + " handleBatch(batch) {} }")
    found = inspect(javascript.build(file, ignore))
    assert set(found.exports) == {"lifecycle", "batch-actor", "websocket-actor"}


def test_a_folder_with_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(javascript, "_MAX_FILES", 1)
    for name in ("room.js", "other.js"):
        (tmp_path / name).touch()
    with pytest.raises(BuildError, match="more than 1 files: give the actor a folder of its own"):
        javascript.build(tmp_path / "room.js", ignore)


# The compiler


class Tools:
    """A folder that is all of PATH, with programs that only print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Programs in place of the real ones, and an empty cache."""
    found = Tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(found.folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def failure(tmp_path: Path) -> BuildError:
    (tmp_path / "room.js").touch()
    with pytest.raises(BuildError) as failed:
        javascript.build(tmp_path / "room.js", ignore)
    return failed.value


def test_no_node(tools: Tools, tmp_path: Path) -> None:
    assert str(failure(tmp_path)) == "Node.js is missing: install version 20 or later"


@pytest.mark.parametrize(("version", "words"), [("v18.20.1", "v18.20.1"), ("", "of no known version")])
def test_an_old_node(tools: Tools, tmp_path: Path, version: str, words: str) -> None:
    tools.add("node", f"echo {version}")
    node = tools.folder / "node"
    assert str(failure(tmp_path)) == f"{node} is Node.js {words}: install 20 or later"


def test_no_npm(tools: Tools, tmp_path: Path) -> None:
    tools.add("node", "echo v20.0.0")
    assert "npm is missing, which installs componentize-qjs" in str(failure(tmp_path))


def test_npm_fails(tools: Tools, tmp_path: Path) -> None:
    tools.add("node", "echo v20.0.0")
    tools.add("npm", 'echo "$@"; echo no network >&2; exit 1')
    failed = failure(tmp_path)
    assert failed.problem == "npm could not install componentize-qjs 0.4.5"
    assert failed.output == "no network"
    assert list((tmp_path / "cache" / "theater").iterdir()) == []


def test_the_compiler_is_installed_once(tools: Tools, tmp_path: Path) -> None:
    tools.add("node", '[ "$1" = --version ] && echo v22.1.0 || { echo "Error: $1" >&2; exit 1; }')
    tools.add("npm", 'echo "$@" >> "$XDG_CACHE_HOME/calls"; echo > installed')
    steps: list[str] = []
    for _ in range(2):
        (tmp_path / "room.js").touch()
        with pytest.raises(
            BuildError, match=r"componentize-qjs-0\.4\.5/node_modules/componentize-qjs/cli\.mjs"
        ):
            javascript.build(tmp_path / "room.js", steps.append)
    assert steps.count("installing componentize-qjs 0.4.5") == 1
    calls = (tmp_path / "cache" / "calls").read_text().splitlines()
    assert calls == ["install --ignore-scripts --no-audit --no-fund --loglevel=error componentize-qjs@0.4.5"]
    assert [each.name for each in (tmp_path / "cache" / "theater").iterdir()] == ["componentize-qjs-0.4.5"]
