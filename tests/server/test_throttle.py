from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from theater.limits import ConnectionLimits
from theater.server.throttle import Throttle

unhurried = settings(deadline=None)  # the examples are quick; the machines that run them may not be
LEASE = 1 / 16  # part of a burst that may have been taken in advance and not been used
ROUNDING = 1e-6


class Arrival(NamedTuple):
    """A message that arrives some seconds after the one before."""

    wait: float
    size: int


limits = st.builds(
    ConnectionLimits,
    message_rate=st.floats(0.5, 200),
    message_burst=st.integers(0, 200),
    byte_rate=st.floats(1, 1000),
    byte_burst=st.integers(0, 1000),
)
arrivals = st.lists(st.builds(Arrival, st.floats(0, 2) | st.just(0.0), st.integers(0, 300)), max_size=60)


def burst(limits: ConnectionLimits) -> tuple[float, float]:
    """Messages and bytes that may come at once."""
    return limits.message_burst or limits.message_rate, limits.byte_burst or limits.byte_rate


def allowed(limits: ConnectionLimits, seconds: float) -> tuple[float, float]:
    """Messages and bytes that may come in some seconds, what was charged in advance included."""
    messages, size = burst(limits)
    return (
        messages * (1 + LEASE) + limits.message_rate * seconds + ROUNDING,
        size * (1 + LEASE) + limits.byte_rate * seconds + ROUNDING,
    )


def arrive(throttle: Throttle, size: int, now: float) -> float:
    """Does what a connection does that is not read beyond its rate; gives the seconds to wait."""
    throttle.messages -= 1
    throttle.size -= size
    if throttle.messages >= 0 and throttle.size >= 0:
        return 0.0
    return throttle.settle(now)


def admitted(throttle: Throttle, size: int, now: float) -> bool:
    """Does what a connection does that throws away what is beyond its rate."""
    throttle.messages -= 1
    throttle.size -= size
    return (throttle.messages >= 0 and throttle.size >= 0) or throttle.admits(size, now)


class TestDropping:
    @unhurried
    @given(limits=limits, arrivals=arrivals)
    def test_lets_no_more_through_than_burst_and_rate_allow(
        self, limits: ConnectionLimits, arrivals: list[Arrival]
    ) -> None:
        now = 100.0
        throttle = Throttle(limits, now)
        through: list[tuple[float, int]] = []
        for wait, size in arrivals:
            now += wait
            if admitted(throttle, size, now):
                through.append((now, size))
        at_once, bytes_at_once = burst(limits)
        for first in range(len(through)):  # in any interval, not only from the beginning
            for last in range(first, len(through)):
                part = through[first : last + 1]
                seconds = part[-1][0] - part[0][0]
                assert len(part) <= at_once + limits.message_rate * seconds + ROUNDING
                total = sum(size for _, size in part)
                assert total <= bytes_at_once + limits.byte_rate * seconds + ROUNDING

    @unhurried
    @given(limits=limits, arrivals=arrivals)
    def test_drops_nothing_within_the_rate(self, limits: ConnectionLimits, arrivals: list[Arrival]) -> None:
        """A client that sends evenly, and never more than half of its rates, is not touched."""
        now = 0.0
        throttle = Throttle(limits, now)
        messages, bytes_at_once = burst(limits)
        assume(messages >= 1)
        for _, size in arrivals:
            if size > bytes_at_once / 2:
                continue
            now += 2 / limits.message_rate + 2 * size / limits.byte_rate
            assert admitted(throttle, size, now)

    def test_does_not_charge_what_is_dropped(self) -> None:
        throttle = Throttle(ConnectionLimits(message_rate=1, message_burst=2), 0.0)
        assert [admitted(throttle, 1, 0.0) for _ in range(100)] == [True] * 2 + [False] * 98
        assert admitted(throttle, 1, 1.0)
        assert not admitted(throttle, 1, 1.0)

    def test_charges_neither_bucket_when_the_other_has_too_little(self) -> None:
        throttle = Throttle(ConnectionLimits(message_rate=1, message_burst=2, byte_rate=100), 0.0)
        assert not admitted(throttle, 101, 0.0)
        assert admitted(throttle, 100, 0.0)  # all bytes, and the first message
        assert not admitted(throttle, 1, 0.0)
        assert admitted(throttle, 0, 0.0)  # the second message
        assert not admitted(throttle, 0, 0.5)
        assert admitted(throttle, 100, 1.0)

    def test_counts_what_came_in_one_read_message_by_message(self) -> None:
        """A read lowers the count of bytes at once, for all the messages in it."""
        throttle = Throttle(ConnectionLimits(byte_rate=1000), 0.0)
        throttle.size -= 100_000
        through = 0
        for _ in range(1000):
            throttle.messages -= 1
            through += (throttle.messages >= 0 and throttle.size >= 0) or throttle.admits(100, 0.0)
        assert through == 10


class TestDelaying:
    @unhurried
    @given(limits=limits, arrivals=arrivals)
    def test_charges_all_that_is_let_through_and_the_wait_is_long_enough(
        self, limits: ConnectionLimits, arrivals: list[Arrival]
    ) -> None:
        """Whoever waits as long as it is told keeps the rates, but for what it had in hand."""
        start = now = 100.0
        throttle = Throttle(limits, now)
        total = 0
        for number, (wait, size) in enumerate(arrivals):
            now += wait
            messages, most = allowed(limits, now - start)
            assert number <= messages
            assert total <= most
            total += size
            now += arrive(throttle, size, now) + ROUNDING

    def test_waits_until_the_rate_is_kept_again(self) -> None:
        throttle = Throttle(ConnectionLimits(message_rate=10, message_burst=5), 0.0)
        waits = [arrive(throttle, 1, 0.0) for _ in range(8)]
        assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3])
        assert throttle.wait(0.0) == pytest.approx(0.3)
        assert throttle.wait(0.2) == pytest.approx(0.1)
        assert throttle.wait(0.31) == 0

    def test_by_bytes(self) -> None:
        throttle = Throttle(ConnectionLimits(byte_rate=100, byte_burst=1000), 0.0)
        assert arrive(throttle, 1000, 0.0) == 0
        assert arrive(throttle, 50, 0.0) == pytest.approx(0.5)


def test_there_is_as_much_at_once_as_in_a_second_unless_said_otherwise() -> None:
    throttle = Throttle(ConnectionLimits(message_rate=20), 0.0)
    assert [admitted(throttle, 0, 0.0) for _ in range(21)] == [True] * 20 + [False]


def test_the_buckets_are_seldom_asked_when_there_is_plenty() -> None:
    throttle = Throttle(ConnectionLimits(), 0.0)
    asked = 0
    for number in range(1000):
        throttle.messages -= 1
        throttle.size -= 64
        if throttle.messages < 0 or throttle.size < 0:
            asked += 1
            assert throttle.settle(number / 1000) == 0
    assert asked < 10
