from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.wire import KEY, Frame, read_frames

from theater.contract.messages import Binary, Close, Message, Ping, Pong, Text
from theater.errors import InvalidClose, InvalidMessage
from theater.protocol.frames import (
    FIN,
    MASK,
    MAX_CONTROL_PAYLOAD,
    Opcode,
    encode_frame,
    encode_head,
    encode_message,
)


@pytest.mark.parametrize(
    ("first", "payload", "key", "wire"),
    [  # all of RFC 6455 §5.7 but the two long ones
        pytest.param(0x81, b"Hello", None, "81 05 48 65 6c 6c 6f", id="unmasked text"),
        pytest.param(0x81, b"Hello", KEY, "81 85 37 fa 21 3d 7f 9f 4d 51 58", id="masked text"),
        pytest.param(0x01, b"Hel", None, "01 03 48 65 6c", id="first fragment"),
        pytest.param(0x80, b"lo", None, "80 02 6c 6f", id="last fragment"),
        pytest.param(0x89, b"Hello", None, "89 05 48 65 6c 6c 6f", id="ping"),
        pytest.param(0x8A, b"Hello", KEY, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", id="masked pong"),
    ],
)
def test_the_examples_of_the_rfc(first: int, payload: bytes, key: bytes | None, wire: str) -> None:
    assert encode_frame(first, payload, key) == bytes.fromhex(wire)


@pytest.mark.parametrize(
    ("size", "head"),
    [  # §5.2: "the minimal number of bytes MUST be used to encode the length"
        (0, "82 00"),
        (1, "82 01"),
        (125, "82 7d"),
        (126, "82 7e 00 7e"),
        (256, "82 7e 01 00"),
        (65535, "82 7e ff ff"),
        (65536, "82 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_lengths_are_minimal(size: int, head: str) -> None:
    payload = bytes(index % 251 for index in range(size))
    plain = bytes.fromhex(head)
    assert encode_head(0x82, size) == plain
    assert encode_frame(0x82, payload) == plain + payload

    assert encode_head(0x82, size, masked=True) == encode_frame(0x82, payload, KEY)[: len(plain)]
    masked = encode_frame(0x82, payload, KEY)
    assert masked[: len(plain)] == plain[:1] + bytes((plain[1] | 0x80,)) + plain[2:]
    assert next(read_frames(masked)).payload == payload


@given(st.integers(0, 255), st.binary(max_size=300), st.none() | st.binary(min_size=4, max_size=4))
def test_a_frame_says_what_it_was_made_of(first: int, payload: bytes, key: bytes | None) -> None:
    expected = Frame(first & 0xF, payload, bool(first & 0x80), first >> 4 & 7, key)
    assert encode_frame(first, payload, key) == expected.encode()


def test_bits_and_opcodes_are_those_of_the_rfc() -> None:  # §5.2, §11.8
    assert (FIN, MASK, MAX_CONTROL_PAYLOAD) == (0x80, 0x80, 125)
    assert [int(opcode) for opcode in Opcode] == [0, 1, 2, 8, 9, 10]


@pytest.mark.parametrize(
    ("message", "first", "payload"),
    [
        (Text(""), 0x81, b""),
        (Text("é😀"), 0x81, b"\xc3\xa9\xf0\x9f\x98\x80"),
        (Binary(b""), 0x82, b""),
        (Binary(b"\x00\xff"), 0x82, b"\x00\xff"),
        (Binary(bytearray(b"ab")), 0x82, b"ab"),  # type: ignore[arg-type]
        (Binary(memoryview(b"abcd")[::2]), 0x82, b"ac"),  # type: ignore[arg-type]
        (Ping(), 0x89, b""),
        (Ping(bytes(125)), 0x89, bytes(125)),
        (Pong(b"x"), 0x8A, b"x"),
        (Pong(bytearray(b"x")), 0x8A, b"x"),  # type: ignore[arg-type]
        (Close(), 0x88, b"\x03\xe8"),
        (Close(4999, "é"), 0x88, b"\x13\x87\xc3\xa9"),
    ],
)
def test_a_message_becomes_one_frame(message: Message, first: int, payload: bytes) -> None:
    found = encode_message(message)
    assert found == (first, payload)
    assert type(found[1]) is bytes


def test_a_buffer_that_changes_later_does_not_change_the_frame() -> None:
    buffer = bytearray(b"before")
    _, payload = encode_message(Binary(buffer))  # type: ignore[arg-type]
    buffer[:] = b"after!"
    assert payload == b"before"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Text("\ud800"), id="lone surrogate"),
        pytest.param(Text(5), id="text of a number"),  # type: ignore[arg-type]
        pytest.param(Text(b"x"), id="text of bytes"),  # type: ignore[arg-type]
        pytest.param(Binary("x"), id="binary of text"),  # type: ignore[arg-type]
        pytest.param(Binary(5), id="binary of a number"),  # type: ignore[arg-type]
        pytest.param(Binary([1, 2]), id="binary of a list"),  # type: ignore[arg-type]
        pytest.param(Ping("x"), id="ping of text"),  # type: ignore[arg-type]
        pytest.param(Ping(5), id="ping of a number"),  # type: ignore[arg-type]
        pytest.param(Pong(None), id="pong of nothing"),  # type: ignore[arg-type]
        pytest.param(Ping(bytes(126)), id="ping too long"),  # §5.5
        pytest.param(Pong(bytes(126)), id="pong too long"),
        pytest.param(Ping(memoryview(array("d", [0.0] * 16))), id="128 bytes in 16 items"),  # type: ignore[arg-type]
    ],
)
def test_a_message_that_holds_what_it_cannot_carry_is_refused(message: Message) -> None:
    with pytest.raises(InvalidMessage) as caught:
        encode_message(message)
    assert caught.value.found is message


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ("hello", "; wrap it in Text(...)"),
        (b"hello", "; wrap it in Binary(...)"),
        (None, "expected Text, Binary, Ping, Pong or Close"),
        (Text, "expected Text, Binary, Ping, Pong or Close"),
    ],
)
def test_what_is_no_message_is_refused(found: object, hint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        encode_message(found)
    assert caught.value.found is found
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize("message", [Close(1005), Close(1006), Close(1000, "x" * 124)])
def test_a_close_that_may_not_be_sent_is_refused(message: Close) -> None:
    with pytest.raises(InvalidClose):
        encode_message(message)
