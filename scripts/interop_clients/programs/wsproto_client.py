"""A blocking socket around `wsproto`, which does no I/O of its own."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

import harness


class Client:
    """One connection."""

    def __init__(self, task: harness.Task) -> None:
        url = urlsplit(task.url)
        self._socket = socket.create_connection((url.hostname, url.port), 10)
        if task.tls is not None:
            self._socket = task.tls.wrap_socket(self._socket, server_hostname=url.hostname)
        self._websocket = WSConnection(ConnectionType.CLIENT)
        self._events = self._read()
        extensions = [PerMessageDeflate()] if task.compress else []
        headers = [(name.encode(), value.encode()) for name, value in task.headers.items()]
        self.send(
            Request(
                url.netloc, url.path, subprotocols=task.offer, extensions=extensions, extra_headers=headers
            )
        )
        accepted = next(self._events)
        if isinstance(accepted, RejectConnection):
            raise ConnectionError(f"refused with {accepted.status_code}")
        assert isinstance(accepted, AcceptConnection), accepted
        self.subprotocol = accepted.subprotocol or ""

    def send(self, event: Event) -> None:
        self._socket.sendall(self._websocket.send(event))

    def receive(self) -> str | bytes | Pong | CloseConnection:
        """The next message, put together, or what came instead."""
        parts: list[str | bytes] = []
        for event in self._events:
            if isinstance(event, Message):
                parts.append(event.data)
                if event.message_finished:
                    return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)
            elif isinstance(event, Ping):
                self.send(event.response())
            else:
                assert isinstance(event, Pong | CloseConnection), event
                return event
        raise EOFError

    def close(self, code: int, reason: str = "") -> int:
        """Closes, and returns the code of the server's answer."""
        self.send(CloseConnection(code, reason))
        answer = self.receive()
        assert isinstance(answer, CloseConnection), answer
        self._socket.close()
        return answer.code

    def answer_close(self, close: CloseConnection) -> None:
        self.send(close.response())
        self._socket.close()

    def _read(self) -> Iterator[Event]:
        while True:
            yield from self._websocket.events()
            self._websocket.receive_data(self._socket.recv(65536) or None)


def talk(task: harness.Task) -> harness.Answer:
    client = Client(task)
    answer = {"subprotocol": client.subprotocol}
    match task.action:
        case "echo":
            for data in task.data:
                kind = TextMessage if isinstance(data, str) else BytesMessage
                parts = harness.thirds(data) if task.fragments else [data]
                for number, part in enumerate(parts, 1):
                    client.send(kind(part, message_finished=number == len(parts)))
                harness.check(data, client.receive())
        case "ping":
            client.send(Ping(harness.PAYLOAD))
            assert client.receive() == Pong(bytearray(harness.PAYLOAD))
        case "closed":
            client.send(TextMessage("close"))
            close = client.receive()
            assert isinstance(close, CloseConnection), close
            client.answer_close(close)
            return answer | {"code": str(close.code), "reason": close.reason or ""}
        case "close":
            return answer | {"code": str(client.close(int(task.code), task.reason))}
    client.close(1000)
    return answer


harness.run("wsproto", talk)
