"""Every test of the server runs on asyncio's loop and on uvloop, and fails when a loop reports an error."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def quiet() -> AsyncIterator[list[dict[str, Any]]]:
    """Fails the test if its event loop had an exception that nobody handled."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    yield problems
    gc.collect(0)  # futures whose exception was never retrieved report it when they go
    await asyncio.sleep(0)
    assert not problems
