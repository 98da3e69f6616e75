import asyncio
from typing import Any, get_args

import pytest
from tests.runtime.world import RecordingWire, settle

from theater.contract import Accept, Binary, Close, Headers, Peer, Query, Text, UpgradeRequest
from theater.errors import InvalidClose, InvalidMessage, LocalError
from theater.limits import MAX_ATTACHMENT, MAX_TAGS, ConnectionLimits, SlowReader
from theater.runtime.connection import Connection
from theater.runtime.outbox import Command, Outbox, SendFrame

REQUEST = UpgradeRequest(
    path="/rooms/1",
    parameters={"room": "1"},
    query=Query("a=b"),
    headers=Headers({"Origin": "http://x"}),
    subprotocols=("chat", "other"),
    peer=Peer("127.0.0.1", 4000),
)


def execute(command: Command) -> None:
    assert isinstance(command, SendFrame)
    command.wire.send_frame(command.frame)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(execute, 100, 100_000)


@pytest.fixture
def wire() -> RecordingWire:
    return RecordingWire()


@pytest.fixture
def connection(outbox: Outbox, wire: RecordingWire) -> Connection:
    return Connection(7, REQUEST, Accept("chat", tags=["old"], attachment={"n": 1}), wire, outbox)


def test_has_the_facts_of_the_request_and_of_its_acceptance(connection: Connection) -> None:
    assert connection.id == 7
    assert connection.path == REQUEST.path
    assert connection.parameters == REQUEST.parameters
    assert connection.query == REQUEST.query
    assert connection.headers == REQUEST.headers
    assert connection.peer == REQUEST.peer
    assert connection.subprotocol == "chat"
    assert connection.tags == {"old"}
    assert connection.attachment == {"n": 1}
    assert repr(connection) == "<Connection 7 on /rooms/1>"


def test_sends_and_closes_in_order(connection: Connection, wire: RecordingWire) -> None:
    connection.send(Text("a"))
    connection.send(Binary(b"b"))
    connection.close(4000, "over")
    assert wire.sent == [Text("a"), Binary(b"b"), Close(4000, "over")]


def test_closes_normally_if_nothing_else_is_said(connection: Connection, wire: RecordingWire) -> None:
    connection.close()
    assert wire.sent == [Close(1000, "")]


def test_sends_only_what_can_be_sent(connection: Connection, wire: RecordingWire) -> None:
    with pytest.raises(InvalidMessage, match="wrap it in Text"):
        connection.send("text")  # type: ignore[arg-type]
    with pytest.raises(InvalidClose):
        connection.close(1006)
    assert wire.sent == []


def test_effects_of_a_turn_wait_for_its_end(
    connection: Connection, wire: RecordingWire, outbox: Outbox
) -> None:
    outbox.open = True
    connection.send(Text("a"))
    connection.close()
    assert wire.sent == []
    outbox.commit()
    assert wire.sent == [Text("a"), Close()]


def test_tags_and_attachment_can_be_read_back_at_once_and_taken_back_later(
    connection: Connection, outbox: Outbox
) -> None:
    outbox.open = True
    connection.tags = ["a", "b", "a"]
    connection.attachment = [1]
    connection.tags = frozenset()
    connection.attachment = None
    assert connection.tags == frozenset()
    assert connection.attachment is None
    outbox.drop()
    assert connection.tags == {"old"}
    assert connection.attachment == {"n": 1}


def test_tags_and_attachment_that_are_refused_change_nothing(connection: Connection) -> None:
    with pytest.raises(ValueError, match="at most"):
        connection.tags = frozenset(map(str, range(MAX_TAGS + 1)))
    with pytest.raises(TypeError):
        connection.tags = "red"
    with pytest.raises(ValueError, match="at most"):
        connection.attachment = "a" * MAX_ATTACHMENT
    with pytest.raises(TypeError):
        connection.attachment = object()
    assert connection.tags == {"old"}
    assert connection.attachment == {"n": 1}


@pytest.mark.parametrize("name", ["tags", "attachment"])
def test_tags_and_attachment_of_a_turn_that_has_done_too_much_change_nothing(
    wire: RecordingWire, name: str
) -> None:
    outbox = Outbox(execute, 0, 100_000)
    outbox.open = True
    connection = Connection(7, REQUEST, Accept(tags=["old"], attachment=["old"]), wire, outbox)
    with pytest.raises(LocalError):
        setattr(connection, name, ["new"])
    outbox.drop()
    assert list(getattr(connection, name)) == ["old"]


def test_each_reading_of_the_attachment_is_a_copy(connection: Connection) -> None:
    connection.attachment["n"] = 2
    assert connection.attachment == {"n": 1}
    mine = {"list": [1]}
    connection.attachment = mine
    mine["list"].append(2)
    assert connection.attachment == {"list": [1]}


def test_is_a_key_by_identity(connection: Connection, outbox: Outbox, wire: RecordingWire) -> None:
    twin = Connection(7, REQUEST, Accept(), wire, outbox)
    assert len({connection, twin, connection}) == 2


def test_takes_no_further_attributes(connection: Connection) -> None:
    with pytest.raises(AttributeError):
        connection.nickname = "x"  # type: ignore[attr-defined]


def test_says_how_each_message_may_be_sent(connection: Connection, wire: RecordingWire) -> None:
    connection.send(Text("a"))
    connection.send(Text("b"), key="price", compress=False)
    assert wire.frames == [(None, True), ("price", False)]


def test_says_how_much_is_waiting(connection: Connection, wire: RecordingWire) -> None:
    wire.waiting = 70_000
    assert connection.waiting == 70_000


