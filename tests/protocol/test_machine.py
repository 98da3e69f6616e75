"""The closing handshake, sending, and handing over, by examples."""

import random
from collections.abc import Callable

import pytest
from tests.protocol.compressed import AGREEMENTS, KEEPS, Unpacker
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
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
    run,
    sent,
)

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.errors import InvalidClose, InvalidMessage, LocalError, Reason
from theater.limits import ConnectionLimits
from theater.protocol.deflate import Deflate
from theater.protocol.frames import RSV1, encode_message
from theater.protocol.machine import Failure, Machine, Role, State
from theater.protocol.shared import SharedMessage

# §7: the closing handshake


@both_roles
@pytest.mark.parametrize(
    ("payload", "closed", "echo"),
    [
        pytest.param(b"", Close(1005), b"", id="no code"),
        pytest.param(close_payload(1000), Close(1000), close_payload(1000), id="code"),
        pytest.param(close_payload(1001, "bye"), Close(1001, "bye"), close_payload(1001), id="reason"),
        pytest.param(close_payload(4999, "é" * 61), Close(4999, "é" * 61), close_payload(4999), id="longest"),
        *(pytest.param(close_payload(c), Close(c), close_payload(c), id=str(c)) for c in (1002, 1003, 3000)),
        *(pytest.param(close_payload(c), Close(c), close_payload(c), id=str(c)) for c in range(1007, 1015)),
    ],
)
def test_the_peer_closes(role: Role, payload: bytes, closed: Close, echo: bytes) -> None:  # §5.5.1
    machine = opened(role)
    assert feed(machine, frame(role, CLOSE, payload)) == [closed]
    assert (machine.state, machine.closed, machine.failed) == (State.ENDING, closed, False)
    assert machine.out == []
    machine.finish()
    assert machine.state is State.CLOSED
    assert sent(machine) == [(FIN | CLOSE, echo)]
    assert machine.lost() == closed


@both_roles
@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        (lambda role: frame(role, 3), Failure(Reason.PROTOCOL_ERROR, "a frame with the reserved opcode 3")),
        (lambda role: frame(role, TEXT, b"\xff"), Failure(Reason.INVALID_TEXT, "text that is not UTF-8")),
        (
            lambda role: frame(role, TEXT, announced=MAX + 1),
            Failure(Reason.MESSAGE_TOO_BIG, "a message of 1,001 bytes, at most 1,000 are allowed"),
        ),
    ],
)
def test_the_peer_is_told_its_fault(role: Role, wrong: Callable[[Role], bytes], failure: Failure) -> None:
    machine = opened(role)
    assert feed(machine, wrong(role)) == [failure]
    assert machine.out == []
    machine.finish()
    assert machine.state is State.CLOSED
    assert sent(machine) == [(FIN | CLOSE, close_payload(failure.reason.close_code, failure.problem))]
    assert machine.lost() == Close(failure.reason.close_code, failure.problem)


@both_roles
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (4000, "é" * 61)])
def test_we_close(role: Role, code: int, reason: str) -> None:
    machine = opened(role)
    machine.close(code, reason)
    assert (machine.state, machine.closed) == (State.CLOSING, Close(1006))
    assert sent(machine) == [(FIN | CLOSE, close_payload(code, reason))]
    answer = Close(1001, "you too")
    assert feed(machine, frame(role, CLOSE, close_payload(1001, "you too"))) == [answer]
    assert (machine.state, machine.closed, machine.failed) == (State.CLOSED, answer, False)
    machine.finish()
    assert sent(machine) == []
    assert machine.lost() == answer


@both_roles
@pytest.mark.parametrize(
    "close",
    [
        lambda machine: machine.close(1000, "bye"),
        lambda machine: machine.send(Close(1000, "bye")),
        lambda machine: machine.send_frame(FIN | CLOSE, close_payload(1000, "bye")),
    ],
    ids=["close", "send", "send_frame"],
)
def test_closing_is_the_same_whatever_it_is_done_with(role: Role, close: Callable[[Machine], None]) -> None:
    machine = opened(role)
    close(machine)
    assert machine.state is State.CLOSING
    close(machine)
    assert sent(machine) == [(FIN | CLOSE, close_payload(1000, "bye"))]


