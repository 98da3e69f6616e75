"""Flattening, beside the types that wit-component expects."""

import pytest

from theater.build.flat import Flat, flatten
from theater.build.wit import contract, parse
from theater.wasm.wat import CoreFunction


@pytest.mark.parametrize(
    ("interface", "name", "exported", "expected"),
    [
        # more than one value is returned through memory
        ("websocket", "drained", False, "(i64) -> ()"),
        ("websocket", "get-waiting", False, "(i64) -> (i64)"),
        ("websocket", "get-tags", False, "(i64, i32) -> ()"),
        ("host", "now", False, "() -> (f64)"),
        # cases share their slots: message has four, event one for a number of 64 bits
        ("websocket", "send-message", False, f"(i64{', i32' * 9}) -> ()"),
        ("websocket-actor", "handle-websocket", True, "(i64, i32, i64, i32, i32) -> (i32)"),
        ("actors", "request", False, f"({'i32, ' * 8}f64, i32) -> ()"),
        # sixteen values are the most
        ("http-actor", "handle-request", True, f"({', '.join(['i32'] * 16)}) -> (i32)"),
    ],
)
def test_flattening(interface: str, name: str, exported: bool, expected: str) -> None:
    package = contract("0.2.0")
    function = package.interfaces[interface].functions[name]
    assert str(flatten(package, interface, function, exported=exported).core) == expected


def test_more_than_sixteen_values_pass_through_memory() -> None:
    package = parse("""
        package a:b@1.0.0;
        interface many {
            record four { a: u64, b: u64, c: f64, d: bool }
            variant mixed { none, small(u32), big(f64), other(f64) }
            all: func(a: four, b: four, c: four, d: four, e: bool) -> bool;
            mix: func(a: mixed, b: tuple<u64, f64>) -> tuple<u32, u32>;
        }
        world w {}
    """)
    every, mix = package.interfaces["many"].functions.values()
    assert flatten(package, "many", every, exported=False) == Flat(
        CoreFunction(("i32",), ("i32",)), memory=True, realloc=False
    )
    assert flatten(package, "many", every, exported=True) == Flat(
        CoreFunction(("i32",), ("i32",)), memory=True, realloc=True
    )
    assert flatten(package, "many", mix, exported=False) == Flat(
        CoreFunction(("i32", "i64", "i64", "f64", "i32"), ()), memory=True, realloc=False
    )
