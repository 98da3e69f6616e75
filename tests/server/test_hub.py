import asyncio
import itertools

import pytest

from theater.errors import Reason
from theater.limits import Limits
from theater.server.hub import Hub
from theater.testing import VirtualClock


class Recorded:
    """A connection that notes what the hub does to it.

    Attributes:
        checked: when.
    """

    def __init__(self) -> None:
        self.checked: list[float] = []

    def check(self, now: float) -> float:
        self.checked.append(now)
        return now + 1000

    def shut_down(self, reason: Reason) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def hub(clock: VirtualClock) -> Hub:
    return Hub(asyncio.get_running_loop(), clock, Limits(), itertools.count(1).__next__)


class TestConnections:
    async def test_are_known_and_watched_from_their_beginning_to_their_end(
        self, hub: Hub, clock: VirtualClock
    ) -> None:
        one, two = Recorded(), Recorded()
        hub.opened(one, 5)
        hub.opened(two, 5)
        assert hub.open == {one, two}
        hub.closed(two)
        assert hub.open == {one}
        clock.advance(10)
        assert (len(one.checked), len(two.checked)) == (1, 0)
        hub.closed(two)  # harmless

    async def test_are_waited_for_until_the_last_has_ended(self, hub: Hub) -> None:
        one, two = Recorded(), Recorded()
        hub.opened(one, 5)
        hub.opened(two, 5)
        waiting = asyncio.create_task(hub.until_empty())
        hub.closed(one)
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.closed(two)
        await waiting

    async def test_need_not_be_waited_for_when_there_are_none(self, hub: Hub) -> None:
        async with asyncio.timeout(0):
            await hub.until_empty()
        connection = Recorded()
        hub.opened(connection, 5)
        hub.closed(connection)
        async with asyncio.timeout(0):
            await hub.until_empty()


async def test_has_a_budget_for_compression_as_large_as_the_limit(clock: VirtualClock) -> None:
    limits = Limits(compression_memory=1234)
    hub = Hub(asyncio.get_running_loop(), clock, limits, itertools.count(1).__next__)
    assert (hub.budget.limit, hub.budget.taken) == (1234, 0)
