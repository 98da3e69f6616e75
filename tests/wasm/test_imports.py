"""What the host does for a component, beyond what `tests/behaviours` asks of it."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from tests.server.raw import until

from theater import Actor, Address, Binary, Close, Closed, Connection, Event, Pong, Received, Text
from theater.errors import ConnectionEnded, InvalidAddress, LocalError, NoSuchActor
from theater.limits import Limits
from theater.testing import StageConnection, stage
from theater.wasm.imports import Host, OldHost, Refused
from theater.wasm.shapes import Failure

UNKNOWN = 12_345


class Caller(Actor):
    """Calls the host as a test says: in the event of a message, and in that of its end.

    The class is made anew for each test, so what it holds is a test's own.
    """

    make: ClassVar[type[Host]] = Host
    work: ClassVar[Callable[[Any, Connection], Any]]
    at_end: ClassVar[Callable[[Any, Connection], Any] | None] = None
    results: ClassVar[list[Any]]

    def init(self) -> None:
        self.host = self.make(self._context)

    async def handle_websocket(self, connection: Connection, event: Event) -> None:
        match event:
            case Received(Text()):
                self.host.begin()
                await self.run(type(self).work, connection)
            case Closed() if type(self).at_end is not None:
                self.host.begin([connection])
                await self.run(type(self).at_end, connection)

    async def run(self, work: Any, connection: Connection) -> None:
        try:
            result = work(self.host, connection)
            self.results.append(await result if inspect.isawaitable(result) else result)
        except BaseException:
            self.host.fail()
            raise


def caller(work: Callable[[Any, Connection], Any], **others: Any) -> type[Caller]:
    """An actor that does something with its host for each message."""
    return type("Caller", (Caller,), {"work": staticmethod(work), "results": [], **others})


async def run(
    work: Callable[[Any, Connection], Any], limits: Limits = Limits(), make: type[Host] = Host
) -> tuple[Any, list[Text | Binary]]:
    """What a call of the host returns, and what the client then has."""
    actor = caller(work, make=make)
    async with stage(actor, limits=limits) as theater, await theater.connect() as client:
        await client.send(Text("now"))
        await client.ping()
        return actor.results[-1], list(client._messages)


class TestUnknownConnections:
    @pytest.mark.parametrize(
        ("work", "expected"),
        [
            (lambda host: host.send_message(UNKNOWN, Text("x"), None, True), None),
            (lambda host: host.send_now(UNKNOWN, Text("x"), None, True), None),
            (lambda host: host.send_chunk(UNKNOWN, Text("x"), False), None),
            (lambda host: host.drained(UNKNOWN), None),
            (lambda host: host.get_waiting(UNKNOWN), 0),
            (lambda host: host.close_connection(UNKNOWN, 1000, ""), None),
            (lambda host: host.get_tags(UNKNOWN), []),
            (lambda host: host.set_tags(UNKNOWN, ["x"]), None),
            (lambda host: host.get_attachment(UNKNOWN), None),
            (lambda host: host.set_attachment(UNKNOWN, "1"), None),
            (lambda host: host.find_connection(UNKNOWN), None),
        ],
    )
    async def test_are_left_alone(self, work: Callable[[Host], object], expected: object) -> None:
        result, received = await run(lambda host, connection: work(host))
        assert result == expected
        assert received == []

    async def test_are_excluded_from_a_broadcast_in_vain(self) -> None:
        result, received = await run(lambda host, _: host.broadcast(Text("all"), [UNKNOWN], None, None, True))
        assert (result, received) == (None, [Text("all")])

    async def test_wrong_tags_are_refused_all_the_same(self) -> None:
        result, _ = await run(lambda host, connection: host.set_tags(UNKNOWN, [""]))
        assert isinstance(result, Failure)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "work",
        [
            lambda host, conn: host.send_message(conn, Pong(bytes(126)), None, True),
            lambda host, conn: host.send_message(conn, Close(1005), None, True),
            lambda host, conn: host.send_now(conn, Pong(bytes(126)), None, True),
            lambda host, conn: host.broadcast(Pong(bytes(126)), [], None, None, True),
            lambda host, conn: host.close_connection(conn, 1006, ""),
            lambda host, conn: host.close_connection(conn, 1000, "ä" * 62),
            lambda host, conn: host.set_tags(conn, ["x"] * 17 + [str(number) for number in range(17)]),
            lambda host, conn: host.set_attachment(conn, "x" * 16_385),
            lambda host, conn: host.set_state("ä" * 51),
        ],
    )
    async def test_is_a_sentence(self, work: Callable[[Host, int], object]) -> None:
        result, received = await run(
            lambda host, connection: work(host, connection.id), limits=Limits(max_state=100)
        )
        assert isinstance(result, Failure)
        assert isinstance(result.error, str)
        assert result.error
        assert received == []

    @pytest.mark.parametrize(
        ("address", "error"),
        [
            (Address("No"), InvalidAddress),
            (Address(""), InvalidAddress),
            (Address("a/b"), InvalidAddress),
            (Address("nobody"), NoSuchActor),
            (Address("caller"), LocalError),  # itself
        ],
    )
    async def test_of_other_actors_is_a_case(self, address: Address, error: type[Exception]) -> None:
        result, _ = await run(lambda host, _: host.request(address, Text("x"), None))
        assert type(result.error) is error
        if error is not LocalError:
            result, _ = await run(lambda host, _: host.send(address, Text("x")))
            assert type(result.error) is error


class TestPieces:
    async def test_go_on_in_later_turns(self) -> None:
        parts = iter([("one ", False), ("two ", False), ("three", True)])

        async def work(host: Host, connection: Connection) -> None:
            connection.send(Text("behind"))
            text, last = next(parts)
            await host.send_chunk(connection.id, Text(text), last)

        async with stage(caller(work)) as theater, await theater.connect() as client:
            for _ in range(3):
                await client.send(Text("go on"))
            assert [await client.receive() for _ in range(4)] == [
                Text("one two three"),
                *[Text("behind")] * 3,
            ]

    async def test_of_another_kind_are_refused(self) -> None:
        async def work(host: Host, connection: Connection) -> object:
            await host.send_chunk(connection.id, Text("text"), False)
            refused = await host.send_chunk(connection.id, Binary(b"bytes"), False)
            await host.send_chunk(connection.id, Text(""), True)
            return refused

        result, received = await run(work)
        assert isinstance(result, Failure)
        assert received == [Text("text")]

    async def test_of_a_turn_that_fails_end_the_connection(self) -> None:
        async def work(host: Host, connection: Connection) -> None:
            await host.send_chunk(connection.id, Text("text"), False)
            raise ValueError

        async with stage(caller(work)) as theater:
            client = await theater.connect()
            assert await _end(client) == 1011

    async def test_of_a_turn_before_outlive_one_that_fails(self) -> None:
        turns = iter(["begin", "fail", "end"])

        async def work(host: Host, connection: Connection) -> None:
            match next(turns):
                case "begin":
                    await host.send_chunk(connection.id, Text("begun and "), False)
                case "fail":
                    raise ValueError
                case "end":
                    await host.send_chunk(connection.id, Text("ended"), True)

        async with stage(caller(work)) as theater, await theater.connect() as client:
            for _ in range(3):
                await client.send(Text("go on"))
            assert await client.receive() == Text("begun and ended")

    async def test_are_forgotten_with_the_connection(self) -> None:
        async def work(host: Host, connection: Connection) -> None:
            await host.send_chunk(connection.id, Text("begun"), False)

        def at_end(host: Host, connection: Connection) -> Awaitable[object]:
            assert host.streams == {}
            return host.send_chunk(connection.id, Text("more"), True)

        actor = caller(work, at_end=staticmethod(at_end))
        async with stage(actor) as theater:
            client = await theater.connect()
            await client.send(Text("begin"))
            await client.ping()
            client.abort()
            await until(lambda: len(actor.results) == 2)
        assert actor.results == [None, None]


class TestClosed:
    async def test_a_connection_is_found_in_its_last_event_and_not_later(self) -> None:
        def at_end(host: Host, connection: Connection) -> tuple[object, ...]:
            found = host.find_connection(connection.id) is connection
            return (
                found,
                host.get_connections(),
                host.get_tags(connection.id),
                host.get_attachment(connection.id),
            )

        def work(host: Host, connection: Connection) -> None:
            connection.tags = frozenset(["tag"])
            connection.attachment = {"a": "ä"}

        actor = caller(work, at_end=staticmethod(at_end))
        async with stage(actor) as theater:
            client = await theater.connect()
            await client.send(Text("set"))
            await client.close()
            await until(lambda: len(actor.results) == 2)
            assert actor.results[1] == (True, [], ["tag"], '{"a":"ä"}')


async def test_no_more_random_bytes_than_allowed() -> None:
    result, _ = await run(
        lambda host, _: [len(host.random(count)) for count in (0, 65_536, 65_537, 2**32 - 1)]
    )
    assert result == [0, 65_536, 65_536, 65_536]


async def test_the_log_names_the_actor(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await run(lambda host, _: host.log("warning", "100 %s {}"))
    (record,) = [each for each in caplog.records if "100 %s {}" in each.getMessage()]
    assert (record.name, record.levelname) == ("theater.actor", "WARNING")
    assert record.getMessage() == "caller: 100 %s {}"
    assert record.__dict__["actor"] == "caller"


class TestOldContract:
    async def test_sends_and_closes(self) -> None:
        def work(host: OldHost, connection: Connection) -> None:
            host.send_message(connection.id, Text("sent"))
            host.send_message(UNKNOWN, Text("sent"))
            host.close_connection(connection.id)
            host.close_connection(UNKNOWN)

        async with stage(caller(work, make=OldHost)) as theater:
            client = await theater.connect()
            await client.send(Text("now"))
            assert await client.receive() == Text("sent")
            with pytest.raises(ConnectionEnded, match="1000"):
                await client.receive()

    async def test_has_no_words_for_what_is_refused(self) -> None:
        def work(host: OldHost, connection: Connection) -> str:
            host.send_message(connection.id, Text("one"))
            with pytest.raises(Refused, match="a turn has at most 1 effects"):
                host.send_message(connection.id, Text("two"))
            return "refused"

        result, received = await run(work, limits=Limits(max_outbox=1), make=OldHost)
        assert (result, received) == ("refused", [Text("one")])


async def _end(client: StageConnection) -> int:
    """Tells an actor to work, and waits for the end of the connection."""
    await client.send(Text("now"))
    with pytest.raises(ConnectionEnded) as ended:
        await client.receive()
    return ended.value.code


async def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def flood(host: Host, connection: Connection) -> None:
        for _ in range(2_000):
            host.log("info", "x" * 20_000)

    await run(flood)
    lines = [record.getMessage() for record in caplog.records if record.name == "theater.actor"]
    assert len(lines) == 1_000
    assert lines[0] == f"caller: {'x' * 16_384}"
    assert lines[-1] == "caller has more to say in one turn than the log takes"


async def test_what_an_ended_instance_has_begun_to_send_is_given_up() -> None:
    async def begin(host: Host, connection: Connection) -> None:
        await host.send_chunk(connection.id, Text("x"), False)
        host.begin()  # another turn, which does not go on with it
        host.forget()

    actor = caller(begin)
    async with stage(actor) as theater:
        client = await theater.connect()
        await client.send(Text("now"))
        with pytest.raises(ConnectionEnded) as ended:
            await client.receive()
        assert ended.value.code == 1011
