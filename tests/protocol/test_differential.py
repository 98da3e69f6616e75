"""The machine beside the sans-I/O cores of `websockets` and `wsproto`.

On valid streams all three must agree. On broken ones they must agree on the messages before the
fault and on the close code, but for the differences that are listed below: everywhere else that
we know of, it is the other library that waits longer or checks less.
"""

from typing import NamedTuple

import pytest
import wsproto.events as wsproto_events
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    MAX,
    NO_MAXIMUM,
    PING,
    PONG,
    TEXT,
    Frame,
    both_roles,
    close_payload,
    feed,
    frame,
    mutated_streams,
    opened,
    peer_of,
    read_frames,
    valid_streams,
)
from websockets.frames import Frame as WebsocketsFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side
from wsproto.connection import Connection, ConnectionState, ConnectionType

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.limits import ConnectionLimits
from theater.protocol.machine import Failure, Machine, Output, Role

unhurried = settings(deadline=None)


class Reading(NamedTuple):
    """What a library makes of a stream.

    Attributes:
        messages: before the end.
        end: the peer's close frame, the close code of a failure, or nothing yet.
    """

    messages: list[Output]
    end: Close | int | None


def read_ourselves(role: Role, wire: bytes, maximum: int = MAX) -> Reading:
    return reading(feed(opened(role, maximum), wire))


def reading(events: list[Output]) -> Reading:
    match events:
        case [*messages, Failure(reason, _)]:
            return Reading(messages, reason.close_code)
        case [*messages, Close() as close]:
            return Reading(messages, close)
    return Reading(events, None)


def read_by_websockets(role: Role, wire: bytes) -> Reading:
    """Reads with the core of `websockets`, and puts fragments together as its connections do."""
    protocol = Protocol(Side.SERVER if role is Role.SERVER else Side.CLIENT, max_size=MAX)
    protocol.receive_data(wire)
    messages: list[Output] = []
    parts: list[bytes] = []
    text = False
    for found in protocol.events_received():
        assert isinstance(found, WebsocketsFrame)
        data = bytes(found.data)
        match found.opcode:
            case Opcode.PING:
                messages.append(Ping(data))
            case Opcode.PONG:
                messages.append(Pong(data))
            case Opcode.CLOSE:
                assert protocol.close_rcvd is not None
                return Reading(messages, Close(protocol.close_rcvd.code, protocol.close_rcvd.reason))
            case _:
                if found.opcode is not Opcode.CONT:
                    parts, text = [], found.opcode is Opcode.TEXT
                parts.append(data)
                if found.fin:
                    try:
                        messages.append(Text(b"".join(parts).decode()) if text else Binary(b"".join(parts)))
                    except UnicodeDecodeError:
                        return Reading(messages, 1007)
    if protocol.parser_exc is None:
        return Reading(messages, None)
    assert protocol.close_sent is not None
    return Reading(messages, int(protocol.close_sent.code))


def read_by_wsproto(role: Role, wire: bytes) -> Reading:
    """Reads with `wsproto`, which hands out every frame and knows no maximum."""
    connection = Connection(ConnectionType.SERVER if role is Role.SERVER else ConnectionType.CLIENT)
    connection.receive_data(wire)
    messages: list[Output] = []
    text, content = "", b""
    for found in connection.events():
        match found:
            case wsproto_events.Ping(payload):
                messages.append(Ping(bytes(payload)))
            case wsproto_events.Pong(payload):
                messages.append(Pong(bytes(payload)))
            case wsproto_events.TextMessage(data):
                text += data
                if found.message_finished:
                    messages.append(Text(text))
                    text = ""
            case wsproto_events.BytesMessage(data):
                content += data
                if found.message_finished:
                    messages.append(Binary(content))
                    content = b""
            case wsproto_events.CloseConnection(code, reason):
                failed = connection.state is not ConnectionState.REMOTE_CLOSING
                return Reading(messages, int(code) if failed else Close(int(code), reason or ""))
    return Reading(messages, None)


# On valid streams


@both_roles
@unhurried
@given(st.data())
def test_all_agree_on_valid_streams(role: Role, data: st.DataObject) -> None:
    wire = data.draw(valid_streams(role)).encode()
    compare_with_websockets(role, wire)
    compare_with_wsproto(role, wire)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.text(max_size=150).map(Text),
    st.binary(max_size=300).map(Binary),
    st.binary(max_size=125).map(Ping),
    st.binary(max_size=125).map(Pong),
    st.builds(Close, st.sampled_from([1000, 1013, 3000]), st.just("")),
)


