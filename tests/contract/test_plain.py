"""Plain data as JSON."""

import math

import pytest

from theater.contract.plain import check_size, pack, unpack


@pytest.mark.parametrize(
    "value", [None, False, 0, "", "ä", 2**80, -1.5, [1, [None]], {"a": {"b": [1]}, "": "\x00"}]
)
def test_comes_back(value: object) -> None:
    assert unpack(pack(value, "it", 100)) == value


def test_is_short_json() -> None:
    assert pack({"a": [1, None, "ä"]}, "it", 100) == '{"a":[1,null,"ä"]}'


def test_none_is_no_data() -> None:
    assert pack(None, "it", 0) is None


def test_tuples_come_back_as_lists_and_keys_as_text() -> None:
    assert unpack(pack({1: (2, 3)}, "it", 100)) == {"1": [2, 3]}


def test_as_large_as_allowed() -> None:
    assert pack("ä" * 9, "it", 20) == f'"{"ä" * 9}"'
    with pytest.raises(ValueError, match="it has at most 20 bytes as JSON, not 21"):
        pack("ä" * 9 + "a", "it", 20)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {(1,): 2}])
def test_refuses_what_is_no_plain_data(value: object) -> None:
    with pytest.raises(TypeError, match="it cannot hold this: "):
        pack({"a": value} if not isinstance(value, dict) else value, "it", 100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_numbers_that_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="it cannot hold this: "):
        pack([value], "it", 100)


def test_refuses_data_that_refers_to_itself() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="it cannot hold this: "):
        pack(value, "it", 100)


def test_refuses_data_that_is_too_deep() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="it cannot hold this: "):
        pack(value, "it", 1_000_000)


@pytest.mark.parametrize("text", ["\ud800", '"\udfff"'])
def test_refuses_text_that_is_no_unicode(text: str) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        check_size(text, "it", 100)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        pack(text, "it", 100)
