"""The client of `websockets` for asyncio."""

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import harness


async def talk(task: harness.Task) -> harness.Answer:
    async with connect(
        task.url,
        subprotocols=task.offer or None,
        compression="deflate" if task.compress else None,
        additional_headers=task.headers,
        ssl=task.tls,
        max_size=harness.MAX_SIZE,
        proxy=None,
    ) as socket:
        answer = {"subprotocol": socket.subprotocol or ""}
        match task.action:
            case "echo":
                for data in task.data:
                    await socket.send(harness.thirds(data) if task.fragments else data)
                    harness.check(data, await socket.recv())
            case "ping":
                await (await socket.ping(harness.PAYLOAD))
            case "closed":
                await socket.send("close")
                try:
                    await socket.recv()
                except ConnectionClosed as closed:
                    answer |= {"code": str(closed.rcvd.code), "reason": closed.rcvd.reason}
            case "close":
                await socket.close(int(task.code), task.reason)
                answer["code"] = str(socket.close_code)
        return answer


harness.run("websockets", talk)
