"""How the harness talks to a load client: a number per line in, a JSON object per line out."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from picows import WSError


class LoadError(Exception):
    """The server did not answer as it must."""


Reply = dict[str, float]


async def serve_commands(handle: Callable[[float], Awaitable[Reply]]) -> None:
    """Answer every line on stdin until it ends; a failure is answered with {"error": text}, and is the end.

    The event loop keeps running between commands, so that the server's pings are answered.
    """
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            reply: dict[str, float | str] = {**await handle(float(line))}
        except (LoadError, OSError, WSError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
        if "error" in reply:
            break
