import pytest
from hypothesis import given
from hypothesis import strategies as st

from theater.errors import InvalidAddress
from theater.runtime.address import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("echo", Address("echo")),
        ("chat/lobby", Address("chat", "lobby")),
        ("chat/a/b", Address("chat", "a/b")),
        ("chat//", Address("chat", "/")),
        ("chat/ ä\n\0", Address("chat", " ä\n\0")),
        ("a", Address("a")),
        ("a-1-b", Address("a-1-b")),
        ("a" * 64, Address("a" * 64)),
    ],
)
def test_reads_and_writes(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "/", "/key", "chat/", "Chat", "1a", "-a", "a_b", "a.b", " a", "a ", "a\n", "ä", "a" * 65]
)
def test_refuses_what_has_no_valid_type_or_an_empty_key(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        Address.parse(text)
    assert caught.value.text == text


@given(st.from_regex(r"[a-z][a-z0-9-]{0,63}", fullmatch=True), st.text())
def test_comes_back_from_its_text(kind: str, key: str) -> None:
    address = Address(kind, key)
    assert Address.parse(str(address)) == address


def test_is_a_value() -> None:
    assert {Address("a", "b"): 1}[Address.parse("a/b")] == 1
    assert Address("a") != Address("a", "b")
