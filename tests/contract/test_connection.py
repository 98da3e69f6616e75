from collections.abc import Iterable
from typing import Any

import pytest

from theater.contract import ConnectionInfo, Headers, Query
from theater.contract.connection import check_tags
from theater.limits import MAX_TAG_LENGTH, MAX_TAGS


def info() -> ConnectionInfo:
    return ConnectionInfo(1, "/", {}, Query(), Headers(), None, None)


def test_connections_are_equal_only_to_themselves() -> None:
    connection = info()
    assert len({connection, connection, info()}) == 2


class TestTags:
    @pytest.mark.parametrize("tags", [["a", "b"], ("a", "b", "a"), {"a", "b"}, iter("ab"), {"a": 1, "b": 2}])
    def test_become_a_set(self, tags: Iterable[str]) -> None:
        assert check_tags(tags) == frozenset("ab")

    def test_no_tags_take_no_room(self) -> None:
        assert check_tags([]) is check_tags(set())

    def test_as_many_as_allowed(self) -> None:
        tags = [str(number) for number in range(MAX_TAGS)]
        assert len(check_tags(tags * 2)) == MAX_TAGS

    def test_refuses_too_many(self) -> None:
        with pytest.raises(ValueError, match=f"at most {MAX_TAGS} tags, not {MAX_TAGS + 1}"):
            check_tags(str(number) for number in range(MAX_TAGS + 1))

    def test_as_long_as_allowed(self) -> None:
        tag = "ä" * MAX_TAG_LENGTH
        assert check_tags([tag]) == {tag}

    @pytest.mark.parametrize("length", [0, MAX_TAG_LENGTH + 1])
    def test_refuses_lengths(self, length: int) -> None:
        with pytest.raises(ValueError, match=f"1 to {MAX_TAG_LENGTH} characters, not {length}"):
            check_tags(["a" * length])

    def test_refuses_one_text(self) -> None:
        with pytest.raises(TypeError, match="not the text 'admin'"):
            check_tags("admin")

    @pytest.mark.parametrize(("tag", "kind"), [(1, "int"), (b"a", "bytes"), (None, "NoneType")])
    def test_refuses_what_is_no_text(self, tag: Any, kind: str) -> None:
        with pytest.raises(TypeError, match=f"a tag must be text, not {kind}"):
            check_tags([tag])
