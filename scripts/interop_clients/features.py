"""What clients are made to do, and how it is told whether it went right."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from interop_clients.referee.referee import CLOSE_CODE, CLOSE_REASON
from interop_clients.tap import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Direction, Wire

SUBPROTOCOLS: Final = "first,second"
PAYLOAD: Final = b"ping!"
REASON: Final = "müde, aber glücklich ✓"
MAX_MESSAGE: Final = 16 * 1024 * 1024
# Empty, each length that a header writes in another way, and what does not fit one read.
SIZES: Final = (0, 1, 125, 126, 65_535, 65_536, 300_000)
NORMAL: Final = (1000, 1005)  # how a client says that it has done what it wanted

_DATA: Final = (TEXT, BINARY, CONTINUATION)


class Seen(NamedTuple):
    """What is known of one task.

    Attributes:
        answer: what the client says.
        wire: what went over the network; over TLS only that something did.
        ends: code and reason of the connections that the actor has seen end.
    """

    answer: dict[str, str]
    wire: Wire
    ends: list[tuple[int, str]]


class Feature(NamedTuple):
    """A column of the table.

    Attributes:
        name: its heading.
        path: of the referee, without the instance.
        task: what differs from a task that does nothing.
        judge: what is wrong, or an empty text.
        opens: whether the server is to accept the connection.
        secure: over TLS.
    """

    name: str
    path: str
    task: dict[str, str]
    judge: Callable[[Seen], str]
    opens: bool = True
    secure: bool = False

    def problem(self, seen: Seen) -> str:
        """What is wrong, or an empty text."""
        if not self.opens:
            return self.judge(seen)
        if "error" in seen.answer:
            return seen.answer["error"] or "an error without words"
        if not self.secure:
            if seen.wire.status != "101":
                return f"answered {seen.wire.status or 'nothing'}, not 101"
            if not all(frame.masked for frame in seen.wire.client.frames):
                return "the client has sent a frame that is not masked"
            if any(frame.masked for frame in seen.wire.server.frames):
                return "the server has masked a frame"
        if len(seen.ends) != 1:
            return f"the actor has seen {len(seen.ends)} ends of one connection"
        return self.judge(seen)


def _messages(kind: str, sizes: Sequence[int] = SIZES) -> dict[str, str]:
    return {"action": "echo", "messages": " ".join(f"{kind}:{size}" for size in sizes)}


def _echoed(seen: Seen) -> str:
    """The client has compared the messages itself; here it must only have ended well."""
    code, _ = seen.ends[0]
    return "" if code in NORMAL else f"ended with {code}"


def _fragments_sent(seen: Seen) -> str:
    return _echoed(seen) or _fragmented(seen.wire.client, "client")


def _fragments_received(seen: Seen) -> str:
    return _echoed(seen) or _fragmented(seen.wire.server, "server")


def _fragmented(direction: Direction, who: str) -> str:
    """Every message must have had several frames."""
    frames = direction.of(*_DATA)
    whole = [frame for frame in frames if frame.fin and frame.opcode != CONTINUATION]
    if whole or sum(frame.fin for frame in frames) != 4:
        return f"the {who} did not send fragments: {_show(direction)}"
    return ""


def _compressed_sent(seen: Seen) -> str:
    return _compressed(seen.wire, seen.wire.client, "client") or _echoed(seen)


def _compressed_received(seen: Seen) -> str:
    return _compressed(seen.wire, seen.wire.server, "server") or _echoed(seen)


def _compressed(wire: Wire, direction: Direction, who: str) -> str:
    """RFC 7692 §6: RSV1 of a message's first frame says that it is compressed."""
    if not wire.server.field("Sec-WebSocket-Extensions").startswith("permessage-deflate"):
        return f"not negotiated: {_offer(wire)}"
    if not any(frame.rsv1 for frame in direction.of(TEXT, BINARY)):
        return f"the {who} has compressed nothing: {_offer(wire)}"
    return ""


def _uncompressed(seen: Seen) -> str:
    if seen.wire.server.field("Sec-WebSocket-Extensions"):
        return f"negotiated all the same: {_offer(seen.wire)}"
    for direction, who in ((seen.wire.client, "client"), (seen.wire.server, "server")):
        if any(frame.rsv1 for frame in direction.frames):
            return f"the {who} has compressed"
    return _echoed(seen)


def _offer(wire: Wire) -> str:
    """What was offered and accepted."""
    name = "Sec-WebSocket-Extensions"
    return f"offered {wire.client.field(name) or 'nothing'!r}, got {wire.server.field(name) or 'nothing'!r}"


def _client_pings(seen: Seen) -> str:
    return _echoed(seen) or _answered(seen.wire.client, seen.wire.server, PAYLOAD)


def _heartbeat(seen: Seen) -> str:
    return _echoed(seen) or _answered(seen.wire.server, seen.wire.client)


def _answered(asking: Direction, answering: Direction, payload: bytes | None = None) -> str:
    """RFC 6455 §5.5.3: a pong has the same payload as the ping that it answers."""
    pings = [frame.payload for frame in asking.of(PING)]
    pongs = [frame.payload for frame in answering.of(PONG)]
    if not pings:
        return f"no pings: {_show(asking)}"
    if payload is not None and pings != [payload]:
        return f"other pings: {pings}"
    return "" if pings == pongs else f"pings {pings}, but pongs {pongs}"


