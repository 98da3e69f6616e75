"""The package `websocket-client`."""

import websocket

import harness


def talk(task: harness.Task) -> harness.Answer:
    socket = websocket.create_connection(
        task.url,
        timeout=15,
        subprotocols=task.offer or None,
        origin=task.origin or None,
        suppress_origin=not task.origin,
        sslopt={"ca_certs": task.ca},
    )
    answer = {"subprotocol": socket.getsubprotocol() or ""}
    match task.action:
        case "echo":
            for data in task.data:
                send(socket, data, bool(task.fragments))
                harness.check(data, socket.recv())
        case "ping":
            socket.ping(harness.PAYLOAD)
            assert socket.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, harness.PAYLOAD)
        case "closed":
            socket.send("close")
            opcode, payload = socket.recv_data()
            assert opcode == websocket.ABNF.OPCODE_CLOSE, opcode
            return answer | {"code": str(int.from_bytes(payload[:2], "big")), "reason": payload[2:].decode()}
        case "close":
            socket.close(int(task.code), task.reason.encode())
            return answer
    socket.close()
    return answer


def send(socket: websocket.WebSocket, data: str | bytes, fragmented: bool) -> None:
    abnf = websocket.ABNF
    opcode = abnf.OPCODE_TEXT if isinstance(data, str) else abnf.OPCODE_BINARY
    parts = harness.thirds(data) if fragmented else [data]
    for number, part in enumerate(parts, 1):
        payload = part.encode() if isinstance(part, str) else part
        socket.send_frame(abnf.create_frame(payload, opcode, int(number == len(parts))))
        opcode = abnf.OPCODE_CONT


harness.run("websocket-client", talk)
