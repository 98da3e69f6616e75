"""What a test of the suite uses: a server of the conformance actor, and clients that tell it what to do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.behaviours.languages import Language
from tests.server.raw import PATIENCE

from theater import Binary, Text
from theater.client import ClientConnection, connect
from theater.config import Served
from theater.config.manifest import Execution
from theater.config.settings import Settings
from theater.limits import Limits
from theater.testing import Server, serve

needs = pytest.mark.needs

QUIET = Limits(drain_window=0.0, drain_timeout=0.1)
"""Limits of a server that stops quickly."""


class Client:
    """A connection to a conformance actor."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, command: str) -> None:
        """Sends a command that is not answered, or not yet."""
        await self.connection.send(Text(command))

    async def next(self) -> str | bytes:
        """What the next message holds."""
        async with asyncio.timeout(PATIENCE):
            message = await self.connection.receive()
        return message.text if isinstance(message, Text) else message.data

    async def ask(self, command: str) -> str:
        """Sends a command; what it is answered."""
        await self.send(command)
        answer = await self.next()
        assert isinstance(answer, str)
        return answer

    async def ask_bytes(self, data: bytes | str) -> bytes:
        """The same, if the answer is binary."""
        await self.connection.send(Binary(data) if isinstance(data, bytes) else Text(data))
        answer = await self.next()
        assert isinstance(answer, bytes)
        return answer

    async def events(self, until: Callable[[list[str]], object] = bool) -> list[str]:
        """What has happened to the actor since it was last asked, and what happens until then."""
        found: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                found += filter(None, (await self.ask("events")).split("\n"))
                if until(found):
                    return found
                await asyncio.sleep(0.01)


class Running:
    """A server of the conformance actor."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = server.port

    @asynccontextmanager
    async def client(
        self,
        path: str = "/a",
        *,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: tuple[str, ...] = (),
        compression: bool = True,
    ) -> AsyncIterator[Client]:
        """A connection; arguments are those of `theater.client.connect`."""
        connection = await connect(
            self.server.url(path), headers=headers, subprotocols=subprotocols, compression=compression
        )
        async with connection:
            yield Client(connection)


class World:
    """Serves the conformance actor in one language.

    Args:
        language: which.
        folder: of built components.
    """

    def __init__(self, language: Language, folder: Path) -> None:
        self.language = language
        self._folder = folder

    @asynccontextmanager
    async def serve(
        self,
        *others: Served,
        second: str = "",
        execution: Execution = "loop",
        limits: Limits = QUIET,
        settings: Settings | None = None,
    ) -> AsyncIterator[Running]:
        """A server.

        Args:
            others: what is served besides.
            second: name of another actor type, of the same actor.
            execution, settings: of the actor.
            limits: of the server.
        """
        names = ["conformance", second] if second else ["conformance"]
        manifests = [self.language.manifest(self._folder, name, execution, settings or {}) for name in names]
        async with serve(*manifests, *others, limits=limits) as server:
            yield Running(server)

    @asynccontextmanager
    async def client(self, path: str = "/a") -> AsyncIterator[Client]:
        """A connection to a server of its own."""
        async with self.serve() as running, running.client(path) as client:
            yield client
