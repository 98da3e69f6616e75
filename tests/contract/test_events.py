from typing import assert_never

import pytest

from theater.contract import Closed, Congested, Connected, Drained, Error, Event, Received, Text

ONE_OF_EACH = [Connected(), Received(Text("a")), Error("a"), Congested(1), Drained(), Closed(1000, "a")]


def content(event: Event) -> object:
    match event:
        case Connected():
            return None
        case Received(Text(text)):
            return text
        case Received(message):
            return message
        case Error(problem):
            return problem
        case Congested(waiting):
            return waiting
        case Drained():
            return None
        case Closed(code, reason):
            return code, reason
        case _:
            assert_never(event)


@pytest.mark.parametrize(
    ("event", "expected"), list(zip(ONE_OF_EACH, [None, "a", "a", 1, None, (1000, "a")], strict=True))
)
def test_matches_by_position(event: Event, expected: object) -> None:
    assert content(event) == expected


def test_fields_have_names() -> None:
    assert [
        Connected(),
        Received(message=Text("a")),
        Error(problem="a"),
        Congested(waiting=1),
        Drained(),
        Closed(code=1000, reason="a"),
    ] == ONE_OF_EACH


def test_closed_without_a_code() -> None:
    # RFC 6455 §7.1.5: "If this Close control frame contains no status code, _The WebSocket
    # Connection Close Code_ is considered to be 1005."
    assert Closed() == Closed(1005, "")


@pytest.mark.parametrize("event", ONE_OF_EACH)
def test_equal_only_to_the_same_kind(event: Event) -> None:
    assert [other for other in ONE_OF_EACH if other == event] == [event]


@pytest.mark.parametrize("event", [event for event in ONE_OF_EACH if event.__struct_fields__])
def test_immutable(event: Event) -> None:
    (field, *_) = event.__struct_fields__
    with pytest.raises(AttributeError):
        setattr(event, field, "b")
