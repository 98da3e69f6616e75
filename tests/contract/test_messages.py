from typing import assert_never

import pytest

from theater.contract import Binary, Close, Message, Ping, Pong, Text

ONE_OF_EACH = [Text("a"), Binary(b"a"), Ping(b"a"), Pong(b"a"), Close(1000, "a")]


def content(message: Message) -> object:
    match message:
        case Text(text):
            return text
        case Binary(data):
            return data
        case Ping(payload) | Pong(payload):
            return payload
        case Close(code, reason):
            return code, reason
        case _:
            assert_never(message)


@pytest.mark.parametrize(
    ("message", "expected"), list(zip(ONE_OF_EACH, ["a", b"a", b"a", b"a", (1000, "a")], strict=True))
)
def test_matches_by_position(message: Message, expected: object) -> None:
    assert content(message) == expected


def test_fields_have_names() -> None:
    assert [
        Text(text="a"),
        Binary(data=b"a"),
        Ping(payload=b"a"),
        Pong(payload=b"a"),
        Close(code=1000, reason="a"),
    ] == ONE_OF_EACH


def test_control_messages_may_be_empty() -> None:
    assert Ping() == Ping(b"")
    assert Pong() == Pong(b"")
    assert Close() == Close(1000, "")


@pytest.mark.parametrize("message", ONE_OF_EACH)
def test_equal_only_to_the_same_kind(message: Message) -> None:
    assert [other for other in ONE_OF_EACH if other == message] == [message]
    assert len({message, *ONE_OF_EACH}) == len(ONE_OF_EACH)


@pytest.mark.parametrize("message", ONE_OF_EACH)
def test_immutable(message: Message) -> None:
    (field, *_) = message.__struct_fields__
    with pytest.raises(AttributeError):
        setattr(message, field, "b")
