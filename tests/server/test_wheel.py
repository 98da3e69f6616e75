import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theater.server.wheel import Wheel
from theater.testing import VirtualClock
from theater.testing.clock import VirtualTimer

unhurried = settings(deadline=None)  # the examples are quick; the machines that run them may not be
times = st.floats(0, 60, allow_nan=False)


class Clock(VirtualClock):
    """A clock that counts the timers which have not fired."""

    def __init__(self, now: float = 0.0) -> None:
        super().__init__(now)
        self.pending = 0

    def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
        self.pending += 1

        def fire() -> None:
            self.pending -= 1
            callback()

        return super().call_later(seconds, fire)


class Item:
    """Something with a deadline.

    Attributes:
        deadline: when to be checked; far away after the first check.
        checks: when it was.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.checks: list[float] = []

    def check(self, now: float) -> float:
        self.checks.append(now)
        self.deadline = now + 1000
        return self.deadline


class TestDeadlines:
    @unhurried
    @given(start=times, items=st.lists(st.tuples(times, times)))
    def test_are_never_early_and_less_than_two_seconds_late(
        self, start: float, items: list[tuple[float, float]]
    ) -> None:
        clock = Clock(start)
        wheel = Wheel(clock)
        watched = []
        for wait, ahead in items:
            clock.advance(wait)
            item = Item(clock.now() + ahead)
            watched.append((item, item.deadline))
            wheel.watch(item, item.deadline)
        clock.advance(62)
        for item, deadline in watched:
            (checked,) = item.checks
            assert 0 <= checked - deadline < 2

    @unhurried
    @given(deadline=st.floats(-100, 0.999))
    def test_that_have_passed_already_are_checked_in_the_next_seconds(self, deadline: float) -> None:
        clock = Clock(100.5)
        wheel = Wheel(clock)
        item = Item(100 + deadline)
        wheel.watch(item, item.deadline)
        assert item.checks == []  # not inside `watch`
        clock.advance(2)
        assert len(item.checks) == 1

    def test_may_move_away_at_no_cost(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        item = Moving(10.0)
        wheel.watch(item, item.deadline)
        for _ in range(50):
            clock.advance(1)
            item.deadline = clock.now() + 10
        assert 4 <= len(item.checks) <= 6
        assert all(not late for late in item.late)
        clock.advance(12)
        assert item.late[-1]

    def test_in_seconds_that_a_busy_loop_has_missed_are_kept_late(self) -> None:
        clock = JumpingClock()
        wheel = Wheel(clock)
        items = [Item(float(second)) for second in range(10)]
        for item in items:
            wheel.watch(item, item.deadline)
        clock.jump(1)
        assert [len(item.checks) for item in items] == [1, *[0] * 9]
        clock.jump(7.5)
        assert [len(item.checks) for item in items] == [1] * 8 + [0] * 2
        clock.jump(100)
        assert [len(item.checks) for item in items] == [1] * 10


class Moving(Item):
    """Looks, when it is checked, whether its deadline has really passed."""

    def __init__(self, deadline: float) -> None:
        super().__init__(deadline)
        self.late: list[bool] = []

    def check(self, now: float) -> float:
        self.checks.append(now)
        self.late.append(now >= self.deadline)
        return self.deadline


class JumpingClock(Clock):
    """Time that passes all at once, and timers that fire only then, as in a busy loop."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callable[[], object]] = []
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
        self.callbacks.append(callback)
        return VirtualTimer(callback)

    def jump(self, seconds: float) -> None:
        self.time += seconds
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class TestForgetting:
    def test_ends_the_checks(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        kept, forgotten = Item(5), Item(5)
        for item in (kept, forgotten):
            wheel.watch(item, item.deadline)
        wheel.forget(forgotten)
        clock.advance(10)
        assert (len(kept.checks), len(forgotten.checks)) == (1, 0)

    def test_twice_or_what_was_never_watched_is_harmless(self) -> None:
        wheel = Wheel(Clock())
        item = Item(5)
        wheel.forget(item)
        wheel.watch(item, 5)
        wheel.forget(item)
        wheel.forget(item)

    def test_from_inside_a_check_counts_for_those_of_the_same_second_too(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)

        class Ending(Item):
            def check(self, now: float) -> float:
                for item in items:
                    wheel.forget(item)
                return super().check(now)

        items = [Ending(5), Ending(5), Ending(5.5)]
        for item in items:
            wheel.watch(item, item.deadline)
        clock.advance(100)
        assert sum(len(item.checks) for item in items) == 1
        assert clock.pending == 0

    def test_what_was_watched_again_is_checked_once(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        item = Item(5)
        wheel.watch(item, 5)
        wheel.watch(item, 20)
        clock.advance(19)
        assert item.checks == []
        clock.advance(100)
        assert len(item.checks) == 1

    def test_lets_go(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        item = Item(50)
        gone = weakref.ref(item)
        wheel.watch(item, 50)
        wheel.forget(item)
        del item
        gc.collect()
        assert gone() is None

    def test_leaves_nothing_behind(self) -> None:
        """Whoever comes and goes while nobody else is there must not fill the memory over the years."""
        clock = Clock()
        wheel = Wheel(clock)
        before = size_of(wheel)
        for _ in range(100):
            item = Item(clock.now() + 25)
            wheel.watch(item, item.deadline)
            clock.advance(0.5)
            wheel.forget(item)
            clock.advance(60)
        assert size_of(wheel) == before


def size_of(wheel: Wheel) -> int:
    """How many objects it holds in its collections."""
    return sum(len(value) for value in vars(wheel).values() if isinstance(value, dict))


class TestFailures:
    """A check that raises must not stop the clock of all connections."""

    def test_are_logged_and_tried_again_a_minute_later(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = Clock()
        wheel = Wheel(clock)

        class Failing(Item):
            def check(self, now: float) -> float:
                super().check(now)
                raise ValueError("what")

        failing = Failing(5)
        others = [Item(5), Item(5), Item(6), Item(30)]
        for item in (others[0], failing, *others[1:]):
            wheel.watch(item, item.deadline)
        clock.advance(60)
        assert [len(item.checks) for item in others] == [1] * 4
        assert len(failing.checks) == 1
        (record,) = caplog.records
        assert record.name == "theater.server"
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)
        clock.advance(10)
        assert len(failing.checks) == 2
        assert failing.checks[1] - failing.checks[0] == pytest.approx(60, abs=2)

    def test_of_what_has_ended_are_not_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = Clock()
        wheel = Wheel(clock)

        class Ending(Item):
            def check(self, now: float) -> float:
                super().check(now)
                wheel.forget(self)
                raise ValueError("what")

        item = Ending(5)
        wheel.watch(item, item.deadline)
        clock.advance(1000)
        assert len(item.checks) == 1
        assert clock.pending == 0
        assert len(caplog.records) == 1


class TestTimer:
    def test_is_one_for_all(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        for number in range(100):
            wheel.watch(Item(number / 7), number / 7)
        assert clock.pending == 1
        clock.advance(5)
        assert clock.pending == 1

    def test_is_not_kept_when_nothing_is_watched(self) -> None:
        clock = Clock()
        wheel = Wheel(clock)
        assert clock.pending == 0
        item = Item(5)
        wheel.watch(item, 5)
        assert clock.pending == 1
        wheel.forget(item)
        clock.advance(1)
        assert clock.pending == 0
        clock.advance(1000)
        wheel.watch(item, clock.now() + 5)
        clock.advance(7)
        assert len(item.checks) == 1


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_now_is_the_time_to_the_second(steps: int) -> None:
    clock = Clock(7.25)
    wheel = Wheel(clock)
    wheel.watch(Item(1000), 1000)
    for _ in range(steps):
        clock.advance(30 / steps)
        assert 0 <= clock.now() - wheel.now <= 1
