"""The client of `websockets` for threads."""

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import harness


def talk(task: harness.Task) -> harness.Answer:
    with connect(
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
                    socket.send(harness.thirds(data) if task.fragments else data)
                    harness.check(data, socket.recv())
            case "ping":
                assert socket.ping(harness.PAYLOAD).wait(10), "no pong"
            case "closed":
                socket.send("close")
                try:
                    socket.recv()
                except ConnectionClosed as closed:
                    answer |= {"code": str(closed.rcvd.code), "reason": closed.rcvd.reason}
            case "close":
                socket.close(int(task.code), task.reason)
                answer["code"] = str(socket.close_code)
        return answer


harness.run("websockets", talk)
