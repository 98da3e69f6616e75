"""What can be typed at the prompt."""

import pytest

from theater import Binary, Close, Message, Ping, Text
from theater.cli.dialogue.commands import HELP, Help, Misunderstood, parse


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hello", Text("hello")),
        ("", Text("")),
        (" /ping", Text(" /ping")),
        ("//ping", Text("/ping")),
        ("/ping", Ping()),
        ("/ping a b", Ping(b"a b")),
        ("/binary", Binary(b"")),
        ("/binary 00Ff c3a9", Binary(b"\x00\xff\xc3\xa9")),
        ("/close", Close()),
        ("/close 4000", Close(4000)),
        ("/close 1000 so long", Close(1000, "so long")),
    ],
)
def test_commands(typed: str, meant: Message) -> None:
    assert parse(typed) == meant


def test_help() -> None:
    assert isinstance(parse("/help"), Help)
    for command in ("/ping", "/binary", "/close", "/help"):
        assert f"\n  {command} " in HELP


@pytest.mark.parametrize(
    "typed", ["/", "/dance", "/pingo", "/binary 0", "/binary xy", "/close x", "/close ²"]
)
def test_what_is_no_command(typed: str) -> None:
    with pytest.raises(Misunderstood):
        parse(typed)
