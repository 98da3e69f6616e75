from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theater.protocol.rate import TokenBucket


def test_a_burst_may_be_taken_at_once() -> None:
    bucket = TokenBucket(rate=10.0, burst=5, now=100.0)
    assert [bucket.take(1, 100.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(1, 100.0) == pytest.approx(0.1)


def test_without_a_burst_it_is_what_comes_in_a_second() -> None:
    bucket = TokenBucket(rate=3.0, burst=0, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(3)] == [0.0] * 3
    assert bucket.take(1, 0.0) == pytest.approx(1 / 3)


def test_tokens_come_back_at_the_rate_and_no_further_than_the_burst() -> None:
    bucket = TokenBucket(rate=10.0, burst=2, now=0.0)
    assert bucket.take(2, 0.0) == 0.0
    assert bucket.take(1, 0.1) == 0.0
    assert bucket.take(1, 0.1) == pytest.approx(0.1)
    assert bucket.take(2, 1000.0) == 0.0
    assert bucket.take(1, 1000.0) == pytest.approx(0.1)


def test_what_is_taken_too_early_is_owed() -> None:
    bucket = TokenBucket(rate=1.0, burst=1, now=0.0)
    assert bucket.take(10, 0.0) == pytest.approx(9.0)
    assert bucket.take(0, 8.0) == pytest.approx(1.0)
    assert bucket.take(0, 9.0) == 0.0


def test_what_is_put_back_was_not_taken() -> None:
    bucket = TokenBucket(rate=1.0, burst=2, now=0.0)
    assert bucket.take(2, 0.0) == 0.0
    for _ in range(100):  # thrown away, all of them
        assert bucket.take(1, 0.0) > 0
        bucket.put_back(1)
    assert bucket.take(1, 1.0) == 0.0


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2000)), max_size=40),
)
def test_it_is_as_exact_as_counting(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket = TokenBucket(rate, burst, 1000.0)
    tokens, now = Fraction(burst), Fraction(1000)
    for count, pause in steps:  # in milliseconds
        tokens = min(Fraction(burst), tokens + Fraction(pause, 1000) * rate)
        now += Fraction(pause, 1000)
        tokens -= count
        wait = max(Fraction(0), -tokens / rate)
        assert bucket.take(count, float(now)) == pytest.approx(float(wait), abs=1e-6)


def test_it_is_small() -> None:
    assert not hasattr(TokenBucket(1.0, 1, 0.0), "__dict__")