@both_roles
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_code_that_may_not_be_sent_does_not_close(role: Role, code: int) -> None:
    machine = opened(role)
    with pytest.raises(InvalidClose):
        machine.close(code)
    with pytest.raises(InvalidClose):
        machine.send(Close(code))
    assert (machine.state, machine.out) == (State.OPEN, [])


@both_roles
def test_both_close_at_once(role: Role) -> None:  # §7.1.3
    machine = opened(role)
    data = frame(role, CLOSE, close_payload(4001))
    assert machine.receive(data[:-1]) == []
    machine.close(4002)
    assert machine.receive(data[-1:]) == [Close(4001)]
    assert machine.state is State.CLOSED
    machine.finish()
    assert sent(machine) == [(FIN | CLOSE, close_payload(4002))]


@both_roles
@both_modes
def test_who_has_closed_does_not_listen(role: Role, stream: bool) -> None:  # §1.4
    messages = frame(role, TEXT, b"a") + frame(role, BINARY, b"b", fin=False) + frame(role, PONG)
    data = messages + frame(role, CLOSE, close_payload(1000))
    for cut in range(len(data) + 1):
        machine = opened(role, stream=stream)
        machine.close()
        assert feed(machine, data[:cut], data[cut:]) == [Close(1000)]
        assert machine.state is State.CLOSED


@both_roles
def test_who_has_closed_still_answers_pings(role: Role) -> None:
    # §5.5.2: "an endpoint MUST send a Pong frame in response, unless it already received a Close frame"
    machine = opened(role)
    machine.close()
    assert feed(machine, frame(role, PING, b"there?")) == []
    assert sent(machine) == [(FIN | CLOSE, close_payload(1000)), (FIN | PONG, b"there?")]


@both_roles
def test_a_message_that_began_before_we_closed_ends_unheard(role: Role) -> None:
    machine = opened(role)
    data = frame(role, TEXT, b"abcdef")
    assert machine.receive(data[:-2]) == []
    machine.close()
    assert machine.receive(data[-2:]) == []
    assert machine.receive(frame(role, CLOSE)) == [Close(1005)]


@both_roles
def test_a_fault_while_closing_ends_without_another_close(role: Role) -> None:  # §7.1.7
    machine = opened(role)
    machine.close(1001)
    events = feed(machine, frame(role, TEXT, b"a") + frame(role, 3) + frame(role, CLOSE))
    failure = Failure(Reason.PROTOCOL_ERROR, "a frame with the reserved opcode 3")
    assert events == [failure]
    assert (machine.state, machine.failed) == (State.CLOSED, True)
    assert machine.closed == Close(1002, failure.problem)
    machine.finish()
    assert sent(machine) == [(FIN | CLOSE, close_payload(1001))]


@both_roles
def test_the_maximum_holds_while_closing(role: Role) -> None:
    machine = opened(role, 10)
    machine.close()
    (failure,) = feed(machine, frame(role, BINARY, announced=11))
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.MESSAGE_TOO_BIG


@both_roles
def test_a_connection_that_is_lost_ended_abnormally(role: Role) -> None:  # §7.1.5
    machine = opened(role)
    feed(machine, frame(role, TEXT, b"a") + frame(role, CLOSE)[:1])
    assert machine.closed == Close(1006)
    assert machine.lost() == Close(1006)
    assert (machine.state, machine.failed) == (State.CLOSED, False)
    assert machine.lost() == Close(1006)


@both_roles
def test_a_connection_that_is_lost_while_closing_ended_abnormally(role: Role) -> None:
    machine = opened(role)
    machine.close(1000)
    assert machine.lost() == Close(1006)
    assert feed(machine, frame(role, CLOSE)) == []


@both_roles
def test_a_connection_that_is_lost_before_the_answer_ended_as_the_peer_said(role: Role) -> None:
    machine = opened(role)
    feed(machine, frame(role, CLOSE, close_payload(1001)))
    assert machine.lost() == Close(1001)
    machine.finish()
    assert machine.out == []


@pytest.mark.parametrize("first", Role)
def test_two_machines_close_cleanly(first: Role) -> None:
    machines = {role: Machine(role, ConnectionLimits()) for role in Role}
    one = machines.pop(first)
    (other,) = machines.values()
    one.send(Text("last words"))
    one.close(4000, "done")
    assert feed(other, *one.out) == [Text("last words"), Close(4000, "done")]
    other.send(Text("reply"))
    other.finish()
    assert feed(one, *other.out) == [Close(4000)]
    assert (one.state, other.state) == (State.CLOSED, State.CLOSED)
    assert (one.failed, other.failed) == (False, False)


