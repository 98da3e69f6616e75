import pytest

from theater.runtime.mailbox import Mailbox


class Feeder:
    """A source that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


def filled(count: int, source: Feeder | None = None, high: int = 4, low: int = 2) -> Mailbox[int]:
    mailbox: Mailbox[int] = Mailbox(high, low)
    for number in range(count):
        mailbox.put(number, source)
    return mailbox


def take_all(mailbox: Mailbox[int]) -> list[int]:
    return [mailbox.take() for _ in range(len(mailbox.items))]


def test_items_come_out_in_order() -> None:
    assert take_all(filled(3)) == [0, 1, 2]


def test_an_item_put_first_comes_out_first() -> None:
    mailbox = filled(2)
    mailbox.put_first(7)
    assert take_all(mailbox) == [7, 0, 1]


def test_the_last_item_that_is_meant_can_be_withdrawn() -> None:
    mailbox = filled(5)
    assert mailbox.withdraw(lambda item: item in (1, 3))
    assert list(mailbox.items) == [0, 1, 2, 4]
    assert mailbox.withdraw(lambda item: item in (1, 3))
    assert not mailbox.withdraw(lambda item: item in (1, 3))
    assert take_all(mailbox) == [0, 2, 4]


def test_nothing_can_be_withdrawn_from_an_empty_mailbox() -> None:
    assert not filled(0).withdraw(lambda item: True)


def test_what_is_withdrawn_resumes_sources_as_what_is_taken_does() -> None:
    """Otherwise nothing would, if it was the last item."""
    source = Feeder()
    mailbox = filled(4, source, low=1)
    for _ in range(2):
        mailbox.withdraw(lambda item: True)
        assert source.told == ["pause"]
    mailbox.withdraw(lambda item: True)
    assert source.told == ["pause", "resume"]


@pytest.mark.parametrize(("count", "full"), [(0, False), (3, False), (4, True), (5, True)])
def test_is_full_from_the_high_mark_on(count: int, full: bool) -> None:
    assert filled(count).full is full


def test_a_source_is_paused_once_at_the_high_mark() -> None:
    source = Feeder()
    mailbox = filled(3, source)
    assert source.told == []
    mailbox.put(3, source)
    assert source.told == ["pause"]
    mailbox.put(4, source)
    assert source.told == ["pause"]


def test_what_a_paused_source_still_puts_is_taken() -> None:
    assert take_all(filled(9, Feeder())) == list(range(9))


def test_items_without_a_source_pause_nobody() -> None:
    source = Feeder()
    mailbox = filled(1, source)
    for number in range(9):
        mailbox.put(number)
    assert source.told == []
    mailbox.put(9, source)
    assert source.told == ["pause"]


def test_all_that_are_paused_resume_at_the_low_mark() -> None:
    one, two = Feeder(), Feeder()
    mailbox = filled(4, one)
    mailbox.put(5, two)
    mailbox.take()
    mailbox.take()
    assert one.told == two.told == ["pause"]
    mailbox.take()
    assert one.told == two.told == ["pause", "resume"]
    mailbox.take()
    assert one.told == ["pause", "resume"]


def test_a_source_can_be_paused_again() -> None:
    source = Feeder()
    mailbox = filled(4, source)
    take_all(mailbox)
    for number in range(4):
        mailbox.put(number, source)
    assert source.told == ["pause", "resume", "pause"]


def test_a_source_that_is_forgotten_is_not_resumed() -> None:
    gone, other = Feeder(), Feeder()
    mailbox = filled(4, gone)
    mailbox.put(4, other)
    mailbox.forget(gone)
    mailbox.forget(Feeder())  # was never paused
    take_all(mailbox)
    assert gone.told == ["pause"]
    assert other.told == ["pause", "resume"]


@pytest.mark.parametrize(("high", "low"), [(1, 0), (1, 1), (3, 3), (5, 0)])
def test_an_empty_mailbox_holds_nobody_back(high: int, low: int) -> None:
    source = Feeder()
    mailbox = filled(high, source, high, low)
    assert source.told == ["pause"]
    take_all(mailbox)
    assert source.told == ["pause", "resume"]
