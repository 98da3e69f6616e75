import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.runtime.world import World

from theater.limits import Limits
from theater.runtime.ports import BehaviourFactory

MakeWorld = Callable[..., World]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    """Makes worlds, ends them, and checks that nothing has escaped into the event loop."""
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    worlds: list[World] = []

    def make(limits: Limits = Limits(), **types: BehaviourFactory) -> World:
        worlds.append(World(types, limits))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.system.stop()
    assert escaped == []
