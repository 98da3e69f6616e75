"""How messages and endings are shown."""

import pytest

from theater import Binary, Close, Text
from theater.cli.dialogue.display import block, ending, escaped, line


def test_harmless_text_stays_as_it_is() -> None:
    text = '{"a":\t"Grüße, 世界 👩‍👩‍👧 \\n"}'
    assert escaped(text) == text


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028])
def test_whatever_could_drive_a_terminal_is_escaped(code: int) -> None:
    shown = escaped(f"a{chr(code)}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.startswith("a\\")


def test_a_line_has_no_breaks() -> None:
    assert line(Text("a\r\nb\n")) == "a\\r\\nb\\n"
    assert line(Binary(b"\x00\xff")) == "00ff"


def test_a_block_is_indented() -> None:
    assert block(Text("a\r\n< b\nc\rd")) == "a\n  < b\n  c\\rd"


def test_a_dump() -> None:
    assert block(Binary(b"")) == "0 bytes"
    assert block(Binary(b"0123456789abcde\x00\xffz")).split("\n") == [
        "18 bytes",
        "  00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 00  0123456789abcde.",
        "  00000010  ff 7a                                            .z",
    ]
    assert block(Binary(bytes(5000))).split("\n")[-1] == "  and 904 more"


@pytest.mark.parametrize(
    ("closed", "ours", "expected"),
    [
        (Close(1000), True, "closed cleanly by us with code 1000 (normal closure)"),
        (Close(1001, "bye"), False, "closed cleanly with code 1001 (going away): bye"),
        (Close(4000, "\x1b"), False, "closed cleanly with code 4000: \\x1b"),
        (Close(1006), False, "the connection was lost: no closing handshake (code 1006)"),
    ],
)
def test_endings(closed: Close, ours: bool, expected: str) -> None:
    assert ending(closed, ours) == expected
