"""Compressed messages and their limits, by examples; `test_receiver` has the others."""

import random
import tracemalloc
from functools import cache
from typing import Any

import pytest
from tests.protocol.compressed import AGREEMENTS, KEEPS, RESETS, RSV1, Packer, packed
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    both_modes,
    both_roles,
    feed,
    frame,
    joined,
    moved,
    opened,
    split,
)

from theater.contract.messages import Binary, Close, Ping, Text
from theater.errors import LocalError, Reason
from theater.protocol.deflate import Deflate
from theater.protocol.machine import Chunk, Failure, Machine, Output, Role, State

HELLO = bytes.fromhex("f248cdc9c90700")  # §7.2.3.1
JSON = b'{"name": "Ada", "numbers": [1, 2, 3]}' * 5
MIB = 1024 * 1024


@cache
def bomb() -> bytes:
    """The payload of a message of 50 MiB."""
    return Packer(level=9).pack(bytes(50 * MIB))


every_agreement = pytest.mark.parametrize("deflate", AGREEMENTS, ids=repr)


def fault(machine: Machine, *reads: bytes) -> Failure:
    """The only event that these reads give."""
    (event,) = feed(machine, *reads)
    assert isinstance(event, Failure)
    assert machine.over
    return event


# RFC 7692 §6 and §7.2


@both_roles
@pytest.mark.parametrize("deflate", [KEEPS, RESETS])
def test_a_compressed_message_arrives_inflated(role: Role, deflate: Deflate) -> None:
    machine = opened(role, deflate=deflate)
    data = packed(role, HELLO, TEXT) + packed(role, HELLO) + packed(role, b"\x00")
    assert feed(machine, data) == [Text("Hello"), Binary(b"Hello"), Binary(b"")]
    assert feed(machine, *[data[i : i + 1] for i in range(len(data))]) == feed(machine, data)


@both_roles
@every_agreement
def test_messages_of_all_agreements_arrive(role: Role, deflate: Deflate) -> None:
    machine = opened(role, deflate=deflate)
    packer = Packer(deflate)
    for _ in range(5):
        assert feed(machine, packed(role, packer.pack(JSON))) == [Binary(JSON)]
        assert feed(machine, frame(role, TEXT, b"not compressed")) == [Text("not compressed")]


@both_roles
def test_a_message_may_be_in_fragments_with_pings_between(role: Role) -> None:  # §6.1
    machine = opened(role, deflate=KEEPS)
    one, two = frame(role, TEXT, HELLO[:3], fin=False, rsv=RSV1), frame(role, CONTINUATION, HELLO[3:])
    assert feed(machine, one, frame(role, PING), two, one, two) == [Ping(b""), Text("Hello"), Text("Hello")]


@both_roles
@both_modes
@pytest.mark.parametrize(
    ("opcode", "rsv"),
    [
        *((opcode, rsv) for opcode in (TEXT, BINARY) for rsv in range(1, 8) if rsv != RSV1),
        *((opcode, RSV1) for opcode in (CLOSE, PING, PONG, 3, 7, 11, CONTINUATION)),
    ],
)
def test_reserved_bits_mean_nothing_else(role: Role, stream: bool, opcode: int, rsv: int) -> None:
    machine = opened(role, stream=stream, deflate=KEEPS)
    assert fault(machine, frame(role, opcode, HELLO[:2], rsv=rsv)).reason is Reason.PROTOCOL_ERROR


@both_roles
@both_modes
def test_only_the_first_frame_says_that_it_is_compressed(role: Role, stream: bool) -> None:  # §6.1
    machine = opened(role, stream=stream, deflate=KEEPS)
    begin = frame(role, BINARY, b"", fin=False, rsv=RSV1)
    found = fault(machine, begin + frame(role, CONTINUATION, HELLO, rsv=RSV1))
    assert found == Failure(Reason.PROTOCOL_ERROR, "a frame with reserved bits set")


