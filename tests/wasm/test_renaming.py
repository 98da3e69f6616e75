"""Core modules with other imports and fewer exports."""

import pytest
import wasmtime

from theater.wasm.renaming import renamed
from theater.wasm.sections import Unsupported
from theater.wasm.wat import assemble, read_core

MODULE = assemble("""(module
  (import "a" "f" (func (param i64) (result i32)))
  (import "a" "" (memory 1 2))
  (import "é" "f" (func))
  (import "b" "t" (table 1 funcref))
  (import "b" "g" (global (mut i32)))
  (export "m" (memory 0))
  (func (export "h") (result i32) (i32.const 5))
  (data (i32.const 0) "data"))""")
NAMES = {
    ("a", "f"): ("0", "one"),
    ("a", ""): ("1", "two" * 100),
    ("é", "f"): ("", "three"),
    ("b", "t"): ("2", "four"),
    ("b", "g"): ("2", "é"),
}


def test_imports_have_other_names() -> None:
    before, after = read_core(MODULE), read_core(renamed(MODULE, NAMES, "hm"))
    assert after.imports == {NAMES[place]: kind for place, kind in before.imports.items()}
    assert after.exports == before.exports


def test_all_else_stays_as_it_is() -> None:
    assert renamed(MODULE, {name: name for name in NAMES}, "hm") == MODULE
    alone = assemble('(module (func (export "h")))')
    assert renamed(alone, {}, "h") == alone


def test_what_is_not_used_is_not_exported() -> None:
    for used in ("h", "m", "hm", ""):
        assert read_core(renamed(MODULE, NAMES, {*used, "x"})).exports.keys() == set(used)


def test_each_import_has_a_name() -> None:
    with pytest.raises(Unsupported, match="imports g of b, which is not there"):
        renamed(MODULE, {name: other for name, other in NAMES.items() if name != ("b", "g")}, "")


def test_what_is_no_module() -> None:
    with pytest.raises(Unsupported):
        renamed(MODULE[:20], NAMES, "")
    assert wasmtime.Module.validate(wasmtime.Engine(), renamed(MODULE, NAMES, "h")) is None
