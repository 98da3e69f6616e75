from typing import NamedTuple, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theater.limits import ConnectionLimits, SlowReader
from theater.runtime.sendqueue import SendQueue

unhurried = settings(deadline=None)  # the examples are quick; the machines that run them may not be
POLICIES: tuple[SlowReader, ...] = get_args(SlowReader)
LIMITS = [ConnectionLimits(max_send_queue=10, max_send_messages=4, slow_reader=policy) for policy in POLICIES]
LOSSLESS = ("close", "block")


class Put(NamedTuple):
    """A message that is to wait; what it is follows from its place in the list."""

    size: int
    key: str | None


puts = st.lists(st.builds(Put, st.integers(0, 14), st.none() | st.sampled_from("ab")), max_size=20)


def queue(policy: SlowReader, size: int = 10, messages: int = 4) -> SendQueue[str]:
    return SendQueue(ConnectionLimits(max_send_queue=size, max_send_messages=messages, slow_reader=policy))


def rest(queue: SendQueue[str]) -> str:
    """All that waits, taken."""
    return "".join(queue.take() for _ in range(len(queue)))


class TestBounds:
    @unhurried
    @given(limits=st.sampled_from(LIMITS), puts=puts, data=st.data())
    def test_hold_at_any_time(self, limits: ConnectionLimits, puts: list[Put], data: st.DataObject) -> None:
        queue: SendQueue[int] = SendQueue(limits)
        sizes: dict[int, int] = {}
        for number, (size, key) in enumerate(puts):
            sizes[number] = size
            if not queue.put(number, size, key):
                assert limits.slow_reader in ("close", "block", "keep-latest")
                return
            assert queue.size <= limits.max_send_queue
            assert len(queue) <= limits.max_send_messages
            takes: bool = data.draw(st.booleans())
            if queue and takes:
                before = queue.size
                assert before - sizes[queue.take()] == queue.size
        assert queue.size == sum(sizes[queue.take()] for _ in range(len(queue)))
        assert queue.size == 0

    @unhurried
    @given(limits=st.sampled_from(LIMITS), puts=puts)
    def test_cost_no_message_that_is_not_counted(self, limits: ConnectionLimits, puts: list[Put]) -> None:
        queue: SendQueue[int] = SendQueue(limits)
        taken = 0
        for number, (size, key) in enumerate(puts):
            if not queue.put(number, size, key):
                return
            assert taken + len(queue) + queue.dropped == number + 1
            if number % 3 == 2 and queue:
                queue.take()
                taken += 1
        assert queue.dropped == 0 or limits.slow_reader not in LOSSLESS

    @unhurried
    @given(limits=st.sampled_from(LIMITS), puts=puts)
    def test_cost_nothing_as_long_as_they_are_not_reached(
        self, limits: ConnectionLimits, puts: list[Put]
    ) -> None:
        queue: SendQueue[int] = SendQueue(limits)
        waiting: list[int] = []
        for number, put in enumerate(puts):
            size = sum(puts[each].size for each in waiting) + put.size
            if size > limits.max_send_queue or len(waiting) == limits.max_send_messages:
                break
            assert queue.put(number, put.size, None)
            waiting.append(number)
        assert [queue.take() for _ in range(len(queue))] == waiting

    @pytest.mark.parametrize("policy", POLICIES)
    def test_may_be_reached_exactly(self, policy: SlowReader) -> None:
        full = queue(policy, size=10, messages=2)
        assert full.put("a", 9)
        assert full.put("b", 1)
        assert rest(full) == "ab"
        assert full.dropped == 0


class TestClose:
    @pytest.mark.parametrize("policy", LOSSLESS)
    @pytest.mark.parametrize(("size", "messages"), [(2, 10), (10, 2)])
    def test_and_block_give_up_a_client_for_which_too_much_waits(
        self, policy: SlowReader, size: int, messages: int
    ) -> None:
        full = queue(policy, size, messages)
        assert full.put("a", 1)
        assert full.put("b", 1)
        assert not full.put("c", 1)

    @pytest.mark.parametrize("policy", LOSSLESS)
    def test_and_block_take_no_notice_of_keys(self, policy: SlowReader) -> None:
        keyed = queue(policy)
        assert keyed.put("a", 1, "key")
        assert keyed.put("b", 1, "key")
        assert rest(keyed) == "ab"


