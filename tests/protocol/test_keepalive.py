from math import inf

from hypothesis import given
from hypothesis import strategies as st

from theater.limits import ConnectionLimits
from theater.protocol.keepalive import Beat, Keepalive

LIMITS = ConnectionLimits(ping_interval=10.0, pong_timeout=4.0, idle_timeout=100.0)


def test_silence_is_answered_with_a_ping_and_more_silence_ends_it() -> None:
    keepalive = Keepalive(LIMITS, 1000.0)
    assert keepalive.deadline == 1010.0
    assert keepalive.check(1009.9) is Beat.NOTHING
    assert keepalive.check(1010.0) is Beat.PING
    assert keepalive.deadline == 1014.0
    assert keepalive.check(1013.9) is Beat.NOTHING
    assert keepalive.check(1014.0) is Beat.GONE


def test_anything_at_all_is_a_sign_of_life() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    keepalive.heard = 7.0
    assert keepalive.check(10.0) is Beat.NOTHING
    assert keepalive.deadline == 17.0
    assert keepalive.check(17.0) is Beat.PING
    keepalive.heard = 18.0
    assert keepalive.check(21.0) is Beat.NOTHING
    assert keepalive.deadline == 28.0


def test_a_sign_of_life_in_the_moment_of_the_ping_counts() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    assert keepalive.check(10.0) is Beat.PING
    keepalive.heard = 10.0  # clocks may be coarse
    assert keepalive.check(14.0) is Beat.NOTHING


def test_only_messages_keep_a_connection_from_being_idle() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    keepalive.active = 30.0
    keepalive.heard = 125.0
    assert keepalive.check(129.0) is Beat.NOTHING
    assert keepalive.deadline == 130.0
    assert keepalive.check(130.0) is Beat.IDLE


def test_a_connection_lives_no_longer_than_it_may() -> None:
    keepalive = Keepalive(ConnectionLimits(ping_interval=10.0, max_lifetime=25.0), 100.0)
    keepalive.heard = keepalive.active = 124.0
    assert keepalive.check(124.9) is Beat.NOTHING
    assert keepalive.deadline == 125.0
    assert keepalive.check(125.0) is Beat.EXPIRED


def test_by_default_it_lives_as_long_as_it_likes() -> None:
    keepalive = Keepalive(ConnectionLimits(), 0.0)
    keepalive.heard = keepalive.active = 1e9
    assert keepalive.check(1e9) is Beat.NOTHING


def test_the_pong_tells_the_round_trip_time() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    assert keepalive.check(10.0) is Beat.PING
    payload = keepalive.payload
    asked = [keepalive.pong(found, 10.25) for found in (b"", b"another's", payload)]
    assert asked == [False, False, True]
    assert keepalive.round_trip == 0.25
    assert not keepalive.pong(payload, 11.0), "a second answer to the same ping"
    assert keepalive.round_trip == 0.25


def test_a_pong_that_nobody_asked_for_tells_nothing() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    assert not keepalive.pong(b"", 1.0)
    assert keepalive.round_trip is None


def test_every_ping_has_a_payload_of_its_own() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    payloads = []
    for now in range(10, 1000, 10):
        keepalive.active = float(now)
        assert keepalive.check(float(now)) is Beat.PING
        payloads.append(keepalive.payload)
        keepalive.heard = float(now)
    assert len(set(payloads)) == len(payloads)
    assert max(map(len, payloads)) <= 8
    assert not keepalive.pong(payloads[-2], 1000.0), "the answer to a ping that was given up"


STEPS = st.lists(
    st.tuples(st.sampled_from(["heard", "active", "late", "in time", "pong"]), st.floats(0.0, 8.0)),
    max_size=50,
)


@given(STEPS, st.sampled_from([inf, 60.0]))
def test_checking_at_the_deadline_is_as_good_as_checking_always(
    steps: list[tuple[str, float]], lifetime: float
) -> None:
    limits = ConnectionLimits(
        ping_interval=10.0,
        pong_timeout=4.0,
        idle_timeout=30.0,
        max_lifetime=None if lifetime == inf else lifetime,
    )
    rarely, always = Keepalive(limits, 0.0), Keepalive(limits, 0.0)
    now = 0.0
    for step, seconds in steps:
        for moment in (now + seconds / 2, now + seconds):
            while rarely.deadline <= moment:
                at = rarely.deadline
                beat = rarely.check(at)
                assert always.check(at) is beat
                if beat not in (Beat.NOTHING, Beat.PING):
                    return
                assert rarely.deadline > at
            assert always.check(moment) is Beat.NOTHING
        now += seconds
        for keepalive in (rarely, always):
            if step == "pong":
                keepalive.heard = now
                keepalive.pong(keepalive.payload, now)
            elif step in ("heard", "active"):
                keepalive.heard = now
                if step == "active":
                    keepalive.active = now


def test_it_is_small() -> None:
    assert not hasattr(Keepalive(LIMITS, 0.0), "__dict__")
