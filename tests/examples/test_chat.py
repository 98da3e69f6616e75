"""The chat example, as its clients see it: a server of its own, and WebSocket and HTTP clients."""

import base64
import hashlib
import http.client
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that runs the example."""
    command = [sys.executable, "-m", "theater", "run", "examples/chat", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"Theater \S+ listening on (http://\S+)\n", line)
            assert found, f"the server does not start: it said {line!r}"
            yield found[1]
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture
def room(server: str, request: pytest.FixtureRequest) -> str:
    """The URL of a room of the test's own."""
    key = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return f"{server.replace('http', 'ws')}/rooms/{key}"


class Member:
    """A client in a room.

    Attributes:
        welcome: what it was told first.
    """

    def __init__(self, socket: ClientConnection, welcome: dict[str, Any]) -> None:
        self.socket = socket
        self.welcome = welcome

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.socket.recv())
        return message

    async def tell(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def say(self, text: str, ref: str = "") -> None:
        await self.tell(type="say", text=text, ref=ref)

    async def expect(self, kind: str, **fields: object) -> dict[str, Any]:
        """Checks the next message, but for fields that are not named."""
        message = await self.hear()
        assert message["type"] == kind, message
        assert {field: message[field] for field in fields} == fields
        return message

    async def expect_nothing(self) -> None:
        """Checks that all has been heard: the next thing is what it says itself."""
        await self.say("anything else?", "nothing")
        await self.expect("said", ref="nothing")


@asynccontextmanager
async def join(room: str, name: str | None = None, **query: str) -> AsyncIterator[Member]:
    if name is not None:
        query["name"] = name
    async with connect(f"{room}?{urlencode(query)}") as socket:
        welcome = json.loads(await socket.recv())
        assert welcome["type"] == "welcome"
        yield Member(socket, welcome)


# Who is here


async def test_first_one_finds_an_empty_room(room: str) -> None:
    async with join(room, "Ada") as ada:
        assert ada.welcome == {
            "type": "welcome",
            "room": room.rpartition("/")[2],
            "name": "Ada",
            "members": ["Ada"],
            "history": [],
        }


async def test_others_are_told_who_joins_and_who_leaves(room: str) -> None:
    async with join(room, "Ada") as ada:
        async with join(room, "Grace") as grace:
            assert grace.welcome["members"] == ["Ada", "Grace"]
            await ada.expect("joined", name="Grace")
            await grace.expect_nothing()
            await ada.expect("said", name="Grace")
        await ada.expect("left", name="Grace")
    async with join(room, "Alan") as alan:
        assert alan.welcome["members"] == ["Alan"]


async def test_vanished_one_leaves_too(room: str) -> None:
    async with join(room, "Ada") as ada, join(room, "Grace") as grace:
        await ada.expect("joined")
        grace.socket.transport.abort()
        await ada.expect("left", name="Grace")


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (None, "Guest"),
        ("", "Guest"),
        (" \t\n", "Guest"),
        ("  Ada \n Lovelace ", "Ada Lovelace"),
        ("A\u202eda\u0000\u200b", "A da"),
        ("ﬁ", "fi"),
        ("x" * 30, "x" * 24),
        ("x" * 23 + " y", "x" * 23),
        ("\ufdfa" * 24, None),
        ("<b>Ada</b>", "<b>Ada</b>"),
        ("Zoë 愛", "Zoë 愛"),
    ],
)
async def test_names_are_cleaned(room: str, wanted: str | None, name: str | None) -> None:
    async with join(room, wanted) as member:
        assert 0 < len(member.welcome["name"]) <= 24
        if name is not None:
            assert member.welcome["name"] == name


async def test_names_are_unique(room: str) -> None:
    async with join(room, "Ada") as first, join(room, "ada") as second, join(room, "Ada") as third:
        assert [each.welcome["name"] for each in (first, second, third)] == ["Ada", "ada 2", "Ada 3"]
        assert third.welcome["members"] == ["Ada", "ada 2", "Ada 3"]


async def test_suffix_fits_into_a_long_name(room: str) -> None:
    async with join(room, "x" * 24), join(room, "x" * 24) as second:
        assert second.welcome["name"] == "x" * 22 + " 2"


async def test_changed_name_is_told_to_all(room: str) -> None:
    async with join(room, "Ada") as ada, join(room, "Grace") as grace:
        await ada.expect("joined")
        await grace.tell(type="rename", name=" Admiral  Hopper ")
        for member in (ada, grace):
            await member.expect("renamed", before="Grace", name="Admiral Hopper")
        await grace.tell(type="rename", name="ADA")
        await grace.expect("renamed", before="Admiral Hopper", name="ADA 2")
        await grace.say("Hello")
        await grace.expect("said", name="ADA 2")
        async with join(room, "Alan") as alan:
            assert alan.welcome["members"] == ["Ada", "ADA 2", "Alan"]


async def test_own_name_is_not_taken(room: str) -> None:
    async with join(room, "Ada") as ada:
        await ada.tell(type="rename", name="Ada")
        await ada.expect_nothing()
        await ada.tell(type="rename", name="ADA")
        await ada.expect("renamed", before="Ada", name="ADA")


async def test_reconnecting_client_takes_its_place_again(room: str) -> None:
    async with join(room, "Ada") as ada, join(room, "Ada", client="k1") as old:
        await ada.expect("joined", name="Ada 2")
        async with join(room, "Ada", client="k1") as new:
            assert new.welcome["name"] == "Ada 2"
            assert new.welcome["members"] == ["Ada", "Ada 2"]
            await old.socket.wait_closed()
            assert old.socket.close_code == 4000
            await ada.expect_nothing()
        await ada.expect("left", name="Ada 2")


