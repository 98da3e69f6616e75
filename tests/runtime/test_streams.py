import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.world import settle

from theater.contract import Close, Stream
from theater.errors import ConnectionEnded, LocalError
from theater.runtime.streams import IncomingStream

unhurried = settings(deadline=None)  # the examples are quick; the machines that run them may not be


class Feed:
    """A stream, and what has become of it.

    Attributes:
        taken: sizes of the chunks that do not wait any more.
        progress: how often its reader has got one.
    """

    def __init__(self, *chunks: str | bytes, is_text: bool = True) -> None:
        self.taken: list[int] = []
        self.progress = 0
        self.stream = IncomingStream(is_text, self.taken.append, self._progress)
        for chunk in chunks:
            self.stream.feed(chunk, last=False)

    def _progress(self) -> None:
        self.progress += 1


async def read(stream: Stream) -> list[Any]:
    return [chunk async for chunk in stream]


async def append_all(stream: Stream, to: list[Any]) -> None:
    async for chunk in stream:
        to.append(chunk)  # noqa: PERF401  # seen while more is awaited


async def reading(stream: Stream) -> tuple[asyncio.Task[list[Any]], list[Any]]:
    """Reads in a task; gives that, and the chunks that it has got so far."""
    got: list[Any] = []

    async def read() -> list[Any]:
        await append_all(stream, got)
        return got

    task = asyncio.create_task(read())
    await settle()
    return task, got


class TestReading:
    @unhurried
    @given(chunks=st.lists(st.binary(), min_size=1), ahead=st.integers(0, 20))
    async def test_gives_all_chunks_in_order_however_they_come(self, chunks: list[bytes], ahead: int) -> None:
        feed = Feed(is_text=False)
        task: asyncio.Task[list[Any]] | None = None
        for number, chunk in enumerate(chunks):
            if number == ahead:
                task = asyncio.create_task(read(feed.stream))
            if number >= ahead:
                await asyncio.sleep(0)
            feed.stream.feed(chunk, last=number == len(chunks) - 1)
        got = await (task or read(feed.stream))
        assert got == [chunk for chunk in chunks if chunk]
        assert feed.taken == [len(chunk) for chunk in got]
        assert feed.progress == len(got)

    async def test_waits_for_what_has_not_come(self) -> None:
        feed = Feed("a")
        task, got = await reading(feed.stream)
        assert got == ["a"]
        feed.stream.feed("b", last=False)
        feed.stream.feed("c", last=False)
        await settle()
        assert got == ["a", "b", "c"]
        feed.stream.feed("", last=True)
        assert await task == ["a", "b", "c"]

    async def test_says_what_kind_it_is(self) -> None:
        assert Feed().stream.is_text
        assert not Feed(is_text=False).stream.is_text

    async def test_of_an_empty_message_gives_nothing(self) -> None:
        feed = Feed()
        feed.stream.feed("", last=True)
        assert await read(feed.stream) == []
        assert feed.taken == []

    async def test_takes_only_what_is_asked_for(self) -> None:
        feed = Feed("aa", "bbb")
        chunks = aiter(feed.stream)
        assert (feed.taken, feed.progress) == ([], 0)
        assert await anext(chunks) == "aa"
        assert (feed.taken, feed.progress) == ([2], 1)
        assert await anext(chunks) == "bbb"
        assert (feed.taken, feed.progress) == ([2, 3], 2)

    async def test_counts_characters_of_text(self) -> None:
        feed = Feed("äöü")
        assert await anext(aiter(feed.stream)) == "äöü"
        assert feed.taken == [3]

    async def test_happens_once(self) -> None:
        feed = Feed("a")
        feed.stream.feed("b", last=True)
        assert await read(feed.stream) == ["a", "b"]
        with pytest.raises(LocalError, match="read once"):
            aiter(feed.stream)

    async def test_may_be_cancelled_while_it_waits(self) -> None:
        feed = Feed("a")
        task, got = await reading(feed.stream)
        task.cancel()
        await settle()
        assert task.cancelled()
        feed.stream.feed("b", last=False)  # to nobody
        feed.stream.abandon()
        assert got == ["a"]
        assert feed.taken == [1, 1]


class TestLoss:
    async def test_raises_behind_what_has_come(self) -> None:
        feed = Feed("a", "b")
        feed.stream.lost(Close(1006))
        got: list[Any] = []
        with pytest.raises(ConnectionEnded) as caught:
            await append_all(feed.stream, got)
        assert got == ["a", "b"]
        assert (caught.value.code, caught.value.reason) == (1006, "")

    async def test_raises_in_who_waits(self) -> None:
        feed = Feed("a")
        task, got = await reading(feed.stream)
        feed.stream.lost(Close(1001, "bye"))
        with pytest.raises(ConnectionEnded, match="1001: bye"):
            await task
        assert got == ["a"]

    async def test_after_the_last_chunk_does_not_matter(self) -> None:
        feed = Feed("a")
        feed.stream.feed("b", last=True)
        feed.stream.lost(Close(1006))
        assert await read(feed.stream) == ["a", "b"]


class TestAbandoning:
    async def test_throws_away_what_has_come_and_what_comes_later(self) -> None:
        feed = Feed("a", "bb")
        feed.stream.abandon()
        assert feed.taken == [1, 2]
        feed.stream.feed("ccc", last=False)
        feed.stream.feed("", last=True)
        assert sum(feed.taken) == 6

    async def test_is_no_progress(self) -> None:
        """Whoever goes on sending what nobody reads must not give a handler more time."""
        feed = Feed("a", "b")
        await anext(aiter(feed.stream))
        feed.stream.feed("c", last=False)
        feed.stream.abandon()
        feed.stream.feed("d", last=True)
        assert feed.taken == [1, 1, 1, 1]
        assert feed.progress == 1

    async def test_twice_is_harmless(self) -> None:
        feed = Feed("a")
        feed.stream.abandon()
        feed.stream.abandon()
        assert feed.taken == [1]

    @pytest.mark.parametrize("complete", [False, True])
    async def test_is_told_to_who_reads_later(self, complete: bool) -> None:
        """A message that was thrown away must not look like a short one."""
        feed = Feed("a")
        feed.stream.feed("b", last=complete)
        feed.stream.abandon()
        with pytest.raises(LocalError, match="until the handler that got it returns"):
            await read(feed.stream)

    @pytest.mark.parametrize("then", ["nothing", "more", "loss"])
    async def test_is_told_to_who_waits(self, then: str) -> None:
        feed = Feed("a")
        task, got = await reading(feed.stream)
        feed.stream.abandon()
        if then == "more":
            feed.stream.feed("b", last=False)
        elif then == "loss":
            feed.stream.lost(Close(1006))
        await settle()
        assert task.done()
        assert isinstance(task.exception(), LocalError)
        assert got == ["a"]

    async def test_of_a_message_that_was_read_to_its_end_changes_nothing(self) -> None:
        feed = Feed("a")
        feed.stream.feed("b", last=True)
        assert await read(feed.stream) == ["a", "b"]
        feed.stream.abandon()
        assert feed.taken == [1, 1]
