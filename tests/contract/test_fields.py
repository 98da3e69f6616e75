from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theater.contract import Headers, Peer, Query
from theater.errors import InvalidHeader

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VALUE = [char for char in map(chr, range(256)) if char == "\t" or (char >= " " and char != "\x7f")]

names = st.text(TOKEN, min_size=1)
values = st.text(VALUE).map(lambda value: value.strip(" \t"))


class TestHeaders:
    @given(st.lists(st.tuples(names, values)))
    def test_keeps_order_and_lowers_names(self, fields: list[tuple[str, str]]) -> None:
        headers = Headers(fields)
        assert list(headers) == [(name.lower(), value) for name, value in fields]
        assert len(headers) == len(fields)
        assert bytes(headers) == b"".join(f"{n.lower()}: {v}\r\n".encode("latin-1") for n, v in fields)

    @given(st.lists(st.tuples(st.sampled_from(["a", "b", "A", "ab"]), values)), st.sampled_from("aBc"))
    def test_finds_by_name(self, fields: list[tuple[str, str]], name: str) -> None:
        headers = Headers(fields)
        expected = [value for other, value in fields if other.lower() == name.lower()]
        assert headers.get_all(name) == expected
        assert headers.get(name, "none") == (expected or ["none"])[0]
        assert (name in headers) == bool(expected)

    @given(st.lists(st.tuples(names, values)))
    def test_from_the_wire(self, fields: list[tuple[str, str]]) -> None:
        headers = Headers(fields)
        wire = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        assert Headers.from_wire(wire) == headers

    @pytest.mark.parametrize("fields", [{"A": "1", "b": "2"}, [("A", "1"), ("b", "2")]])
    def test_made_from_a_mapping_or_pairs(self, fields: dict[str, str] | Iterable[tuple[str, str]]) -> None:
        assert list(Headers(fields)) == [("a", "1"), ("b", "2")]

    def test_made_from_headers(self) -> None:
        headers = Headers({"a": "1"})
        assert Headers(headers) == headers

    def test_empty(self) -> None:
        assert not Headers()
        assert list(Headers()) == []
        assert bytes(Headers()) == b""

    def test_item(self) -> None:
        headers = Headers([("a", "1"), ("A", "2")])
        assert headers["A"] == "1"
        with pytest.raises(KeyError, match="b"):
            headers["b"]

    def test_contains_only_text(self) -> None:
        assert 1 not in Headers({"1": "a"})

    def test_a_value_is_no_name(self) -> None:
        assert "b" not in Headers({"a": "b: c"})

    def test_a_name_outside_latin_1_is_not_there(self) -> None:
        assert "名" not in Headers({"a": "1"})

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ([], []),
            ([("x", "a")], ["a"]),
            ([("x", "a, b\t,c"), ("y", "d"), ("X", "e")], ["a", "b", "c", "e"]),
            ([("x", ", ,a,")], ["a"]),  # RFC 9110 §5.6.1.2: empty elements are ignored
        ],
    )
    def test_tokens(self, fields: list[tuple[str, str]], expected: list[str]) -> None:
        assert Headers(fields).tokens("x") == expected

    @pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\nb", "a\n", "a\0", "ä", "名"])
    def test_refuses_names(self, name: str) -> None:
        with pytest.raises(InvalidHeader, match="token") as caught:
            Headers({name: "1"})
        assert caught.value.name == name

    @pytest.mark.parametrize("char", ["\0", "\n", "\r", "\x1f", "\x7f", "Ā", "名"])
    def test_refuses_values(self, char: str) -> None:
        with pytest.raises(InvalidHeader, match="character") as caught:
            Headers([("a", "1"), ("b", f"2{char}")])
        assert caught.value.name == "b"

    @pytest.mark.parametrize("pair", [("a", 5), (5, "a"), ("a", b"b")])
    def test_refuses_what_is_no_text(self, pair: Any) -> None:
        with pytest.raises(InvalidHeader, match="must be text"):
            Headers([pair])

    def test_white_space_around_a_value_is_not_part_of_it(self) -> None:
        assert Headers({"a": "\t 1\t2 "})["a"] == "1\t2"

    def test_equal_by_content(self) -> None:
        headers = Headers({"a": "1"})
        assert headers == Headers([("A", "1")])
        assert hash(headers) == hash(Headers([("A", "1")]))
        assert headers != Headers({"a": "2"})
        assert headers != [("a", "1")]

    def test_representation(self) -> None:
        assert repr(Headers({"A": "1"})) == "Headers([('a', '1')])"


class TestQuery:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            ("a=1", [("a", "1")]),
            ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
            ("a&b=", [("a", ""), ("b", "")]),
            ("a+b=%C3%A4%26", [("a b", "ä&")]),
        ],
    )
    def test_parameters(self, text: str, expected: list[tuple[str, str]]) -> None:
        assert list(Query(text)) == expected

    def test_finds_by_name(self) -> None:
        query = Query("a=1&b=&a=2")
        assert query.get_all("a") == ["1", "2"]
        assert query.get_all("c") == []
        assert query.get("a") == query["a"] == "1"
        assert query.get("b") == query["b"] == ""
        assert query.get("c") is None
        assert query.get("c", "none") == "none"
        assert "b" in query
        assert "c" not in query
        with pytest.raises(KeyError, match="c"):
            query["c"]

    def test_text_is_as_it_came(self) -> None:
        assert str(Query("b=%41&&a")) == "b=%41&&a"
        assert str(Query()) == ""

    def test_equal_by_text(self) -> None:
        assert Query("a=1") == Query("a=1")
        assert hash(Query("a=1")) == hash(Query("a=1"))
        assert Query("a=A") != Query("a=%41")
        assert Query("a") != "a"

    def test_representation(self) -> None:
        assert repr(Query("a=1")) == "Query('a=1')"


def test_peer() -> None:
    peer = Peer("127.0.0.1", 80)
    assert (peer.address, peer.port) == peer