@both_roles
@unhurried
@given(st.lists(MESSAGES, max_size=5), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_they_read_what_we_send(role: Role, messages: list[Message], chunks: list[str]) -> None:
    sender = Machine(peer_of(role), ConnectionLimits())
    for index, chunk in enumerate(chunks):
        sender.send_chunk(chunk, last=index == len(chunks) - 1)
    for message in messages:
        sender.send(message)
    wire = b"".join(sender.out)
    ends = [index for index, message in enumerate(messages) if isinstance(message, Close)]
    heard = messages[: ends[0] + 1] if ends else messages
    expected = reading([Text("".join(chunks)), *heard])
    assert read_by_websockets(role, wire) == expected
    assert read_by_wsproto(role, wire) == expected


@both_roles
@unhurried
@given(st.lists(MESSAGES, max_size=5))
def test_we_read_what_they_send(role: Role, messages: list[Message]) -> None:
    protocol = Protocol(Side.CLIENT if role is Role.SERVER else Side.SERVER)
    connection = Connection(ConnectionType.CLIENT if role is Role.SERVER else ConnectionType.SERVER)
    wire = b""
    expected: list[Output] = []
    for message in messages:
        expected.append(message)
        match message:
            case Text(text):
                protocol.send_text(text.encode())
                wire += connection.send(wsproto_events.TextMessage(text))
            case Binary(data):
                protocol.send_binary(data)
                wire += connection.send(wsproto_events.BytesMessage(data))
            case Ping(payload):
                protocol.send_ping(payload)
                wire += connection.send(wsproto_events.Ping(payload))
            case Pong(payload):
                protocol.send_pong(payload)
                wire += connection.send(wsproto_events.Pong(payload))
            case Close(code):
                protocol.send_close(code)
                wire += connection.send(wsproto_events.CloseConnection(code))
                break
    assert feed(opened(role), b"".join(protocol.data_to_send())) == expected
    assert feed(opened(role), wire) == expected


# On broken streams


class Site(NamedTuple):
    """Where in a stream we end.

    Attributes:
        last: the frame in which we do, if its header is whole.
        kind: opcode of the message that is unfinished before that frame, or 0.
        content: what there is of that message.
        crowded: a control frame came that is larger than what that message leaves of the maximum.
        half_a_header: the stream ends inside a header, and so do we.
    """

    last: Frame | None
    kind: int
    content: bytes
    crowded: bool
    half_a_header: bool


def find_site(role: Role, wire: bytes, maximum: int) -> Site:
    machine = opened(role, maximum)
    end = len(wire) + 1
    for index in range(len(wire)):
        if any(isinstance(event, Close | Failure) for event in machine.receive(wire[index : index + 1])):
            end = index + 1
            break
    position = kind = 0
    content = b""
    crowded = False
    for found in read_frames(wire):
        assert found.announced is not None
        crowded |= found.opcode >= CLOSE and len(content) + found.announced > maximum
        position += len(found.encode())
        if position >= end:
            return Site(found, kind, content, crowded, half_a_header=False)
        if found.opcode < CLOSE:
            kind = found.opcode or kind
            content += found.payload
            if found.fin:
                kind, content = 0, b""
    return Site(None, kind, content, crowded, position < len(wire))


def websockets_difference(role: Role, wire: bytes, ours: Reading, theirs: Reading) -> str | None:
    """What explains that `websockets` comes to another end; None if nothing on the list does."""
    last, kind, content, crowded, half_a_header = find_site(role, wire, MAX)
    if half_a_header:
        # It checks opcode, mask and size as soon as it has them, we when the header is whole.
        return "checks a header early" if ours.end is None and theirs.end in (1002, 1009) else None
    if crowded and theirs.end == 1009:
        return "counts a control frame towards the message around it"
    if last is None or last.announced is None:
        return None
    short = last.announced < (126 if last.width == 2 else 65536)
    match ours.end:
        case 1002 if last.width and short:
            return "takes lengths that are not minimal"  # against §5.2
        case 1002 if last.announced > MAX - len(content) and theirs.end == 1009:
            # ... of control frames, lengths of 64 bits, and data frames that are wrong in another way
            return "checks the size before all else"
        case 1002 if len(last.payload) < last.announced and theirs.end is None:
            return "checks reserved bits, control frames and fragmentation when the payload is there"
        case 1002 if last.opcode == CLOSE and theirs.end == 1007:
            return "reads a close reason before it checks the code"
        case 1007 if last.opcode < CLOSE and theirs.end in (None, 1002, 1007, 1009):
            later = theirs.messages[len(ours.messages) :]
            if all(isinstance(message, Ping | Pong) for message in later):
                return "decodes text when the message is whole"  # another fault may come before
        case Close() if kind and theirs.end == 1002:
            return "takes no close between fragments"  # which §5.5 allows, being a control frame
    return None


def wsproto_difference(role: Role, wire: bytes, ours: Reading, theirs: Reading) -> str | None:
    """What explains that `wsproto` comes to another end; None if nothing on the list does."""
    last, _, content, _, half_a_header = find_site(role, wire, NO_MAXIMUM)
    match ours.end:
        case None if half_a_header and theirs.end == 1002:
            return "checks the opcode, and the size of control frames, before the header is whole"
        case 1002 if half_a_header and theirs.end is None:
            return "checks the mask when the header is whole"
        case 1002 if last is not None and last.announced and not last.payload and theirs.end is None:
            return "checks fragmentation when the first byte of the payload is there"
        case Close() | 1007 if (
            theirs.end == 1002 and last is not None and last.payload[:2] == close_payload(1014)
        ):
            return "does not know close code 1014"  # registered with IANA later
        case 1007 if last is not None and last.opcode < CLOSE and ends_in_a_surrogate(content + last.payload):
            return "takes the first two bytes of a surrogate, as CPython's decoder does"
    return None


def ends_in_a_surrogate(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return text[error.start] == 0xED and 0xA0 <= text[error.start + 1] <= 0xBF
    return False


def compare(ours: Reading, theirs: Reading, difference: str | None) -> None:
    """Holds the two against each other; `difference` is why they may come to different ends."""
    if ours == theirs:
        event("the same")
        return
    event(f"different: {difference}")
    assert difference is not None
    fewer, more = sorted((ours.messages, theirs.messages), key=len)
    assert more[: len(fewer)] == fewer


def compare_with_websockets(role: Role, wire: bytes) -> None:
    ours, theirs = read_ourselves(role, wire), read_by_websockets(role, wire)
    compare(ours, theirs, None if ours == theirs else websockets_difference(role, wire, ours, theirs))


def compare_with_wsproto(role: Role, wire: bytes) -> None:
    ours, theirs = read_ourselves(role, wire, NO_MAXIMUM), read_by_wsproto(role, wire)
    compare(ours, theirs, None if ours == theirs else wsproto_difference(role, wire, ours, theirs))


@both_roles
@unhurried
@given(st.data())
def test_websockets_comes_to_the_same_end(role: Role, data: st.DataObject) -> None:
    compare_with_websockets(role, data.draw(mutated_streams(role)))


@both_roles
@unhurried
@given(st.data())
def test_wsproto_comes_to_the_same_end(role: Role, data: st.DataObject) -> None:
    compare_with_wsproto(role, data.draw(mutated_streams(role)))


class Case(NamedTuple):
    """One thing that a peer may do, and what the three make of it: a code, a close, or nothing yet."""

    frames: list[Frame]
    ours: Close | int | None
    websockets: Close | int | None
    wsproto: Close | int | None


CASES = {
    # All agree.
    "§5.2 reserved bit": Case([Frame(TEXT, b"x", rsv=4)], 1002, 1002, 1002),
    "§5.2 reserved opcode": Case([Frame(3, b"x")], 1002, 1002, 1002),
    "§5.4 nothing to continue": Case([Frame(CONTINUATION, b"x")], 1002, 1002, 1002),
    "§5.4 message in a message": Case([Frame(TEXT, b"x", fin=False), Frame(TEXT, b"y")], 1002, 1002, 1002),
    "§5.5 fragmented ping": Case([Frame(PING, b"x", fin=False)], 1002, 1002, 1002),
    "§5.5 long ping": Case([Frame(PING, bytes(126))], 1002, 1002, 1002),
    "§5.5.1 half a close code": Case([Frame(CLOSE, b"\x03")], 1002, 1002, 1002),
    "§7.4.1 close code 1005": Case([Frame(CLOSE, close_payload(1005))], 1002, 1002, 1002),
    "§7.4.2 close code 2000": Case([Frame(CLOSE, close_payload(2000))], 1002, 1002, 1002),
    "§7.4.2 close code 3000": Case([Frame(CLOSE, close_payload(3000))], *[Close(3000)] * 3),
    "§7.1.5 empty close": Case([Frame(CLOSE)], *[Close(1005)] * 3),
    "§8.1 text not UTF-8": Case([Frame(TEXT, b"\xff")], 1007, 1007, 1007),
    "§8.1 reason not UTF-8": Case([Frame(CLOSE, close_payload(1000, b"\xff"))], 1007, 1007, 1007),
    "§5.4 ping between fragments": Case(
        [Frame(TEXT, b"x", fin=False), Frame(PING), Frame(CONTINUATION, b"y")], None, None, None
    ),
    # They differ.
    "§5.2 2 bytes for a length of 125": Case([Frame(BINARY, bytes(125), width=2)], 1002, None, 1002),
    "§5.2 8 bytes for a length of 126": Case([Frame(BINARY, bytes(126), width=8)], 1002, None, 1002),
    "§5.2 length of 64 bits": Case([Frame(BINARY, announced=2**63)], 1002, 1009, 1002),
    "§5.2 reserved bit, payload to come": Case([Frame(TEXT, b"x", rsv=4, announced=2)], 1002, None, 1002),
    "§5.5 fragmented ping, payload to come": Case(
        [Frame(PING, b"x", fin=False, announced=2)], 1002, None, 1002
    ),
    "§5.5 long ping, payload to come": Case([Frame(PING, b"x", announced=126)], 1002, None, 1002),
    "§5.4 nothing to continue, payload to come": Case(
        [Frame(CONTINUATION, b"x", announced=2)], 1002, None, 1002
    ),
    "§5.4 nothing to continue, all payload to come": Case(
        [Frame(CONTINUATION, announced=2)], 1002, None, None
    ),
    "§5.5 ping larger than any message": Case([Frame(PING, announced=MAX + 1)], 1002, 1009, 1002),
    "§5.4 nothing to continue, and too big": Case([Frame(CONTINUATION, announced=MAX + 1)], 1002, 1009, None),
    "§5.5 close between fragments": Case(
        [Frame(TEXT, b"x", fin=False), Frame(CLOSE)], Close(1005), 1002, Close(1005)
    ),
    "§5.5 ping in a message near the maximum": Case(
        [Frame(BINARY, bytes(MAX), fin=False), Frame(PING, b"x")], None, 1009, None
    ),
    "§7.4 wrong code, wrong reason": Case([Frame(CLOSE, close_payload(1005, b"\xff"))], 1002, 1007, 1002),
    "§7.4.1 close code 1014": Case([Frame(CLOSE, close_payload(1014))], Close(1014), Close(1014), 1002),
    "§8.1 bad byte, payload to come": Case([Frame(TEXT, b"\xff", announced=2)], 1007, None, 1007),
    "§8.1 bad byte, fragments to come": Case([Frame(TEXT, b"\xff", fin=False)], 1007, None, 1007),
    "§8.1 surrogate, last byte to come": Case([Frame(TEXT, b"\xed\xa0", fin=False)], 1007, None, None),
    "maximum": Case([Frame(BINARY, announced=MAX + 1)], 1009, 1009, None),
    "maximum of fragments": Case(
        [Frame(BINARY, bytes(MAX), fin=False), Frame(CONTINUATION, announced=1)], 1009, 1009, None
    ),
}


@both_roles
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_what_each_makes_of_it(role: Role, case: Case) -> None:
    key = KEY if role is Role.SERVER else None
    wire = frame(role, PONG, b"before") + b"".join(found._replace(key=key).encode() for found in case.frames)
    found = [read(role, wire) for read in (read_ourselves, read_by_websockets, read_by_wsproto)]
    assert [reading.end for reading in found] == [case.ours, case.websockets, case.wsproto]
    assert all(reading.messages[0] == Pong(b"before") for reading in found)


@both_roles
def test_what_each_makes_of_a_wrong_mask(role: Role) -> None:  # §5.1
    wrong = frame(peer_of(role), BINARY, bytes(300))
    for read in (read_ourselves, read_by_websockets, read_by_wsproto):
        assert read(role, wrong) == Reading([], 1002)
    assert read_ourselves(role, wrong[:2]).end == 1002
    assert read_by_websockets(role, wrong[:2]).end == 1002
    assert read_by_wsproto(role, wrong[:2]).end is None