@both_roles
def test_an_owner_may_close_while_behind(role: Role, batch: int) -> None:
    machine = opened(role)
    machine.receive(frame(role, TEXT, b"x") * (3 * batch) + frame(role, CLOSE, close_payload(1000)))
    machine.close(1001)
    assert machine.behind
    assert feed(machine, b"") == [Close(1000)]
    assert machine.state is State.CLOSED
    assert sent(machine) == [(FIN | CLOSE, close_payload(1001))]


# §5.5.2: pings


@both_roles
def test_a_ping_is_answered_with_its_payload(role: Role) -> None:  # §5.5.2, §5.5.3
    machine = opened(role)
    assert feed(machine, frame(role, PING, b"one") + frame(role, PING)) == [Ping(b"one"), Ping(b"")]
    assert sent(machine) == [(FIN | PONG, b"one"), (FIN | PONG, b"")]


@both_roles
def test_a_ping_in_pieces_is_answered_once_it_is_whole(role: Role) -> None:
    machine = opened(role)
    data = frame(role, PING, b"payload")
    for index in range(len(data) - 1):
        assert machine.receive(data[index : index + 1]) == []
        assert machine.out == []
    assert machine.receive(data[-1:]) == [Ping(b"payload")]
    assert sent(machine) == [(FIN | PONG, b"payload")]


@both_roles
def test_a_pong_is_not_answered(role: Role) -> None:  # §5.5.3
    machine = opened(role)
    assert feed(machine, frame(role, PONG, b"unasked")) == [Pong(b"unasked")]
    assert sent(machine) == []


@both_roles
def test_a_ping_behind_a_close_is_not_answered(role: Role) -> None:  # §5.5.2
    machine = opened(role)
    assert feed(machine, frame(role, CLOSE) + frame(role, PING)) == [Close(1005)]
    machine.finish()
    assert sent(machine) == [(FIN | CLOSE, b"")]


@both_roles
def test_pings_are_answered_batch_by_batch(role: Role, batch: int) -> None:
    machine = opened(role)
    machine.receive(frame(role, PING) * 3 * batch)
    assert len(sent(machine)) == batch


# What may be sent, and when


@both_roles
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Text(""), (FIN | TEXT, b"")),
        (Text("é"), (FIN | TEXT, b"\xc3\xa9")),
        (Text("x" * 125), (FIN | TEXT, b"x" * 125)),
        (Text("x" * 126), (FIN | TEXT, b"x" * 126)),
        (Text("é" * 63), (FIN | TEXT, b"\xc3\xa9" * 63)),
        (Text("x" * 65536), (FIN | TEXT, b"x" * 65536)),
        (Binary(b"\xff"), (FIN | BINARY, b"\xff")),
        (Ping(b"p"), (FIN | PING, b"p")),
        (Pong(b"q"), (FIN | PONG, b"q")),
    ],
)
def test_a_message_is_sent_in_one_frame(role: Role, message: Message, expected: tuple[int, bytes]) -> None:
    machine = opened(role)
    machine.send(message)
    assert sent(machine) == [expected]
    assert machine.state is State.OPEN


@both_roles
def test_messages_leave_in_order(role: Role) -> None:
    machine = opened(role)
    machine.send(Text("1"))
    machine.receive(frame(role, PING, b"2"))
    machine.send(Text("x" * 126))
    machine.send_frame(FIN | BINARY, b"4")
    machine.send_chunk("5", last=True)
    machine.close()
    firsts = [first for first, _ in sent(machine)]
    assert firsts == [FIN | TEXT, FIN | PONG, FIN | TEXT, FIN | BINARY, FIN | TEXT, FIN | CLOSE]


@both_roles
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Text("\ud800"), id="lone surrogate"),
        pytest.param(Text(5), id="text of a number"),  # type: ignore[arg-type]
        pytest.param(Binary("x"), id="binary of text"),  # type: ignore[arg-type]
        pytest.param(Ping(bytes(126)), id="long ping"),
        pytest.param("text", id="no message"),
    ],
)
def test_what_cannot_be_sent_is_refused(role: Role, message: Message) -> None:
    machine = opened(role)
    with pytest.raises(InvalidMessage):
        machine.send(message)
    assert (machine.out, machine.state) == ([], State.OPEN)