@both_roles
def test_the_bit_means_nothing_where_nothing_was_agreed_on(role: Role) -> None:
    problem = "a frame with reserved bits set"
    assert fault(opened(role), packed(role, HELLO)) == Failure(Reason.PROTOCOL_ERROR, problem)


@both_roles
@both_modes
def test_what_cannot_be_inflated_fails(role: Role, stream: bool) -> None:
    for damaged in (b"\x07", bytes(2) + b"\x01" * 9, bytes.fromhex("f20011000000")):
        found = fault(opened(role, stream=stream, deflate=RESETS), packed(role, damaged))
        assert found == Failure(Reason.INVALID_TEXT, "compressed data that cannot be inflated")
        assert found.reason.close_code == 1007


@both_roles
@both_modes
def test_text_is_checked_as_it_is_inflated(role: Role, stream: bool) -> None:  # RFC 6455 §8.1
    machine = opened(role, stream=stream, deflate=KEEPS)
    bad = Packer().pack(b"ab\xff" + b"c" * 500)
    events = feed(machine, frame(role, TEXT, bad[:-1], fin=False, rsv=RSV1))
    assert events[-1] == Failure(Reason.INVALID_TEXT, "text that is not UTF-8")
    assert events[:-1] == ([Chunk("ab", False)] if stream else [])


@both_roles
def test_characters_may_be_cut_by_the_steps_of_inflating(role: Role) -> None:
    text = "x" + "€" * 40_000  # a step is no multiple of three bytes
    machine = opened(role, 200_000, deflate=KEEPS, max_inflation=10_000)
    data = packed(role, Packer().pack(text.encode()), TEXT)
    assert feed(machine, data) == [Text(text)]
    assert feed(opened(role, deflate=KEEPS), packed(role, Packer().pack(b"a\xe2\x82"), TEXT)) != []


def test_the_short_way_leaves_compressed_messages_to_the_long_one() -> None:
    data = packed(Role.SERVER, HELLO)
    machine = opened(deflate=KEEPS)
    assert machine.receive_whole(data, len(data)) is None
    assert feed(machine, data) == [Binary(b"Hello")]
    plain = frame(Role.SERVER, TEXT, b"plain")
    assert machine.receive_whole(plain, len(plain)) == Text("plain")


# Sizes


@both_roles
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cuts", [(), (1,), (1, 5)])
@pytest.mark.parametrize("maximum", [0, 1, 100, 1000, 32768, 70_000])
def test_the_maximum_counts_inflated(role: Role, opcode: int, cuts: tuple[int, ...], maximum: int) -> None:
    payload = b"x" * maximum
    limits: dict[str, Any] = {"max_message": maximum, "max_frame": 100_000, "max_inflation": 100_000}
    machine = opened(role, deflate=KEEPS, **limits)
    packer = Packer()
    for _ in range(2):
        good = packed(role, packer.pack(payload), opcode, cuts=cuts if maximum > 10 else ())
        assert feed(machine, good) == [Text(payload.decode()) if opcode == TEXT else Binary(payload)]
    bad = packed(role, packer.pack(payload + b"x"), opcode)
    problem = f"a message of at least {maximum + 1:,} bytes, at most {maximum:,} are allowed"
    assert fault(machine, bad) == Failure(Reason.MESSAGE_TOO_BIG, problem)


@both_roles
def test_the_largest_frame_counts_as_it_is_on_the_wire(role: Role) -> None:
    noise = random.Random(1).randbytes(500)
    machine = opened(role, 10_000, deflate=KEEPS, max_frame=100)
    assert feed(machine, packed(role, Packer().pack(bytes(5000)))) == [Binary(bytes(5000))]
    header = packed(role, Packer().pack(noise))[: 4 + 4 * (role is Role.SERVER)]
    found = fault(machine, header)
    assert found.reason is Reason.MESSAGE_TOO_BIG
    assert found.problem.endswith("at most 100 are allowed")


@both_roles
def test_too_many_fragments_are_too_many_compressed_too(role: Role) -> None:
    machine = opened(role, deflate=KEEPS, max_fragments=3)
    assert feed(machine, packed(role, HELLO, cuts=(2, 4))) == [Binary(b"Hello")]
    assert fault(machine, packed(role, HELLO, cuts=(2, 3, 4))).reason is Reason.POLICY_VIOLATION


