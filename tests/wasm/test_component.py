"""What a component is, and every way in which a file can be none, or one that does not fit."""

import random
from pathlib import Path

import pytest
import wasmtime
from tests.wasm import guests
from wasmtime import component as components

from theater.errors import InvalidComponent
from theater.wasm.cache import Cache
from theater.wasm.component import WASI, inspect
from theater.wasm.contracts import V0_1, V0_2
from theater.wasm.wat import assemble

LIFECYCLE = """
  (core module $m
    (memory (export "memory") 1)
    (func (export "init") (result i32) (i32.const 0))
    (func (export "number") (param i32))
    (func (export "numbers") (param i64 i32)))
  (core instance $i (instantiate $m))
  (func $init (result (result (error string)))
    (canon lift (core func $i "init") (memory (core memory $i "memory"))))
  (instance $lifecycle (export "init" (func $init)))
"""
OURS = "theater:websocket"


def component(*parts: str, exports: tuple[str, ...] = (f"{OURS}/lifecycle@0.2.0",)) -> bytes:
    """A component that exports the interface `lifecycle` under some names, with other parts before it."""
    ends = [f'(export "{name}" (instance $lifecycle))' for name in exports]
    return assemble(f"(component {' '.join(parts)} {LIFECYCLE} {' '.join(ends)})")


def importing(*names: str) -> bytes:
    return component(*(f'(import "{name}" (instance))' for name in names))


def problem(source: Path | bytes, *grants: str) -> str:
    with pytest.raises(InvalidComponent) as error:
        inspect(source, grants)
    assert error.value.path == ("" if isinstance(source, bytes) else str(source))
    return error.value.problem


# What is right


def test_component() -> None:
    found = inspect(guests.counter())
    assert found.contract is V0_2
    assert {name: list(functions) for name, functions in found.exports.items()} == {
        "websocket-actor": ["handle-websocket"]
    }
    assert {name: sorted(functions) for name, functions in found.imports.items()} == {
        "state": ["get-state", "set-state"]
    }
    assert found.foreign == ()
    assert found.size == len(guests.counter())


def test_component_of_0_1_0() -> None:
    found = inspect(guests.echo_0_1_0())
    assert found.contract is V0_1
    assert list(found.exports) == ["websocket-actor"]


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "echo.wasm"
    path.write_bytes(guests.echo())
    assert inspect(path).size == len(guests.echo())


def test_it_is_compiled_for_the_engine_and_kept_in_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    engine = wasmtime.Engine()
    for _ in range(2):
        found = inspect(guests.echo(), engine=engine, cache=cache, settings="none")
        linker, store = components.Linker(engine), wasmtime.Store(engine)
        linker.define_unknown_imports_as_traps(found.component)
        linker.instantiate(store, found.component)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_interfaces_that_only_have_types_do_not_matter() -> None:
    types = '(instance (type $query string) (export "query" (type (eq $query))))'
    found = inspect(
        component(f'(import "{OURS}/types@0.2.0" {types})', '(import "wasi:io/error@0.2.0" (instance))'),
        ["wasi:io"],
    )
    assert (found.imports, found.foreign) == ({}, ("wasi:io/error@0.2.0",))


def test_other_exports_do_not_matter() -> None:
    names = (f"{OURS}/lifecycle@0.2.0", f"{OURS}/novelty@0.2.0", "wasi:cli/run@0.2.0", "run")
    assert list(inspect(component(exports=names)).exports) == ["lifecycle"]


# Files that are no components


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"", "is empty"),
        (b"\0as", "is no WebAssembly file"),
        (b"\0asm", "is no valid component: "),
        (b"(component)", "is no WebAssembly file"),
        (random.Random(1).randbytes(1000), "is no WebAssembly file"),
        (b"\0asm\x0d\0\1\0" + random.Random(1).randbytes(1000), "is no valid component: "),
        (b"\0asm\x0c\0\1\0", "is no valid component: "),
        (
            assemble("(module)"),
            "is a core module, not a component: `theater build FILE.wasm` wraps it",
        ),
    ],
)
def test_what_is_no_component(code: bytes, expected: str) -> None:
    assert problem(code).startswith(expected)
    assert "\n" not in problem(code)


