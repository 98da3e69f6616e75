"""The parser, and the contract's files as it reads them."""

import re

import pytest

from theater.build.wit import (
    Alias,
    Case,
    Enum,
    Field,
    Function,
    Record,
    Type,
    Variant,
    WitError,
    contract,
    parse,
)

U64 = Type("u64")
STRING = Type("string")


def test_everything_is_read() -> None:
    package = parse("""
        // a file
        package a:b@1.2.3;

        interface types {
            /// A number.
            type id = u64;
            record pair { left: id, %type: list<u8>, }
            variant either { none, some(pair), }
            enum colour { red, dark-green }
        }

        interface sky {
            use types.{pair, colour};
            rain: func();
            shine: func(on: list<tuple<pair, f64>>, %in: colour) -> result<_, option<string>>;
        }

        world earth { import sky; export types; }
    """)
    assert (package.name, package.version, package.world) == ("a:b", "1.2.3", "earth")
    assert (package.imports, package.exports) == (("sky",), ("types",))
    types, sky = package.interfaces["types"], package.interfaces["sky"]
    assert types.types == {
        "id": Alias(U64),
        "pair": Record((Field("left", Type("id")), Field("type", Type("list", (Type("u8"),))))),
        "either": Variant((Case("none", None), Case("some", Type("pair")))),
        "colour": Enum(("red", "dark-green")),
    }
    assert sky.uses == {"pair": "types", "colour": "types"}
    pairs = Type("list", (Type("tuple", (Type("pair"), Type("f64"))),))
    result = Type("result", (None, Type("option", (STRING,))))
    assert sky.functions == {
        "rain": Function((), None),
        "shine": Function((Field("on", pairs), Field("in", Type("colour"))), result),
    }
    assert package.qualified("sky") == "a:b/sky@1.2.3"
    assert package.definition("sky", "pair") == ("types", types.types["pair"])
    assert package.definition("types", "pair") == ("types", types.types["pair"])
    assert (str(result), [*pairs.mentions], [*result.mentions]) == (
        "result<_, option<string>>",
        ["pair"],
        [],
    )


def test_the_contracts_files() -> None:
    old, new = contract("0.1.0"), contract("0.2.0")
    assert (old.name, old.version, old.world) == ("theater:websocket", "0.1.0", "actor")
    assert (new.name, new.version, new.world) == ("theater:websocket", "0.2.0", "actor")
    assert old.imports == ("websocket",)
    assert old.exports == ("websocket-upgrade", "websocket-actor", "http-actor")
    assert old.interfaces["websocket"].types["connection-event"] == Variant(
        (
            Case("connected", None),
            Case("message", Type("message-type")),
            Case("error", STRING),
            Case("closed", None),
        )
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("interface a { flags b { c } }", "line 1: expected a colon behind flags"),
        ("interface a {\n  type b = c;\n}", "line 2: unknown type c"),
        ("interface a { use b.{c}; }", "line 1: expected a type to use"),
        ("interface a { type b = list<u8> }", "line 1: expected ';', found '}'"),
        ("interface a { type B = u8; }", "line 1: expected a name, found 'B'"),
        ("interface a { type b = list<_, \n _ }", "line 2: expected ',', found '}'"),
        ("interface a {", "line 1: expected a colon behind world"),
        ("world c { include d; }", "line 1: expected import or export, found 'include'"),
        ("world c { import d; }", "line 1: expected an interface, found 'd'"),
    ],
)
def test_what_the_parser_does_not_know_is_an_error(body: str, problem: str) -> None:
    with pytest.raises(WitError, match=re.escape(problem)):
        parse(f"package a:b@1.0.0; {body} world c {{}}")
