"""The shapes are those of the WIT files."""

from typing import Any

import pytest

from theater.build import wit
from theater.build.wit import PLAIN, Alias, Enum, Package, Record, Type, Variant
from theater.contract import Accept, Closed, ConnectionInfo, Headers, Ping, Query, Request, Response
from theater.wasm.contracts import (
    ACCEPT,
    CONNECTION,
    HTTP_RESPONSE,
    MESSAGE_TYPE,
    V0_1,
    V0_2,
    Contract,
    _response,
)
from theater.wasm.loading import compile_result
from theater.wasm.shapes import (
    Adapted,
    EnumOf,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)


def structure(shape: Shape | None) -> Any:
    """A shape in the words of WIT, with the parts of what has a name there."""
    match shape:
        case None:
            return "_"
        case Scalar(wit):
            return wit
        case ListOf(item):
            return ("list", structure(item))
        case OptionOf(item):
            return ("option", structure(item))
        case TupleOf(items):
            return ("tuple", *map(structure, items))
        case ResultOf(ok, error):
            return ("result", structure(ok), structure(error))
        case RecordOf(_, fields):
            return ("record", *((field.name, structure(field.shape)) for field in fields))
        case VariantOf(cases):
            return ("variant", *((case.name, structure(case.shape)) for case in cases))
        case EnumOf(names):
            return ("enum", *names)
        case Adapted(inner):
            return structure(inner)


def expand(type: Type | None, package: Package, interface: str) -> Any:
    """The same of a type that the parser has read."""
    if type is None:
        return "_"
    if str(type) == "list<u8>" or type.name in PLAIN:
        return str(type)
    if not type.is_defined:
        return (type.name, *(expand(each, package, interface) for each in type.arguments))
    home, definition = package.definition(interface, type.name)
    match definition:
        case Alias(other):
            return expand(other, package, home)
        case Enum(names):
            return ("enum", *names)
        case Record(members):
            return ("record", *((name, expand(each, package, home)) for name, each in members))
        case Variant(members):
            return ("variant", *((name, expand(each, package, home)) for name, each in members))


@pytest.mark.parametrize("contract", [V0_1, V0_2], ids=["0.1.0", "0.2.0"])
def test_the_shapes_are_those_of_the_file(contract: Contract) -> None:
    package = wit.contract("0.1.0" if contract is V0_1 else "0.2.0")
    assert (package.name, package.version) == (contract.package, contract.version)
    for names, shapes in ((package.imports, contract.imports), (package.exports, contract.exports)):
        expected = {
            name: {
                each: [expand(part, package, name) for part in function.parts]
                for each, function in package.interfaces[name].functions.items()
            }
            for name in names
        }
        found = {
            name: {
                each: [*map(structure, function.parameters), structure(function.result)]
                for each, function in functions.items()
            }
            for name, functions in shapes.items()
        }
        assert found == expected
        assert list(found) == list(expected)


def test_interfaces_have_the_package_in_their_names() -> None:
    assert V0_2.interface("actors") == "theater:websocket/actors@0.2.0"


def shapes_of(shape: Shape | None) -> list[Any]:
    match shape:
        case RecordOf(_, fields):
            return [shape, *(each for field in fields for each in shapes_of(field.shape))]
        case ListOf(inner) | OptionOf(inner) | Adapted(inner):
            return shapes_of(inner)
        case ResultOf(ok, error):
            return [*shapes_of(ok), *shapes_of(error)]
        case VariantOf(cases):
            return [each for case in cases for each in shapes_of(case.shape)]
        case TupleOf(items):
            return [each for item in items for each in shapes_of(item)]
        case _:
            return []


def test_records_have_the_attributes_that_they_are_read_from() -> None:
    for contract in (V0_1, V0_2):
        for functions in (*contract.imports.values(), *contract.exports.values()):
            for function in functions.values():
                for shape in (*function.parameters, function.result):
                    for record in shapes_of(shape):
                        cls = Response if record.make is _response else record.make
                        for field in record.fields:
                            assert hasattr(cls, field.attribute), (cls, field)


def test_an_attachment_is_read_as_json() -> None:
    make = next(field.shape for field in ACCEPT.fields if field.name == "attachment")
    assert isinstance(make, Adapted)
    assert make.make('{"a":[1]}') == {"a": [1]}
    assert make.make(None) is None
    assert make.get is not None
    assert make.get({"a": [1]}) == '{"a":[1]}'
    for text in ("{", "[" * 16_000, '"' + "x" * 16_384 + '"'):
        with pytest.raises(ValueError, match=r"attachment|Expecting"):
            make.make(text)


def test_a_response_of_0_1_0_needs_no_body() -> None:
    assert HTTP_RESPONSE.make(204, Headers(), None) == Response(204)
    assert HTTP_RESPONSE.make(200, Headers([("a", "b")]), b"x") == Response(200, {"a": "b"}, b"x")


def test_what_has_no_payload_in_0_1_0_is_made_without() -> None:
    assert next(case.cls() for case in MESSAGE_TYPE.cases if case.shape is None) == Ping()
    compile_result(MESSAGE_TYPE)  # all of them can be
    assert Closed() == Closed(1005, "")


def test_records_are_made_from_their_fields_in_order() -> None:
    facts = CONNECTION.make(1, "/", {"a": "b"}, Query("x"), Headers(), None, None)
    assert isinstance(facts, ConnectionInfo)
    assert ACCEPT.make("chat", Headers(), ["a"], None) == Accept("chat", tags=["a"])
    (request,) = V0_2.exports["http-actor"]["handle-request"].parameters
    assert isinstance(request, RecordOf)
    assert [field.attribute for field in request.fields] == list(Request.__dataclass_fields__)
