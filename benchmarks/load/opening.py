"""Opening many connections, not all at once."""

import asyncio
from collections.abc import Awaitable, Callable

AT_ONCE = 32  # handshakes under way together: well below the listen backlog of every server


async def open_all(open_one: Callable[[int], Awaitable[None]], count: int) -> None:
    """Call `open_one` with every number below `count`."""
    places = asyncio.Semaphore(AT_ONCE)

    async def in_place(number: int) -> None:
        async with places:
            await open_one(number)

    await asyncio.gather(*map(in_place, range(count)))