async def test_drained_waits_until_the_client_has_caught_up(
    connection: Connection, wire: RecordingWire
) -> None:
    await connection.drained()
    wire.waiting = 1
    waiting = asyncio.create_task(connection.drained())
    await settle()
    assert not waiting.done()
    wire.catch_up()
    await waiting


class TestSendNow:
    async def test_does_not_wait_for_the_end_of_the_turn(
        self, connection: Connection, wire: RecordingWire, outbox: Outbox
    ) -> None:
        outbox.open = True
        connection.send(Text("with the turn"))
        await connection.send_now(Text("now"), key="k", compress=False)
        assert wire.sent == [Text("now")]
        assert wire.frames == [("k", False)]
        outbox.drop()
        assert wire.sent == [Text("now")]

    async def test_takes_every_message_and_only_those(
        self, connection: Connection, wire: RecordingWire
    ) -> None:
        await connection.send_now(Close(4000, "over"))
        assert wire.sent == [Close(4000, "over")]
        with pytest.raises(InvalidMessage):
            await connection.send_now("text")  # type: ignore[arg-type]
        with pytest.raises(InvalidClose):
            await connection.send_now(Close(1006))
        assert len(wire.sent) == 1

    @pytest.mark.parametrize("policy", get_args(SlowReader))
    async def test_waits_for_a_slow_client_only_where_that_is_the_policy(
        self, outbox: Outbox, policy: SlowReader
    ) -> None:
        wire = RecordingWire(ConnectionLimits(slow_reader=policy))
        wire.waiting = 1
        connection = Connection(7, REQUEST, Accept(), wire, outbox)
        sending = asyncio.create_task(connection.send_now(Text("x")))
        await settle()
        assert sending.done() == (policy != "block")
        wire.catch_up()
        await sending
        assert wire.sent == [Text("x")]

    async def test_that_is_cancelled_while_it_waits_sends_nothing(self, outbox: Outbox) -> None:
        wire = RecordingWire(ConnectionLimits(slow_reader="block"))
        wire.waiting = 1
        connection = Connection(7, REQUEST, Accept(), wire, outbox)
        sending = asyncio.create_task(connection.send_now(Text("x")))
        await settle()
        sending.cancel()
        wire.catch_up()
        await settle()
        assert sending.cancelled()
        assert wire.sent == []

    async def test_says_what_is_wrong_before_it_waits(self, outbox: Outbox) -> None:
        wire = RecordingWire(ConnectionLimits(slow_reader="block"))
        wire.waiting = 1
        connection = Connection(7, REQUEST, Accept(), wire, outbox)
        with pytest.raises(InvalidMessage):
            await connection.send_now(Text("\ud800"))


class TestStream:
    @pytest.mark.parametrize(
        ("pieces", "last"), [(["a", "b"], ""), ([b"a", b"b"], b""), ([bytearray(b"a")], b""), ([], b"")]
    )
    async def test_sends_pieces_at_once_and_completes_the_message(
        self,
        connection: Connection,
        wire: RecordingWire,
        outbox: Outbox,
        pieces: list[Any],
        last: str | bytes,
    ) -> None:
        outbox.open = True
        async with connection.stream() as stream:
            assert wire.streaming
            for number, piece in enumerate(pieces):
                await stream.write(piece)
                assert len(wire.chunks) == number + 1
        assert wire.chunks == [*((piece, False) for piece in pieces), (last, True)]
        assert wire.broken == []

    async def test_waits_while_the_client_does_not_keep_up(
        self, connection: Connection, wire: RecordingWire
    ) -> None:
        async with connection.stream() as stream:
            wire.waiting = 1
            writing = asyncio.create_task(stream.write("a"))
            await settle()
            assert not writing.done()
            assert wire.chunks == [("a", False)]
            wire.catch_up()
            await writing

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
    @pytest.mark.parametrize("pieces", [[], ["a"], [b"a", b"b"], [""]])
    async def test_that_is_left_with_an_exception_is_given_up(
        self,
        connection: Connection,
        wire: RecordingWire,
        error: type[BaseException],
        pieces: list[str | bytes],
    ) -> None:
        """The connection can be kept as long as the client has got nothing of the message."""

        async def write_and_raise() -> None:
            async with connection.stream() as stream:
                for piece in pieces:
                    await stream.write(piece)
                raise error

        with pytest.raises(error):
            await write_and_raise()
        assert wire.broken == [bool(pieces)]
        assert wire.chunks == [(piece, False) for piece in pieces]

    @pytest.mark.parametrize("before", [[], ["a"]])
    async def test_sends_only_what_can_be_sent(
        self, connection: Connection, wire: RecordingWire, before: list[str]
    ) -> None:
        async def write_a_number() -> None:
            async with connection.stream() as stream:
                for piece in before:
                    await stream.write(piece)
                await stream.write(1)  # type: ignore[arg-type]

        with pytest.raises(InvalidMessage):
            await write_a_number()
        assert wire.broken == [bool(before)]

    async def test_is_written_to_inside_its_block(self, connection: Connection, wire: RecordingWire) -> None:
        stream = connection.stream()
        with pytest.raises(LocalError, match="inside of `async with"):
            await stream.write("early")
        async with stream:
            await stream.write("a")
        with pytest.raises(LocalError, match="inside of `async with"):
            await stream.write("late")
        assert wire.chunks == [("a", False), ("", True)]

    async def test_is_the_only_one_of_its_connection(
        self, connection: Connection, wire: RecordingWire
    ) -> None:
        async with connection.stream() as stream:
            with pytest.raises(LocalError, match="another message"):
                async with connection.stream():
                    raise AssertionError
            await stream.write("a")
        assert wire.broken == []
        async with connection.stream() as stream:
            await stream.write("b")
        assert [data for data, _ in wire.chunks] == ["a", "", "b", ""]