async def test_rooms_are_apart(room: str) -> None:
    async with join(room, "Ada") as ada, join(f"{room}-2", "Ada") as other:
        assert other.welcome["name"] == "Ada"
        assert other.welcome["members"] == ["Ada"]
        await other.say("Hello")
        await other.expect("said")
        await ada.expect_nothing()


async def test_name_of_a_room_is_bounded(server: str) -> None:
    url = server.replace("http", "ws")
    async with join(f"{url}/rooms/{'%C3%A9' * 40}") as member:
        assert member.welcome["room"] == "é" * 40
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{url}/rooms/{'r' * 41}"):
            pass
    assert caught.value.response.status_code == 400


# What is said


async def test_message_goes_to_all_and_comes_back(room: str) -> None:
    async with join(room, "Ada") as ada, join(room, "Grace") as grace:
        await ada.expect("joined")
        await grace.say("  <i>Hello</i>\n\nAda \n", "r1")
        for member in (ada, grace):
            await member.expect("said", name="Grace", text="<i>Hello</i>\n\nAda", ref="r1")


async def test_newcomers_are_told_the_last_fifty_messages(room: str) -> None:
    async with join(room, "Ada") as ada:
        said = []
        for number in range(60):
            await ada.say(f"message {number}", str(number))
            said.append(await ada.expect("said", ref=str(number)))
    ids = [message["id"] for message in said]
    assert ids == sorted(set(ids))
    async with join(room, "Grace") as grace:
        assert grace.welcome["history"] == said[-50:]


async def test_pings_and_pongs_are_none_of_the_rooms_business(room: str) -> None:
    async with join(room, "Ada") as ada:
        await (await ada.socket.ping())
        await ada.socket.pong()
        await ada.expect_nothing()


# What cannot be understood


@pytest.mark.parametrize(
    "message",
    [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "{}",
        '{"type": "shout", "text": "a"}',
        '{"type": 1}',
        '{"type": "say"}',
        '{"type": "say", "text": 1}',
        '{"type": "say", "text": "\\ud800"}',
        '{"type": "say", "text": "a", "more": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"type": "say", "text": "a", "ref": "' + "r" * 65 + '"}',
        '{"type": "rename"}',
        b'{"type": "say", "text": "a"}',
        b"\xff",
    ],
    ids=lambda message: repr(message[:40]),
)
async def test_bad_message_is_answered_with_an_error(room: str, message: str | bytes) -> None:
    async with join(room, "Ada") as ada, join(room, "Grace") as grace:
        await ada.expect("joined")
        await ada.socket.send(message)
        problem = await ada.expect("error", ref="")
        assert problem["problem"]
        await ada.expect_nothing()
        await grace.expect("said", ref="nothing")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The message is empty."),
        (" \n ", "The message is empty."),
        ("x" * 2001, "A message has at most 2000 characters; this one has 2001."),
    ],
    ids=["empty", "blank", "long"],
)
async def test_error_says_which_message_it_is_about(room: str, text: str, problem: str) -> None:
    async with join(room, "Ada") as ada:
        await ada.say(text, "r1")
        await ada.expect("error", ref="r1", problem=problem)
        await ada.say("x" * 2000)
        await ada.expect("said")


async def test_message_too_large_for_the_server_ends_the_connection_only(room: str) -> None:
    async with join(room, "Ada") as ada:
        async with join(room, "Grace") as grace:
            await ada.expect("joined")
            await grace.say("x" * 2_000_000)
            await grace.socket.wait_closed()
            assert grace.socket.close_code == 1009
        await ada.expect("left", name="Grace")


# The page


class Page:
    """What a server answers to a request for the page."""

    def __init__(self, server: str, method: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=20)
        try:
            connection.request(method, "/")
            response = connection.getresponse()
            self.status = response.status
            self.headers = response.headers
            self.body = response.read().decode()
        finally:
            connection.close()


def test_page_is_served(server: str) -> None:
    page = Page(server, "GET")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.body.startswith("<!doctype html>")


def test_head_has_the_same_headers(server: str) -> None:
    get, head = Page(server, "GET"), Page(server, "HEAD")
    assert head.status == 200
    assert head.body == ""
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_page_is_only_read(server: str, method: str) -> None:
    page = Page(server, method)
    assert page.status == 405
    assert page.headers["allow"] == "GET, HEAD"


def test_page_may_load_nothing_and_run_only_its_own_script(server: str) -> None:
    page = Page(server, "GET")
    policy = dict(each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";"))
    script = re.search(r"<script[^>]*>(.*?)</script>", page.body, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy.pop("script-src") == f"'sha256-{digest}'"
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_page_names_no_other_server(server: str) -> None:
    page = Page(server, "GET").body.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?://[^\s\"'`<]+", page) == []


def test_page_makes_no_html_of_what_others_wrote(server: str) -> None:
    code = re.sub(r"//.*", "", Page(server, "GET").body)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son[a-z]+=", code)


def test_page_knows_the_limits_of_the_room(server: str) -> None:
    page = Page(server, "GET").body
    code = (ROOT / "examples/chat/chat.py").read_text("utf-8")
    for limit in ("MAX_ROOM", "MAX_TEXT", "HISTORY"):
        found = re.search(rf"^{limit}: Final = (\d+)", code, re.MULTILINE)
        assert found is not None
        assert f"const {limit} = {found[1]};" in page
    assert 'id="name" required maxlength="24"' in page
    assert 'id="text" rows="1" maxlength="2000"' in page
