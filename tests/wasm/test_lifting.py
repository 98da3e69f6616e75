"""Values on their way from a component: what they become, and how large they may be."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wasm.crossing import Guest, passes_on, passing_on

from theater.contract import (
    Accept,
    Binary,
    Close,
    Closed,
    Congested,
    Connected,
    ConnectionInfo,
    Drained,
    Error,
    Headers,
    Peer,
    Ping,
    Pong,
    Query,
    Received,
    Response,
    Text,
    UpgradeRequest,
)
from theater.errors import InvalidHeader
from theater.runtime.address import Address
from theater.wasm.callbacks import HostFunction
from theater.wasm.contracts import (
    ADDRESS,
    CLOSE,
    CONNECTION,
    CONNECTION_EVENT,
    DECISION,
    EVENT,
    LEVEL,
    MESSAGE,
    MESSAGE_TYPE,
    PEER,
    RESPONSE,
    UPGRADE_REQUEST,
)
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    Failure,
    FunctionShape,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    ValueTooLarge,
)

FACTS = UpgradeRequest(
    "/a", {"x": "y"}, Query("q"), Headers([("a", "é")]), ("chat", "superchat"), Peer("::1", 9)
)
VALUES: list[tuple[Shape, Any]] = [
    (BOOL, True),
    (BOOL, False),
    (U8, 0),
    (U8, 255),
    (U16, 65_535),
    (U32, (1 << 32) - 1),
    (U64, (1 << 64) - 1),
    (F64, 0.1),
    (STRING, ""),
    (STRING, "\0é\U0001f600"),
    (BYTES, b""),
    (BYTES, b"\0"),
    (BYTES, bytes(range(256))),
    (OptionOf(STRING), None),
    (OptionOf(STRING), ""),
    (OptionOf(U64), 0),
    (OptionOf(BYTES), b"\0\1"),
    (ListOf(U64), []),
    (ListOf(U64), [1]),
    (ListOf(U64), [1, 2, 1 << 63]),
    (TupleOf((U8, STRING, OptionOf(U8))), (1, "two", None)),
    (ResultOf(None, None), None),
    (ResultOf(None, None), Failure()),
    (ResultOf(STRING, U8), "fine"),
    (ResultOf(STRING, U8), Failure(3)),
    (ResultOf(None, STRING), Failure("a sentence")),
    (LEVEL, "warning"),
    (PEER, Peer("127.0.0.1", 80)),
    (ADDRESS, Address("chat", "lobby")),
    (CLOSE, Close(1001, "bye")),
    (MESSAGE, Text("x")),
    (MESSAGE, Binary(b"x")),
    (MESSAGE, Ping(b"x")),
    (MESSAGE, Pong(b"")),
    (MESSAGE, Close(1000, "bye")),
    (MESSAGE_TYPE, Ping()),
    (MESSAGE_TYPE, Close()),
    (EVENT, Connected()),
    (EVENT, Received(Text("x"))),
    (EVENT, Received(Pong(b"x"))),
    (EVENT, Error("x")),
    (EVENT, Congested(5)),
    (EVENT, Drained()),
    (EVENT, Closed(1006, "")),
    (CONNECTION_EVENT, Closed()),
    (CONNECTION_EVENT, Received(Close())),  # type: ignore[arg-type]
    (RESPONSE, Response(404, {"a": "b"}, b"none")),
    (UPGRADE_REQUEST, FACTS),
    (OptionOf(DECISION), Accept("chat", {"a": "b"}, {"t", "u"}, {"n": [1, None]})),
    (OptionOf(DECISION), Response(403)),
    (OptionOf(DECISION), None),
]


@pytest.mark.parametrize(("shape", "value"), VALUES)
def test_a_value_comes_back_as_it_went(shape: Shape, value: object) -> None:
    assert passing_on(shape).run("g", value) == value


def test_facts_of_connections_come_back() -> None:
    facts = ConnectionInfo(7, "/", {"a": "b"}, Query("q"), Headers([("a", "b")]), "chat", None)
    found = passing_on(CONNECTION).run("g", facts)
    assert all(getattr(found, name) == getattr(facts, name) for name in ConnectionInfo.__slots__)


def test_a_case_without_payload_is_made_once() -> None:
    guest = passing_on(EVENT)
    assert guest.run("g", Drained()) is guest.run("g", Drained())


@pytest.mark.parametrize("kind", [Text, Binary])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 125, 126, 1024, 4096, 65_535, 65_536, 1024 * 1024])
def test_messages_of_any_size_come_back(kind: Any, size: int) -> None:
    message = (
        Text("é" * (size // 2) + "x" * (size % 2)) if kind is Text else Binary((b"0123456789" * size)[:size])
    )
    assert passing_on(MESSAGE).run("g", message) == message


@pytest.fixture(scope="module")
def binary() -> Guest:
    return passing_on(BYTES)


@pytest.fixture(scope="module")
def text() -> Guest:
    return passing_on(STRING)


@given(data=st.binary())
@settings(deadline=None)
def test_binary_data_comes_back(binary: Guest, data: bytes) -> None:
    assert binary.run("g", data) == data


@given(value=st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_text_comes_back(text: Guest, value: str) -> None:
    assert text.run("g", value) == value


def limited(shape: Shape, limit: int, answer: object) -> Guest:
    """A guest that returns what the host gives it, of which no more than a limit is taken."""
    both = FunctionShape((shape,), shape)
    host = {"f": HostFunction(both, lambda owner, value: answer)}
    return Guest(passes_on(shape), {"g": both}, host, max_value=limit)


@pytest.mark.parametrize(
    ("shape", "empty", "value", "size"),
    [
        (STRING, "", "12345678é", 10),
        (BYTES, b"", b"0123456789", 10),
        (ListOf(BOOL), [], [True, False], 64),
        (ListOf(STRING), [], ["1234"], 36),
        (ListOf(STRING), [], ["1234", "5678", "9"], 105),
        (TupleOf((STRING, BYTES)), ("", b""), ("12345", b"67890"), 10),
        (ResultOf(STRING, BYTES), "", Failure(b"0123456789"), 10),
        (MESSAGE, Text(""), Close(1000, "0123456789"), 10),
    ],
)
def test_a_value_may_be_as_large_as_the_limit(shape: Shape, empty: object, value: object, size: int) -> None:
    assert limited(shape, size, value).run("g", empty) == value
    guest = limited(shape, size - 1, value)
    for _ in range(3):  # its store and its memory are as good as before
        with pytest.raises(ValueTooLarge) as caught:
            guest.run("g", empty)
        assert (caught.value.limit, caught.value.size) == (size - 1, size)


def test_arguments_of_host_functions_have_the_limit_too() -> None:
    both = FunctionShape((STRING,), STRING)
    host = {"f": HostFunction(both, lambda owner, value: value)}
    guest = Guest(passes_on(STRING), {"g": both}, host, max_value=4)
    assert guest.run("g", "1234") == "1234"
    with pytest.raises(ValueTooLarge) as caught:
        guest.run("g", "12345")
    assert (caught.value.limit, caught.value.size) == (4, 5)


def test_what_a_class_does_not_take_is_raised_and_the_store_stays_good() -> None:
    pairs = ListOf(TupleOf((STRING, STRING)))
    guest = passing_on(pairs)
    shape = FunctionShape((pairs,), Adapted(pairs, Headers))
    guest.functions["h"] = guest._bind("g", shape, 1000)
    with pytest.raises(InvalidHeader):
        guest.run("h", [("not a token", "x")])
    assert guest.run("h", [("a", "b")]) == Headers([("a", "b")])