@both_roles
def test_what_inflates_too_well_is_refused(role: Role) -> None:
    limits: dict[str, Any] = {"max_message": 4 * MIB, "max_inflation": 20}
    # Up to 1 MiB may come from however few.
    good = Packer().pack(bytes(MIB))
    assert feed(opened(role, deflate=KEEPS, **limits), packed(role, good)) == [Binary(bytes(MIB))]
    bad = Packer().pack(bytes(MIB + 1))
    found = fault(opened(role, deflate=KEEPS, **limits), packed(role, bad))
    assert found.reason is Reason.MESSAGE_TOO_BIG
    assert found.problem == (
        f"{len(bad):,} bytes inflated to at least 1,048,577, at most 20 times as many are allowed"
    )
    noise = random.Random(1).randbytes(100_000)
    fine = noise + bytes(1_500_000)
    assert feed(opened(role, deflate=KEEPS, **limits), packed(role, Packer().pack(fine))) == [Binary(fine)]


@both_roles
@both_modes
def test_a_limit_is_met_by_the_same_byte_however_the_bytes_come(role: Role, stream: bool) -> None:
    data = packed(role, Packer().pack(b"ab" * 800_000))
    limits: dict[str, Any] = {"max_message": 1_400_000, "max_stream": 1_400_000}
    for inflation in (10, 100_000):
        found = []
        for size in (1, 7, 1000, len(data)):
            machine = opened(role, stream=stream, deflate=KEEPS, **{**limits, "max_inflation": inflation})
            found.append(joined(feed(machine, *[data[i : i + size] for i in range(0, len(data), size)])))
        assert all(events == found[0] for events in found)
        size = MIB if inflation == 10 else 1_400_000
        if stream:
            assert found[0][0] == Chunk((b"ab" * 800_000)[:size], False)


