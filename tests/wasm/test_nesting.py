"""Parts of binaries put in, and left out."""

import pytest
from tests.wasm import guests
from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component

from theater.wasm.component import inspect
from theater.wasm.nesting import fill, hollow
from theater.wasm.wat import assemble

CORE = assemble(
    '(module (func (export "f") (result i32) (i32.const 7)) (memory 1) (data (i32.const 0) "text"))'
)


@pytest.mark.parametrize("size", [0, 100, 1_000, 100_000])
def test_a_core_module_takes_the_place_of_the_first_one(size: int) -> None:
    outer = assemble('(component (core module) (core module (func (export "g"))) (component))')
    core = assemble(f'(module (memory 2) (data (i32.const 0) "{"x" * size}"))')
    filled = fill(outer, core)
    assert core in filled
    assert len(filled) - len(outer) - len(core) + 8 in (0, 1, 2)  # an empty module has eight bytes
    Component(Engine(), filled)


def test_a_component_that_lies_about_its_size_stays_as_it_is() -> None:
    core = b"\0asm\1\0\0\0" + b"\x0a\x05" + b"\xff\xff\xff\xff\x0f"  # four thousand million functions
    code = b"\0asm\x0d\0\1\0" + b"\1" + bytes((len(core),)) + core
    assert hollow(code) == code


def test_without_code_and_data_the_boundary_is_the_same() -> None:
    code = fill(assemble("(component (core module $m) (core instance (instantiate $m)))"), CORE)
    assert b"text" in code
    assert b"text" not in hollow(code)
    Component(Engine(), hollow(code))
    for guest in (guests.counter(), guests.hostile("handle-request", "huge-reply"), guests.echo_0_1_0()):
        found, expected = inspect(hollow(guest)), inspect(guest)
        assert len(hollow(guest)) < len(guest)
        assert found.contract == expected.contract
        assert {name: list(items) for name, items in found.exports.items()} == {
            name: list(items) for name, items in expected.exports.items()
        }
        assert {name: list(items) for name, items in found.imports.items()} == {
            name: list(items) for name, items in expected.imports.items()
        }


@pytest.mark.parametrize("length", [0, 4, 8, 9, 10, 100, 1_000, 2_000])
def test_what_is_cut_off_stays_as_it_is_or_is_not_valid(length: int) -> None:
    cut = guests.echo()[:length]
    if length == 8:
        assert hollow(cut) == cut
    else:
        with pytest.raises(WasmtimeError):
            Component(Engine(), hollow(cut))


def test_numbers_without_end() -> None:
    code = guests.echo()[:8] + b"\1" + b"\x80" * 20
    assert hollow(code) == code