def test_no_prefix_of_a_component_is_one() -> None:
    code = guests.echo()
    engine = wasmtime.Engine()
    for length in range(0, len(code), 13):
        with pytest.raises(InvalidComponent):
            inspect(code[:length], engine=engine)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problem(tmp_path) == "cannot be read: is a directory"
    assert problem(tmp_path / "no.wasm") == "cannot be read: no such file or directory"


def test_a_core_module_is_told_how_to_become_a_component(tmp_path: Path) -> None:
    path = tmp_path / "core.wasm"
    path.write_bytes(assemble("(module)"))
    assert f"`theater build {path}` wraps it" in problem(path)


# Exports


def test_exports_of_no_contract() -> None:
    expected = f"exports no interface of {OURS}@0.1.0 or {OURS}@0.2.0"
    assert problem(assemble("(component)")) == expected
    assert problem(component(exports=("handle-websocket", "wasi:cli/run@0.2.0"))) == expected


@pytest.mark.parametrize("name", [f"{OURS}/lifecycle@0.3.0", f"{OURS}/lifecycle@0.2.1", f"{OURS}/lifecycle"])
def test_unknown_versions(name: str) -> None:
    assert (
        problem(component(exports=(name,))) == f"exports {name}, but there is only 0.1.0 and 0.2.0 of {OURS}"
    )


def test_two_versions() -> None:
    names = (f"{OURS}/lifecycle@0.2.0", f"{OURS}/websocket-actor@0.1.0")
    expected = f"exports {names[0]} and {names[1]}, which are two versions of the contract"
    assert problem(component(exports=names)) == expected


def test_only_interfaces_that_the_contract_does_not_have() -> None:
    expected = f"exports none of websocket-upgrade, websocket-actor, http-actor of {OURS}@0.1.0"
    assert problem(component(exports=(f"{OURS}/lifecycle@0.1.0",))) == expected


def test_missing_function() -> None:
    name = f"{OURS}/websocket-actor@0.2.0"
    assert problem(component(exports=(name,))) == f"exports {name} without the function handle-websocket"
    code = assemble(f"""(component {LIFECYCLE} (export "{name}" (func $init)))""")
    assert problem(code) == f"exports {name} without the function handle-websocket"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            '(func $f (param "event" u32) (canon lift (core func $i "number")))',
            "expected 2 parameters, found 1",
        ),
        (
            '(func $f (param "connection" u64) (param "event" u32) (canon lift (core func $i "numbers")))',
            "parameter 2: expected type variant, found u32",
        ),
    ],
)
def test_function_of_another_type(function: str, expected: str) -> None:
    name = f"{OURS}/websocket-actor@0.2.0"
    code = assemble(
        f'(component {LIFECYCLE} {function} (instance $x (export "handle-websocket" (func $f)))'
        f' (export "{name}" (instance $x)))'
    )
    assert problem(code) == f"exports {name}, whose handle-websocket does not fit: {expected}"


def test_asynchronous_function() -> None:
    code = assemble(
        f"""(component {LIFECYCLE}
          (func $f async (result (result (error string)))
            (canon lift (core func $i "init") (memory (core memory $i "memory"))))
          (instance $x (export "init" (func $f)))
          (export "{OURS}/lifecycle@0.2.0" (instance $x)))"""
    )
    expected = f"exports {OURS}/lifecycle@0.2.0, whose init is asynchronous, which the contract's is not"
    assert problem(code) == expected


# Imports of the contract


def test_imports_of_another_version() -> None:
    name = f"{OURS}/websocket@0.1.0"
    assert problem(importing(name)) == f"imports {name}, but exports what {OURS}@0.2.0 has"


@pytest.mark.parametrize(
    ("interface", "item"),
    [
        ("host", '(export "sleep" (func))'),
        ("novelty", '(export "sleep" (func))'),
        ("host", '(export "sleep" (type (sub resource)))'),
        ("host", '(export "sleep" (instance))'),
    ],
)
def test_imports_that_the_contract_does_not_have(interface: str, item: str) -> None:
    name = f"{OURS}/{interface}@0.2.0"
    code = component(f'(import "{name}" (instance {item}))')
    assert problem(code) == f"imports sleep of {name}, which the contract does not have"


