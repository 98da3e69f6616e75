"""Functions written as source."""

import traceback

import pytest

from theater.wasm.source import Source


def test_a_function_is_what_was_added() -> None:
    code = Source()
    doubled = code.local("value * 2")
    with code.block("if value < 0:"):
        code.add("return None")
    with code.block("if value == 0:"):
        pass
    code.add(f"return {doubled}")
    function = code.function("value")
    assert [function(value) for value in (-1, 0, 4)] == [None, 0, 8]


def test_one_without_statements_does_nothing() -> None:
    assert Source().function("a, b")(1, 2) is None


def test_constants_of_one_name_are_told_apart_and_the_same_one_is_there_once() -> None:
    code = Source()
    one, other = [1], [2]
    names = [code.constant(each) for each in (one, other, one)]
    assert names[0] == names[2] != names[1]
    code.add(f"return {names[0]}, {names[1]}, {code.constant(lambda: 3)}()")
    assert code.function("")() == ([1], [2], 3)


def test_a_traceback_shows_the_statement() -> None:
    code = Source()
    code.add("return 1 / value")
    with pytest.raises(ZeroDivisionError) as caught:
        code.function("value")(0)
    assert "return 1 / value" in "".join(traceback.format_exception(caught.value))
