"""What tells a component's own types from those that are meant."""

from typing import Any

import pytest
import wasmtime
from tests.wasm.crossing import engine, functions, passes_on
from wasmtime.component import Component

from theater.contract import Text
from theater.wasm.contracts import ADDRESS, DATA, EVENT, INCOMING, LEVEL, MESSAGE, PEER, V0_2
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    STRING,
    U8,
    U16,
    U64,
    Adapted,
    Case,
    EnumOf,
    Field,
    FunctionShape,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Shape,
    TupleOf,
    ValueTooLarge,
    VariantOf,
    mismatch,
)


def found_type(shape: Shape) -> Any:
    """The type of a function from a shape to itself, as wasmtime reflects it."""
    ((_, kind),) = functions(passes_on(shape), "host")
    return kind


def both(shape: Shape) -> FunctionShape:
    return FunctionShape((shape,), shape)


ALL = [
    shape for interface in V0_2.exports.values() for each in interface.values() for shape in each.parameters
]


@pytest.mark.parametrize("shape", [*ALL, LEVEL, ListOf(U8), Adapted(ListOf(STRING), tuple)])
def test_what_is_meant_fits(shape: Shape) -> None:
    assert mismatch(found_type(shape), both(shape)) is None


OTHER_FIELDS = RecordOf(dict, (Field("address", "address", STRING), Field("ports", "port", U16)))
OTHER_FIELD = RecordOf(dict, (Field("address", "address", STRING), Field("port", "port", U64)))
OTHER_CASE = VariantOf((Case("text", Text, BYTES), Case("binary", bytes, BYTES)))
NO_PAYLOAD = VariantOf((Case("text", Text), Case("binary", bytes, BYTES)))


@pytest.mark.parametrize(
    ("found", "meant", "problem"),
    [
        (STRING, U64, "parameter 1: expected type u64, found string"),
        (BYTES, STRING, "parameter 1: expected type string, found list<u8>"),
        (ListOf(U16), BYTES, "parameter 1: expected type list<u8>, found list<u16>"),
        (ListOf(U16), ListOf(U64), "parameter 1, item: expected type u64, found u16"),
        (OptionOf(U16), OptionOf(BOOL), "parameter 1, option: expected type bool, found u16"),
        (TupleOf((U16, U16)), TupleOf((U16,)), "parameter 1: expected the elements 1, found 1, 2"),
        (TupleOf((U16, U16)), TupleOf((U16, U64)), "parameter 1, element '2': expected type u64, found u16"),
        (PEER, ADDRESS, "parameter 1: expected the fields type, key, found address, port"),
        (PEER, OTHER_FIELD, "parameter 1, field 'port': expected type u64, found u16"),
        (INCOMING, DATA, "parameter 1: expected the cases text, binary, found text, binary, ping, pong"),
        (DATA, OTHER_CASE, "parameter 1, case 'text': expected type list<u8>, found string"),
        (DATA, NO_PAYLOAD, "parameter 1, case 'text': expected no payload, found one of type string"),
        (NO_PAYLOAD, DATA, "parameter 1, case 'text': expected a payload of type string, found none"),
        (
            LEVEL,
            EnumOf(("debug",)),
            "parameter 1: expected the cases debug, found debug, info, warning, error",
        ),
        (ResultOf(U16, None), ResultOf(BOOL, None), "parameter 1, ok: expected type bool, found u16"),
        (
            ResultOf(U16, None),
            ResultOf(U16, STRING),
            "parameter 1, error: expected a payload of type string, found none",
        ),
        (
            EVENT,
            MESSAGE,
            "parameter 1: expected the cases text, binary, ping, pong, close, found connected, ",
        ),
    ],
)
def test_where_they_differ_is_said(found: Shape, meant: Shape, problem: str) -> None:
    said = mismatch(found_type(found), both(meant))
    assert said is not None
    assert said.startswith(problem)


def test_functions_differ_in_parameters_and_results() -> None:
    kind = found_type(U64)
    assert mismatch(kind, FunctionShape((), U64)) == "expected 0 parameters, found 1"
    assert (
        mismatch(kind, FunctionShape((U64,), None)) == "the result: expected no result, found one of type u64"
    )
    assert mismatch(kind, FunctionShape((U64,), BOOL)) == "the result: expected type bool, found u64"


def imported(kind: str, before: str = "") -> Any:
    """The type of an imported function with a parameter of a type."""
    text = f'(component (import "host" (instance {before} (export "f" (func (param "v" {kind}))))))'
    found: Any = Component(engine(), bytes(wasmtime.wat2wasm(text))).type.imports(engine())["host"].ty
    return found.exports(engine())["f"].ty


@pytest.mark.parametrize("kind", ["s8", "s16", "s32", "s64", "f32", "char"])
def test_other_scalars_have_no_shape(kind: str) -> None:
    assert (
        mismatch(imported(kind), FunctionShape((U64,), None))
        == f"parameter 1: expected type u64, found {kind}"
    )


@pytest.mark.parametrize(
    ("name", "kind", "before"),
    [
        ("own", "(own $r)", '(export "r" (type $r (sub resource)))'),
        ("borrow", "(borrow $r)", '(export "r" (type $r (sub resource)))'),
        ("flags", "$e", '(type $f (flags "a" "b")) (export "e" (type $e (eq $f)))'),
        ("stream", "(stream u8)", ""),
        ("future", "(future u8)", ""),
    ],
)
def test_what_cannot_be_handed_over_is_refused(name: str, kind: str, before: str) -> None:
    problem = mismatch(imported(kind, before), FunctionShape((STRING,), None))
    assert problem == f"parameter 1: expected type string, found {name}"


def test_error_contexts_are_refused_by_wasmtime() -> None:
    with pytest.raises(wasmtime.WasmtimeError, match="requires the component model error-context feature"):
        imported("error-context")


def test_a_value_too_large_says_how_large() -> None:
    assert str(ValueTooLarge(10, 12)) == "the component handed over at least 12 bytes at once, 10 are allowed"
