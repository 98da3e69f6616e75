"""The client of `picows`, which hands out frames; it is left to its user to put messages together."""

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

import harness


class Listener(WSListener):
    """Puts messages together, and keeps them with the frames between them."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[WSMsgType, bytes]] = asyncio.Queue()
        self._parts = b""
        self._kind = WSMsgType.BINARY

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type in (WSMsgType.PONG, WSMsgType.CLOSE):
            self.messages.put_nowait((frame.msg_type, payload))
            if frame.msg_type is WSMsgType.CLOSE and not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code())
            return
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._kind, self._parts = frame.msg_type, b""
        self._parts += payload
        if frame.fin:
            self.messages.put_nowait((self._kind, self._parts))


def send(transport: WSTransport, data: str | bytes, fragmented: bool) -> None:
    kind = WSMsgType.TEXT if isinstance(data, str) else WSMsgType.BINARY
    parts = harness.thirds(data) if fragmented else [data]
    for number, part in enumerate(parts, 1):
        transport.send(kind, part.encode() if isinstance(part, str) else part, fin=number == len(parts))
        kind = WSMsgType.CONTINUATION


async def talk(task: harness.Task) -> harness.Answer:
    headers = task.headers | ({"Sec-WebSocket-Protocol": ", ".join(task.offer)} if task.offer else {})
    transport, listener = await ws_connect(
        Listener,
        task.url,
        ssl_context=task.tls,
        extra_headers=headers,
        enable_auto_pong=True,
        max_frame_size=harness.MAX_SIZE,
    )
    messages = listener.messages
    answer = {"subprotocol": transport.response.headers.get("Sec-WebSocket-Protocol") or ""}
    match task.action:
        case "echo":
            for data in task.data:
                send(transport, data, bool(task.fragments))
                kind, payload = await messages.get()
                harness.check(data, payload.decode() if kind is WSMsgType.TEXT else payload)
        case "ping":
            transport.send_ping(harness.PAYLOAD)
            assert await messages.get() == (WSMsgType.PONG, harness.PAYLOAD)
        case "closed":
            send(transport, "close", fragmented=False)
            _, payload = await messages.get()
            answer |= {"code": str(int.from_bytes(payload[:2], "big")), "reason": payload[2:].decode()}
        case "close":
            transport.send_close(int(task.code), task.reason.encode())
            _, payload = await messages.get()
            answer["code"] = str(int.from_bytes(payload[:2], "big"))
    if not transport.is_close_frame_sent:
        transport.send_close(1000)
    await transport.wait_disconnected()
    return answer


harness.run("picows", talk)
