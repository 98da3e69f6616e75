from functools import partial

import pytest

from theater.testing import VirtualClock


class Journal:
    """Notes calls and when they came.

    Attributes:
        entries: name and time of each.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.entries: list[tuple[str, float]] = []

    def note(self, name: str) -> None:
        self.entries.append((name, self._clock.now()))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def journal(clock: VirtualClock) -> Journal:
    return Journal(clock)


def test_time_passes_only_when_told(clock: VirtualClock) -> None:
    assert (clock.now(), clock.now()) == (0, 0)
    clock.advance(1.5)
    clock.advance(0)
    assert clock.now() == 1.5
    assert VirtualClock(7).now() == 7


def test_calls_come_in_order_each_at_its_own_time(clock: VirtualClock, journal: Journal) -> None:
    for seconds in (3, 1, 2):
        clock.call_later(seconds, partial(journal.note, str(seconds)))
    clock.advance(2)
    assert journal.entries == [("1", 1), ("2", 2)]
    clock.advance(5)
    assert journal.entries[2:] == [("3", 3)]
    assert clock.now() == 7


def test_calls_of_one_moment_come_in_the_order_they_were_asked_for(
    clock: VirtualClock, journal: Journal
) -> None:
    for name in "abc":
        clock.call_later(1, partial(journal.note, name))
    clock.advance(1)
    assert journal.entries == [("a", 1), ("b", 1), ("c", 1)]


def test_a_call_is_made_once(clock: VirtualClock, journal: Journal) -> None:
    clock.call_later(1, lambda: journal.note("x"))
    clock.advance(1)
    clock.advance(10)
    assert journal.entries == [("x", 1)]


def test_a_cancelled_call_is_not_made(clock: VirtualClock, journal: Journal) -> None:
    timer = clock.call_later(1, lambda: journal.note("x"))
    clock.call_later(1, lambda: journal.note("y"))
    timer.cancel()
    timer.cancel()
    clock.advance(1)
    assert journal.entries == [("y", 1)]


def test_a_call_can_be_cancelled_after_it_was_made(clock: VirtualClock, journal: Journal) -> None:
    timer = clock.call_later(1, lambda: journal.note("x"))
    clock.advance(1)
    timer.cancel()
    assert journal.entries == [("x", 1)]


def test_a_call_can_cancel_another_of_the_same_moment(clock: VirtualClock, journal: Journal) -> None:
    clock.call_later(1, lambda: later.cancel())
    later = clock.call_later(1, lambda: journal.note("x"))
    clock.advance(1)
    assert journal.entries == []


def test_calls_may_ask_for_calls_that_fall_due_meanwhile(clock: VirtualClock, journal: Journal) -> None:
    def repeat() -> None:
        journal.note("tick")
        clock.call_later(1, repeat)

    clock.call_later(1, repeat)
    clock.advance(3.5)
    assert journal.entries == [("tick", 1), ("tick", 2), ("tick", 3)]
    clock.advance(0.5)
    assert journal.entries[3:] == [("tick", 4)]


def test_a_call_that_raises_takes_no_other_with_it(clock: VirtualClock, journal: Journal) -> None:
    def fail() -> None:
        raise ValueError("mine")

    clock.call_later(1, fail)
    clock.call_later(2, lambda: journal.note("x"))
    with pytest.raises(ValueError, match="mine"):
        clock.advance(5)
    assert clock.now() == 1
    clock.advance(1)
    assert journal.entries == [("x", 2)]
