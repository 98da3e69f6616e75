"""What is known about every limit."""

import pytest

from theater.config.settings import SCOPES, UNITS, disorder, expected_limit, read_limit, scope_of
from theater.limits import ActorLimits, ConnectionLimits, Limits

WITHOUT_UNIT = {"slow_reader", "rate_action", "compression", "compression_level"}


def test_every_limit_has_a_unit_or_needs_none() -> None:
    assert set(UNITS) == set(Limits.__struct_fields__) - WITHOUT_UNIT


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_every_limit_takes_its_default_and_says_what_it_takes(name: str) -> None:
    default = getattr(Limits(), name)
    if default is not None:
        assert read_limit(name, default) == default
    assert read_limit(name, "nonsense") is None
    assert read_limit(name, []) is None
    assert read_limit(name, None if default is not None else float("nan")) is None
    assert UNITS.get(name, "") in expected_limit(name)


def test_whole_numbers_are_numbers() -> None:
    assert type(read_limit("idle_timeout", 5)) is float
    assert read_limit("max_message", 5.0) in (None, 5)


def test_scope_of_a_limit_is_the_nearest() -> None:
    assert scope_of("max_message") is ConnectionLimits
    assert scope_of("max_outbox") is ActorLimits
    assert scope_of("max_body") is Limits
    assert list(SCOPES) == [ConnectionLimits, ActorLimits, Limits]


def test_defaults_are_in_order() -> None:
    assert disorder(Limits(), dict.fromkeys(Limits.__struct_fields__, 0)) == []
