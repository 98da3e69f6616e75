"""The table of limits in the documentation is the code's."""

import ast
import re
from pathlib import Path

import msgspec

from theater import limits
from theater.limits import Limits

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "limits.md"
ROW = re.compile(r"\| *`(\w+)` *\| *`?([\w.]+)`? *\|")


def test_documented_limits_are_those_of_the_code() -> None:
    documented = {}
    for line in PAGE.read_text("utf-8").splitlines():
        row = ROW.match(line)
        if row:
            assert row[1] not in documented, f"{row[1]} stands twice"
            documented[row[1]] = ast.literal_eval(row[2])
    expected = {field.name: field.default for field in msgspec.structs.fields(Limits)}
    for name in ("MAX_TAGS", "MAX_TAG_LENGTH", "MAX_ATTACHMENT"):
        expected[name] = getattr(limits, name)
    assert documented == expected


def test_nothing_is_unlimited_by_default() -> None:
    for field in msgspec.structs.fields(Limits):
        assert 0 < field.default < float("inf"), field.name


def test_low_water_is_below_high_water() -> None:
    assert Limits().mailbox_low_water < Limits().mailbox_high_water