SENDS = {
    "text": lambda machine: machine.send(Text("x")),
    "long text": lambda machine: machine.send(Text("x" * 200)),
    "binary": lambda machine: machine.send(Binary(b"x")),
    "ping": lambda machine: machine.send(Ping()),
    "pong": lambda machine: machine.send(Pong()),
    "frame": lambda machine: machine.send_frame(FIN | TEXT, b"x"),
    "shared": lambda machine: machine.send_shared(SharedMessage(FIN | TEXT, b"x")),
    "chunk": lambda machine: machine.send_chunk("x", last=True),
}
every_send = pytest.mark.parametrize("send", [pytest.param(send, id=name) for name, send in SENDS.items()])
both_ends = pytest.mark.parametrize("last", [CLOSE, 3], ids=["after a close", "after a fault"])


@every_send
def test_an_open_machine_sends(send: Callable[[Machine], None]) -> None:
    machine = opened()
    assert machine.may_send()
    send(machine)
    assert len(sent(machine)) == 1


@every_send
def test_who_has_closed_sends_no_more(send: Callable[[Machine], None]) -> None:  # §5.5.1
    machine = opened()
    machine.close()
    assert not machine.may_send()
    send(machine)
    assert sent(machine) == [(FIN | CLOSE, close_payload(1000))]
    assert machine.state is State.CLOSING


@every_send
@both_ends
def test_replies_leave_before_the_end(send: Callable[[Machine], None], last: int) -> None:
    # The last batch holds messages too: they are handled, and answered, before `finish` is called.
    machine = opened()
    feed(machine, frame(Role.SERVER, TEXT, b"question") + frame(Role.SERVER, last))
    assert machine.may_send()
    send(machine)
    machine.finish()
    (first, _), (end, _) = sent(machine)
    assert first != FIN | CLOSE
    assert end == FIN | CLOSE


@every_send
@both_ends
def test_a_closed_machine_sends_nothing(send: Callable[[Machine], None], last: int) -> None:
    machine = opened()
    feed(machine, frame(Role.SERVER, last))
    machine.finish()
    machine.out.clear()
    assert not machine.may_send()
    send(machine)
    machine.close()
    machine.finish()
    assert machine.out == []
    assert machine.state is State.CLOSED


@every_send
def test_a_lost_machine_sends_nothing(send: Callable[[Machine], None]) -> None:
    machine = opened()
    machine.lost()
    assert not machine.may_send()
    send(machine)
    machine.close()
    machine.finish()
    assert machine.out == []


@both_roles
@pytest.mark.parametrize(
    ("opcode", "answer"),
    [
        pytest.param(CLOSE, close_payload(1001), id="after a close"),
        pytest.param(3, close_payload(1002, "a frame with the reserved opcode 3"), id="after a fault"),
    ],
)
def test_who_closes_second_answers_the_first(role: Role, opcode: int, answer: bytes) -> None:
    machine = opened(role)
    feed(machine, frame(role, TEXT, b"a") + frame(role, opcode, close_payload(1001)))
    closed = machine.closed
    machine.send(Text("b"))
    machine.close(4000, "not said")
    assert machine.state is State.CLOSED
    machine.send(Text("not said"))
    machine.send(Close(4001))
    machine.finish()
    assert sent(machine) == [(FIN | TEXT, b"b"), (FIN | CLOSE, answer)]
    assert machine.closed == closed


@both_roles
def test_finish_does_nothing_at_other_times(role: Role) -> None:
    machine = opened(role)
    machine.finish()
    assert (machine.state, machine.out) == (State.OPEN, [])
    machine.close()
    machine.finish()
    assert (machine.state, len(machine.out)) == (State.CLOSING, 1)


@both_roles
def test_pongs_leave_before_the_answer_to_a_close(role: Role) -> None:
    machine = opened(role)
    feed(machine, frame(role, PING, b"p") + frame(role, CLOSE))
    machine.finish()
    assert sent(machine) == [(FIN | PONG, b"p"), (FIN | CLOSE, b"")]


