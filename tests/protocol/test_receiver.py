"""What comes in, by examples, rule by rule; `test_streams.py` tries streams of all kinds.

The receiver is tried as the half of a machine that it is.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MAX,
    PING,
    PONG,
    TEXT,
    both_modes,
    both_roles,
    close_payload,
    feed,
    frame,
    joined,
    moved,
    opened,
    peer_of,
    sent,
)

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.errors import Reason
from theater.limits import ConnectionLimits
from theater.protocol.machine import Chunk, Failure, Machine, Role, State
from theater.protocol.receiver import Receiver

RESERVED_OPCODES = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
CONTROLS = [CLOSE, PING, PONG]


def fault(machine: Machine, *reads: bytes) -> Failure:
    """The failure that the reads end in, checked for all that a failure brings with it."""
    events = feed(machine, *reads)
    assert events, "no failure"
    failure = events[-1]
    assert isinstance(failure, Failure)
    assert machine.failed
    assert machine.state is State.ENDING
    assert machine.closed == Close(failure.reason.close_code, failure.problem)
    assert not any(isinstance(event, Failure | Close) for event in events[:-1])
    return failure


def protocol_error(machine: Machine, *reads: bytes) -> str:
    """As `fault`, for the commonest reason; returns its problem."""
    failure = fault(machine, *reads)
    assert failure.reason is Reason.PROTOCOL_ERROR
    return failure.problem


# Messages in one frame


@both_roles
@pytest.mark.parametrize(
    ("opcode", "payload", "event"),
    [
        (TEXT, b"", Text("")),
        (TEXT, b"Hello", Text("Hello")),
        (TEXT, "é€😀".encode(), Text("é€😀")),
        (BINARY, b"", Binary(b"")),
        (BINARY, b"\x00\xff", Binary(b"\x00\xff")),
        (PONG, b"", Pong(b"")),
        (PONG, bytes(125), Pong(bytes(125))),
        (PING, b"", Ping(b"")),
        (PING, bytes(125), Ping(bytes(125))),
    ],
)
def test_a_frame_is_a_message(role: Role, opcode: int, payload: bytes, event: Message) -> None:
    machine = opened(role)
    assert feed(machine, frame(role, opcode, payload)) == [event]
    assert machine.state is State.OPEN
    assert not machine.behind
    assert not machine.failed


@both_roles
@both_modes
@pytest.mark.parametrize("size", [125, 126, 127, 128, 131, 132, 4095, 4096, 4097, 65535, 65536, 70_001])
def test_payloads_of_all_lengths_arrive(role: Role, stream: bool, size: int) -> None:  # §5.2
    payload = bytes(index % 251 for index in range(size))
    text = payload.decode("latin-1")[: size // 2]
    machine = opened(role, 100_000, stream)
    data = frame(role, BINARY, payload) + frame(role, TEXT, text.encode())
    expected = [Chunk(payload, True), Chunk(text, True)] if stream else [Binary(payload), Text(text)]
    assert joined(feed(machine, data)) == expected
    assert joined(feed(machine, bytearray(data))) == expected
    assert joined(feed(machine, data[:1000], data[1000:])) == expected


@both_roles
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with another"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_buffer_can_be_used_again_at_once(role: Role, opcode: int, alone: bool) -> None:
    one = frame(role, opcode, b"first") + b"" if alone else frame(role, PONG, b"first") * 2
    machine = opened(role)
    buffer = bytearray(one + frame(role, opcode, b"x" * 5000)[:50])
    events = machine.receive(buffer, len(one))
    before = list(events)
    buffer[:] = bytes(len(buffer))
    buffer.clear()  # raises BufferError if anything still looks at it
    assert events == before
    assert feed(machine, frame(role, opcode, b"next")) == [
        Text("next") if opcode == TEXT else Binary(b"next")
    ]


@both_roles
@pytest.mark.parametrize("size", [3, 4097])
def test_a_remainder_is_kept_apart_from_the_buffer(role: Role, size: int) -> None:
    payload = b"x" * size
    data = frame(role, BINARY, payload) * 2
    for cut in (1, len(data) // 2 + 1, len(data) // 2 + 2, len(data) - 1):
        machine = opened(role, 5000)
        buffer = bytearray(data[:cut])
        events = machine.receive(buffer)
        buffer[:] = bytes(cut)
        buffer.clear()
        assert events + machine.receive(data[cut:]) == [Binary(payload)] * 2


@both_roles
def test_only_the_bytes_before_the_end_count(role: Role) -> None:
    whole = frame(role, TEXT, b"one")
    machine = opened(role)
    assert machine.receive(whole + b"garbage", len(whole)) == [Text("one")]
    assert machine.receive(whole + b"garbage", 4) == []
    assert machine.receive(whole[4:] + b"garbage", len(whole) - 4) == [Text("one")]
    assert machine.receive(whole, 0) == []
    assert machine.receive() == []


# The short way


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 4095, 4096, 4097, 65535])
def test_a_message_whole_and_alone_may_take_the_short_way(
    size: int, kind: type[bytes] | type[bytearray]
) -> None:
    payload = bytes(index % 128 for index in range(size))
    machine = opened(max_message=size)
    for opcode, message in ((TEXT, Text(payload.decode())), (BINARY, Binary(payload))):
        data = kind(frame(Role.SERVER, opcode, payload))
        assert machine.receive_whole(data, len(data)) == message
        assert machine.receive_whole(data + b"garbage", len(data)) == message
    assert machine.receive() == []


def test_the_short_way_keeps_nothing_of_the_buffer() -> None:
    machine = opened(max_message=5000)
    for payload in (b"x" * 10, b"x" * 5000):
        buffer = bytearray(frame(Role.SERVER, BINARY, payload))
        message = machine.receive_whole(buffer, len(buffer))
        buffer[:] = bytes(len(buffer))
        buffer.clear()
        assert message == Binary(payload)
        assert type(message.data) is bytes


ONE = frame(Role.SERVER, TEXT, b"one")
FAR = frame(Role.SERVER, BINARY, bytes(200))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        *(pytest.param(ONE[:size], id=f"{size} bytes of a short frame") for size in range(1, len(ONE))),
        *(
            pytest.param(FAR[:size], id=f"{size} bytes of a longer frame")
            for size in (1, 2, 4, 6, 7, 8, 9, 207)
        ),
        pytest.param(ONE + ONE, id="two messages"),
        pytest.param(ONE + b"\x81", id="a message and a byte"),
        pytest.param(frame(Role.SERVER, BINARY, bytes(MAX + 1)), id="too big"),
        pytest.param(frame(Role.SERVER, TEXT, b"\xff"), id="text that is not UTF-8"),
        pytest.param(frame(Role.SERVER, TEXT, b"one", fin=False), id="a fragment"),
        pytest.param(frame(Role.SERVER, CONTINUATION, b"one"), id="a continuation"),
        pytest.param(frame(Role.SERVER, PING, b"one"), id="a ping"),
        pytest.param(frame(Role.SERVER, CLOSE), id="a close"),
        pytest.param(frame(Role.SERVER, TEXT, b"one", rsv=4), id="a reserved bit"),
        pytest.param(frame(Role.SERVER, 3, b"one"), id="a reserved opcode"),
        pytest.param(frame(Role.SERVER, TEXT, b"one", width=2), id="3 as 2 bytes"),
        pytest.param(frame(Role.SERVER, TEXT, b"x" * 125, width=2), id="125 as 2 bytes"),
        pytest.param(frame(Role.SERVER, TEXT, b"x" * 200, width=8), id="200 as 8 bytes"),
        pytest.param(frame(Role.CLIENT, TEXT, b"not masked"), id="not masked"),
        pytest.param(frame(Role.CLIENT, TEXT, b"x" * 200), id="not masked, longer"),
    ],
)
def test_all_else_is_left_to_the_long_way(data: bytes) -> None:
    machine = opened()
    assert machine.receive_whole(data, len(data)) is None
    untouched = opened()
    assert feed(machine, data) == feed(untouched, data)
    assert (machine.state, machine.closed, machine.out) == (untouched.state, untouched.closed, untouched.out)


def test_a_message_of_64_kib_takes_the_long_way() -> None:
    machine = opened(max_message=100_000)
    data = frame(Role.SERVER, BINARY, bytes(65536))
    assert machine.receive_whole(data, len(data)) is None
    assert machine.receive(data) == [Binary(bytes(65536))]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(lambda machine: machine.receive(b"\x81"), id="half a header is there"),
        pytest.param(lambda machine: machine.receive(ONE[:-1]), id="half a payload is there"),
        pytest.param(lambda machine: machine.receive(frame(Role.SERVER, TEXT, fin=False)), id="in a message"),
        pytest.param(lambda machine: machine.receive(ONE * 1000), id="behind"),
        pytest.param(lambda machine: machine.close(), id="closing"),
        pytest.param(lambda machine: (machine.close(), machine.receive(ONE)), id="closing for a while"),
        pytest.param(lambda machine: machine.receive(frame(Role.SERVER, CLOSE)), id="the peer has closed"),
        pytest.param(lambda machine: machine.receive(frame(Role.SERVER, 3)), id="the peer is at fault"),
        pytest.param(lambda machine: machine.lost(), id="lost"),
    ],
)
def test_there_is_no_short_way_when(before: Callable[[Machine], object]) -> None:
    machine = opened()
    before(machine)
    assert machine.receive_whole(ONE, len(ONE)) is None
    machine = moved(machine, Role.SERVER)
    assert machine.receive_whole(ONE, len(ONE)) is None


def test_the_short_way_is_open_again_behind_a_long_one() -> None:
    machine = opened()
    feed(machine, ONE[:3], ONE[3:] + frame(Role.SERVER, TEXT, b"a", fin=False))
    feed(machine, frame(Role.SERVER, CONTINUATION, b"b") + frame(Role.SERVER, PING))
    assert machine.receive_whole(ONE, len(ONE)) == Text("one")
    feed(machine, ONE * 1000)
    assert machine.receive_whole(ONE, len(ONE)) == Text("one")


def test_the_short_way_is_for_servers_that_do_not_stream() -> None:
    one = frame(Role.CLIENT, TEXT, b"one")
    assert opened(Role.CLIENT).receive_whole(one, len(one)) is None
    assert opened(Role.CLIENT).receive_whole(ONE, len(ONE)) is None
    assert opened(stream=True).receive_whole(ONE, len(ONE)) is None


# §5.1, §5.3: masks


@both_roles
@both_modes
@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, *CONTROLS])
def test_a_frame_masked_the_wrong_way_fails(role: Role, stream: bool, opcode: int) -> None:
    problem = protocol_error(opened(role, stream=stream), frame(peer_of(role), opcode, b"xx"))
    assert problem == ("a frame that is not masked" if role is Role.SERVER else "a masked frame")


@both_roles
def test_a_wrong_mask_bit_fails_before_the_header_is_whole(role: Role) -> None:
    wrong = frame(peer_of(role), BINARY, bytes(300))
    machine = opened(role)
    assert feed(machine, wrong[:1]) == []
    protocol_error(machine, wrong[1:2])


# §5.2: reserved bits, opcodes and lengths


@both_roles
@both_modes
@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, *CONTROLS])
def test_reserved_bits_fail(role: Role, stream: bool, opcode: int, rsv: int) -> None:
    problem = protocol_error(opened(role, stream=stream), frame(role, opcode, b"xx", rsv=rsv))
    assert problem == "a frame with reserved bits set"


@both_roles
def test_reserved_bits_of_a_continuation_fail(role: Role) -> None:
    machine = opened(role)
    feed(machine, frame(role, TEXT, b"a", fin=False))
    protocol_error(machine, frame(role, CONTINUATION, b"b", rsv=4))


@both_roles
@both_modes
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
@pytest.mark.parametrize("opcode", RESERVED_OPCODES)
def test_reserved_opcodes_fail(role: Role, stream: bool, opcode: int, fin: bool) -> None:
    problem = protocol_error(opened(role, stream=stream), frame(role, opcode, b"", fin=fin))
    assert problem == f"a frame with the reserved opcode {opcode}"


@both_roles
def test_reserved_opcodes_fail_inside_a_message_too(role: Role) -> None:
    for opcode in RESERVED_OPCODES:
        machine = opened(role)
        feed(machine, frame(role, TEXT, b"a", fin=False))
        protocol_error(machine, frame(role, opcode))


@both_roles
@both_modes
@pytest.mark.parametrize(
    ("width", "size"),
    [(2, 0), (2, 1), (2, 125), (8, 0), (8, 125), (8, 126), (8, 65535)],
)
def test_a_length_that_is_not_minimal_fails(role: Role, stream: bool, width: int, size: int) -> None:
    machine = opened(role, 100_000, stream)
    problem = protocol_error(machine, frame(role, BINARY, announced=size, width=width))
    assert problem == "a payload length that is not in its shortest form"


@both_roles
@both_modes
@pytest.mark.parametrize("size", [2**63, 2**64 - 1])
def test_a_length_of_64_bits_fails(role: Role, stream: bool, size: int) -> None:
    problem = protocol_error(opened(role, stream=stream), frame(role, BINARY, announced=size))
    assert problem == "a payload length of more than 63 bits"


@both_roles
def test_a_length_of_63_bits_is_only_too_big(role: Role) -> None:
    assert fault(opened(role), frame(role, BINARY, announced=2**63 - 1)).reason is Reason.MESSAGE_TOO_BIG
    machine = opened(role, stream=True, max_stream=2**63)
    assert feed(machine, frame(role, BINARY, b"x", announced=2**63 - 1)) == [Chunk(b"x", False)]


# §5.5: control frames


@both_roles
@both_modes
@pytest.mark.parametrize("size", [126, 127, 65535, 65536, 2**63 - 1])
@pytest.mark.parametrize("opcode", CONTROLS)
def test_a_long_control_frame_fails_by_its_header(role: Role, stream: bool, opcode: int, size: int) -> None:
    machine = opened(role, stream=stream)
    assert protocol_error(machine, frame(role, opcode, announced=size)) == f"a control frame of {size} bytes"


@both_roles
@both_modes
@pytest.mark.parametrize("opcode", CONTROLS)
def test_a_fragmented_control_frame_fails(role: Role, stream: bool, opcode: int) -> None:
    machine = opened(role, stream=stream)
    assert protocol_error(machine, frame(role, opcode, fin=False)) == "a fragmented control frame"


# §5.4: fragments


@both_roles
@pytest.mark.parametrize(
    ("opcode", "pieces", "event"),
    [
        (TEXT, [b"a", b"b"], Text("ab")),
        (TEXT, [b"", b""], Text("")),
        (TEXT, [b"", b"", b"abc", b"", b"d", b""], Text("abcd")),
        (TEXT, [b"\xf0", b"\x9f", b"\x98", b"\x80"], Text("😀")),
        (TEXT, [b"a\xc3", b"", b"\xa9b"], Text("aéb")),
        (BINARY, [b"\xff", b"\xfe"], Binary(b"\xff\xfe")),
        (BINARY, [b"", b""], Binary(b"")),
        (BINARY, [b"a" * 200, b"b" * 200, b"c" * 200], Binary(b"a" * 200 + b"b" * 200 + b"c" * 200)),
    ],
)
def test_fragments_make_one_message(role: Role, opcode: int, pieces: list[bytes], event: Message) -> None:
    machine = opened(role)
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        data = frame(role, CONTINUATION if index else opcode, piece, fin=index == last)
        assert feed(machine, data) == ([event] if index == last else [])
    assert feed(machine, frame(role, TEXT, b"next")) == [Text("next")]


@both_roles
def test_control_frames_come_through_between_fragments(role: Role) -> None:
    machine = opened(role)
    assert feed(machine, frame(role, TEXT, b"caf\xc3", fin=False)) == []
    assert feed(machine, frame(role, PING, b"\xff")) == [Ping(b"\xff")]
    assert feed(machine, frame(role, CONTINUATION, b"", fin=False) + frame(role, PONG)) == [Pong()]
    assert feed(machine, frame(role, CONTINUATION, b"\xa9")) == [Text("café")]
    assert sent(machine) == [(FIN | PONG, b"\xff")]


@both_roles
@both_modes
def test_a_close_may_come_between_fragments(role: Role, stream: bool) -> None:
    machine = opened(role, stream=stream)
    events = feed(machine, frame(role, TEXT, b"a\xc3", fin=False) + frame(role, CLOSE, close_payload(1001)))
    assert events == ([Chunk("a", False)] if stream else []) + [Close(1001)]
    assert not machine.failed


@both_roles
@both_modes
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
def test_a_continuation_of_nothing_fails(role: Role, stream: bool, fin: bool) -> None:
    wrong = frame(role, CONTINUATION, b"x", fin=fin)
    expected = "a continuation frame without a message to continue"
    assert protocol_error(opened(role, stream=stream), wrong) == expected
    for before in (
        frame(role, TEXT, b"whole"),
        frame(role, PING),
        frame(role, BINARY, b"a", fin=False) + frame(role, CONTINUATION, b"b"),
    ):
        assert protocol_error(opened(role, stream=stream), before + wrong) == expected


@both_roles
@both_modes
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("first", [TEXT, BINARY])
def test_a_new_message_inside_another_fails(
    role: Role, stream: bool, first: int, second: int, fin: bool
) -> None:
    wrong = frame(role, second, b"x", fin=fin)
    for before in (
        [frame(role, first, b"a", fin=False)],
        [frame(role, first, b"", fin=False), frame(role, PING)],
        [frame(role, first, b"a", fin=False), frame(role, CONTINUATION, b"b", fin=False)],
    ):
        expected = "a new message before the last one has ended"
        assert protocol_error(opened(role, stream=stream), *before, wrong) == expected
        assert protocol_error(opened(role, stream=stream), b"".join(before) + wrong) == expected


@both_roles
@both_modes
def test_empty_fragments_do_not_pile_up(role: Role, stream: bool) -> None:
    # They count nothing towards the size of the message, so a peer may send any number of them.
    machine = opened(role, stream=stream)
    feed(machine, frame(role, TEXT, b"a", fin=False))
    before = len(machine.export_state())
    feed(machine, frame(role, CONTINUATION, fin=False) * 5000)
    assert len(machine.export_state()) < before + 1000
    events = feed(machine, frame(role, CONTINUATION, b"b"))
    assert events == [Chunk("b", True) if stream else Text("ab")]


# §8.1: UTF-8


def first_bad_byte(data: bytes) -> int | None:
    """Where a strict decoder fails: Unicode 16, table 3-7, "Well-Formed UTF-8 Byte Sequences"."""
    low, high, more = 0x80, 0xBF, 0
    for index, byte in enumerate(data):
        if more:
            if not low <= byte <= high:
                return index
            low, high, more = 0x80, 0xBF, more - 1
        elif byte >= 0x80:
            if 0xC2 <= byte <= 0xDF:
                more = 1
            elif 0xE0 <= byte <= 0xEF:
                more = 2
                low, high = {0xE0: 0xA0}.get(byte, 0x80), {0xED: 0x9F}.get(byte, 0xBF)
            elif 0xF0 <= byte <= 0xF4:
                more = 3
                low, high = {0xF0: 0x90}.get(byte, 0x80), {0xF4: 0x8F}.get(byte, 0xBF)
            else:
                return index
    return None


BAD_TEXTS = [
    pytest.param(b"\x80", id="continuation alone"),
    pytest.param(b"ab\xbfc", id="continuation after ASCII"),
    pytest.param(b"\xc0\x80", id="overlong NUL"),
    pytest.param(b"\xc1\xbf", id="overlong ASCII"),
    pytest.param(b"\xc3\x28", id="two bytes, second wrong"),
    pytest.param(b"\xe0\x9f\xbf", id="overlong, three bytes"),
    pytest.param(b"\xe2\x28\xa1", id="three bytes, second wrong"),
    pytest.param(b"\xe2\x82\x28", id="three bytes, third wrong"),
    pytest.param(b"\xed\xa0\x80", id="surrogate"),
    pytest.param(b"\xf0\x8f\xbf\xbf", id="overlong, four bytes"),
    pytest.param(b"\xf0\x90\x28\xbc", id="four bytes, third wrong"),
    pytest.param(b"\xf0\x90\x8c\x28", id="four bytes, fourth wrong"),
    pytest.param(b"\xf4\x90\x80\x80", id="above U+10FFFF"),
    pytest.param(b"\xf5\x80\x80\x80", id="F5"),
    pytest.param(b"\xfe", id="FE"),
    pytest.param(b"\xff", id="FF"),
    pytest.param("κόσμε".encode() + b"\xed\xa0\x80edited", id="Autobahn 6.3.1"),
]


@both_roles
@both_modes
@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_bad_text_in_a_whole_frame_fails(role: Role, stream: bool, bad: bytes) -> None:
    machine = opened(role, stream=stream)
    assert fault(machine, frame(role, TEXT, bad)) == Failure(Reason.INVALID_TEXT, "text that is not UTF-8")
    assert machine.closed.code == 1007


@both_roles
@both_modes
@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_bad_text_fails_at_its_first_bad_byte_inside_a_frame(role: Role, stream: bool, bad: bytes) -> None:
    at = first_bad_byte(bad)
    assert at is not None
    data = frame(role, TEXT, b"ok" + bad + b"never read")
    begin = len(data) - len(bad + b"never read")
    for read in ([data[index : index + 1] for index in range(begin + at)], [data[: begin + at]]):
        machine = opened(role, stream=stream)
        assert not any(isinstance(event, Failure) for event in feed(machine, *read))
        assert fault(machine, data[begin + at : begin + at + 1]).reason is Reason.INVALID_TEXT


@both_roles
@both_modes
@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_bad_text_fails_at_its_first_bad_byte_across_frames(role: Role, stream: bool, bad: bytes) -> None:
    at = first_bad_byte(bad)
    assert at is not None
    machine = opened(role, stream=stream)
    feed(machine, frame(role, TEXT, b"ok", fin=False))
    for index in range(at):
        feed(machine, frame(role, CONTINUATION, bad[index : index + 1], fin=False), frame(role, PONG))
        assert machine.state is State.OPEN
    assert (
        fault(machine, frame(role, CONTINUATION, bad[at : at + 1], fin=False)).reason is Reason.INVALID_TEXT
    )


@both_modes
@given(
    st.lists(
        st.sampled_from([0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4])
    )
)
@settings(deadline=None)
@example([0xED, 0xA0])
@example([0xF4, 0x8F, 0xBF, 0xBF])
def test_text_fails_where_a_strict_decoder_does(stream: bool, codes: list[int]) -> None:
    text = bytes(codes)
    data = frame(Role.SERVER, TEXT, text, announced=len(text) + 1)
    machine = opened(stream=stream)
    failed_at = None
    for index, byte in enumerate(data):
        if any(isinstance(event, Failure) for event in machine.receive(bytes((byte,)))):
            failed_at = index - (len(data) - len(text))
            break
    assert failed_at == first_bad_byte(text)


@both_roles
@both_modes
@pytest.mark.parametrize("cut", [b"\xc3", b"\xe2\x82", b"ok\xf0\x9f\x98"])
def test_text_that_ends_inside_a_character_fails(role: Role, stream: bool, cut: bytes) -> None:
    for reads in (
        [frame(role, TEXT, cut)],
        [frame(role, TEXT, cut, fin=False), frame(role, CONTINUATION)],
        [frame(role, TEXT, cut, fin=False), frame(role, CONTINUATION, fin=False), frame(role, CONTINUATION)],
    ):
        machine = opened(role, stream=stream)
        assert not any(isinstance(event, Failure) for event in feed(machine, *reads[:-1]))
        assert fault(machine, reads[-1]).reason is Reason.INVALID_TEXT


@both_roles
def test_binary_and_control_payloads_are_not_text(role: Role) -> None:
    machine = opened(role)
    data = b"".join(frame(role, opcode, b"\xff") for opcode in (BINARY, PING, PONG))
    assert feed(machine, data) == [Binary(b"\xff"), Ping(b"\xff"), Pong(b"\xff")]


@both_roles
@both_modes
def test_half_a_character_does_not_leak_into_the_next_message(role: Role, stream: bool) -> None:
    machine = opened(role, stream=stream)
    data = (
        frame(role, TEXT, b"\xc3", fin=False) + frame(role, CONTINUATION, b"\xa9") + frame(role, TEXT, b"b")
    )
    assert joined(feed(machine, data)) == (
        [Chunk("é", True), Chunk("b", True)] if stream else [Text("é"), Text("b")]
    )


@both_roles
def test_good_text_before_a_bad_byte_is_streamed_whether_split_or_not(role: Role) -> None:
    data = frame(role, TEXT, b"good\xff")
    split = feed(opened(role, stream=True), data[:-1], data[-1:])
    assert split == [Chunk("good", False), Failure(Reason.INVALID_TEXT, "text that is not UTF-8")]
    assert feed(opened(role, stream=True), data) == split


# The size of a message


@both_roles
@pytest.mark.parametrize("maximum", [0, 1, 125, 126, 131, 132, 5000, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_just_the_maximum_arrives(role: Role, opcode: int, maximum: int) -> None:
    payload = b"x" * maximum
    expected = [Text("x" * maximum) if opcode == TEXT else Binary(payload)]
    assert feed(opened(role, maximum), frame(role, opcode, payload)) == expected
    half = maximum // 2
    data = frame(role, opcode, payload[:half], fin=False) + frame(role, CONTINUATION, payload[half:])
    assert feed(opened(role, maximum), data) == expected


@both_roles
@pytest.mark.parametrize("maximum", [0, 1, 124, 125, 131, 132, 5000, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_too_big_fails_by_its_header(role: Role, opcode: int, maximum: int) -> None:
    header = frame(role, opcode, announced=maximum + 1)
    machine = opened(role, maximum)
    assert feed(machine, header[:-1]) == []
    problem = f"a message of {maximum + 1:,} bytes, at most {maximum:,} are allowed"
    assert fault(machine, header[-1:]) == Failure(Reason.MESSAGE_TOO_BIG, problem)
    assert machine.closed.code == 1009
    whole = frame(role, opcode, b"x" * (maximum + 1))
    assert fault(opened(role, maximum), whole).reason is Reason.MESSAGE_TOO_BIG


@both_roles
def test_fragments_too_big_together_fail_by_the_header_that_tells(role: Role) -> None:
    machine = opened(role, 10)
    feed(machine, frame(role, BINARY, bytes(6), fin=False), frame(role, PING, bytes(125)))
    feed(machine, frame(role, CONTINUATION, bytes(4), fin=False))
    feed(machine, frame(role, CONTINUATION, fin=False))
    header = frame(role, CONTINUATION, announced=1, fin=False)
    problem = "a message of at least 11 bytes, at most 10 are allowed"
    assert fault(machine, header) == Failure(Reason.MESSAGE_TOO_BIG, problem)


@both_roles
def test_every_message_has_the_whole_maximum(role: Role) -> None:
    machine = opened(role, 4)
    data = (
        frame(role, BINARY, b"abc", fin=False)
        + frame(role, CONTINUATION, b"d")
        + frame(role, BINARY, b"efgh")
    )
    assert feed(machine, data * 2) == [Binary(b"abcd"), Binary(b"efgh")] * 2


@both_roles
@both_modes
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_too_big_fails_by_its_header(role: Role, stream: bool, opcode: int) -> None:
    limits: dict[str, Any] = {"max_message": 100, "max_frame": 10}
    small = frame(role, opcode, b"x" * 10, fin=False) + frame(role, CONTINUATION, b"x" * 10)
    machine = opened(role, stream=stream, **limits)
    assert len(joined(feed(machine, small))) == 1
    if stream:
        assert len(joined(feed(machine, frame(role, opcode, b"x" * 11)))) == 1
        return
    for before in (b"", frame(role, opcode, b"x", fin=False)):
        header = frame(role, CONTINUATION if before else opcode, announced=11)
        machine = opened(role, **limits)
        assert feed(machine, before, header[:-1]) == []
        problem = "a frame of 11 bytes, at most 10 are allowed"
        assert fault(machine, header[-1:]) == Failure(Reason.MESSAGE_TOO_BIG, problem)
        whole = frame(role, CONTINUATION if before else opcode, b"x" * 11)
        assert fault(opened(role, **limits), before + whole).reason is Reason.MESSAGE_TOO_BIG
    whole = frame(Role.SERVER, opcode, b"x" * 11)
    assert opened(**limits).receive_whole(whole, len(whole)) is None


@both_roles
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_a_message_of_too_many_fragments_fails(role: Role, payload: bytes) -> None:
    fragment = frame(role, CONTINUATION, payload, fin=False)
    first = frame(role, BINARY, payload, fin=False) + fragment
    machine = opened(role, max_fragments=3)
    assert feed(machine, (first + frame(role, CONTINUATION)) * 2) == [Binary(payload * 2)] * 2
    assert feed(machine, first, frame(role, PING), fragment) == [Ping(b"")]
    problem = "a message of more than 3 frames"
    assert fault(machine, fragment[:-1], fragment[-1:]) == Failure(Reason.POLICY_VIOLATION, problem)
    assert machine.closed.code == 1008


@both_roles
def test_the_limits_of_messages_do_not_count_for_streams(role: Role) -> None:
    machine = opened(role, 1, stream=True, max_fragments=1)
    data = frame(role, BINARY, bytes(100), fin=False) + frame(role, CONTINUATION, bytes(100))
    assert joined(feed(machine, data)) == [Chunk(bytes(200), True)]


@both_roles
def test_a_stream_too_long_fails_by_its_header(role: Role) -> None:
    data = frame(role, BINARY, bytes(4), fin=False) + frame(role, CONTINUATION, bytes(6))
    machine = opened(role, stream=True, max_stream=10)
    assert joined(feed(machine, data * 2)) == [Chunk(bytes(10), True)] * 2
    feed(machine, frame(role, BINARY, bytes(4), fin=False))
    failure = Failure(Reason.MESSAGE_TOO_BIG, "a message of 11 bytes, at most 10 are allowed")
    assert fault(machine, frame(role, CONTINUATION, announced=7)) == failure
    assert fault(opened(role, stream=True, max_stream=10), frame(role, TEXT, announced=11)) == failure


# Streaming


@both_roles
def test_chunks_come_as_their_bytes_do(role: Role) -> None:
    machine = opened(role, stream=True)
    data = frame(role, BINARY, b"abcdef")
    begin = len(data) - 6
    assert machine.receive(data[:begin]) == []
    assert machine.receive(data[begin : begin + 2]) == [Chunk(b"ab", False)]
    assert machine.receive(data[begin + 2 : -1]) == [Chunk(b"cde", False)]
    assert machine.receive(data[-1:]) == [Chunk(b"f", True)]


@both_roles
def test_chunks_of_text_are_whole_characters(role: Role) -> None:
    machine = opened(role, stream=True)
    data = frame(role, TEXT, "a😀é".encode())
    begin = len(data) - 7
    reads = [data[: begin + 1], *(data[index : index + 1] for index in range(begin + 1, len(data)))]
    events = [machine.receive(read) for read in reads]
    assert events == [[Chunk("a", False)], [], [], [], [Chunk("😀", False)], [], [Chunk("é", True)]]


@both_roles
@pytest.mark.parametrize(("opcode", "empty"), [(TEXT, ""), (BINARY, b"")])
def test_an_empty_chunk_comes_only_to_end_a_message(role: Role, opcode: int, empty: str | bytes) -> None:
    machine = opened(role, stream=True)
    assert feed(machine, frame(role, opcode)) == [Chunk(empty, True)]
    assert feed(machine, frame(role, opcode, fin=False), frame(role, CONTINUATION, fin=False)) == []
    assert feed(machine, frame(role, CONTINUATION)) == [Chunk(empty, True)]


@both_roles
def test_control_frames_come_through_between_chunks(role: Role) -> None:
    machine = opened(role, stream=True)
    assert feed(
        machine,
        frame(role, TEXT, b"a", fin=False) + frame(role, PING, b"p"),
        frame(role, CONTINUATION, b"b") + frame(role, PONG, b"q"),
    ) == [Chunk("a", False), Ping(b"p"), Chunk("b", True), Pong(b"q")]
    assert sent(machine) == [(FIN | PONG, b"p")]


# Batches


@both_roles
def test_a_long_read_is_handed_out_in_batches(role: Role, batch: int) -> None:
    assert 1 < batch < 1000
    machine = opened(role)
    count = 5 * batch + 3
    data = b"".join(frame(role, TEXT, str(number).encode()) for number in range(count))
    batches = [machine.receive(data)]
    while machine.behind:
        batches.append(machine.receive())
    assert [len(events) for events in batches] == [batch] * 5 + [3]
    assert [event for events in batches for event in events] == [Text(str(number)) for number in range(count)]
    assert machine.receive() == []


@both_roles
def test_a_full_batch_that_was_all_is_not_behind(role: Role, batch: int) -> None:
    machine = opened(role)
    assert len(machine.receive(frame(role, TEXT, b"x") * batch)) == batch
    assert not machine.behind


@both_roles
def test_a_batch_is_counted_in_events_not_frames(role: Role, batch: int) -> None:
    machine = opened(role)
    data = frame(role, TEXT, b"a", fin=False) + frame(role, CONTINUATION, b"b", fin=False) * 5 * batch
    data += frame(role, CONTINUATION, b"c")
    assert machine.receive(data) == [Text("a" + "b" * 5 * batch + "c")]
    assert not machine.behind


@both_roles
def test_what_is_read_while_behind_comes_after(role: Role, batch: int) -> None:
    machine = opened(role)
    events = machine.receive(frame(role, TEXT, b"a") * (batch + 1) + frame(role, TEXT, b"b")[:3])
    assert machine.behind
    events += feed(machine, frame(role, TEXT, b"b")[3:] + frame(role, TEXT, b"c"))
    assert events == [Text("a")] * (batch + 1) + [Text("b"), Text("c")]


@both_roles
@pytest.mark.parametrize("tail", ["frame", "header", "payload", "nothing"])
def test_the_end_of_a_read_behind_a_full_batch_is_kept(role: Role, batch: int, tail: str) -> None:
    last = frame(role, BINARY, bytes(200))
    size = {"frame": len(last), "header": 3, "payload": len(last) - 1, "nothing": 0}[tail]
    machine = opened(role)
    events = feed(machine, frame(role, PONG) * batch + last[:size], last[size:])
    assert events == [Pong()] * batch + [Binary(bytes(200))]


@both_roles
def test_a_fault_behind_a_full_batch_waits_its_turn(role: Role, batch: int) -> None:
    machine = opened(role)
    events = machine.receive(frame(role, PONG) * batch + frame(role, 3) + frame(role, PONG))
    assert events == [Pong()] * batch
    assert (machine.behind, machine.state) == (True, State.OPEN)
    assert machine.receive() == [Failure(Reason.PROTOCOL_ERROR, "a frame with the reserved opcode 3")]
    assert (machine.behind, machine.state) == (False, State.ENDING)
    assert machine.receive() == []


@both_roles
def test_a_close_behind_a_full_batch_waits_its_turn(role: Role, batch: int) -> None:
    machine = opened(role)
    assert machine.receive(frame(role, PONG) * batch + frame(role, CLOSE) + b"more") == [Pong()] * batch
    assert (machine.behind, machine.state) == (True, State.OPEN)
    assert machine.receive() == [Close(1005)]
    assert (machine.behind, machine.state) == (False, State.ENDING)


@both_roles
def test_chunks_are_batched_too(role: Role, batch: int) -> None:
    machine = opened(role, stream=True)
    data = frame(role, TEXT, b"a", fin=False) + frame(role, CONTINUATION, b"b", fin=False) * 2 * batch
    assert machine.receive(data) == [Chunk("a", False)] + [Chunk("b", False)] * (batch - 1)
    assert machine.behind


# §5.5.1: close frames


@both_roles
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535])
def test_a_close_code_that_may_not_be_sent_fails(role: Role, code: int) -> None:  # §7.4
    problem = protocol_error(opened(role), frame(role, CLOSE, close_payload(code, "x")))
    assert problem == f"close code {code} is not allowed"


@both_roles
def test_half_a_close_code_fails(role: Role) -> None:  # §5.5.1
    assert protocol_error(opened(role), frame(role, CLOSE, b"\x03")) == "a close frame with half a close code"


@both_roles
@pytest.mark.parametrize("reason", [b"\xff", b"cut\xc3"])
def test_a_close_reason_that_is_not_utf8_fails(role: Role, reason: bytes) -> None:  # §8.1
    machine = opened(role)
    assert fault(machine, frame(role, CLOSE, b"\x03\xe8" + reason)).reason is Reason.INVALID_TEXT


@both_roles
@pytest.mark.parametrize(
    "behind", [frame(Role.SERVER, TEXT, b"x"), frame(Role.SERVER, CLOSE), b"\xff" * 9, b"\x81"]
)
def test_what_follows_a_close_is_ignored(role: Role, behind: bytes) -> None:  # §5.5.1
    data = frame(role, CLOSE, close_payload(1000, "bye"))
    for cut in range(len(data) + 1):
        machine = opened(role)
        events = feed(machine, data[:cut], data[cut:] + behind, behind)
        assert events == [Close(1000, "bye")]
        assert (machine.state, machine.closed) == (State.ENDING, Close(1000, "bye"))
        machine.finish()
        assert feed(machine, behind) == []
        assert sent(machine) == [(FIN | CLOSE, close_payload(1000))]


@both_roles
def test_what_follows_a_fault_is_ignored(role: Role) -> None:  # §7.1.7
    machine = opened(role)
    events = feed(
        machine, frame(role, TEXT, b"a") + frame(role, 3) + frame(role, TEXT, b"b"), frame(role, TEXT)
    )
    assert events == [Text("a"), Failure(Reason.PROTOCOL_ERROR, "a frame with the reserved opcode 3")]
    machine.finish()
    assert feed(machine, frame(role, TEXT, b"c"), frame(role, CLOSE)) == []
    assert machine.closed.code == 1002


@pytest.mark.parametrize("event", [Chunk("a", True), Failure(Reason.PROTOCOL_ERROR, "x")])
def test_events_do_not_change(event: Chunk | Failure) -> None:
    (field, *_) = event.__struct_fields__
    with pytest.raises(AttributeError):
        setattr(event, field, None)


# By itself


@pytest.mark.parametrize(
    ("last", "event"),
    [
        (frame(Role.SERVER, CLOSE), Close(1005)),
        (frame(Role.SERVER, 3), Failure(Reason.PROTOCOL_ERROR, "a frame with the reserved opcode 3")),
    ],
    ids=["close", "fault"],
)
def test_a_receiver_is_over_with_a_close_or_a_fault(last: bytes, event: Close | Failure) -> None:
    receiver = Receiver(True, ConnectionLimits())
    found = [(receiver.receive(data), receiver.over) for data in (frame(Role.SERVER, TEXT, b"a"), last)]
    assert found == [([Text("a")], False), ([event], True)]
    assert receiver.receive(frame(Role.SERVER, TEXT, b"b")) == []

    successor = Receiver(True, ConnectionLimits())
    successor.restore(receiver.export())
    assert successor.over
    assert successor.receive(frame(Role.SERVER, TEXT, b"b")) == []


@pytest.mark.parametrize("masked", [True, False])
def test_masked_says_what_is_expected(masked: bool) -> None:
    whole = frame(Role.SERVER if masked else Role.CLIENT, TEXT, b"a")
    assert Receiver(masked, ConnectionLimits()).receive(whole) == [Text("a")]
    assert Receiver(not masked, ConnectionLimits()).receive(whole) != [Text("a")]
