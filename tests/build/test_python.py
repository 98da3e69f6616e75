"""Actors in Python: `tests/build/probe.py` is built once, and runs as on a server; so does the chat."""

import asyncio
import importlib.util
import json
import logging
import shutil
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.long import long

from theater import Actor, Address, Binary, Connection, Event, Ping, Received, Text
from theater.build import BuildError, python
from theater.errors import ActorFailed, ConnectFailed, ConnectionEnded
from theater.testing import StageConnection, serve, stage
from theater.wasm.component import inspect

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(python.COMPILER) is None, reason="no componentize-py"),
    pytest.mark.timeout(400),  # compilers
]

CHAT = Path(__file__).parents[2] / "examples" / "chat"

PROBE_MANIFEST = """
name = "probe"
component = "probe.wasm"

[[handlers]]
type = "websocket-server"
path = "/probe/{name}"

[[handlers]]
type = "websocket-server"
path = "/plain"

[[handlers]]
type = "websocket-server"
path = "/pieces"
messages = "stream"

[[handlers]]
type = "websocket-server"
path = "/batch"
batch = { max_messages = 10 }

[[handlers]]
type = "http-server"
path = "/http"
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A place of their own for compiled components, which are large and never come back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest and the built component."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "theater.toml").write_text(PROBE_MANIFEST)
    source = Path(shutil.copy(Path(__file__).with_name("probe.py"), folder))
    (folder / "aside").mkdir()
    (folder / "aside" / "beside.py").write_text("WORDS = 'beside'\n")
    steps: list[str] = []
    (folder / "probe.wasm").write_bytes(python.build(source, steps.append, path=[folder / "aside"]))
    assert steps == ["reading probe.py", "compiling Probe with Python, which takes some seconds"]
    return folder


@pytest.fixture
async def client(probe: Path) -> AsyncIterator[StageConnection]:
    """A connection to the probe."""
    async with asyncio.timeout(120), stage(str(probe)) as theater:
        yield await theater.connect("/plain")


async def ask(client: StageConnection, expression: str) -> str:
    """What the probe finds when it evaluates something."""
    await client.send(Text(expression))
    answer = await client.receive()
    assert isinstance(answer, Text)
    return answer.text


async def test_what_it_is(probe: Path) -> None:
    found = inspect(probe / "probe.wasm")
    assert set(found.imports) <= {"websocket", "actors", "state", "host"}  # nothing of WASI
    assert set(found.exports) == {
        "lifecycle",
        "websocket-upgrade",
        "websocket-actor",
        "stream-actor",
        "batch-actor",
        "http-actor",
        "message-actor",
    }


async def test_an_upgrade_is_decided(probe: Path) -> None:
    async with asyncio.timeout(120), stage(str(probe)) as theater:
        client = await theater.connect("/probe/a%20b?q=1", subprotocols=["p", "q"])
        assert client.headers["x-seen"] == "1"
        assert await ask(client, "connection.path, connection.parameters, connection.subprotocol") == (
            "('/probe/a b', {'name': 'a b'}, 'p')"
        )
        assert await ask(client, "sorted(connection.tags), connection.attachment, connection.waiting") == (
            "(['a', 'b'], {'n': [1, None]}, 0)"
        )
        assert await ask(client, "connection is self.connections[connection.id], len(self.connections)") == (
            "(True, 1)"
        )
        assert await ask(client, "connection.query['q'], connection.headers['Sec-WebSocket-Version']") == (
            "('1', '13')"
        )
        for path, status in (("refused", 409), ("nothing", 403), ("wrong", 500)):
            with pytest.raises(ConnectFailed) as failed:
                await theater.connect(f"/probe/{path}")
            assert failed.value.status == status


async def test_events(probe: Path) -> None:
    async with asyncio.timeout(120), stage(str(probe)) as theater:
        first = await theater.connect("/plain")
        await first.send(Ping(b"\1\2"))
        await first.send(Text("fail()"))
        await first.close(4001, "bye")
        second = await theater.connect("/plain")
        seen = await ask(second, "self.seen[:-1]")
        assert seen.replace("CallFailed: ", "") == repr(
            [
                "Connected()",
                "Received(message=Ping(payload=b'\\x01\\x02'))",
                "Received(message=Text(text='fail()'))",
                "Error(problem='LookupError: on purpose')",
                "Closed(code=4001, reason='bye')",
                "Connected()",
            ]
        )


async def test_what_can_be_sent(client: StageConnection) -> None:
    await client.send(Binary(bytes(range(256))))
    assert await client.receive() == Binary(bytes(reversed(range(256))))
    assert await ask(client, "tell(self, connection)") == "at once"
    assert [await client.receive() for _ in range(4)] == [
        Text(each) for each in ("in pieces", "broadcast", "sent", "None")
    ]


async def test_what_is_kept(client: StageConnection) -> None:
    assert await ask(client, "self.state") == "None"
    await ask(client, "setattr(self, 'state', {'a': [1, 2]})")
    await ask(client, "setattr(connection, 'tags', ['x']), setattr(connection, 'attachment', 'y')")
    assert await ask(client, "self.state, connection.tags, connection.attachment") == (
        "({'a': [1, 2]}, frozenset({'x'}), 'y')"
    )


async def test_the_state_outlives_a_crash(client: StageConnection, caplog: pytest.LogCaptureFixture) -> None:
    await ask(client, "setattr(self, 'state', 7)")
    with caplog.at_level(logging.CRITICAL):
        await client.send(Text("[None for _ in iter(int, 1)]"))  # for ever
        assert await ask(client, "self.state") == "7"
        assert "computed for too long" in await ask(client, "self.seen[0]")


async def test_time(client: StageConnection) -> None:
    now = float(await ask(client, "time.time()"))
    assert abs(now - time.time()) < 100
    for expression in (
        "time.time_ns() / 1e9",
        "datetime.datetime.now().astimezone().timestamp()",
        "datetime.datetime.now(datetime.UTC).timestamp()",
        "time.mktime(time.localtime())",
        "time.clock_gettime(time.CLOCK_REALTIME)",
    ):
        assert abs(float(await ask(client, expression)) - now) < 100, expression
    assert await ask(client, "datetime.date.today().year == time.gmtime().tm_year") == "True"
    assert await ask(client, "time.strftime('%Y') in time.ctime()") == "True"
    assert (
        await ask(client, "time.monotonic() <= time.perf_counter() <= time.monotonic_ns() / 1e9 + 1")
        == "True"
    )


async def test_each_instance_has_its_own_chance(probe: Path) -> None:
    found: list[list[Any]] = []
    for _ in range(2):
        async with asyncio.timeout(120), stage(str(probe)) as theater:
            client = await theater.connect("/plain")
            found.append(
                [
                    await ask(client, expression)
                    for expression in (
                        "random.random()",
                        "choice(range(10**9))",
                        "OWN.random()",
                        "random.Random().random()",
                        "os.urandom(8)",
                        "secrets.token_hex()",
                        "uuid.uuid4()",
                        "SEEDED.random()",
                    )
                ]
            )
            assert (
                await ask(client, "len(set(os.urandom(200_000))), len(os.urandom(200_000))")
                == "(256, 200000)"
            )
    one, other = found
    assert one[-1] == other[-1]  # this one was given its seed
    assert not set(one[:-1]) & set(other[:-1])


async def test_the_log(client: StageConnection, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await ask(client, "print('one', 2), print('more\\nlines'), print('aside', file=sys.stderr)")
        await ask(client, "log.debug('three'), log.error('four')")
        await client.send(Text("fail()"))
        await ask(client, "1")
    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    for line in (
        ("INFO", "probe: one 2"),
        ("INFO", "probe: more"),
        ("INFO", "probe: lines"),
        ("WARNING", "probe: aside"),
        ("DEBUG", "probe: probe: three"),
        ("ERROR", "probe: probe: four"),
    ):
        assert line in lines
    (traceback,) = [text for level, text in lines if "handle_websocket failed\nTraceback" in text]
    assert traceback.endswith('in fail\n    raise LookupError("on purpose")\nLookupError: on purpose')
    assert "/theater/" not in traceback


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        (
            "chr(0xD800)",
            "ud800'): expected text without lone surrogates",
        ),
        (
            "connection.send('x')",
            "InvalidMessage: cannot send 'x': expected Text, Binary, Ping, Pong or Close",
        ),
        ("connection.send(Ping(b'x' * 126))", "expected at most 125 bytes of payload"),
        ("connection.send(Text(''), key=5)", "LocalError: 5 is not Unicode text"),
        ("connection.close(1005)", "InvalidClose: cannot close with code 1005"),
        ("setattr(connection, 'tags', [''])", "ValueError: a tag has 1 to 256 characters, not 0"),
        (
            "setattr(self, 'state', 'x' * 2_000_000)",
            "Refused: an actor's state has at most 1048576 bytes as JSON",
        ),
        ("setattr(self, 'state', self)", "TypeError: an actor's state cannot hold this"),
        ("self.send('Wrong', Text(''))", "InvalidAddress: 'Wrong' is no actor address"),
        ("self.send(Address('a', chr(0xD800)), Text(''))", "ud800' is not Unicode text"),
        ("self.send('nobody', Text(''))", "NoSuchActor: no actor type answers to the address 'nobody'"),
        (
            "self.request('nobody/x', Text(''))",
            "NoSuchActor: no actor type answers to the address 'nobody/x'",
        ),
        ("self.request('probe', Text(''))", "LocalError: "),
        ("suspend()", "LocalError: asyncio wants create_future: inside a component a handler can wait for"),
        ("wait_for_something()", "LocalError: handle_websocket waits for 'something'"),
        ("asyncio.run(suspend())", "RuntimeError: asyncio.run() cannot be called from a running event loop"),
        ("time.sleep(1)", "RuntimeError: time.sleep: a component cannot wait"),
        ("open('x')", "PermissionError: [Errno 63] a component has no files"),
        ("os.stat('x')", "PermissionError: [Errno 63] a component has no files"),
        ("os.listdir()", "PermissionError: [Errno 63] a component has no files"),
        ("socket.socket()", "PermissionError: [Errno 63] a component has no network"),
        (
            "__import__('turtle')",
            "ModuleNotFoundError: turtle was not imported while the component was built",
        ),
        ("exec('f(:')", "SyntaxError: "),
        ("exec('def f(): f()\\nf()')", "RecursionError: "),
        ("json.loads('[' * 100_000)", "RecursionError: JSON that is nested more than 500 levels deep"),
        ("b'x' * 200_000_000", "MemoryError"),
        ("sys.exit(1)", "SystemExit: 1"),
        ("5", "InvalidReply: handle_websocket must return None, a message or a list of messages, not int"),
    ],
)
async def test_what_goes_wrong_is_an_error(client: StageConnection, expression: str, problem: str) -> None:
    await client.send(Text(f"{expression}" if expression != "5" else "5 "))
    assert problem in await ask(client, "self.seen[-2]")
    assert await ask(client, "self.seen[0]") == "Connected()"  # the same instance as before


async def test_what_works_all_the_same(client: StageConnection) -> None:
    for expression, value in (
        ("hurry()", "hurried"),
        ("lazily()", "colorsys"),
        ("beside.WORDS", "beside"),
        ("datetime.datetime.strptime('2020-01-02', '%Y-%m-%d').day", "2"),
        ("b'\\x80'.decode('cp1252')", "€"),
        ("len(json.loads('[' + '[],' * 5000 + '\"[[[\"]'))", "5001"),
        ("Path('x').exists()", "False"),
        ("HERE == Path(__file__).name", "True"),
    ):
        assert await ask(client, expression) == value


async def test_messages_in_pieces(probe: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(120), stage(str(probe)) as theater:
        client = await theater.connect("/pieces")
        await client.send_chunk("abc", last=False)
        assert await client.receive() == Text("got 3")
        await client.send_chunk("de", last=True)
        assert await client.receive() == Text("got 2")
        assert await client.receive() == Text("all: ['abc', 'de']")
        await client.send(Binary(b"xyz"))
        assert await client.receive() == Text("got 3")
        assert await client.receive() == Text("all: [b'xyz']")
        await client.send_chunk("boom", last=False)
        await client.send_chunk("thrown away", last=True)
        await client.send(Text("after"))
        assert await client.receive() == Text("got 5")
        assert await client.receive() == Text("all: ['after']")
        await client.send_chunk("stop", last=False)
        assert await client.receive() == Text("got 4")
        assert await client.receive() == Text("stopped")
        await client.send_chunk("thrown away", last=True)
        with caplog.at_level(logging.INFO):
            await client.send_chunk("never complete", last=False)
            assert await client.receive() == Text("got 14")
            await client.close(4000, "enough")
            other = await theater.connect("/plain")
            assert await ask(other, "self.seen[-3]") == "Closed(code=4000, reason='enough')"
    assert any("lost 4000 enough ['never complete']" in each.getMessage() for each in caplog.records)


async def test_batches(probe: Path) -> None:
    async with asyncio.timeout(120), stage(str(probe)) as theater:
        client = await theater.connect("/batch")
        assert await client.receive() == Text("Connected()")
        await client.send(Text("a"))
        assert await client.receive() == Text("Received(message=Text(text='a'))")


async def test_plain_http(probe: Path) -> None:
    async with asyncio.timeout(120), serve(str(probe)) as server:
        connection = HTTPConnection("127.0.0.1", server.port)
        await asyncio.to_thread(connection.request, "POST", "/http?a=%C3%A4", "body", {"X-Test": "t"})
        response = await asyncio.to_thread(connection.getresponse)
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        assert json.loads(response.read()) == {
            "method": "POST",
            "query": "ä",
            "body": "body",
            "header": "t",
            "peer": "127.0.0.1",
        }
        await asyncio.to_thread(connection.request, "GET", "/http?wrong=1")
        assert (await asyncio.to_thread(connection.getresponse)).status == 500
        connection.close()


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
    async with asyncio.timeout(120), stage(str(probe), Other) as theater:
        other = await theater.connect("/")
        for sent, answer in (
            (Text("hello"), Text("Text(text='hello') from other")),
            (Binary(b"\0\1"), Binary(b"\0\1")),
            (Text("raise"), Text("failed")),
        ):
            await other.send(sent)
            assert await other.receive() == answer
        client = await theater.connect("/plain")
        assert await ask(client, "self.request('other', Text('hi'))") == "Text(text='hi')"
        assert await ask(client, "self.request(Address('other'), Text('nothing'), timeout=2)") == "None"
        await client.send(Text("self.request('other', Text('raise'))"))
        assert "ActorFailed: 'other' failed while handling the request" in await ask(client, "self.seen[-2]")


async def test_the_chat_example(tmp_path: Path) -> None:
    shutil.copy(CHAT / "theater.toml", tmp_path)
    (tmp_path / "chat.wasm").write_bytes(python.build(CHAT / "chat.py", lambda _: None, actor="ChatRoom"))
    manifest = tmp_path / "theater.toml"
    native = manifest.read_text()
    assert 'python = "chat.py:ChatRoom"' in native
    manifest.write_text(native.replace('python = "chat.py:ChatRoom"', 'component = "chat.wasm"'))
    async with asyncio.timeout(200), stage(str(tmp_path)) as theater:
        ada = await theater.connect("/rooms/lobby?name=Ada&client=a")
        bob = await theater.connect("/rooms/lobby?name=Ada&client=b")
        assert await heard(ada) == {
            "type": "welcome",
            "room": "lobby",
            "name": "Ada",
            "members": ["Ada"],
            "history": [],
        }
        assert (await heard(bob))["members"] == ["Ada", "Ada 2"]
        assert await heard(ada) == {"type": "joined", "name": "Ada 2"}
        await bob.send(Text('{"type": "say", "text": " hello ", "ref": "r"}'))
        for each in (ada, bob):
            said = await heard(each)
            assert abs(said.pop("id") / 1000 - time.time()) < 100
            assert said == {"type": "said", "name": "Ada 2", "text": "hello", "ref": "r"}
        await bob.send(Text('{"type": "shout"}'))
        assert "Invalid value 'shout' - at `$.type`" in (await heard(bob))["problem"]
        again = await theater.connect("/rooms/lobby?name=Bob&client=b")
        assert (await heard(again))["name"] == "Ada 2"
        with pytest.raises(ConnectionEnded, match="4000"):
            await bob.receive()
        await again.close()
        assert await heard(ada) == {"type": "left", "name": "Ada 2"}


async def heard(client: StageConnection) -> Any:
    """The next message, read."""
    message = await client.receive()
    assert isinstance(message, Text)
    return json.loads(message.text)


# Building

START = "from theater import Actor, Request, Response\n"
CLASS = "class {}(Actor):\n    def handle_request(self, request): ...\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (START, "room has no actor: no class in it derives from Actor"),
        (
            START + CLASS.format("A") + CLASS.format("B"),
            "room has more than one actor: say which one is meant of A, B",
        ),
        (START + "class A(Actor): ...", "A overrides no handler"),
        (
            START + "import numpy",
            'room.py", line 2, in <module>\n    import numpy\nModuleNotFoundError: No module',
        ),
        (START + "def f(:", 'room.py", line 2\n    def f(:\n'),
        (START + "1 / 0", "ZeroDivisionError: division by zero"),
        ("from theater import asgi", "ImportError: theater.asgi belongs to a server"),
        ("from theater.testing import serve", "No module named 'theater.testing'"),
        (START + "import speedups", "speedups is native code, which runs in no component"),
    ],
)
def test_mistakes_of_a_module(tmp_path: Path, source: str, problem: str) -> None:
    native = importlib.util.find_spec("websockets.speedups")
    assert native is not None
    assert native.origin is not None
    shutil.copy(native.origin, tmp_path)
    (tmp_path / "room.py").write_text(source)
    with pytest.raises(BuildError) as failed:
        python.build(tmp_path / "room.py", lambda _: None)
    assert problem in str(failed.value)
    assert "theater-" not in str(failed.value)  # the builder's own folder


@long
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import ssl", "    import ssl\nModuleNotFoundError: No module named '_ssl'"),
        ("import os\nos.urandom(4)", "RuntimeError: random bytes drawn while a component is built"),
    ],
)
def test_mistakes_that_only_the_compiler_sees(tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "room.py").write_text(f"{START}{source}\n{CLASS.format('Room')}")
    with pytest.raises(BuildError) as failed:
        python.build(tmp_path / "room.py", lambda _: None)
    assert str(failed.value).startswith(f"{tmp_path}/room.py cannot be built\n")
    assert f'File "{tmp_path}/room.py", line ' in failed.value.output
    assert problem in failed.value.output


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone.py", "does not exist"),
        ("room.txt", "its name does not end in .py"),
        ("my-room.py", "'my-room' is no name of a module"),
        ("msgspec.py", "a component has a module msgspec of its own"),
        ("folder", "is no package: it has no __init__.py"),
        ("room.py:Nobody", "room has no actor Nobody: no class of that name derives from Actor"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, problem: str) -> None:
    for each in ("room.py", "room.txt", "my-room.py", "msgspec.py"):
        (tmp_path / each).write_text(textwrap.dedent(START + CLASS.format("Room")))
    (tmp_path / "folder").mkdir()
    with pytest.raises(BuildError, match=problem):
        python.build(tmp_path / name, lambda _: None)


@long
def test_a_package(tmp_path: Path) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "__init__.py").write_text("from rooms.lobby import Lobby\n")
    (tmp_path / "rooms" / "lobby.py").write_text(START + CLASS.format("Base") + "class Lobby(Base): ...\n")
    component = python.build(tmp_path / "rooms", lambda _: None)
    assert set(inspect(component).exports) == {"http-actor"}


def test_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "COMPILER", "no_such_compiler")
    with pytest.raises(BuildError, match=r'componentize-py is missing: pip install "theater\[build\]"'):
        python.build(tmp_path / "room.py", lambda _: None)
