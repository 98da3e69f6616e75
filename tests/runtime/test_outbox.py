from collections.abc import Callable

import pytest
from tests.runtime.world import RecordingWire

from theater.contract import Close, Text
from theater.errors import InvalidClose, InvalidMessage, LocalError
from theater.protocol.frames import FIN, Opcode
from theater.runtime.address import Address
from theater.runtime.outbox import Command, Outbox, SendFrame, SendToActor
from theater.runtime.ports import Frame


class Recorded:
    """An outbox, and the commands it has carried out."""

    def __init__(self, limit: int = 100) -> None:
        self.done: list[Command] = []
        self.outbox = Outbox(self.done.append, limit, 10_000)
        self.outbox.open = True


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def to_actor(text: str) -> SendToActor:
    return SendToActor(Address("other"), Text(text))


def test_commands_are_carried_out_in_order_when_the_turn_is_committed(recorded: Recorded) -> None:
    commands = [to_actor(text) for text in "abc"]
    for command in commands:
        recorded.outbox.put(command)
    assert recorded.done == []
    recorded.outbox.commit()
    assert recorded.done == commands


def test_connections_are_closed_when_all_else_is_done_in_the_order_in_which_it_was_said(
    recorded: Recorded,
) -> None:
    one, two = RecordingWire(), RecordingWire()
    outbox = recorded.outbox
    outbox.close(one, 4001, "")
    outbox.put(to_actor("x"))
    outbox.close(two, 4002, "")
    outbox.send(one, Text("bye"))
    close_one, to_other, close_two, bye = outbox.entries
    outbox.commit()
    assert recorded.done == [to_other, bye, close_one, close_two]


def test_a_commit_empties_the_outbox(recorded: Recorded) -> None:
    recorded.outbox.put(to_actor("x"))
    recorded.outbox.commit()
    recorded.outbox.commit()
    assert len(recorded.done) == 1
    assert recorded.outbox.entries == []


def test_dropped_commands_are_never_carried_out(recorded: Recorded) -> None:
    recorded.outbox.put(to_actor("x"))
    recorded.outbox.drop()
    recorded.outbox.commit()
    assert recorded.done == []


def test_commands_outside_a_turn_are_carried_out_at_once(recorded: Recorded) -> None:
    recorded.outbox.open = False
    recorded.outbox.put(to_actor("x"))
    assert recorded.done == [to_actor("x")]
    recorded.outbox.commit()
    assert len(recorded.done) == 1


def test_messages_are_encoded_when_they_are_put_in(recorded: Recorded) -> None:
    wire = RecordingWire()
    recorded.outbox.send(wire, Text("ä"))
    (command,) = recorded.outbox.entries
    assert command == SendFrame(wire, Frame(FIN | Opcode.TEXT, "ä".encode()))


@pytest.mark.parametrize("is_open", [True, False])
def test_messages_that_cannot_be_sent_leave_nothing(recorded: Recorded, is_open: bool) -> None:
    recorded.outbox.open = is_open
    with pytest.raises(InvalidMessage):
        recorded.outbox.send(RecordingWire(), Text("\ud800"))
    with pytest.raises(InvalidClose):
        recorded.outbox.send(RecordingWire(), Close(1005))
    assert recorded.outbox.entries == []
    assert recorded.done == []


def test_changes_are_taken_back_last_first_when_the_turn_is_dropped(recorded: Recorded) -> None:
    restored: list[int] = []

    def restore(number: int) -> Callable[[], None]:
        return lambda: restored.append(number)

    for number in range(3):
        recorded.outbox.on_failure(restore(number))
        recorded.outbox.put(to_actor("x"))
    recorded.outbox.drop()
    recorded.outbox.drop()
    assert restored == [2, 1, 0]
    assert recorded.done == []


def test_changes_of_a_committed_turn_stay(recorded: Recorded) -> None:
    restored: list[int] = []
    recorded.outbox.on_failure(lambda: restored.append(1))
    recorded.outbox.commit()
    recorded.outbox.drop()
    assert restored == []


def test_changes_outside_a_turn_stay(recorded: Recorded) -> None:
    restored: list[int] = []
    recorded.outbox.open = False
    recorded.outbox.on_failure(lambda: restored.append(1))
    recorded.outbox.drop()
    assert restored == []


def test_commands_and_changes_are_limited_together() -> None:
    recorded = Recorded(limit=2)
    recorded.outbox.on_failure(lambda: None)
    recorded.outbox.put(to_actor("x"))
    attempts: list[Callable[[], None]] = [
        lambda: recorded.outbox.put(to_actor("y")),
        lambda: recorded.outbox.on_failure(lambda: None),
        lambda: recorded.outbox.send(RecordingWire(), Text("z")),
    ]
    for attempt in attempts:
        with pytest.raises(LocalError, match="a turn has at most 2 effects"):
            attempt()
    recorded.outbox.commit()
    assert recorded.done == [to_actor("x")]
    recorded.outbox.put(to_actor("the limit counts for each turn anew"))


def test_there_is_no_limit_outside_turns() -> None:
    recorded = Recorded(limit=2)
    recorded.outbox.open = False
    for _ in range(5):
        recorded.outbox.put(to_actor("x"))
    assert len(recorded.done) == 5


def test_what_a_command_puts_in_belongs_to_the_next_commit() -> None:
    done: list[Command] = []

    def execute(command: Command) -> None:
        done.append(command)
        if command == to_actor("first"):
            outbox.put(to_actor("second"))

    outbox = Outbox(execute, 10, 10_000)
    outbox.open = True
    outbox.put(to_actor("first"))
    outbox.commit()
    assert done == [to_actor("first")]
    outbox.commit()
    assert done == [to_actor("first"), to_actor("second")]
