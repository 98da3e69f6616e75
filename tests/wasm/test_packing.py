"""Core code around functions: the canonical ABI, found out from a component's own types.

What the code does is tested with `adapter`.
"""

import pytest
from tests.wasm import guests
from wasmtime import Engine
from wasmtime import component as wasm

from theater.build.flat import flatten
from theater.build.wit import Version, contract
from theater.wasm.component import inspect
from theater.wasm.packing import carries_bytes, flat, layout, signature
from theater.wasm.wat import assemble

GUESTS = {
    "0.1.0": [guests.echo_0_1_0()],
    "0.2.0": [
        guests.asker(),
        guests.answerer(),
        guests.counter(),
        guests.hostile("init", "error"),
        guests.hostile("upgrade-connection", "huge-reply"),
        guests.hostile("handle-request", "huge-reply"),
    ],
}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_functions_are_flattened_as_those_of_the_wit_file(version: Version) -> None:
    package = contract(version)
    seen = set()
    for guest in GUESTS[version]:
        found = inspect(guest)
        for exported, interfaces in ((True, found.exports), (False, found.imports)):
            for interface, functions in interfaces.items():
                for name, kind in functions.items():
                    seen.add(name)
                    core = flatten(
                        package, interface, package.interfaces[interface].functions[name], exported=exported
                    ).core
                    parameters, _, results, returned = signature(kind)
                    if exported or not returned:
                        assert (parameters, results) == core
                    else:
                        assert ((*parameters, "i32"), ()) == core
    assert len(seen) == {"0.1.0": 1, "0.2.0": 17}[version]


@pytest.mark.parametrize(
    ("type", "size", "align", "cores", "bytes"),
    [
        ("bool", 1, 1, ["i32"], False),
        ("u16", 2, 2, ["i32"], False),
        ("string", 8, 4, ["i32", "i32"], False),
        ("(list u16)", 8, 4, ["i32", "i32"], False),
        ("(list u8)", 8, 4, ["i32", "i32"], True),
        ("(list (list u8))", 8, 4, ["i32", "i32"], True),
        ("(option u8)", 2, 1, ["i32", "i32"], False),
        ("(option (list u8))", 12, 4, ["i32", "i32", "i32"], True),
        ("(tuple u8 u16 u8)", 6, 2, ["i32", "i32", "i32"], False),
        ("(tuple u8 (list u8) u8 u64)", 24, 8, ["i32", "i32", "i32", "i32", "i64"], True),
        ("(result)", 1, 1, ["i32"], False),
        ("(result u64 (error (list u8)))", 16, 8, ["i32", "i64", "i32"], True),
        ("(result f64 (error (tuple u8 f64)))", 24, 8, ["i32", "i64", "f64"], False),
        ("(option (option (option u64)))", 32, 8, ["i32", "i32", "i32", "i64"], False),
    ],
)
def test_sizes_and_core_values(type: str, size: int, align: int, cores: list[str], bytes: bool) -> None:
    component = inspect_type(type)
    assert layout(component) == (size, align)
    assert list(flat(component)) == cores
    assert carries_bytes(component) == bytes


def inspect_type(text: str) -> wasm.ValType:
    """A type that is written in the text format."""
    engine = Engine()
    component = wasm.Component(engine, assemble(f'(component (import "f" (func (param "p" {text}))))'))
    function = component.type.imports(engine)["f"].ty
    assert isinstance(function, wasm.FuncType)
    return function.params[0][1]
