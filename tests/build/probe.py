"""An actor that evaluates what it is told, to find out what there is inside a component."""

import asyncio
import datetime
import json
import logging
import os
import random
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from random import choice

import beside  # type: ignore[import-not-found]  # in another folder

from theater import (
    Accept,
    Actor,
    Address,
    Binary,
    Closed,
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
from theater.errors import ConnectionEnded

HERE = next(each.name for each in Path(__file__).parent.iterdir() if each.name == "probe.py")
OWN = random.Random()
SEEDED = random.Random(1)
USED = (asyncio, beside, choice, datetime, json, os, secrets, socket, sys, time, uuid, Ping)
log = logging.getLogger("probe")


class Probe(Actor):
    """What it is sent on `/pieces` it describes; anything else is evaluated."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def init(self) -> None:
        print("init of", self.address)

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | None:
        match request.parameters.get("name"):
            case "refused":
                return Response.text("no", 409)
            case "nothing":
                return None
            case "wrong":
                return "wrong"  # type: ignore[return-value]
            case str():
                seen = {"x-seen": request.query["q"]}
                return Accept(request.subprotocols[0], seen, ["a", "b"], {"n": [1, None]})
        return Accept()

    async def handle_websocket(self, connection: Connection, event: Event) -> Message | list[Message] | None:
        self.seen.append(repr(event))
        match event:
            case Received(Text("5 ")):
                return 5  # type: ignore[return-value]
            case Received(Text(text)):
                found = eval(text, {**globals(), "self": self, "connection": connection})
                if asyncio.iscoroutine(found):
                    found = await found
                return Text(found if isinstance(found, str) else repr(found))
            case Received(Binary(data)):
                return [Binary(data[::-1])]
            case Received(Stream() as stream):
                return Text(await self.read(connection, stream))
            case Closed():
                assert connection.id not in self.connections
        return None

    async def read(self, connection: Connection, stream: Stream) -> str:
        parts: list[str | bytes] = []
        try:
            async for part in stream:
                parts.append(part)
                connection.send(Text(f"got {len(part)}"))
                if part == "boom":
                    raise ValueError("boom")
                if part == "stop":
                    return "stopped"
        except ConnectionEnded as error:
            print("lost", error.code, error.reason, parts)
            raise
        return f"all: {parts}"

    def handle_batch(self, batch: Deliveries) -> None:
        for connection, event in batch:
            connection.send(Text(repr(event)))

    def handle_request(self, request: Request) -> Response:
        if "wrong" in request.query:
            return None  # type: ignore[return-value]
        return Response.json(
            {
                "method": request.method,
                "query": request.query["a"],
                "body": request.body.decode(),
                "header": request.headers["X-Test"],
                "peer": request.peer and request.peer.address,
            }
        )

    async def handle_message(self, message: Data, sender: Address) -> Data | None:
        match message:
            case Text("raise"):
                raise ValueError("raise")
            case Binary():
                return message
        return Text(f"{message} from {sender}")


async def tell(actor: Probe, connection: Connection) -> None:
    """Sends in all ways there are: the last two at once, the first two when the turn is over."""
    actor.broadcast(Text("broadcast"))
    connection.send(Text("sent"))
    await connection.send_now(Text("at once"))
    async with connection.stream() as stream:
        await stream.write("in ")
        await stream.write("pieces")


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


class Something:
    def __await__(self) -> Generator[str, None, None]:
        yield "something"


async def wait_for_something() -> None:
    await Something()