def _client_closes(seen: Seen) -> str:
    if seen.ends != [(CLOSE_CODE + 1, REASON)]:
        return f"the actor has seen {seen.ends}"
    code = seen.answer.get("code", str(CLOSE_CODE + 1))  # not every client tells
    if code != str(CLOSE_CODE + 1):
        return f"the client has seen {code}"
    # RFC 6455 §5.5.1: "the endpoint typically echos the status code it received".
    return _closed(seen.wire) or _code(seen.wire.server, CLOSE_CODE + 1)


def _server_closes(seen: Seen) -> str:
    found = seen.answer.get("code"), seen.answer.get("reason")
    if found != (str(CLOSE_CODE), CLOSE_REASON):
        return f"the client has seen {found}"
    # Typically, not always: there are clients that answer with 1000.
    if seen.ends[0][0] not in (CLOSE_CODE, *NORMAL):
        return f"the actor has seen {seen.ends}"
    return _closed(seen.wire) or _code(seen.wire.server, CLOSE_CODE)


def _closed(wire: Wire) -> str:
    """Each must have sent one close frame, as its last frame."""
    for direction, who in ((wire.client, "client"), (wire.server, "server")):
        closes = direction.of(CLOSE)
        if len(closes) != 1 or direction.frames[-1] is not closes[0]:
            return f"the {who} has not sent one close frame as its last frame: {_show(direction)}"
    return ""


def _code(direction: Direction, code: int) -> str:
    sent = int.from_bytes(direction.frames[-1].payload[:2], "big")
    return "" if sent == code else f"the close frame has {sent}, not {code}"


def _chosen(seen: Seen) -> str:
    found = seen.answer.get("subprotocol")
    return _echoed(seen) if found == "second" else f"the client has seen {found!r}"


def _encrypted(seen: Seen) -> str:
    # RFC 8446 §5.1: a connection begins with a record of the type handshake, 22.
    starts = [seen.wire.client.start[:1], seen.wire.server.start[:1]]
    return _echoed(seen) if starts == [b"\x16", b"\x16"] else f"no TLS: it began with {starts}"


def _let_in(seen: Seen) -> str:
    return _echoed(seen) if seen.wire.client.field("Origin") else "no Origin was sent"


def _refused(seen: Seen) -> str:
    if not seen.wire.client.field("Origin"):
        return "no Origin was sent"
    if seen.wire.status != "403":
        return f"answered {seen.wire.status or 'nothing'}, not 403"
    if "error" not in seen.answer:
        return f"the client believes that it was let in: {seen.answer}"
    return "" if not seen.ends else "the actor has seen it"


def _show(direction: Direction) -> str:
    """The frames of a direction, the first of them."""
    frames = [f"{frame.opcode}{'' if frame.fin else '-'} ({frame.length})" for frame in direction.frames[:12]]
    return ", ".join(frames) or "no frames"


NOTHING: Final = {
    "messages": "",
    "fragments": "",
    "subprotocols": "",
    "compress": "",
    "origin": "",
    "code": str(CLOSE_CODE + 1),
    "reason": REASON,
}
"""What a task says where it does not say otherwise; `programs/harness.py` tells what it means."""

_FRAGMENTS: Final = {"action": "echo", "messages": "text:30 binary:30 text:60000 binary:60000"}
_SMALL: Final = {"action": "echo", "messages": "text:300 binary:300"}
_COMPRESSIBLE: Final = {"action": "echo", "compress": "yes", "messages": "text:60000 binary:60000 text:10"}

FEATURES: Final = (
    Feature("text", "echo", _messages("text"), _echoed),
    Feature("binary", "echo", _messages("binary"), _echoed),
    Feature("16 MiB", "echo", _messages("binary", [MAX_MESSAGE]), _echoed),
    Feature("fragments sent", "echo", _FRAGMENTS | {"fragments": "yes"}, _fragments_sent),
    Feature("fragments received", "stream", _FRAGMENTS, _fragments_received),
    Feature("compressed sent", "echo", _COMPRESSIBLE, _compressed_sent),
    Feature("compressed received", "echo", _COMPRESSIBLE, _compressed_received),
    Feature("compression off", "plain", _COMPRESSIBLE, _uncompressed),
    Feature("ping", "echo", {"action": "ping"}, _client_pings),
    Feature("heartbeat", "quiet", _messages("text", [10]), _heartbeat),
    Feature("client closes", "echo", {"action": "close"}, _client_closes),
    Feature("server closes", "echo", {"action": "closed"}, _server_closes),
    Feature("subprotocol", "echo", _SMALL | {"subprotocols": SUBPROTOCOLS}, _chosen),
    Feature("TLS", "echo", _SMALL, _encrypted, secure=True),
    Feature("origin let in", "page", _SMALL | {"origin": "the page's"}, _let_in),
    Feature("origin refused", "strangers", _SMALL | {"origin": "the page's"}, _refused, opens=False),
)