@pytest.mark.parametrize(
    ("type", "expected"),
    [
        ('(func (param "count" u64) (result (list u8)))', "parameter 1: expected type u32, found u64"),
        (
            '(func (param "count" u32) (result (stream u8)))',
            "the result: expected type list<u8>, found stream",
        ),
        ('(func (param "count" (future u32)))', "parameter 1: expected type u32, found future"),
    ],
)
def test_import_of_another_type(type: str, expected: str) -> None:
    """Among them types that would abort the process if a value of theirs were handed over."""
    code = component(f'(import "{OURS}/host@0.2.0" (instance (export "random" {type})))')
    assert problem(code) == f"imports {OURS}/host@0.2.0, whose random does not fit: {expected}"


@pytest.mark.parametrize("item", ["(func)", "(core module)"])
def test_imports_under_the_name_of_an_interface(item: str) -> None:
    name = f"{OURS}/host@0.2.0"
    code = component(f'(import "{name}" {item})')
    assert problem(code) == f"imports host of {name}, which the contract does not have"


def test_types_that_wasmtime_does_not_take() -> None:
    code = component(
        '(import "wasi:io/error@0.2.0" (instance (export "f" (func (param "e" error-context)))))'
    )
    assert problem(code).startswith("is no valid component: `error-context` requires")


def test_asynchronous_import() -> None:
    code = component(f'(import "{OURS}/host@0.2.0" (instance (export "now" (func async (result f64)))))')
    expected = f"imports {OURS}/host@0.2.0, whose now is asynchronous, which the contract's is not"
    assert problem(code) == expected


# Imports outside of the contract


def test_imports_must_be_granted() -> None:
    clock, poll = "wasi:clocks/wall-clock@0.2.6", "wasi:io/poll@0.2.0"
    expected = f'imports {clock}, which the manifest does not grant: add grants = ["wasi:clocks"]'
    assert problem(importing(clock)) == expected
    both = importing(clock, "wasi:clocks/monotonic-clock@0.2.6", poll)
    expected = (
        f"imports {clock} and 2 more, which the manifest does not grant:"
        ' add grants = ["wasi:clocks", "wasi:io"]'
    )
    assert problem(both) == expected
    expected = (
        f'imports {poll}, which the manifest does not grant: make it grants = ["wasi:clocks", "wasi:io"]'
    )
    assert problem(both, "wasi:clocks") == expected
    assert len(inspect(both, ["wasi:io", "wasi:clocks", "wasi:random"]).foreign) == 3


@pytest.mark.parametrize(
    "name",
    [
        "wasi:http/types@0.2.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:clocks/timezone@0.2.6",
        "wasi:clocks/wall-clock@0.3.0",
        "wasi:clocks/wall-clock",
        "wasi:keyvalue/store@0.2.0",
        "acme:shop/cart@1.0.0",
        "cart",
        "theater:other/host@0.2.0",
    ],
)
def test_imports_that_cannot_be_granted(name: str) -> None:
    expected = (
        f"imports {name}, which cannot be granted: there are only"
        " wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets 0.2"
    )
    assert problem(importing(name), name.partition("/")[0]) == expected


def test_functions_and_modules_that_are_imported_by_themselves_cannot_be_granted() -> None:
    for item in ("(func)", "(core module)"):
        assert "imports f, which cannot be granted" in problem(component(f'(import "f" {item})'))


KNOWN = {
    "wasi:cli": "get-environment exit get-stdin get-stdout get-stderr terminal-input terminal-output"
    " get-terminal-stdin get-terminal-stdout get-terminal-stderr",
    "wasi:clocks": "now now",
    "wasi:filesystem": "get-directories descriptor",
    "wasi:io": "error pollable input-stream",
    "wasi:random": "get-insecure-random-u64 insecure-seed get-random-u64",
    "wasi:sockets": "instance-network resolve-addresses network tcp-socket create-tcp-socket udp-socket"
    " create-udp-socket",
}


@pytest.mark.parametrize("package", WASI)
def test_what_can_be_granted_is_what_wasmtime_has(package: str) -> None:
    """An item of the wrong kind is told from one that is not there."""
    engine = wasmtime.Engine()
    linker = components.Linker(engine)
    linker.add_wasip2()
    for interface, item in zip(WASI[package], KNOWN[package].split(), strict=True):
        for version in ("0.2.0", "0.2.6", "0.2.99"):
            code = assemble(
                f'(component (import "{package}/{interface}@{version}"'
                f' (instance (export "{item}" (func (param "wrong" char))))))'
            )
            with pytest.raises(wasmtime.WasmtimeError) as error:
                linker.instantiate(wasmtime.Store(engine), components.Component(engine, code))
            assert "implementation is missing" not in str(error.value), (interface, item)
