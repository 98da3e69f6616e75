"""The client's tests share what the server's have; some run on uvloop too, which is what serves."""

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from tests.server.conftest import pytest_asyncio_loop_factories as both_loops
from tests.server.conftest import quiet

__all__ = ["quiet"]

ON_BOTH: Final = frozenset(
    (
        "test_messages_go_both_ways",
        "test_close_tells_the_server_why",
        "test_server_that_vanishes",
        "test_server_that_never_answers",
        "test_send_waits_for_a_server_that_does_not_read",
        "test_tls_to_a_server_without_it",
    )
)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories = both_loops()
    return factories if item.name in ON_BOTH else {"asyncio": factories["asyncio"]}
