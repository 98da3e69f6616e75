"""Text and boundaries of core modules."""

import pytest

from theater.wasm.wat import CoreFunction, assemble, read_core


def test_what_stands_on_the_boundary_of_a_core_module() -> None:
    module = read_core(
        assemble("""(module
            (import "a" "b" (func (param i32 f32) (result i64)))
            (import "a" "" (global f64))
            (memory (export "m") 1) (table (export "t") 1 funcref))""")
    )
    assert module.imports == {("a", "b"): CoreFunction(("i32", "f32"), ("i64",)), ("a", ""): "global"}
    assert module.exports == {"m": "memory", "t": "table"}


def test_mistakes_are_told_with_their_place() -> None:
    with pytest.raises(ValueError, match=r"expected valid module field\n.*:1:10"):
        assemble("(module (nonsense))")
    with pytest.raises(ValueError, match="type mismatch"):
        read_core(assemble("(module (func (result i32)))"))
