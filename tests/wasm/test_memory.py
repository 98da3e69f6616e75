"""The staging memory, and what may be read of a guest's."""

import pytest
from tests.wasm.staged import Memories

from theater.wasm.canonical import HEAD, PAGE, ROOM, SLOTS, InvalidValue
from theater.wasm.memory import LARGE

SIZE = 2 * PAGE
DATA = bytes(range(256)) * (LARGE // 256)


def test_blocks_lie_one_after_the_other_at_multiples_of_8() -> None:
    memories = Memories()
    staging = memories.staging
    staging.begin()
    assert staging.add(1, b"abc", SLOTS) == ROOM + HEAD
    assert staging.add(4, bytes(8), SLOTS + 8) == ROOM + HEAD + 8 + HEAD
    assert staging.add(1, b"", SLOTS + 16) == ROOM + 3 * HEAD + 16
    assert staging.count == 3
    assert memories.read(ROOM, 4) == (1, 3, 3, SLOTS)
    assert memories.read(ROOM + HEAD + 8, 4) == (4, 8, 8, SLOTS + 8)
    assert memories.read(ROOM + 2 * HEAD + 16, 4) == (1, 0, 0, SLOTS + 16)
    assert memories.reserved[ROOM + HEAD : ROOM + HEAD + 3] == b"abc"


def test_blocks_begin_behind_the_result_which_is_cleared() -> None:
    memories = Memories()
    assert any(memories.reserved[ROOM : ROOM + 40])
    memories.staging.begin(ROOM + 40)
    assert not any(memories.reserved[ROOM : ROOM + 40])
    assert memories.staging.add(1, b"", SLOTS) == ROOM + 40 + HEAD


def test_beginning_forgets_what_was_before() -> None:
    staging = Memories().staging
    staging.add(1, b"abc", SLOTS)
    staging.put(bytes(LARGE), SLOTS)
    staging.begin()
    assert (staging.count, staging.top, staging.held) == (0, ROOM, [])


def test_the_memory_grows_when_it_is_full() -> None:
    memories = Memories()
    staging = memories.staging
    staging.add(1, bytes(PAGE - ROOM - 2 * HEAD), SLOTS)
    assert staging.top == PAGE - HEAD
    staging.add(1, b"", SLOTS)
    assert not memories.grown
    start = staging.add(1, b"behind", SLOTS)
    assert memories.grown == [PAGE + HEAD + 8]
    assert memories.reserved[start : start + 6] == b"behind"


def test_the_memory_grows_for_what_is_held_back_too() -> None:
    memories = Memories()
    start = memories.staging.add(1, bytes(PAGE - ROOM - HEAD), SLOTS)
    memories.staging.put(DATA, SLOTS + 8)
    assert memories.grown == [PAGE + HEAD]
    assert memories.read(start + PAGE - ROOM - HEAD, 4) == (1, LARGE, 0, SLOTS + 8)


def test_what_cannot_grow_any_more_says_so() -> None:
    memories = Memories(reserved=PAGE)
    with pytest.raises(OverflowError, match="no more pages"):
        memories.staging.add(1, bytes(PAGE), SLOTS)


def test_what_is_held_back_is_delivered_where_its_address_says() -> None:
    memories = Memories()
    memories.staging.put(DATA, SLOTS)
    assert memories.read(ROOM, 4) == (1, LARGE, 0, SLOTS)
    memories.write(SLOTS, SIZE - LARGE)
    memories.staging.deliver(memories.guest)
    assert memories.memory[-LARGE:] == DATA
    assert memories.staging.held == []


@pytest.mark.parametrize("at", [SIZE - LARGE + 1, SIZE, (1 << 32) - 1])
def test_nothing_is_delivered_outside(at: int) -> None:
    memories = Memories()
    memories.staging.put(DATA, SLOTS)
    memories.write(SLOTS, at)
    with pytest.raises(InvalidValue, match="reach out of a memory of 131072"):
        memories.staging.deliver(memories.guest)
    assert not any(memories.memory)


def test_more_bytes_than_a_memory_can_have_are_refused() -> None:
    class Endless(bytes):
        def __len__(self) -> int:
            return 1 << 32

    with pytest.raises(OverflowError, match="4294967296 bytes are more"):
        Memories().staging.put(Endless(), SLOTS)


def test_data_is_held_back_long_before_the_memory_is_full() -> None:
    assert LARGE < PAGE // 2