def test_a_shared_message_is_encoded_once() -> None:
    shared = SharedMessage(FIN | BINARY, b"ab")
    machines = [opened() for _ in range(3)]
    for machine in machines:
        machine.send_shared(shared)
    assert [machine.out for machine in machines] == [[b"\x82\x02ab"]] * 3
    assert len({id(machine.out[0]) for machine in machines}) == 1


# §5.3: masking


@pytest.mark.parametrize("key", [bytes(4), b"\xff" * 4, b"\x01\x02\x04\x08"])
@pytest.mark.parametrize("size", [1, 4, 7, 200])
def test_a_client_masks_with_the_key_that_it_sends(key: bytes, size: int) -> None:
    machine = Machine(Role.CLIENT, ConnectionLimits(), masking_key=lambda: key)
    machine.send(Binary(b"\x55" * size))
    assert b"".join(machine.out)[-size - 4 : -size] == key
    assert sent(machine) == [(FIN | BINARY, b"\x55" * size)]


def test_a_client_draws_a_key_for_every_frame() -> None:  # §5.3
    keys = iter(range(1, 100))
    machine = Machine(Role.CLIENT, ConnectionLimits(), masking_key=lambda: next(keys).to_bytes(4, "big"))
    machine.send(Text(""))
    machine.send(Ping())
    machine.send_chunk("", last=False)
    machine.send_chunk("", last=True)
    machine.receive(frame(Role.CLIENT, PING))
    machine.send_frame(FIN | BINARY, b"")
    machine.close()
    assert [data[2:6] for data in machine.out] == [bytes((0, 0, 0, number)) for number in range(1, 8)]


def test_keys_are_random_unless_given() -> None:  # §5.3
    machine = Machine(Role.CLIENT, ConnectionLimits())
    for _ in range(20):
        machine.send(Text(""))
    assert {len(data) for data in machine.out} == {6}
    assert len({data[2:] for data in machine.out}) > 15


def test_a_server_does_not_mask() -> None:
    machine = Machine(Role.SERVER, ConnectionLimits(), masking_key=lambda: KEY)
    machine.send(Binary(b"x"))
    assert machine.out == [b"\x82\x01x"]


# §5.4: sending in fragments


@both_roles
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a"], [(FIN | TEXT, b"a")]),
        (["a", "é", ""], [(TEXT, b"a"), (CONTINUATION, b"\xc3\xa9"), (FIN | CONTINUATION, b"")]),
        (["", ""], [(TEXT, b""), (FIN | CONTINUATION, b"")]),
        ([b"a"], [(FIN | BINARY, b"a")]),
        ([b"\xff", b"b"], [(BINARY, b"\xff"), (FIN | CONTINUATION, b"b")]),
    ],
)
def test_chunks_leave_as_fragments(
    role: Role, pieces: list[str | bytes], expected: list[tuple[int, bytes]]
) -> None:
    machine = opened(role)
    for _ in range(2):
        for index, piece in enumerate(pieces):
            machine.send_chunk(piece, last=index == len(pieces) - 1)
        assert sent(machine) == expected
    machine.send(Text("next"))
    assert sent(machine) == [(FIN | TEXT, b"next")]


@both_roles
def test_control_frames_may_leave_between_chunks(role: Role) -> None:
    machine = opened(role)
    machine.send_chunk("a", last=False)
    machine.send(Ping(b"p"))
    machine.send(Pong(b"q"))
    machine.receive(frame(role, PING, b"r"))
    machine.send_chunk("b", last=True)
    expected = [(TEXT, b"a"), (FIN | PING, b"p"), (FIN | PONG, b"q"), (FIN | PONG, b"r")]
    assert sent(machine) == [*expected, (FIN | CONTINUATION, b"b")]


@both_roles
@pytest.mark.parametrize("message", [Text("x"), Text("x" * 200), Binary(b"x")])
def test_a_message_waits_for_the_last_chunk(role: Role, message: Message) -> None:
    machine = opened(role)
    machine.send_chunk("a", last=False)
    for _ in range(2):
        machine.send(message)
    first, payload = encode_message(message)
    machine.send_frame(FIN | TEXT, b"y")
    assert machine.held == 2 * len(payload) + 1
    machine.send(Ping(b"at once"))
    machine.send_chunk("b", last=False)
    assert sent(machine) == [(TEXT, b"a"), (FIN | PING, b"at once"), (CONTINUATION, b"b")]
    machine.send_chunk("c", last=True)
    assert machine.held == 0
    machine.send(Text("now"))
    expected = [(FIN | CONTINUATION, b"c"), *[(first, payload)] * 2, (FIN | TEXT, b"y"), (FIN | TEXT, b"now")]
    assert sent(machine) == expected


