"""Core modules as they stand in files."""

import pytest
import wasmtime

from theater.wasm.sections import CoreImport, CoreModule, Part, Unsupported, trapping
from theater.wasm.wat import assemble


def module(text: str) -> CoreModule:
    code = b"before" + assemble(f"(module {text})") + b"after"
    return CoreModule(Part(code, 6, len(code) - 5))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xff\x00", 127),
        (b"\xff\xff\xff\xff\x0f", 2**32 - 1),
    ],
)
def test_numbers(code: bytes, expected: int) -> None:
    part = Part(code, 0, len(code))
    assert part.number() == expected
    assert part.rest() == b""


def test_parts_end_where_they_end() -> None:
    inner = Part(b"\x03abcd", 0, 5).part()
    assert inner.take(3) == b"abc"
    with pytest.raises(Unsupported, match="ends too early"):
        inner.byte()


def test_code_is_what_stands_in_the_file() -> None:
    assert module("(memory 1)").code == assemble("(module (memory 1))")


def test_imports() -> None:
    found = module("""
      (import "a" "f" (func (param i32) (result (ref null func))))
      (import "a" "t" (table 1 2 (ref null extern)))
      (import "b" "m" (memory 1 2 shared))
      (import "" "g" (global (mut (ref null extern))))
      (import "a" "h" (func))""").imports
    names = [("a", "f", 0), ("a", "t", None), ("b", "m", None), ("", "g", None), ("a", "h", 1)]
    assert found == [CoreImport(*each) for each in names]
    assert module("").imports == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('(import "" "m" (memory i64 1))', "has limits of a kind that is not known"),
        ('(import "" "e" (tag))', "has a core import of a kind that is not known: 0x04"),
    ],
)
def test_imports_that_are_not_understood(text: str, expected: str) -> None:
    with pytest.raises(Unsupported) as error:
        _ = module(text).imports
    assert str(error.value) == expected


def test_types_of_imports() -> None:
    found = module('(import "" "f" (func (param i32 f64) (result i64))) (import "" "g" (global i32))')
    function, other = found.imports
    assert found.type_of(function) == b"\x60\x02\x7f\x7c\x01\x7e"
    for each in (other, function._replace(type=1)):
        with pytest.raises(Unsupported, match="has a core import that is no function"):
            found.type_of(each)
    structure = module('(type (struct)) (import "" "f" (func))')
    with pytest.raises(Unsupported, match="has a core type that is no function's"):
        structure.type_of(structure.imports[0])


def test_functions_that_only_trap() -> None:
    found = module("""
      (import "" "f" (func $f))
      (import "" "g" (global $g i32))
      (func (export "nothing"))
      (func (export "trap") (param i32) (result i64) unreachable)
      (func (export "more") nop unreachable)
      (memory (export "memory") 1)
      (export "f" (func $f))""")
    names = ("trap", "nothing", "more", "f", "memory", "missing")
    assert [found.is_unreachable(name) for name in names] == [True, False, False, False, False, False]


@pytest.mark.parametrize("count", [1, 200])
def test_trapping(count: int) -> None:
    store = wasmtime.Store()
    code = trapping([b"\x60\x01\x7f\x01\x7e"] * count).code
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, code), []).exports(store)
    assert len(exports) == count
    function = exports[str(count - 1)]
    assert isinstance(function, wasmtime.Func)
    found = function.type(store)
    assert (list(map(str, found.params)), list(map(str, found.results))) == (["i32"], ["i64"])
    with pytest.raises(wasmtime.Trap) as trap:
        function(store, 1)
    assert trap.value.trap_code is wasmtime.TrapCode.UNREACHABLE
