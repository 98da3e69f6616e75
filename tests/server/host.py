"""An ASGI server in memory that does, moment by moment, what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from tests.server.raw import PATIENCE, settle

from theater import Actor
from theater.app import Theater
from theater.config import Manifest
from theater.limits import Limits
from theater.server.admission import Policy
from theater.server.asgi import AsgiApplication
from theater.testing import VirtualClock

Message = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]

DENIAL: dict[str, Any] = {"websocket.http.response": {}}


def scope(kind: str = "websocket", path: str = "/", **others: Any) -> dict[str, Any]:
    """No more than what ASGI makes every server give."""
    required: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "path": path,
        "headers": [(b"host", b"a.example")],
    }
    if kind == "http":
        required |= {"method": "GET", "http_version": "1.1", "query_string": b""}
    return required | others


class Host:
    """One connection or request of an application.

    Args:
        application: what is served.
        scope: of the connection.

    Attributes:
        sent: what the application has sent, taken off by `next`.
        taken: how many messages the application has received.
        open: the server takes messages; cleared by a test whose client does not read.
        failure: what `send` raises, if anything.
        task: the application's.
    """

    def __init__(self, application: Application, scope: Message) -> None:
        self.sent: list[Message] = []
        self.taken = 0
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._arrival = asyncio.Event()
        self.task = asyncio.ensure_future(application(scope, self._receive, self._send))

    def put(self, kind: str, **fields: Any) -> None:
        """Gives the application a message."""
        self._queue.put_nowait({"type": kind, **fields})

    def text(self, text: str) -> None:
        self.put("websocket.receive", text=text)

    async def next(self) -> Message:
        """Takes off the next message that the application sends."""
        async with asyncio.timeout(PATIENCE):
            while not self.sent:
                self._arrival.clear()
                await self._arrival.wait()
        return self.sent.pop(0)

    async def ended(self) -> None:
        """Waits until the application has returned; raises what it raises."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(self.task)

    async def _receive(self) -> Message:
        message = await self._queue.get()
        self.taken += 1
        return message

    async def _send(self, message: Message) -> None:
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.sent.append(message)
        self._arrival.set()


class Hosted:
    """An application, and what a test wants to see of it.

    Attributes:
        clock: its clock.
        theater: its parts.
        application: for `Host`.
    """

    def __init__(self, manifest: Manifest, limits: Limits, policy: Policy) -> None:
        self.clock = VirtualClock(1000.0)
        self.theater = Theater([manifest], limits, policy=policy, clock=self.clock)
        self.application = AsgiApplication(lambda: self.theater)

    async def connecting(self, **changes: Any) -> Host:
        """A connection that has asked."""
        host = Host(self.application, scope(**changes))
        host.put("websocket.connect")
        await settle()
        return host

    async def connect(self, **changes: Any) -> Host:
        """A connection that has been accepted."""
        host = await self.connecting(**changes)
        assert (await host.next())["type"] == "websocket.accept"
        await settle()
        return host

    async def later(self, seconds: float) -> None:
        """Lets time pass, and what follows from it happen."""
        for _ in range(max(1, round(seconds))):
            self.clock.advance(min(1.0, seconds))
            await settle()

    @property
    def counted(self) -> int:
        """Connections that hold a place."""
        return self.theater.admission._open


@asynccontextmanager
async def hosted(
    actor: type[Actor] | Manifest, limits: Limits = Limits(), policy: Policy = Policy()
) -> AsyncIterator[Hosted]:
    """An application; at the end of the block nothing of it may be left."""
    before = asyncio.all_tasks()
    manifest = actor if isinstance(actor, Manifest) else Manifest.of(actor)
    hosted = Hosted(manifest, limits, policy)
    yield hosted
    stopping = asyncio.ensure_future(hosted.application.stop())
    while not stopping.done():
        await hosted.later(1)
    await stopping
    await settle()
    assert asyncio.all_tasks() <= before
    assert hosted.counted == 0
    assert not hosted.theater._hub.open