def test_a_broadcast_waits_for_the_last_chunk() -> None:
    machine = opened()
    machine.send_chunk("a", last=False)
    machine.send_shared(SharedMessage(FIN | TEXT, b"news"))
    machine.send(Text("more"))
    assert machine.held == 8
    machine.send_chunk("b", last=True)
    assert feed(opened(Role.CLIENT), *machine.out) == [Text("ab"), Text("news"), Text("more")]


@both_roles
def test_nothing_that_cannot_be_sent_waits(role: Role) -> None:
    machine = opened(role)
    machine.send_chunk("a", last=False)
    with pytest.raises(InvalidMessage):
        machine.send(Text("\ud800"))
    assert machine.held == 0


ENDS: dict[str, Callable[[Machine, Role], object]] = {
    "we close": lambda machine, role: machine.close(),
    "the peer closes": lambda machine, role: run(machine, [frame(role, CLOSE)]),
    "lost": lambda machine, role: machine.lost(),
}


@both_roles
@pytest.mark.parametrize("end", [pytest.param(end, id=name) for name, end in ENDS.items()])
def test_what_waits_ends_with_the_connection(role: Role, end: Callable[[Machine, Role], object]) -> None:
    machine = opened(role)
    machine.send_chunk("a", last=False)
    machine.send(Text("x"))
    end(machine, role)
    assert machine.held == 0
    machine.out.clear()
    machine.send(Text("y"))
    machine.send_chunk("b", last=True)
    assert (machine.held, machine.out) == (0, [])


@both_roles
def test_a_message_in_chunks_may_be_cut_short_by_a_close(role: Role) -> None:
    machine = opened(role)
    machine.send_chunk(b"a", last=False)
    machine.close(1001)
    machine.send_chunk(b"b", last=True)
    assert sent(machine) == [(BINARY, b"a"), (FIN | CLOSE, close_payload(1001))]


@both_roles
@pytest.mark.parametrize("bad", ["\ud800", 5, None])
def test_a_chunk_that_cannot_be_sent_leaves_no_trace(role: Role, bad: str) -> None:
    machine = opened(role)
    with pytest.raises(InvalidMessage):
        machine.send_chunk(bad, last=False)
    machine.send_chunk("a", last=False)
    with pytest.raises(InvalidMessage):
        machine.send_chunk(bad, last=True)
    machine.send_chunk("b", last=True)
    assert sent(machine) == [(TEXT, b"a"), (FIN | CONTINUATION, b"b")]


@both_roles
@pytest.mark.parametrize(("one", "other"), [("a", b"\xff"), (b"\xff", "a")])
def test_the_chunks_of_a_message_are_of_one_kind(role: Role, one: str | bytes, other: str | bytes) -> None:
    machine = opened(role)
    machine.send_chunk(one, last=False)
    with pytest.raises(LocalError):
        machine.send_chunk(other, last=True)


# RFC 7692 §7.2.1: compressing

COMPRESSIBLE = "a text that is worth it, " * 50
NOISE = random.Random(1).randbytes(2000)


def unpacked(machine: Machine, unpacker: Unpacker) -> list[tuple[int, bytes]]:
    """As `sent`, but inflated; the first byte shows what was."""
    return [
        (first, unpacker.unpack(payload) if first & RSV1 else payload) for first, payload in sent(machine)
    ]


@both_roles
@pytest.mark.parametrize("deflate", AGREEMENTS, ids=repr)
def test_large_messages_leave_compressed(role: Role, deflate: Deflate) -> None:
    machine = opened(role, deflate=deflate)
    unpacker = Unpacker(deflate)
    payload = COMPRESSIBLE.encode()
    for _ in range(3):
        machine.send(Text(COMPRESSIBLE))
        machine.send(Binary(payload))
        machine.send_frame(FIN | TEXT, payload)
        assert sum(map(len, machine.out)) < len(payload)
        firsts = [FIN | RSV1 | TEXT, FIN | RSV1 | BINARY, FIN | RSV1 | TEXT]
        assert unpacked(machine, unpacker) == [(first, payload) for first in firsts]


