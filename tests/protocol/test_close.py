import pytest

from theater.contract.messages import Close
from theater.errors import InvalidClose, InvalidMessage
from theater.protocol.close import ABNORMAL, MAX_REASON, NO_STATUS, decode_close, encode_close, may_be_sent

ALLOWED = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
FORBIDDEN = [
    *(0, 999),  # §7.4.2: not used
    *(
        1004,
        1005,
        1006,
        1015,
    ),  # §7.4.1: reserved, "MUST NOT be set as a status code in a Close control frame"
    *(1016, 1999, 2000, 2999),  # §7.4.2: for future revisions
    *(5000, 65535),
]


@pytest.mark.parametrize("code", ALLOWED)
def test_registered_library_and_application_codes_may_be_sent(code: int) -> None:
    assert may_be_sent(code)
    assert encode_close(code) == code.to_bytes(2, "big")
    assert decode_close(code.to_bytes(2, "big")) == Close(code, "")


@pytest.mark.parametrize("code", FORBIDDEN)
def test_other_codes_may_not_be_received(code: int) -> None:
    assert not may_be_sent(code)
    assert decode_close(code.to_bytes(2, "big") + b"why") == f"close code {code} is not allowed"


@pytest.mark.parametrize("code", [*FORBIDDEN, -1, 65536])
def test_other_codes_may_not_be_sent(code: int) -> None:
    with pytest.raises(InvalidClose) as caught:
        encode_close(code, "why")
    assert (caught.value.code, caught.value.reason) == (code, "why")
    assert "1000 to 1003" in str(caught.value)


def test_just_this_many_codes_may_be_sent() -> None:
    assert sum(map(may_be_sent, range(-1, 70_000))) == 4 + 8 + 2000


def test_an_empty_payload_is_no_status() -> None:  # §7.1.5
    assert decode_close(b"") == Close(1005, "")


def test_codes_that_stand_for_the_lack_of_one_are_those_of_the_rfc() -> None:  # §7.4.1
    assert (NO_STATUS, ABNORMAL) == (1005, 1006)


@pytest.mark.parametrize("code", [NO_STATUS, ABNORMAL])
def test_codes_that_stand_for_the_lack_of_one_cannot_be_sent(code: int) -> None:  # §7.4.1
    with pytest.raises(InvalidClose):
        encode_close(code)


@pytest.mark.parametrize("reason", ["", "bye", "é" * 61, "x" * MAX_REASON])
def test_code_and_reason_come_back(reason: str) -> None:
    payload = encode_close(4000, reason)
    assert payload == b"\x0f\xa0" + reason.encode()
    assert len(payload) <= 125
    assert decode_close(payload) == Close(4000, reason)


@pytest.mark.parametrize(("reason", "size"), [("x" * 124, 124), ("é" * 62, 124)])
def test_a_reason_is_limited_in_bytes_not_characters(reason: str, size: int) -> None:  # §5.5
    with pytest.raises(InvalidClose, match=f"{size} bytes, at most 123"):
        encode_close(1000, reason)


def test_lone_surrogates_in_a_reason_are_replaced() -> None:
    assert encode_close(1000, "a\ud800b") == b"\x03\xe8a?b"


@pytest.mark.parametrize(
    ("code", "reason"), [("1000", ""), (1000.0, ""), (None, ""), (1000, 5), (1000, b"x")]
)
def test_a_code_or_reason_of_the_wrong_type_is_refused(code: object, reason: object) -> None:
    with pytest.raises((InvalidClose, InvalidMessage)):
        encode_close(code, reason)  # type: ignore[arg-type]


def test_half_a_code_is_a_fault() -> None:  # §5.5.1
    assert decode_close(b"\x03") == "a close frame with half a close code"


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_reason_that_is_not_utf8_raises(reason: bytes) -> None:  # §5.5.1, §8.1
    with pytest.raises(UnicodeDecodeError):
        decode_close(b"\x03\xe8" + reason)


def test_a_wrong_code_is_reported_before_a_wrong_reason() -> None:
    assert decode_close(b"\x03\xed\xff") == "close code 1005 is not allowed"
