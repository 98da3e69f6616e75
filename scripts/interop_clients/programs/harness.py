"""The frame of the clients written in Python.

A client reads tasks from standard input, a JSON object to a line whose values are all text, and
writes an answer to a line of standard output; its first line says its version. The clients in other
languages do the same.
"""

import asyncio
import importlib.metadata
import inspect
import json
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

MAX_SIZE = 32 * 1024 * 1024
PAYLOAD = b"ping!"

Answer = dict[str, str]


class Task(NamedTuple):
    """What to do on one connection.

    Attributes:
        url: where to connect.
        action: `echo`: send each message and wait for the same one; `ping`: send a ping with
            `PAYLOAD` and wait for its pong; `closed`: send "close" and wait until the server has
            closed; `close`: close with `code` and `reason`, and wait for the answer. Then close, if
            the connection is still open.
        messages: kinds and sizes in bytes, such as "text:30 binary:3000".
        fragments: if not empty, send each message in three frames.
        subprotocols: to offer, with commas between them.
        compress: if not empty, offer permessage-deflate.
        origin: the value of the header, if not empty.
        ca: file with the certificate to trust.
        code, reason: to close with.
    """

    url: str
    action: str
    messages: str
    fragments: str
    subprotocols: str
    compress: str
    origin: str
    ca: str
    code: str
    reason: str

    @property
    def offer(self) -> list[str]:
        return list(filter(None, self.subprotocols.split(",")))

    @property
    def headers(self) -> dict[str, str]:
        return {"Origin": self.origin} if self.origin else {}

    @property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca) if self.url.startswith("wss:") else None

    @property
    def data(self) -> Iterator[str | bytes]:
        for message in self.messages.split():
            kind, _, size = message.partition(":")
            yield text(int(size)) if kind == "text" else binary(int(size))


def _noise() -> bytes:
    """Numbers below 16 that look random and never repeat within a window of deflate."""
    found, x = bytearray(), 1
    for _ in range(65521):
        x = (x * 75 + 74) % 65537
        found.append(x & 15)
    return bytes(found)


NOISE = _noise()


def binary(size: int) -> bytes:
    return (NOISE * (size // len(NOISE) + 1))[:size]


def text(size: int) -> str:
    """Text of so many bytes of UTF-8; its units have 10, with characters of one to four bytes."""
    units = ("0123456789abcdef"[NOISE[i % len(NOISE)]] + "é→🎭" for i in range(size // 10))
    return "".join(units) + "x" * (size % 10)


def thirds(data: str | bytes) -> list[str | bytes]:
    third = len(data) // 3
    return [data[:third], data[third : 2 * third], data[2 * third :]]


def check(sent: str | bytes, received: object) -> None:
    """Raises an AssertionError if the echo is another message."""
    if isinstance(received, bytearray | memoryview):
        received = bytes(received)
    assert type(received) is type(sent), f"a {type(received).__name__} came back for a {type(sent).__name__}"
    assert received == sent, f"what came back for {len(sent)} characters or bytes differs"


def run(package: str, talk: Callable[[Task], Answer | Awaitable[Answer]]) -> None:
    """Does all tasks, with one connection each."""
    print(json.dumps({"version": importlib.metadata.version(package)}), flush=True)
    for line in sys.stdin:
        task = Task(**json.loads(line))
        try:
            answer = talk(task)
            if inspect.iscoroutine(answer):
                answer = asyncio.run(answer)
        except Exception as error:  # noqa: BLE001  # it is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