class TestDropOldest:
    def test_leaves_out_as_many_as_it_must(self) -> None:
        full = queue("drop-oldest")
        for item in "abcd":
            assert full.put(item, 2)
        assert full.put("e", 5)
        assert full.dropped == 2
        assert rest(full) == "cde"

    def test_counts_messages_too(self) -> None:
        full = queue("drop-oldest")
        for item in "abcdef":
            assert full.put(item, 0)
        assert rest(full) == "cdef"
        assert full.dropped == 2

    def test_leaves_out_what_could_never_wait_and_nothing_else(self) -> None:
        full = queue("drop-oldest")
        assert full.put("a", 1)
        assert full.put("b", 11)
        assert full.put("c", 1)
        assert full.dropped == 1
        assert rest(full) == "ac"

    @unhurried
    @given(puts=puts)
    def test_keeps_the_newest_in_order(self, puts: list[Put]) -> None:
        full: SendQueue[int] = SendQueue(LIMITS[POLICIES.index("drop-oldest")])
        for number, (size, key) in enumerate(puts):
            assert full.put(number, size, key)
        fitting = [number for number, put in enumerate(puts) if put.size <= 10]
        kept = [full.take() for _ in range(len(full))]
        assert kept == fitting[len(fitting) - len(kept) :]
        if len(kept) < min(4, len(fitting)):  # one more would not have fitted
            assert sum(puts[each].size for each in fitting[-len(kept) - 1 :]) > 10


class TestDropNewest:
    def test_leaves_out_what_does_not_fit(self) -> None:
        full = queue("drop-newest")
        for item, size in (("a", 6), ("b", 5), ("c", 4), ("d", 1), ("e", 0)):
            assert full.put(item, size)
        assert full.dropped == 2
        assert rest(full) == "ace"

    def test_takes_messages_again_when_there_is_room(self) -> None:
        full = queue("drop-newest", messages=1)
        assert full.put("a", 1)
        assert full.put("b", 1)
        assert full.take() == "a"
        assert full.put("c", 1)
        assert rest(full) == "c"


class TestKeepLatest:
    def test_puts_a_message_in_the_place_of_one_with_the_same_key(self) -> None:
        latest = queue("keep-latest", messages=3)
        for item, key in (("a", "x"), ("b", None), ("c", "y"), ("d", "x"), ("e", "y")):
            assert latest.put(item, 1, key)
        assert latest.dropped == 2
        assert latest.size == 3
        assert rest(latest) == "dbe"

    def test_counts_the_bytes_of_what_is_there(self) -> None:
        latest = queue("keep-latest")
        assert latest.put("a", 8, "x")
        assert latest.put("b", 2, "x")
        assert latest.put("c", 8, "y")
        assert latest.size == 10

    def test_gives_up_a_client_if_that_does_not_help(self) -> None:
        latest = queue("keep-latest")
        assert latest.put("a", 5, "x")
        assert latest.put("b", 5, "y")
        assert latest.put("c", 5, "x")
        assert not latest.put("d", 1)

    def test_gives_up_a_client_if_what_comes_instead_is_too_large(self) -> None:
        latest = queue("keep-latest")
        assert latest.put("a", 5, "x")
        assert latest.put("b", 5, "y")
        assert not latest.put("c", 6, "x")

    def test_treats_what_has_been_sent_as_gone(self) -> None:
        latest = queue("keep-latest")
        assert latest.put("a", 1, "x")
        assert latest.put("b", 1, "y")
        assert latest.take() == "a"
        assert latest.put("c", 1, "x")
        assert rest(latest) == "bc"

    @unhurried
    @given(puts=puts)
    def test_sends_the_last_of_each_key_at_the_place_of_the_first(self, puts: list[Put]) -> None:
        latest: SendQueue[int] = SendQueue(LIMITS[POLICIES.index("keep-latest")])
        expected: list[int] = []
        for number, (size, key) in enumerate(puts):
            if not latest.put(number, size, key):
                return
            same = [each for each in expected if key is not None and puts[each].key == key]
            if same:
                expected[expected.index(same[0])] = number
            else:
                expected.append(number)
        assert [latest.take() for _ in range(len(latest))] == expected


@pytest.mark.parametrize("policy", POLICIES)
class TestLast:
    def test_goes_out_behind_all_that_waits_and_is_never_left_out(self, policy: SlowReader) -> None:
        ending = queue(policy, messages=2)
        assert ending.put("a", 5)
        assert ending.put("b", 5)
        ending.put_last("z")
        assert rest(ending) == "abz"

    def test_is_followed_by_nothing(self, policy: SlowReader) -> None:
        ending = queue(policy)
        ending.put_last("z")
        assert ending.put("a", 1)
        assert ending.put("b", 100)
        assert ending.size == 0
        assert rest(ending) == "z"

    def test_is_the_first_that_was_said(self, policy: SlowReader) -> None:
        ending = queue(policy)
        ending.put_last("y")
        ending.put_last("z")
        assert rest(ending) == "y"
