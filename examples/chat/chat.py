"""Chat rooms. Every room is an actor: `/rooms/lobby` leads to the instance `lobby` of `ChatRoom`.

A client connects to `/rooms/{room}?name=Ada&client=k3x9`. It may leave out both parameters;
`client` is random text of its own, by which the room knows it again when it reconnects.

All messages are JSON texts. What a client sends:

    {"type": "say", "text": "Hello", "ref": "a1"}   `ref` is optional and comes back with the message
    {"type": "rename", "name": "Ada L."}

What it is sent:

    {"type": "welcome", "room": ..., "name": ..., "members": [...], "history": [...]}   always first
    {"type": "said", "id": ..., "name": ..., "text": ..., "ref": ...}   to all, its author too
    {"type": "joined", "name": ...}
    {"type": "left", "name": ...}
    {"type": "renamed", "before": ..., "name": ...}   to all, its bearer too
    {"type": "error", "problem": ..., "ref": ...}   what it sent had no effect, `ref` as it was there

Names are unique in a room. The `id` of a message is the time it was said, in milliseconds since
1970, moved on where needed so that every message of a room has a greater one than those before it.
"""

import base64
import hashlib
import re
import time
import unicodedata
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import msgspec

from theater import (
    Accept,
    Actor,
    Binary,
    Closed,
    Connected,
    Connection,
    Error,
    Event,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
)

MAX_ROOM: Final = 40  # characters, as are the next two
MAX_NAME: Final = 24
MAX_TEXT: Final = 2000
HISTORY: Final = 50  # messages that a room remembers
REPLACED: Final = 4000  # close code: the client has another connection now


Ref = Annotated[str, msgspec.Meta(max_length=64)]


class Say(msgspec.Struct, tag="say"):
    text: str
    ref: Ref = ""


class Rename(msgspec.Struct, tag="rename"):
    name: str


class Said(msgspec.Struct, tag="said"):
    id: int
    name: str
    text: str
    ref: str


class Welcome(msgspec.Struct, tag="welcome"):
    room: str
    name: str
    members: list[str]
    history: list[Said]


class Joined(msgspec.Struct, tag="joined"):
    name: str


class Left(msgspec.Struct, tag="left"):
    name: str


class Renamed(msgspec.Struct, tag="renamed"):
    before: str
    name: str


class Problem(msgspec.Struct, tag="error"):
    problem: str
    ref: str = ""


COMMANDS: Final = msgspec.json.Decoder(Say | Rename)


class ChatRoom(Actor):
    """One room. Who is in it is kept with the connections: the attachment of each is its member's name."""

    def __init__(self) -> None:
        self._history: deque[Said] = deque(maxlen=HISTORY)

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response:
        if len(request.parameters["room"]) > MAX_ROOM:
            return Response.text(f"The name of a room has at most {MAX_ROOM} characters.\n", 400)
        return Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Connected():
                return encode(self._join(connection))
            case Received(Text(text)):
                problem = self._obey(connection, text)
                return encode(problem) if problem else None
            case Received(Binary()):
                return encode(Problem("Messages are JSON texts."))
            case Error():  # a handler raised; what it had done so far is undone
                return encode(Problem("Something went wrong here. Please try again."))
            case Closed():
                if connection.attachment is not None:
                    self.broadcast(encode(Left(connection.attachment)))
        return None

    def handle_request(self, request: Request) -> Response:
        return Response(200, PAGE_HEADERS, PAGE)

    def _join(self, connection: Connection) -> Welcome:
        client = connection.query.get("client")
        others = (each for each in self.connections.values() if each is not connection)
        former = next((each for each in others if client and each.query.get("client") == client), None)
        if former is None:
            connection.attachment = self._free_name(connection.query.get("name") or "")
            self.broadcast(encode(Joined(connection.attachment)), exclude=connection)
        else:  # nobody came, nobody went: its old connection broke, and we have not noticed yet
            connection.attachment, former.attachment = former.attachment, None
            former.close(REPLACED, "replaced by a newer connection")
        room, name = connection.parameters["room"], connection.attachment
        return Welcome(room, name, self._members(), list(self._history))

    def _obey(self, connection: Connection, text: str) -> Problem | None:
        try:
            command = COMMANDS.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            return Problem(f"This is no message that a room understands: {error}.")
        match command:
            case Say():
                return self._say(connection, command)
            case Rename(name):
                self._rename(connection, name)
        return None

    def _say(self, connection: Connection, command: Say) -> Problem | None:
        text = command.text.strip()
        if not text:
            return Problem("The message is empty.", command.ref)
        if len(text) > MAX_TEXT:
            problem = f"A message has at most {MAX_TEXT} characters; this one has {len(text)}."
            return Problem(problem, command.ref)
        last = self._history[-1].id if self._history else 0
        now = time.time_ns() // 1_000_000
        said = Said(max(now, last + 1), connection.attachment, text, command.ref)
        self._history.append(said)
        self.broadcast(encode(said))
        return None

    def _rename(self, connection: Connection, name: str) -> None:
        before, connection.attachment = connection.attachment, None  # its own name is free to it
        connection.attachment = self._free_name(name)
        if connection.attachment != before:
            self.broadcast(encode(Renamed(before, connection.attachment)))

    def _members(self) -> list[str]:
        names = [connection.attachment for connection in self.connections.values()]
        return [name for name in names if name is not None]

    def _free_name(self, wanted: str) -> str:
        taken = {name.casefold() for name in self._members()}
        return next(name for name in variants(clean(wanted)) if name.casefold() not in taken)


def clean(name: str) -> str:
    """The name in one line, without what cannot be seen, and not too long."""
    letters = unicodedata.normalize("NFKC", name[:MAX_NAME])
    visible = "".join(each if each.isprintable() else " " for each in letters)
    return " ".join(visible.split())[:MAX_NAME].rstrip() or "Guest"


def variants(name: str) -> Iterator[str]:
    """Ada, Ada 2, Ada 3, ..."""
    yield name
    for number in count(2):
        suffix = f" {number}"
        yield name[: MAX_NAME - len(suffix)].rstrip() + suffix


def encode(message: Welcome | Said | Joined | Left | Renamed | Problem) -> Text:
    return Text(msgspec.json.encode(message).decode())


def inline(element: str) -> str:
    """The source expression that allows the page its own inline script or style, and no other."""
    found = re.search(rf"<{element}[^>]*>(.*?)</{element}>", PAGE, re.DOTALL)
    assert found is not None, f"index.html has no <{element}>"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


PAGE: Final = Path(__file__).with_name("index.html").read_text("utf-8")
PAGE_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-cache",
    "content-security-policy": (
        f"default-src 'none'; script-src {inline('script')}; style-src {inline('style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
