"""Servers for tests that need a policy, a clock of their own, or another address than 127.0.0.1."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from tests.server.raw import Raw, until

from theater import Actor
from theater.app import Theater, bind
from theater.config import Manifest
from theater.limits import Limits
from theater.server.admission import Admission, Policy
from theater.testing import Server, VirtualClock


@asynccontextmanager
async def served(
    actor: type[Actor] | Manifest,
    limits: Limits = Limits(),
    policy: Policy = Policy(),
    clock: VirtualClock | None = None,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Serves an actor on a free port; arguments are those of `Theater` and of its `start`."""
    manifest = actor if isinstance(actor, Manifest) else Manifest.of(actor)
    theater = Theater([manifest], limits, policy=policy, clock=clock)
    sock = bind(host, 0)
    await theater.start(sock, tls)
    try:
        yield Server(theater, sock.getsockname()[1])
    finally:
        await theater.stop()


@asynccontextmanager
async def reached(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> AsyncIterator[Raw]:
    """A connection of any kind, dropped in the end; `dial` opens one to 127.0.0.1."""
    reader, writer = await connecting
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def admission(server: Server) -> Admission:
    """What decides who is let in on a server."""
    return server.theater.admission


def refused(server: Server) -> dict[str, int]:
    """How often a server has refused, by reason."""
    return {reason: number for reason, number in admission(server).refused.items() if number}


async def accepted(server: Server, number: int) -> None:
    """Waits until the server has taken in so many connections that have not ended."""
    await until(lambda: admission(server)._open == number)


async def pass_time(clock: VirtualClock, seconds: float) -> None:
    """Lets time pass, and what follows from it happen."""
    await asyncio.sleep(0.01)
    clock.advance(seconds)
    await asyncio.sleep(0.01)
