"""An actor that tells what it finds inside a component. What it is told to do is evaluated: see `eval_in`."""

import asyncio
import datetime
import logging
import os
import random
import secrets
import sys
import time
import uuid
from pathlib import Path

from theater import (
    Accept,
    Actor,
    Address,
    Binary,
    Closed,
    Connected,
    Connection,
    Data,
    Deliveries,
    Event,
    Message,
    Ping,
    Received,
    Request,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater import errors as errors

HERE = Path(__file__).with_name("probe.py").read_text("utf-8")
EARLY = random.random()
OWN = random.Random()
log = logging.getLogger("probe")
NAMES = {"asyncio": asyncio, "datetime": datetime, "os": os, "secrets": secrets, "sys": sys, "uuid": uuid}


class Probe(Actor):
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.begun = time.time()

    async def init(self) -> None:
        print("init of", self.address)

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | None:
        if request.path == "/refused":
            return Response.text("no", 403)
        if request.path == "/nothing":
            return None
        return Accept(request.subprotocols[0], {"x-seen": request.query["q"]}, ["a", "b"], {"n": [1, None]})

    async def handle_websocket(
        self, connection: Connection, event: Event
    ) -> Message | list[Message] | None:
        self.seen.append(type(event).__name__)
        match event:
            case Connected():
                return Text(f"{connection.id} {connection.path} {dict(connection.parameters)} {connection.peer}")
            case Received(Text(text)):
                found = eval(text, {**globals(), "self": self, "connection": connection})
                if asyncio.iscoroutine(found):
                    found = await found
                return Text(found if isinstance(found, str) else repr(found))
            case Received(Binary(data)):
                return [Binary(data[::-1]), Ping(b"p")]
            case Received(Stream() as stream):
                parts = []
                try:
                    async for part in stream:
                        parts.append(part)
                        connection.send(Text(f"got {len(part)}"))
                        if part == "boom":
                            raise ValueError("boom")
                except errors.ConnectionEnded as error:
                    print("lost", error.code, error.reason, parts)
                    raise
                return Text(f"all: {parts}")
            case Closed(code, reason):
                print("closed", code, reason, connection.path)
        return None

    def handle_batch(self, batch: Deliveries) -> None:
        for connection, event in batch:
            connection.send(Text(repr(event)))

    def handle_request(self, request: Request) -> Response:
        if request.path == "/fail":
            return None  # type: ignore[return-value]
        return Response.json({"method": request.method, "body": request.body.decode(), "host": request.headers["Host"]})

    async def handle_message(self, message: Data, sender: Address) -> Data | None:
        if message == Text("ask"):
            return await self.request("other/one", Text("?"), timeout=2.5)
        return Text(f"{message} from {sender}")


def lazily() -> str:
    import colorsys

    return colorsys.__name__


def fail() -> None:
    raise LookupError("on purpose")


async def suspend() -> None:
    await asyncio.sleep(0.01)


async def hurry() -> str:
    await asyncio.sleep(0)
    return "hurried"