@both_roles
@pytest.mark.parametrize("least", [0, 1, 100, 125, 126, 1000])
def test_small_messages_leave_as_they_are(role: Role, least: int) -> None:
    machine = opened(role, deflate=KEEPS, compression_min=least)
    unpacker = Unpacker()
    for message, payload in ((Text("x" * 10), b"x" * 10), (Text("x" * least), b"x" * least)):
        machine.send(message)
        machine.send(Binary(payload))
        machine.send(Ping(payload[:125]))
        rsv = RSV1 if len(payload) >= max(least, 10) else 0
        expected = [(FIN | TEXT | rsv, payload), (FIN | BINARY | rsv, payload), (FIN | PING, payload[:125])]
        assert unpacked(machine, unpacker) == expected


@both_roles
def test_what_is_not_smaller_compressed_leaves_as_it_is(role: Role) -> None:
    machine = opened(role, deflate=KEEPS)
    unpacker = Unpacker()
    for message in (Binary(NOISE), Text(COMPRESSIBLE), Binary(NOISE), Text(COMPRESSIBLE)):
        machine.send(message)
    noise, text = (FIN | BINARY, NOISE), (FIN | TEXT | RSV1, COMPRESSIBLE.encode())
    assert unpacked(machine, unpacker) == [noise, text, noise, text]


@both_roles
def test_a_message_that_is_not_to_be_compressed_is_not(role: Role) -> None:
    machine = opened(role, deflate=KEEPS)
    machine.send(Text(COMPRESSIBLE), compress=False)
    machine.send_frame(FIN | BINARY, COMPRESSIBLE.encode(), compress=False)
    machine.send_chunk(COMPRESSIBLE, last=False)
    machine.send(Text(COMPRESSIBLE), compress=False)
    machine.send_chunk(COMPRESSIBLE, last=True)
    assert not any(first & RSV1 for first, _ in sent(machine))


@both_roles
def test_what_waits_for_the_last_chunk_is_compressed_then(role: Role) -> None:
    machine = opened(role, deflate=KEEPS)
    machine.send(Text(COMPRESSIBLE))
    machine.send_chunk("a", last=False)
    machine.send(Text(COMPRESSIBLE))
    assert machine.held == len(COMPRESSIBLE)
    machine.send_chunk("b", last=True)
    text = (FIN | TEXT | RSV1, COMPRESSIBLE.encode())
    assert unpacked(machine, Unpacker()) == [text, (TEXT, b"a"), (FIN | CONTINUATION, b"b"), text]


@both_roles
@pytest.mark.parametrize("deflate", [None, Deflate(8, True, 15, True)], ids=repr)
def test_a_machine_that_cannot_compress_does_not(role: Role, deflate: Deflate | None) -> None:
    machine = opened(role, deflate=deflate, compression_min=0)
    machine.send(Text(COMPRESSIBLE))
    assert sent(machine) == [(FIN | TEXT, COMPRESSIBLE.encode())]


@both_roles
def test_a_machine_that_is_moved_compresses_on(role: Role) -> None:
    machine = opened(role, deflate=KEEPS)
    machine.send(Text(COMPRESSIBLE))
    machine = moved(machine, role, deflate=KEEPS)
    machine.send(Text(COMPRESSIBLE))
    assert unpacked(machine, Unpacker()) == [(FIN | TEXT | RSV1, COMPRESSIBLE.encode())] * 2


# Handing over


@both_roles
@both_modes
def test_a_machine_can_be_moved_between_any_two_bytes(role: Role, stream: bool) -> None:
    data = (
        frame(role, TEXT, "aé".encode())
        + frame(role, TEXT, b"caf\xc3", fin=False)
        + frame(role, PING, b"ping")
        + frame(role, CONTINUATION, b"\xa9 ", fin=False)
        + frame(role, CONTINUATION, "😀".encode())
        + frame(role, BINARY, bytes(range(200)))
        + frame(role, BINARY, b"\xff", fin=False)
        + frame(role, CONTINUATION, b"\xfe")
        + frame(role, CLOSE, close_payload(4000, "é"))
    )
    whole = opened(role, stream=stream)
    expected = joined(feed(whole, data))
    whole.finish()
    for cut in range(len(data) + 1):
        first = opened(role, stream=stream)
        events = feed(first, data[:cut])
        second = moved(first, role, stream)
        events += feed(second, data[cut:])
        second.finish()
        assert joined(events) == expected, cut
        assert (second.state, second.closed, second.failed) == (State.CLOSED, Close(4000, "é"), False)
        assert b"".join(second.out) == b"".join(whole.out)


