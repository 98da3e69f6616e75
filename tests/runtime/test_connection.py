import pytest
from tests.runtime.world import RecordingWire

from theater.contract import Accept, Binary, Close, Headers, Peer, Query, Text, UpgradeRequest
from theater.errors import InvalidClose, InvalidMessage, LocalError
from theater.limits import MAX_ATTACHMENT, MAX_TAGS
from theater.runtime.connection import Connection
from theater.runtime.outbox import Command, Outbox, SendEncoded, SendFrame

REQUEST = UpgradeRequest(
    path="/rooms/1",
    parameters={"room": "1"},
    query=Query("a=b"),
    headers=Headers({"Origin": "http://x"}),
    subprotocols=("chat", "other"),
    peer=Peer("127.0.0.1", 4000),
)


def execute(command: Command) -> None:
    assert isinstance(command, SendFrame | SendEncoded)
    if isinstance(command, SendFrame):
        command.wire.send_frame(command.first, command.payload)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(execute, 100)


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
        connection.attachment = bytes(MAX_ATTACHMENT)
    with pytest.raises(TypeError):
        connection.attachment = object()
    assert connection.tags == {"old"}
    assert connection.attachment == {"n": 1}


@pytest.mark.parametrize("name", ["tags", "attachment"])
def test_tags_and_attachment_of_a_turn_that_has_done_too_much_change_nothing(
    wire: RecordingWire, name: str
) -> None:
    outbox = Outbox(execute, 0)
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
