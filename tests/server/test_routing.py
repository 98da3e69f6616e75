"""Paths, patterns, and which route is the best."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theater.runtime.address import Address
from theater.server.routing import Pattern, Route, Router, instance_parameters, split_path

# split_path


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        ("/", [""]),
        ("/a", ["a"]),
        ("/a/", ["a", ""]),
        ("//a", ["", "a"]),
        ("/a//b", ["a", "", "b"]),
        ("/a%2Fb", ["a/b"]),
        ("/%63%C3%A9", ["cé"]),
        ("/a+b", ["a+b"]),
        ("/.", [""]),
        ("/..", [""]),
        ("/a/.", ["a", ""]),
        ("/a/..", [""]),
        ("/a/b/..", ["a", ""]),
        ("/a/./b", ["a", "b"]),
        ("/a/../b", ["b"]),
        ("/../../b", ["b"]),
        ("/a/%2e%2E/b", ["b"]),
        ("/a/%2e/b", ["a", "b"]),
        ("/...", ["..."]),
        ("/a/b/c/./../../g", ["a", "g"]),  # RFC 3986 §5.2.4
        ("/%25zz", ["%zz"]),
    ],
)
def test_split_path(raw: str, segments: list[str]) -> None:
    assert split_path(raw) == segments


@pytest.mark.parametrize("raw", ["", "*", "a", "http://x/", "/%", "/%4", "/%zz", "/a%ff", "/%00", "/a/%c3/b"])
def test_malformed_paths(raw: str) -> None:
    assert split_path(raw) is None


@given(st.text("/.%2eEaé\0 \\", max_size=20))
def test_split_path_takes_anything_and_leaves_no_dots(raw: str) -> None:
    segments = split_path(raw)
    if segments is None:
        return
    assert segments
    assert not {".", ".."} & set(segments)
    assert not any("\0" in segment for segment in segments)


SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10).filter(
    lambda text: text not in (".", "..")
)


@given(st.lists(SEGMENT, min_size=1, max_size=5))
def test_split_path_reverses_quoting(segments: list[str]) -> None:
    assert split_path("/" + "/".join(quote(segment, safe="") for segment in segments)) == segments


# Pattern


@pytest.mark.parametrize(
    ("pattern", "raw", "parameters"),
    [
        ("/", "/", {}),
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/a/", "/a/", {}),
        ("/a/", "/a", None),
        ("/a", "/A", None),
        ("/rooms/{room}", "/rooms/lobby", {"room": "lobby"}),
        ("/rooms/{room}", "/rooms/a%2Fb", {"room": "a/b"}),
        ("/rooms/{room}", "/rooms/", None),
        ("/rooms/{room}", "/rooms", None),
        ("/rooms/{room}", "/rooms/a/b", None),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
        ("/{a}", "/", None),
        ("/café", "/caf%C3%A9", {}),
    ],
)
def test_match(pattern: str, raw: str, parameters: dict[str, str] | None) -> None:
    segments = split_path(raw)
    assert segments is not None
    assert Pattern(pattern).match(segments) == parameters


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "slash"),
        ("a", "slash"),
        ("{a}", "slash"),
        ("/{a}/{a}", "twice"),
        ("/x{a}", "whole"),
        ("/{a}x", "whole"),
        ("/{", "whole"),
        ("/}", "whole"),
        ("/{}", "whole"),
        ("/{1a}", "whole"),
        ("/{a-b}", "whole"),
        ("/{a}{b}", "whole"),
        ("/a?b", "plain text"),
        ("/a#b", "plain text"),
        ("/a%20b", "plain text"),
        ("/a/../b", "plain text"),
        ("/.", "plain text"),
    ],
)
def test_what_is_no_pattern(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Pattern(text)


def test_shape_is_equal_for_patterns_that_match_the_same() -> None:
    assert Pattern("/a/{b}").shape == Pattern("/a/{c}").shape
    assert Pattern("/a/{b}").shape != Pattern("/a/b").shape
    assert Pattern("/a/{b}").shape != Pattern("/a/{b}/").shape


# Router


def route(path: str, kind: str = "websocket-server", instance: str = "") -> Route:
    return Route(kind, Pattern(path), "x", instance)  # type: ignore[arg-type]


def find(router: Router, raw: str, kind: str = "websocket-server") -> str | None:
    segments = split_path(raw)
    assert segments is not None
    match = router.find(kind, segments)  # type: ignore[arg-type]
    return match.route.pattern.text if match else None


PATHS = ["/{a}/{b}", "/a/{b}", "/{a}/b", "/a/b", "/{a}"]


@pytest.mark.parametrize("paths", [PATHS, PATHS[::-1]])
def test_plain_text_goes_before_a_parameter_from_the_left(paths: list[str]) -> None:
    router = Router(route(path) for path in paths)
    assert find(router, "/a/b") == "/a/b"
    assert find(router, "/a/x") == "/a/{b}"
    assert find(router, "/x/b") == "/{a}/b"
    assert find(router, "/x/y") == "/{a}/{b}"
    assert find(router, "/x") == "/{a}"
    assert find(router, "/x/y/z") is None


def test_kinds_do_not_mix() -> None:
    router = Router([route("/a", "http-server"), route("/{any}")])
    assert find(router, "/a") == "/{any}"
    assert find(router, "/a", "http-server") == "/a"
    assert find(router, "/b", "http-server") is None


def test_no_routes() -> None:
    assert find(Router([]), "/") is None


# Instances


@pytest.mark.parametrize(
    ("instance", "address"),
    [
        ("", Address("x")),
        ("{room}", Address("x", "lobby")),
        ("{room}-{seat}", Address("x", "lobby-a/b")),
        ("fixed", Address("x", "fixed")),
        ("{room}{room}", Address("x", "lobbylobby")),
    ],
)
def test_address_of_an_instance(instance: str, address: Address) -> None:
    match = Router([route("/{room}/{seat}", instance=instance)]).find("websocket-server", ["lobby", "a/b"])
    assert match is not None
    assert match.route.address(match.parameters) == address


def test_braces_in_a_value_are_no_parameters() -> None:
    assert route("/{a}/{b}", instance="{a}").address({"a": "{b}", "b": "1"}) == Address("x", "{b}")


@pytest.mark.parametrize(
    ("instance", "names"),
    [
        ("", []),
        ("x", []),
        ("{a}", ["a"]),
        ("{a}-{b}", ["a", "b"]),
        ("{", None),
        ("}", None),
        ("{}", None),
        ("{{a}}", None),
        ("{a-b}", None),
        ("{a}{", None),
    ],
)
def test_parameters_of_an_instance(instance: str, names: list[str] | None) -> None:
    assert instance_parameters(instance) == names
