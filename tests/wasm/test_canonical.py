"""Sizes, alignments and core values of types, as the canonical ABI tells them."""

import pytest
from tests.wasm.staged import functions

from theater.build.flat import flatten as flatten_text
from theater.build.wit import contract
from theater.wasm.canonical import (
    COUNT,
    FIRST,
    HELD,
    MAX_FLAT_PARAMS,
    PAGES,
    ROOM,
    SLOTS,
    WORD,
    flatten,
    offsets,
    signature,
    size_align,
)
from theater.wasm.contracts import EVENT, LEVEL, MESSAGE, PEER, REQUEST
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    Case,
    EnumOf,
    FunctionShape,
    ListOf,
    OptionOf,
    ResultOf,
    Shape,
    TupleOf,
    VariantOf,
)
from theater.wasm.wat import CoreFunction


def names(count: int) -> EnumOf:
    return EnumOf(tuple(map(str, range(count))))


@pytest.mark.parametrize(
    ("shape", "size", "align"),
    [
        (BOOL, 1, 1),
        (U8, 1, 1),
        (U16, 2, 2),
        (U32, 4, 4),
        (U64, 8, 8),
        (F64, 8, 8),
        (STRING, 8, 4),
        (BYTES, 8, 4),
        (ListOf(U64), 8, 4),
        (TupleOf((U8, U16, U8)), 6, 2),
        (TupleOf((U8, U64, U8)), 24, 8),
        (TupleOf((STRING, U8)), 12, 4),
        (OptionOf(U8), 2, 1),
        (OptionOf(U64), 16, 8),
        (OptionOf(STRING), 12, 4),
        (ResultOf(None, None), 1, 1),
        (ResultOf(U16, None), 4, 2),
        (ResultOf(U8, STRING), 12, 4),
        (LEVEL, 1, 1),
        (names(256), 1, 1),
        (names(257), 2, 2),
        (names(65_537), 4, 4),
        (VariantOf((Case("a", int, TupleOf((U8, U8, U8))), Case("b", str, U16))), 6, 2),
        (Adapted(OptionOf(U32), list), 8, 4),
        (PEER, 12, 4),
        (MESSAGE, 16, 4),
        (EVENT, 24, 8),
    ],
)
def test_sizes_and_alignments(shape: Shape, size: int, align: int) -> None:
    assert size_align(shape) == (size, align)


def test_fields_lie_one_after_the_other_where_they_are_aligned() -> None:
    assert offsets(TupleOf((U8, U32, U8, U16, U64))) == (0, 4, 8, 10, 16, 24)
    assert offsets(PEER) == (0, 8, 10)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (BOOL, "i32"),
        (U64, "i64"),
        (F64, "f64"),
        (STRING, "i32 i32"),
        (ListOf(F64), "i32 i32"),
        (LEVEL, "i32"),
        (OptionOf(F64), "i32 f64"),
        (ResultOf(None, None), "i32"),
        (ResultOf(U64, F64), "i32 i64"),
        (ResultOf(U32, F64), "i32 i64"),
        (ResultOf(STRING, U64), "i32 i64 i32"),
        (ResultOf(F64, TupleOf((F64, U8))), "i32 f64 i32"),
        (EVENT, "i32 i64 i32 i32"),
    ],
)
def test_values_come_down_to_core_values(shape: Shape, expected: str) -> None:
    assert " ".join(flatten([shape])) == expected


@pytest.mark.parametrize(
    ("version", "interface", "name", "exported", "shape"),
    [pytest.param(*each, id=f"{each[0]}-{each[1]}-{each[2]}-{each[3]}") for each in functions()],
)
def test_functions_of_the_contracts_look_as_their_text_says(
    version: str, interface: str, name: str, exported: bool, shape: FunctionShape
) -> None:
    package = contract(version)
    function = package.interfaces[interface].functions[name]
    expected = flatten_text(package, interface, function, exported=exported)
    assert signature(shape, lowered=not exported).core == expected.core


def test_more_than_sixteen_core_values_are_spilled() -> None:
    spilled = signature(FunctionShape((REQUEST, BOOL), U64), lowered=True)
    assert spilled == (CoreFunction(("i32",), ("i64",)), True, False)
    assert signature(FunctionShape((REQUEST,), None), lowered=True) == (
        CoreFunction(("i32",) * 16, ()),
        False,
        False,
    )


def test_results_of_more_than_one_core_value_are_returned_through_memory() -> None:
    shape = FunctionShape((U64,), STRING)
    assert signature(shape, lowered=True) == (CoreFunction(("i64", "i32"), ()), False, True)
    assert signature(shape, lowered=False) == (CoreFunction(("i64",), ("i32",)), False, True)


def test_parts_of_the_staging_memory_do_not_overlap() -> None:
    assert [PAGES, COUNT, FIRST, HELD, SLOTS] == [0, 4, 8, 12, 16]
    assert ROOM == SLOTS + MAX_FLAT_PARAMS * WORD
    assert ROOM % 8 == 0
