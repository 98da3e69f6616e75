"""The machine on streams of all kinds, valid and broken, cut in all ways."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.protocol.wire import (
    KEY,
    MAX,
    NO_MAXIMUM,
    PING,
    SPLITS,
    TEXT,
    Outcome,
    any_streams,
    both_modes,
    both_roles,
    feed,
    feed_quickly,
    frame,
    joined,
    mutated_streams,
    opened,
    outcome,
    peer_of,
    run,
    split,
    split_frames,
    valid_streams,
)

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.errors import Reason
from theater.limits import ConnectionLimits
from theater.protocol.machine import Chunk, Failure, Machine, Output, Role, State

unhurried = settings(deadline=None)  # the examples are quick; the machines that run them may not be

MAXIMA = st.sampled_from([MAX, MAX, 131, 132, 20, 0])


def note_verdict(found: Outcome) -> None:
    """For `--hypothesis-show-statistics`: whether the streams are as varied as they should be."""
    last = found.events[-1] if found.events else None
    event(last.reason.name + ": " + last.problem if isinstance(last, Failure) else type(last).__name__)


@both_roles
@unhurried
@given(st.data())
def test_a_valid_stream_is_the_messages_it_was_made_of(role: Role, data: st.DataObject) -> None:
    stream = data.draw(valid_streams(role))
    machine = opened(role)
    found = run(machine, [stream.encode()])
    assert found.events == stream.events
    assert not found.failed
    pings = [event.payload for event in stream.events if isinstance(event, Ping)]
    last = stream.events[-1] if stream.events else None
    replies = run(opened(peer_of(role)), [found.out]).events
    assert replies == [Pong(payload) for payload in pings] + (
        [Close(last.code)] if isinstance(last, Close) else []
    )


@both_roles
@both_modes
@unhurried
@given(st.data())
def test_how_a_stream_is_split_makes_no_difference(role: Role, stream: bool, data: st.DataObject) -> None:
    wire = data.draw(any_streams(role))
    maximum = data.draw(MAXIMA)
    closing = data.draw(st.sampled_from([False] * 4 + [True]))
    sizes = data.draw(SPLITS)

    def outcome_of(reads: Iterable[bytes], feed: Callable[..., list[Output]] = feed) -> Outcome:
        machine = opened(role, maximum, stream)
        if closing:
            machine.close()
        return run(machine, reads, feed)

    whole = outcome_of([wire])
    note_verdict(whole)
    assert outcome_of(split(wire, sizes)) == whole
    assert outcome_of(split(wire, [1])) == whole
    for reads in ([wire], [*split(wire, sizes)], [*split_frames(wire)]):
        assert outcome_of(reads, feed_quickly) == whole


@both_roles
@both_modes
@unhurried
@given(st.data())
def test_a_move_between_reads_makes_no_difference(role: Role, stream: bool, data: st.DataObject) -> None:
    wire = data.draw(any_streams(role))
    sizes = data.draw(SPLITS)
    maximum = data.draw(MAXIMA)
    expected = run(opened(role, maximum, stream), split(wire, sizes))

    machine = opened(role, maximum, stream)
    events: list[Output] = []
    for read in split(wire, sizes):
        events += feed(machine, read)
        successor = opened(role, maximum, stream)
        successor.restore_state(machine.export_state())
        successor.out = machine.out
        machine = successor
        machine.finish()
    assert outcome(machine, events) == expected


@both_roles
@both_modes
@unhurried
@given(st.data())
def test_a_broken_stream_ends_in_one_failure_at_most(role: Role, stream: bool, data: st.DataObject) -> None:
    wire = data.draw(st.one_of(mutated_streams(role), st.binary(max_size=40)))
    machine = opened(role, data.draw(MAXIMA), stream)
    events = feed(machine, *split(wire, data.draw(SPLITS)))
    ends = [event for event in events if isinstance(event, Close | Failure)]
    assert ends == ([events[-1]] if machine.state is State.ENDING else [])
    match ends:
        case [Failure(reason, problem)]:
            assert (machine.failed, machine.closed) == (True, Close(reason.close_code, problem))
        case [closed]:
            assert (machine.failed, machine.closed) == (False, closed)
        case _:
            assert (machine.failed, machine.closed) == (False, Close(1006))
    assert machine.state in (State.OPEN, State.ENDING)


@both_roles
@unhurried
@given(st.data())
def test_streaming_gives_the_same_content(role: Role, data: st.DataObject) -> None:
    wire = data.draw(any_streams(role))
    whole = feed(opened(role, NO_MAXIMUM), wire)
    pieces = feed(opened(role, stream=True, max_stream=NO_MAXIMUM), *split(wire, data.draw(SPLITS)))

    chunks = joined(event for event in pieces if isinstance(event, Chunk))
    if chunks and isinstance(chunks[-1], Chunk) and not chunks[-1].last:
        del chunks[-1]  # of a message that did not end
    assert chunks == [
        Chunk(event.text if isinstance(event, Text) else event.data, True)
        for event in whole
        if isinstance(event, Text | Binary)
    ]
    others = [event for event in whole if not isinstance(event, Text | Binary)]
    assert [event for event in pieces if not isinstance(event, Chunk)] == others


@both_roles
@unhurried
@given(st.data())
def test_a_smaller_maximum_only_ends_a_stream_earlier(role: Role, data: st.DataObject) -> None:
    wire = data.draw(any_streams(role))
    small, large = sorted(data.draw(st.tuples(MAXIMA, MAXIMA)))
    less = feed(opened(role, small), wire)
    more = feed(opened(role, large), wire)
    if less and isinstance(less[-1], Failure) and less[-1].reason is Reason.MESSAGE_TOO_BIG:
        assert less[:-1] == more[: len(less) - 1]
    else:
        assert less == more


# Batches


@both_roles
@unhurried
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), SPLITS), max_size=5))
def test_batches_lose_and_reorder_nothing(role: Role, steps: list[tuple[int, int, list[int]]]) -> None:
    machine = opened(role)
    events: list[Output] = []
    batches: list[list[Output]] = []
    number = 0
    for count, calls, sizes in steps:
        numbers = range(number, number + count)
        number += count
        wire = b"".join(frame(role, TEXT if n % 3 else PING, str(n).encode()) for n in numbers)
        for read in split(wire, [size * 50 for size in sizes]):
            batches += [machine.receive(read)]  # whether it is behind or not
        batches += [machine.receive() for _ in range(calls)]
    while machine.behind:
        batches.append(machine.receive())
    events = [event for batch in batches for event in batch]
    expected = [Text(str(n)) if n % 3 else Ping(str(n).encode()) for n in range(number)]
    assert events == expected
    most = len(opened(role).receive(frame(role, TEXT, b"0") * 1000))
    assert max(map(len, batches), default=0) <= most
    pongs = feed(opened(peer_of(role)), *machine.out)
    assert pongs == [Pong(str(n).encode()) for n in range(0, number, 3)]


# Two machines

PAYLOADS = st.binary(max_size=125)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.text(max_size=300).map(Text),
    st.binary(max_size=300).map(Binary),
    PAYLOADS.map(Ping),
    PAYLOADS.map(Pong),
)
CHUNKED: st.SearchStrategy[list[str] | list[bytes]] = st.one_of(
    st.lists(st.text(max_size=20), min_size=1, max_size=4),
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
)


def say(machine: Machine, message: Message | list[str] | list[bytes]) -> Output:
    """Sends a message, in chunks if it is a list; returns what should arrive."""
    if not isinstance(message, list):
        machine.send(message)
        return message
    pieces: Sequence[str | bytes] = message
    for index, piece in enumerate(pieces):
        machine.send_chunk(piece, last=index == len(pieces) - 1)
    whole = b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
    return Text(whole.decode()) if isinstance(message[0], str) else Binary(whole)


@pytest.mark.parametrize("sender", Role)
@unhurried
@given(
    st.lists(st.one_of(MESSAGES, CHUNKED), max_size=6),
    st.builds(Close, st.sampled_from([1000, 1014, 4999]), st.text(max_size=30)) | st.none(),
    SPLITS,
    st.sampled_from([KEY, bytes(4), b"\xff\xfe\xfd\xfc"]),
)
def test_what_one_machine_says_another_hears(
    sender: Role,
    messages: list[Message | list[str] | list[bytes]],
    close: Close | None,
    sizes: list[int],
    key: bytes,
) -> None:
    one = Machine(sender, ConnectionLimits(), masking_key=lambda: key)
    other = Machine(peer_of(sender), ConnectionLimits())
    expected = [say(one, message) for message in messages]
    if close is not None:
        one.send(close)
        expected.append(close)
    heard = run(other, split(b"".join(one.out), sizes))
    assert heard.events == expected
    assert not heard.failed

    pongs: list[Output] = [Pong(event.payload) for event in expected if isinstance(event, Ping)]
    back = run(one, split(heard.out, sizes))
    if close is None:
        assert back.events == pongs
        assert (one.state, other.state) == (State.OPEN, State.OPEN)
    else:
        assert back.events == [Close(close.code)]
        assert (one.state, other.state) == (State.CLOSED, State.CLOSED)
