"""The defaults hold together; `docs/test_reference.py` compares them with the documentation."""

import math
from itertools import pairwise

import msgspec

from theater.limits import ActorLimits, ConnectionLimits, Limits

# A frame of 0 is as large as a message, a burst of 0 as many as in a second; time alone harms nobody.
WITHOUT = {"max_frame": 0, "message_burst": 0, "byte_burst": 0, "max_lifetime": None}


def test_nothing_is_unlimited_by_default() -> None:
    for field in msgspec.structs.fields(Limits):
        if field.name in WITHOUT:
            assert field.default == WITHOUT[field.name]
        elif not isinstance(field.default, str):
            assert 0 < field.default < math.inf, field.name


def test_low_water_is_below_high_water() -> None:
    limits = Limits()
    assert limits.mailbox_low_water < limits.mailbox_high_water
    assert limits.send_low_water < limits.send_high_water <= limits.max_send_queue


def test_defaults_are_what_their_types_allow() -> None:
    assert msgspec.convert(msgspec.to_builtins(Limits()), Limits) == Limits()


def test_wider_scopes_have_all_limits_of_narrower_ones() -> None:
    scopes = [ConnectionLimits(), ActorLimits(), Limits()]
    for narrow, wide in pairwise(map(msgspec.structs.asdict, scopes)):
        assert narrow.items() < wide.items()