@both_roles
def test_a_machine_can_be_moved_while_behind(role: Role, batch: int) -> None:
    first = opened(role)
    events = first.receive(frame(role, TEXT, b"a") * (2 * batch) + frame(role, BINARY, b"b")[:-1])
    second = moved(first, role)
    assert second.behind
    events += second.receive()
    third = moved(second, role)
    assert feed(third, frame(role, BINARY, b"b")[-1:]) == [Binary(b"b")]
    assert events == [Text("a")] * (2 * batch)


@both_roles
def test_a_machine_can_be_moved_between_the_chunks_it_sends(role: Role) -> None:
    machine = opened(role)
    machine.send_chunk(b"a", last=False)
    machine = moved(machine, role)
    machine.send(Text("x"))
    machine.send_shared(SharedMessage(FIN | BINARY, b"yz"))
    machine = moved(machine, role)
    assert machine.held == 3
    machine.send_chunk(b"b", last=True)
    machine = moved(machine, role)
    machine.send(Text("w"))
    expected = [(BINARY, b"a"), (FIN | CONTINUATION, b"b"), (FIN | TEXT, b"x"), (FIN | BINARY, b"yz")]
    assert sent(machine) == [*expected, (FIN | TEXT, b"w")]


@both_roles
def test_a_machine_can_be_moved_while_closing(role: Role) -> None:
    machine = opened(role)
    machine.close(4000)
    machine = moved(machine, role)
    assert (machine.state, machine.closed) == (State.CLOSING, Close(1006))
    machine.send(Text("too late"))
    assert feed(machine, frame(role, TEXT, b"x"), frame(role, CLOSE)) == [Close(1005)]
    assert machine.state is State.CLOSED
    assert sent(machine) == [(FIN | CLOSE, close_payload(4000))]


@both_roles
@pytest.mark.parametrize(
    ("opcode", "payload", "answer"),
    [
        pytest.param(CLOSE, close_payload(1001, "bye"), close_payload(1001), id="close"),
        pytest.param(TEXT, b"\xff", close_payload(1007, "text that is not UTF-8"), id="fault"),
    ],
)
def test_a_machine_can_be_moved_before_it_answers(
    role: Role, opcode: int, payload: bytes, answer: bytes
) -> None:
    before = opened(role)
    feed(before, frame(role, opcode, payload))
    machine = moved(before, role)
    assert machine.state is State.ENDING
    assert (machine.closed, machine.failed) == (before.closed, before.failed)
    machine.finish()
    assert sent(machine) == [(FIN | CLOSE, answer)]
    machine = moved(machine, role)
    assert machine.state is State.CLOSED
    assert feed(machine, frame(role, TEXT)) == []


@both_roles
def test_moving_does_not_change_the_machine_that_is_left(role: Role) -> None:
    machine = opened(role)
    data = frame(role, TEXT, b"abc", fin=False)
    feed(machine, data)
    exported = machine.export_state()
    assert machine.export_state() == exported
    assert feed(machine, frame(role, CONTINUATION, b"d")) == [Text("abcd")]
    for _ in range(2):  # nor do two successors share anything
        successor = opened(role)
        successor.restore_state(exported)
        assert feed(successor, frame(role, CONTINUATION, b"e")) == [Text("abce")]


def test_idle_machines_share_nothing_that_changes() -> None:
    one, other = opened(), opened()
    feed(one, frame(Role.SERVER, BINARY, b"a", fin=False))
    assert feed(other, frame(Role.SERVER, BINARY, b"b")[:-1]) == []
    assert feed(other, frame(Role.SERVER, BINARY, b"b")[-1:]) == [Binary(b"b")]
    assert feed(one, frame(Role.SERVER, CONTINUATION, b"c")) == [Binary(b"ac")]


def test_an_idle_machine_is_small() -> None:
    # An idle connection has a budget of 4 KiB, so an attribute that no slot is declared for is a mistake.
    assert not hasattr(opened(), "__dict__")