@both_roles
def test_a_bomb_in_fragments_is_one_too(role: Role) -> None:
    machine = opened(role, MIB, deflate=KEEPS)
    cuts = tuple(range(1, len(bomb()), len(bomb()) // 10_000))
    found = fault(machine, packed(role, bomb(), cuts=cuts))
    assert found.reason is Reason.MESSAGE_TOO_BIG


@both_roles
@both_modes
@pytest.mark.parametrize("inflation", [100, 10_000], ids=["ratio", "size"])
@pytest.mark.parametrize("cuts", [(), (10, 1000, 1001)], ids=["whole", "fragments"])
def test_a_bomb_takes_little_memory(role: Role, stream: bool, inflation: int, cuts: tuple[int, ...]) -> None:
    limits: dict[str, Any] = {
        "max_message": MIB,
        "max_frame": MIB,
        "max_stream": 16 * MIB,
        "max_inflation": inflation,
    }
    wire = packed(role, bomb(), cuts=cuts)
    machine = opened(role, stream=stream, deflate=KEEPS, **limits)
    size = largest = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        events: list[Output] = machine.receive(wire)
        while True:
            for event in events:
                if isinstance(event, Chunk):
                    size += len(event.data)
                    largest = max(largest, len(event.data))
            if not machine.behind:
                break
            events = machine.receive()
        assert tracemalloc.get_traced_memory()[1] - before < 4 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(events[-1], Failure)
    assert events[-1].reason is Reason.MESSAGE_TOO_BIG
    assert largest <= 65536
    assert size <= 16 * MIB


@both_roles
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_small_reads_take_little_memory(role: Role, opcode: int) -> None:
    *reads, last = split(frame(role, opcode, b"abc" * 5000), [3])
    machine = opened(role, 15_000)
    tracemalloc.start()
    try:
        assert feed(machine, *reads) == []
        assert tracemalloc.get_traced_memory()[0] < 30_000
    finally:
        tracemalloc.stop()
    assert feed(machine, last) == [Text("abc" * 5000) if opcode == TEXT else Binary(b"abc" * 5000)]


# Streaming


@both_roles
def test_a_stream_is_inflated_as_its_bytes_come(role: Role) -> None:
    machine = opened(role, stream=True, deflate=KEEPS)
    wire = packed(role, Packer().pack(JSON), TEXT)
    assert joined(feed(machine, *[wire[i : i + 1] for i in range(len(wire))])) == [Chunk(JSON.decode(), True)]
    wire = packed(role, Packer(RESETS).pack(b""), TEXT)
    assert feed(opened(role, stream=True, deflate=RESETS), wire) == [Chunk("", True)]


@both_roles
def test_a_full_batch_stops_the_inflating(role: Role, batch: int) -> None:
    size = 10 * MIB
    machine = opened(role, stream=True, deflate=KEEPS, max_inflation=10_000)
    wire = packed(role, Packer().pack(bytes(size))) + frame(role, PING, b"behind it")
    events = machine.receive(wire)
    assert len(events) == batch
    assert max(len(event.data) for event in events if isinstance(event, Chunk)) <= 65536
    while machine.behind:
        more = machine.receive()
        assert 0 < len(more) <= batch
        events += more
    assert joined(events) == [Chunk(bytes(size), True), Ping(b"behind it")]


@both_roles
def test_bytes_that_come_while_it_is_behind_wait(role: Role) -> None:
    machine = opened(role, stream=True, deflate=KEEPS, max_inflation=10_000)
    packer = Packer()
    one, two = (packed(role, packer.pack(bytes(3 * MIB))) for _ in range(2))
    events = machine.receive(one)
    assert machine.behind
    events += machine.receive(two[:20])
    events += feed(machine, two[20:])
    assert joined(events) == [Chunk(bytes(3 * MIB), True)] * 2


@both_roles
def test_a_fault_while_behind_ends_it(role: Role) -> None:
    machine = opened(role, stream=True, deflate=KEEPS, max_inflation=10_000, max_stream=3 * MIB)
    events = feed(machine, packed(role, Packer().pack(bytes(4 * MIB))) + frame(role, PING))
    assert isinstance(events[-1], Failure)
    assert not machine.behind
    assert joined(events)[0] == Chunk(bytes(3 * MIB), False)


# Closing


@both_roles
@both_modes
def test_who_has_closed_does_not_listen_but_stays_in_step(role: Role, stream: bool) -> None:
    machine = opened(role, stream=stream, deflate=KEEPS)
    machine.close()
    packer = Packer()
    data = b"".join(packed(role, packer.pack(JSON)) for _ in range(3)) + frame(role, CLOSE)
    assert feed(machine, data) == [Close(1005)]
    assert machine.state is State.CLOSED


# Handing over


@both_roles
@both_modes
@every_agreement
def test_a_machine_can_be_moved_between_compressed_messages(
    role: Role, stream: bool, deflate: Deflate
) -> None:
    packer = Packer(deflate)
    machine = opened(role, 10_000, stream, deflate)
    for payload in (JSON, JSON[::-1], b"", JSON * 20, JSON):
        wire = packed(role, packer.pack(payload), TEXT)
        events: list[Output] = []
        for part in (wire[:1], wire[1:-1], wire[-1:]):
            events += feed(machine, part)
            if part != wire[1:-1]:
                machine = moved(machine, role, stream, deflate, max_message=10_000)
        assert joined(events) == [Chunk(payload.decode(), True) if stream else Text(payload.decode())]


@both_roles
@both_modes
def test_a_machine_cannot_be_moved_in_a_compressed_message(role: Role, stream: bool) -> None:
    machine = opened(role, stream=stream, deflate=RESETS)
    wire = packed(role, HELLO, TEXT)
    events = machine.receive(wire[:-1])
    with pytest.raises(LocalError, match="in the middle of a compressed message"):
        machine.export_state()
    events += machine.receive(wire[-1:])
    assert joined(events) == [Chunk("Hello", True) if stream else Text("Hello")]
    machine.export_state()
