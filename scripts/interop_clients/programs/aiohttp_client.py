"""The client of `aiohttp`."""

import aiohttp

import harness


async def talk(task: harness.Task) -> harness.Answer:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            task.url,
            protocols=task.offer,
            compress=15 if task.compress else 0,
            headers=task.headers,
            ssl=task.tls or True,
            max_msg_size=harness.MAX_SIZE,
            autoping=task.action != "ping",
        ) as socket,
    ):
        answer = {"subprotocol": socket.protocol or ""}
        match task.action:
            case "echo":
                for data in task.data:
                    await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))
                    harness.check(data, (await socket.receive()).data)
            case "ping":
                await socket.ping(harness.PAYLOAD)
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.PONG, message
                assert bytes(message.data) == harness.PAYLOAD, message
            case "closed":
                await socket.send_str("close")
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE, message
                answer |= {"code": str(message.data), "reason": message.extra or ""}
            case "close":
                await socket.close(code=int(task.code), message=task.reason.encode())
                answer["code"] = str(socket.close_code)
        return answer


harness.run("aiohttp", talk)
