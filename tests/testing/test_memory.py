import asyncio

import pytest

from theater.testing import link


class Recorder(asyncio.Protocol):
    """Notes all that a transport tells it.

    Attributes:
        told: in order; the bytes of `data_received` as they are.
        stay: what `eof_received` returns: whether to go on after a half-close.
    """

    def __init__(self, stay: bool = False) -> None:
        self.told: list[bytes | str] = []
        self.stay = stay

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stay

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost" if exc is None else type(exc).__name__)

    @property
    def data(self) -> bytes:
        return b"".join(piece for piece in self.told if isinstance(piece, bytes))


class SmallBuffer(asyncio.BufferedProtocol):
    """Has room for three bytes at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray(3)
        self.pieces: list[bytes] = []
        self.ended: list[str] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.pieces.append(bytes(self.buffer[:nbytes]))

    def eof_received(self) -> bool:
        self.ended.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append("lost")


class Line:
    """Two linked ends with a recorder on each."""

    def __init__(self) -> None:
        self.client, self.server = link()
        self.at_client, self.at_server = Recorder(), Recorder()
        self.client.set_protocol(self.at_client)
        self.server.set_protocol(self.at_server)


@pytest.fixture
async def line() -> Line:
    return Line()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_ends_know_their_peers(line: Line) -> None:
    assert line.client.get_extra_info("peername") == ("127.0.0.1", 80)
    assert line.server.get_extra_info("peername") == ("127.0.0.1", 50_000)
    assert line.client.get_extra_info("sockname")[0] == "127.0.0.1"
    assert line.client.get_extra_info("cipher") is None


async def test_an_end_knows_its_protocol(line: Line) -> None:
    assert line.client.get_protocol() is line.at_client


async def test_bytes_arrive_in_order_and_not_inside_the_write(line: Line) -> None:
    line.client.write(b"a")
    line.client.write(bytearray(b"b"))
    line.client.write(memoryview(b"c"))
    line.client.writelines([b"d", b"e"])
    line.server.write(b"back")
    assert line.at_server.told == []
    await settle()
    assert line.at_server.data == b"abcde"
    assert line.at_client.told == [b"back"]


async def test_bytes_are_copied_when_they_are_written(line: Line) -> None:
    buffer = bytearray(b"abc")
    line.client.write(buffer)
    buffer[:] = b"xyz"
    await settle()
    assert line.at_server.told == [b"abc"]


async def test_nothing_arrives_of_nothing(line: Line) -> None:
    line.client.write(b"")
    await settle()
    assert line.at_server.told == []


@pytest.mark.parametrize("split", [1, 2, 3, 5])
async def test_bytes_arrive_in_pieces_no_larger_than_split(line: Line, split: int) -> None:
    line.server.split = split
    line.client.write(b"abc")
    line.client.write(b"defgh")
    await settle()
    pieces = line.at_server.told
    assert line.at_server.data == b"abcdefgh"
    assert pieces == [
        word[start : start + split]
        for word in (b"abc", b"defgh")
        for start in range(0, len(word), split)
    ]  # fmt: skip


async def test_split_is_of_one_direction(line: Line) -> None:
    line.server.split = 1
    line.server.write(b"abc")
    await settle()
    assert line.at_client.told == [b"abc"]


async def test_a_buffered_protocol_is_given_what_its_buffer_holds(line: Line) -> None:
    protocol = SmallBuffer()
    line.server.set_protocol(protocol)
    line.client.write(b"abcdefgh")
    line.client.close()
    await settle()
    assert protocol.pieces == [b"abc", b"def", b"gh"]
    assert protocol.ended == ["eof", "lost"]


async def test_a_protocol_set_later_gets_what_comes_later(line: Line) -> None:
    line.client.write(b"a")
    await settle()
    late = Recorder()
    line.server.set_protocol(late)
    line.client.write(b"b")
    await settle()
    assert (line.at_server.told, late.told) == ([b"a"], [b"b"])


class TestSlowReader:
    async def test_gets_nothing_until_it_reads_again(self, line: Line) -> None:
        line.server.pause_reading()
        assert not line.server.is_reading()
        line.client.write(b"a")
        line.client.write(b"b")
        await settle()
        assert line.at_server.told == []
        assert line.client.get_write_buffer_size() == 2
        line.server.resume_reading()
        assert line.server.is_reading()
        await settle()
        assert line.at_server.data == b"ab"
        assert line.client.get_write_buffer_size() == 0

    async def test_stops_the_other_end_from_writing_and_lets_it_again(self, line: Line) -> None:
        line.server.pause_reading()
        line.client.write(bytes(64 * 1024))
        assert line.at_client.told == []
        line.client.write(b"x")
        line.client.write(b"y")
        assert line.at_client.told == ["pause"]
        line.server.resume_reading()
        await settle()
        assert line.at_client.told == ["pause", "resume"]
        assert len(line.at_server.data) == 64 * 1024 + 2
        line.server.pause_reading()
        line.client.write(bytes(64 * 1024 + 1))
        assert line.at_client.told == ["pause", "resume", "pause"]

    async def test_that_reads_in_pieces_lets_the_other_end_write_only_at_the_low_mark(
        self, line: Line
    ) -> None:
        waiting: list[int] = []
        line.server.split = 10 * 1024
        line.at_client.resume_writing = lambda: waiting.append(  # type: ignore[method-assign]
            line.client.get_write_buffer_size()
        )
        line.client.write(bytes(65 * 1024))
        await settle()
        assert waiting == [15 * 1024]

    async def test_may_pause_in_the_middle(self, line: Line) -> None:
        class Sip(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                line.server.pause_reading()

        sip = Sip()
        line.server.split = 1
        line.server.set_protocol(sip)
        line.client.write(b"abc")
        await settle()
        assert sip.told == [b"a"]
        line.server.resume_reading()
        await settle()
        assert sip.told == [b"a", b"b"]

    async def test_does_not_hear_of_the_end_before_it_reads(self, line: Line) -> None:
        line.server.pause_reading()
        line.client.write(b"a")
        line.client.close()
        await settle()
        assert line.at_server.told == []
        assert line.at_client.told == []
        line.server.resume_reading()
        await settle()
        assert line.at_server.told == [b"a", "eof", "lost"]
        assert line.at_client.told == ["lost"]


class TestClose:
    async def test_delivers_all_that_was_written_first(self, line: Line) -> None:
        line.server.split = 2
        line.client.write(b"abcde")
        line.client.close()
        line.client.write(b"too late")
        assert line.client.is_closing()
        await settle()
        assert line.at_server.told == [b"ab", b"cd", b"e", "eof", "lost"]
        assert line.at_client.told == ["lost"]
        assert line.server.is_closing()

    async def test_happens_once(self, line: Line) -> None:
        line.client.close()
        line.client.close()
        await settle()
        line.client.close()
        line.server.close()
        await settle()
        assert line.at_client.told == ["lost"]
        assert line.at_server.told == ["eof", "lost"]

    async def test_from_both_ends_at_once(self, line: Line) -> None:
        line.client.close()
        line.server.close()
        await settle()
        assert line.at_client.told[-1] == line.at_server.told[-1] == "lost"
        assert line.at_client.told.count("lost") == line.at_server.told.count("lost") == 1

    async def test_receives_no_more(self, line: Line) -> None:
        line.server.write(b"on the way")
        line.client.close()
        await settle()
        assert line.at_client.data == b""
        assert line.at_client.told[-1] == "lost"

    async def test_with_a_peer_that_stays_ends_the_one_that_closed(self, line: Line) -> None:
        line.at_server.stay = True
        line.client.close()
        await settle()
        assert line.at_server.told == ["eof"]
        assert line.at_client.told == ["lost"]
        line.server.write(b"nobody is there")
        line.server.close()
        await settle()
        assert line.at_server.told == ["eof", "lost"]

    async def test_without_a_protocol_ends_quietly(self) -> None:
        client, server = link()
        client.write(b"x")
        client.close()
        await settle()
        assert client.is_closing()
        assert server.is_closing()


class TestHalfClose:
    async def test_leaves_the_other_direction_open(self, line: Line) -> None:
        line.at_server.stay = True
        assert line.client.can_write_eof()
        line.client.write(b"question")
        line.client.write_eof()
        await settle()
        assert line.at_server.told == [b"question", "eof"]
        assert not line.client.is_closing()
        line.server.write(b"answer")
        line.server.close()
        await settle()
        assert line.at_client.told == [b"answer", "eof", "lost"]
        assert line.at_server.told[2:] == ["lost"]

    async def test_is_told_once(self, line: Line) -> None:
        line.at_server.stay = True
        line.client.write_eof()
        line.client.write_eof()
        await settle()
        line.server.pause_reading()
        line.server.resume_reading()
        await settle()
        assert line.at_server.told == ["eof"]

    async def test_closes_a_peer_that_does_not_stay(self, line: Line) -> None:
        line.client.write_eof()
        await settle()
        assert line.at_server.told == ["eof", "lost"]
        assert line.at_client.told == ["eof", "lost"]


class TestReset:
    async def test_is_an_error_for_the_other_end_and_loses_what_is_on_the_way(self, line: Line) -> None:
        line.client.write(b"lost")
        line.server.write(b"lost too")
        line.client.abort()
        await settle()
        assert line.at_client.told == ["lost"]
        assert line.at_server.told == ["ConnectionResetError"]
        assert line.client.is_closing()
        assert line.server.is_closing()
        assert line.client.get_write_buffer_size() == 0

    async def test_happens_once_and_nothing_comes_behind_it(self, line: Line) -> None:
        line.client.abort()
        line.client.abort()
        line.server.abort()
        line.client.write(b"x")
        line.server.write(b"y")
        line.server.resume_reading()
        line.server.close()
        await settle()
        assert line.at_client.told == ["lost"]
        assert line.at_server.told == ["ConnectionResetError"]

    async def test_ends_an_orderly_close_that_hangs(self, line: Line) -> None:
        line.server.pause_reading()
        line.client.write(b"x")
        line.client.close()
        await settle()
        line.client.abort()
        await settle()
        assert line.at_client.told == ["lost"]
        assert line.at_server.told == ["ConnectionResetError"]

    async def test_is_heard_even_by_who_does_not_read(self, line: Line) -> None:
        line.server.pause_reading()
        line.client.abort()
        await settle()
        assert line.at_server.told == ["ConnectionResetError"]
