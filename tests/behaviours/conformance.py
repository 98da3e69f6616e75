"""An actor that does what it is told: `conformance.js`, `.zig` and `.wat` do the same.

A text message is a command, `NAME ARGUMENTS`; an empty one, and a binary one, come back. What happened
besides is remembered, and told by the command `events`.
"""

import json
import logging
import os
import time
from collections.abc import Awaitable
from typing import Any

from theater import (
    Accept,
    Actor,
    Address,
    Binary,
    Close,
    Closed,
    Congested,
    Connected,
    Connection,
    Data,
    Deliveries,
    Drained,
    Error,
    Event,
    Message,
    Ping,
    Pong,
    Received,
    Request,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater.errors import (
    ActorFailed,
    GuestError,
    InvalidAddress,
    LocalError,
    MailboxFull,
    NoSuchActor,
    RequestTimeout,
    TheaterError,
)

Answer = Message | list[Message] | None

ACTOR_ERRORS = {
    InvalidAddress: "invalid-address",
    NoSuchActor: "no-such-actor",
    MailboxFull: "mailbox-full",
    ActorFailed: "actor-failed",
    RequestTimeout: "request-timeout",
    LocalError: "local-error",
}
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for the key of RFC 6455 §1.3
PIECE = 1000

log = logging.getLogger("conformance")


def written(value: Any) -> str:
    """JSON as all languages write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Conformance(Actor):
    def __init__(self) -> None:
        self.events: list[str] = []

    def init(self) -> None:
        if self.address.key == "broken":
            raise ValueError("init as told")

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | None:
        match str(request.query):
            case "accept":
                return Accept(
                    subprotocol=request.subprotocols[-1],
                    headers={"x-seen": request.headers["x-test"]},
                    tags=["one", "two"],
                    attachment={"from": "upgrade"},
                )
            case "unasked":
                return Accept(subprotocol="unasked")
            case "refuse":
                return Response(409, [("x-why", "one"), ("x-why", "two")], b"taken \0\xff")
            case "none":
                return None
            case "fail":
                raise ValueError("upgrade as told")
        return Accept()

    # Events

    def handle_websocket(self, connection: Connection, event: Event) -> Answer | Awaitable[Answer]:
        match event:
            case Received(Text("")):
                return Text("")
            case Received(Text(text)):
                return self.obey(connection, text)
            case Received(Binary() as message):
                return message
            case Received(Stream() as stream):
                return self.take(stream)
        self.remember(connection, event)
        return None

    def remember(self, connection: Connection, event: Event) -> None:
        match event:
            case Connected():
                self.events.append("connected")
            case Received(Ping(payload)):
                self.events.append(f"ping {payload.hex()}")
            case Received(Pong(payload)):
                self.events.append(f"pong {payload.hex()}")
            case Error(problem):
                self.events.append(f"error {problem}")
            case Congested(waiting):
                self.events.append("congested" if waiting else "congested by nothing")
            case Drained():
                self.events.append("drained")
            case Closed(code, reason):
                self.events.append(f"closed {code} {reason}")
                tags, attachment = ",".join(sorted(connection.tags)), written(connection.attachment)
                is_open = "open" if connection.id in self.connections else "not open"
                self.events.append(f"left {connection.path} {is_open} {tags} {attachment}")

    async def take(self, stream: Stream) -> Text:
        size = total = 0
        async for chunk in stream:
            data = chunk.encode() if isinstance(chunk, str) else chunk
            if size == 0 and data.startswith(b"fail"):
                raise ValueError("stream as told")
            if size == 0 and data.startswith(b"early"):
                return Text("enough")
            size += len(data)
            total += sum(data)
        return Text(f"{'text' if stream.is_text else 'binary'} {size} {total}")

    def handle_batch(self, batch: Deliveries) -> None:
        for connection, event in batch:
            match event:
                case Received(Text("fail")):
                    raise ValueError("batch as told")
                case Received(Text(text)):
                    connection.send(Text(f"{len(batch)} {text}"))
                case _:
                    self.remember(connection, event)

    def handle_request(self, request: Request) -> Response:
        match str(request.query):
            case "status":
                return Response(418, [("x-one", "1"), ("x-one", "2")], b"teapot \0\xff")
            case "missing":
                return Response(404, body=b"no such page")
            case "fail":
                raise ValueError("request as told")
            case "wrong":
                return Response(99)
            case "by-hand":
                headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": ACCEPT}
                return Response(101, headers)
        peer = request.peer.address if request.peer else "nobody"
        name = request.parameters["name"]
        head = f"{request.method} {request.path} {name} {request.query} {request.headers['x-test']} {peer}\n"
        return Response(200, {"x-method": request.method}, head.encode() + request.body)

    def handle_message(self, message: Data, sender: Address) -> Data | None:
        match message:
            case Text("fail"):
                raise ValueError("message as told")
            case Text("nothing"):
                return None
            case Text("note"):
                self.events.append(f"note from {sender}")
                return None
            case Text(text):
                return Text(f"{self.address} heard {text} from {sender}")
        return message

    # Commands

    def obey(self, connection: Connection, command: str) -> Answer | Awaitable[Answer]:
        name, _, rest = command.partition(" ")
        return getattr(self, f"do_{name.replace('-', '_')}")(connection, rest)  # type: ignore[no-any-return]

    async def do_attempt(self, connection: Connection, rest: str) -> Answer:
        """Does another command, and tells if that fails."""
        try:
            answer = self.obey(connection, rest)
            return await answer if isinstance(answer, Awaitable) else answer
        except (TheaterError, ValueError) as error:
            return Text(f"refused: {error}")

    def do_echo(self, connection: Connection, rest: str) -> Answer:
        return Text(rest)

    def do_events(self, connection: Connection, rest: str) -> Answer:
        events, self.events = self.events, []
        return Text("\n".join(events))

    def do_several(self, connection: Connection, rest: str) -> Answer:
        return [Text("one"), Binary(b"\2"), Text("three")]

    def do_nothing(self, connection: Connection, rest: str) -> Answer:
        return None

    def do_order(self, connection: Connection, rest: str) -> Answer:
        connection.send(Text("sent first"))
        self.broadcast(Text("to all"))
        connection.send(Text("sent last"))
        return [Text("returned first"), Text("returned last")]

    async def do_at_once(self, connection: Connection, rest: str) -> Answer:
        connection.send(Text("sent"))
        await connection.send_now(Text("at once"))
        return Text("returned")

    def do_close(self, connection: Connection, rest: str) -> Answer:
        code, _, reason = rest.partition(" ")
        connection.close(int(code), reason)
        return Text("goodbye")

    def do_return_close(self, connection: Connection, rest: str) -> Answer:
        code, _, reason = rest.partition(" ")
        return [Text("goodbye"), Close(int(code), reason)]

    def do_ping(self, connection: Connection, rest: str) -> Answer:
        return Ping(b"\1" * int(rest))

    def do_pong(self, connection: Connection, rest: str) -> Answer:
        connection.send(Pong(b"\1" * int(rest)))
        return Text("sent")

    def do_broadcast(self, connection: Connection, rest: str) -> Answer:
        self.broadcast(Text(rest))
        return None

    def do_tell_others(self, connection: Connection, rest: str) -> Answer:
        self.broadcast(Text(rest), exclude=connection)
        return None

    def do_tell_tagged(self, connection: Connection, rest: str) -> Answer:
        tag, _, text = rest.partition(" ")
        self.broadcast(Text(text), tag=tag)
        return None

    def do_tell_one(self, connection: Connection, rest: str) -> Answer:
        number, _, text = rest.partition(" ")
        self.connections[int(number)].send(Text(text))
        return None

    def do_tell_keyed(self, connection: Connection, rest: str) -> Answer:
        other = self.connections[int(rest)]
        for number in range(3):
            self.broadcast(Text(f"all {number}"), exclude=connection, key="all")
            other.send(Text(f"one {number}"), key="one")
        return Text("told")

    def do_id(self, connection: Connection, rest: str) -> Answer:
        return Text(str(connection.id))

    def do_ids(self, connection: Connection, rest: str) -> Answer:
        return Text(",".join(map(str, self.connections)))

    def do_facts(self, connection: Connection, rest: str) -> Answer:
        peer = f"{connection.peer.address} {connection.peer.port}" if connection.peer else "nobody"
        facts = [
            connection.path,
            connection.parameters["name"],
            str(connection.query),
            connection.headers["x-test"],
            connection.subprotocol or "none",
            peer,
        ]
        return Text("\n".join(facts))

    def do_tags(self, connection: Connection, rest: str) -> Answer:
        return Text(",".join(sorted(connection.tags)))

    def do_tag(self, connection: Connection, rest: str) -> Answer:
        connection.tags = frozenset(rest.split(",")) if rest else frozenset()
        return None

    def do_attachment(self, connection: Connection, rest: str) -> Answer:
        return Text(written(connection.attachment))

    def do_attach(self, connection: Connection, rest: str) -> Answer:
        connection.attachment = json.loads(rest)
        return None

    def do_state(self, connection: Connection, rest: str) -> Answer:
        return Text(written(self.state))

    def do_keep(self, connection: Connection, rest: str) -> Answer:
        self.state = json.loads(rest)
        return None

    def do_fail(self, connection: Connection, rest: str) -> Answer:
        raise ValueError(f"as told: {rest}")

    def do_change_and_fail(self, connection: Connection, rest: str) -> Answer:
        connection.tags = frozenset(["changed"])
        connection.attachment = "changed"
        self.state = "changed"
        if connection.attachment != "changed" or self.state != "changed":
            raise AssertionError("a change is not seen at once")
        connection.send(Text("never sent"))
        self.broadcast(Text("never sent"))
        self.send(self.address, Text("note"))
        raise ValueError("as told")

    def do_spin(self, connection: Connection, rest: str) -> Answer:
        while True:
            pass

    def do_effects(self, connection: Connection, rest: str) -> Answer:
        for _ in range(int(rest)):
            connection.send(Text("effect"))
        return None

    def do_flood(self, connection: Connection, rest: str) -> Answer:
        count, _, size = rest.partition(" ")
        return [Binary(bytes(int(size)))] * int(count)

    def do_waiting(self, connection: Connection, rest: str) -> Answer:
        return Text(str(connection.waiting))

    async def do_drained(self, connection: Connection, rest: str) -> Answer:
        await connection.drained()
        return Text("drained")

    async def do_pieces(self, connection: Connection, rest: str) -> Answer:
        connection.send(Text("sent meanwhile"))
        async with connection.stream() as stream:
            for number in range(int(rest)):
                await stream.write(str(number % 10) * PIECE)
        return Text("done")

    async def do_broken_piece(self, connection: Connection, rest: str) -> Answer:
        async with connection.stream() as stream:
            await stream.write("begun")
            raise ValueError("as told")

    async def do_ask(self, connection: Connection, rest: str) -> Answer:
        seconds, address, message = rest.split(" ", 2)
        timeout = None if seconds == "-" else float(seconds)
        data: Data = Binary(b"\0\xff") if message == "bytes" else Text(message)
        try:
            answer = await self.request(address, data, timeout=timeout)
        except (GuestError, LocalError) as error:
            return Text(ACTOR_ERRORS[type(error)])
        return Text("no answer") if answer is None else answer

    def do_post(self, connection: Connection, rest: str) -> Answer:
        address, _, message = rest.partition(" ")
        try:
            self.send(address, Text(message))
        except (GuestError, LocalError) as error:
            return Text(ACTOR_ERRORS[type(error)])
        return Text("sent")

    def do_address(self, connection: Connection, rest: str) -> Answer:
        return Text(f"{self.address.type} {self.address.key}")

    def do_log(self, connection: Connection, rest: str) -> Answer:
        level, _, line = rest.partition(" ")
        log.log(logging.getLevelNamesMapping()[level.upper()], line)
        return Text("logged")

    def do_clock(self, connection: Connection, rest: str) -> Answer:
        return Text(f"{time.time():f} {time.monotonic():f}")

    def do_random(self, connection: Connection, rest: str) -> Answer:
        return Binary(os.urandom(int(rest)))
