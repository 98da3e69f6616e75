"""Core modules as components, run by wasmtime's own interface."""

from collections.abc import Iterable
from itertools import combinations

import pytest
from tests.build.host import Case, Host
from tests.wasm import guests

from theater.build.errors import BuildError
from theater.build.flat import Flat, flatten
from theater.build.wit import Version, contract
from theater.build.wrap import wrap
from theater.wasm.wat import CoreFunction, assemble

NEW = "theater:websocket/{}@0.2.0"
HANDLER = "theater:websocket/websocket-actor@0.2.0#handle-websocket"
HANDLER_TYPE = "(param i64 i32 i64 i32 i32) (result i32)"
MEMORY = '(memory (export "memory") 1)'
REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))'
FINE = f'(func (export "{HANDLER}") {HANDLER_TYPE} (i32.const 0))'


def flat(version: Version, interface: str, name: str, *, exported: bool) -> Flat:
    package = contract(version)
    return flatten(package, interface, package.interfaces[interface].functions[name], exported=exported)


def core_type(function: CoreFunction) -> str:
    return f"(param {' '.join(function.parameters)}) (result {' '.join(function.results)})"


def module_with(version: Version, imports: Iterable[str], exports: Iterable[str]) -> bytes:
    """A core module that imports some interfaces and exports others; a handler returns zeros."""
    package = contract(version)
    lines = []
    for interface in imports:
        for name in package.interfaces[interface].functions:
            core = core_type(flat(version, interface, name, exported=False).core)
            lines.append(f'(import "{package.qualified(interface)}" "{name}" (func {core}))')
    lines += [MEMORY, REALLOC]
    for interface in exports:
        for name in package.interfaces[interface].functions:
            core = core_type(flat(version, interface, name, exported=True).core)
            lines.append(f'(func (export "{package.qualified(interface)}#{name}") {core} (i32.const 512))')
    return assemble(f"(module {' '.join(lines)})")


def mistakes(text: str, version: Version | None = None) -> list[str]:
    with pytest.raises(BuildError) as caught:
        wrap(assemble(f"(module {text})"), version)
    return [caught.value.problem, *caught.value.output.splitlines()]


def test_echo() -> None:
    host = Host(guests.echo())
    for message in (Case("text", "hällo"), Case("text", ""), Case("binary", bytes(100_000))):
        assert host.call("handle-websocket", 7, Case("received", message)) == [message]
    assert host.call("handle-websocket", 7, Case("received", Case("ping", b"x"))) == []
    assert host.call("handle-websocket", 7, Case("connected")) == []


def test_echo_of_0_1_0() -> None:
    host = Host(guests.echo_0_1_0(), version="0.1.0")
    for message in (Case("text", "hällo"), Case("binary", b"\0\xff")):
        assert host.call("handle-websocket", Case("message", message)) == message
    assert host.call("handle-websocket", Case("connected")) is None


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_every_function_of_the_host_can_be_called(version: Version) -> None:
    package = contract(version)
    imports: list[str] = []
    calls: list[str] = []
    expected: list[str] = []
    for interface in package.imports:
        for name in package.interfaces[interface].functions:
            core = flat(version, interface, name, exported=False).core
            symbol = f"${len(calls)}"
            place = f'"{package.qualified(interface)}" "{name}"'
            imports.append(f"(import {place} (func {symbol} {core_type(core)}))")
            zeros = " ".join(f"({each}.const 0)" for each in core.parameters)
            calls.append(f"(call {symbol} {zeros}) {'drop' if core.results else ''}")
            expected.append(name)
    handler = package.qualified("websocket-actor") + "#handle-websocket"
    core = flat(version, "websocket-actor", "handle-websocket", exported=True).core
    handle = f'(func (export "{handler}") {core_type(core)} {" ".join(calls)} (i32.const 512))'
    host = Host(wrap(assemble(f"(module {' '.join((*imports, MEMORY, REALLOC, handle))})")), version=version)
    arguments = [7, Case("connected")] if version == "0.2.0" else [Case("connected")]
    host.call("handle-websocket", *arguments)
    assert [name for name, *_ in host.calls] == expected
    assert ("send-message", 0, Case("text", ""), None, False) in host.calls or version == "0.1.0"


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_any_subset_will_do(version: Version) -> None:
    package = contract(version)
    for imports in (*combinations(package.imports, 1), package.imports, ()):
        for exports in (
            *combinations(package.exports, 1),
            *combinations(package.exports, 2),
            package.exports,
        ):
            Host(wrap(module_with(version, imports, exports)), version=version)


def test_nothing_but_what_is_used_is_in_the_component() -> None:
    component = wrap(module_with("0.2.0", ("host",), ("lifecycle",)))
    assert b"theater:websocket/host@0.2.0" in component
    assert b"theater:websocket/lifecycle@0.2.0" in component
    assert not any(NEW.format(each).encode() in component for each in ("websocket", "actors", "state"))
    only = wrap(module_with("0.2.0", (), ("lifecycle",)))
    assert b"theater:websocket/types@0.2.0" not in only


def test_clean_up_is_called_behind_the_result() -> None:
    after = f'(func (export "cabi_post_{HANDLER}") (param i32) (call $drained (i64.const 9)))'
    drained = f'(import "{NEW.format("websocket")}" "drained" (func $drained (param i64)))'
    host = Host(wrap(assemble(f"(module {drained} {MEMORY} {REALLOC} {FINE} {after})")))
    with pytest.raises(Exception, match="cannot leave component instance"):  # so it was called
        host.call("handle-websocket", 1, Case("connected"))


def test_initialize_runs_before_all_else() -> None:
    log = f'(import "{NEW.format("host")}" "log" (func $log (param i32 i32 i32)))'
    start = '(func (export "_initialize") (call $log (i32.const 1) (i32.const 0) (i32.const 0)))'
    host = Host(wrap(assemble(f"(module {log} {MEMORY} {REALLOC} {FINE} {start})")))
    assert host.calls == [("log", "info", "")]
    alone = (
        '(global $g (mut i32) (i32.const 0)) (func (export "_initialize") (global.set $g (i32.const 512)))'
    )
    handler = f'(func (export "{HANDLER}") {HANDLER_TYPE} (global.get $g))'
    data = r'(data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00")'
    host = Host(wrap(assemble(f"(module {MEMORY} {REALLOC} {alone} {handler} {data})")))
    assert host.call("handle-websocket", 1, Case("connected")) == ""


def test_a_module_of_any_size() -> None:
    for size in (0, 100, 20_000, 3_000_000):
        data = f'(data (i32.const 4096) "{"x" * size}")'
        memory = '(memory (export "memory") 64)'
        Host(wrap(assemble(f"(module {memory} {REALLOC} {FINE} {data})")))


def test_what_is_no_core_module() -> None:
    for binary, problem in (
        (guests.echo(), "this is a component already, not a core module"),
        (b"", "this is no WebAssembly module"),
        (b"(module)", "this is no WebAssembly module"),
        (assemble("(module)")[:8] + b"\xff", "this is no valid core module"),
    ):
        with pytest.raises(BuildError) as caught:
            wrap(binary)
        assert caught.value.problem == problem


def test_the_version_is_in_the_names() -> None:
    nothing = f"the module has nothing of the contract, such as an export {HANDLER}"
    assert mistakes('(func (export "handle-websocket"))') == [nothing]
    assert mistakes(f'{FINE} (func (export "{HANDLER.replace("0.2", "0.1")}"))') == [
        "the module mixes the versions 0.1.0 and 0.2.0 of the contract"
    ]
    assert mistakes(FINE, "0.1.0")[:2] == [
        "the module does not fit theater:websocket@0.1.0",
        f"export {HANDLER} is unknown; is {HANDLER.replace('0.2', '0.1')} meant?",
    ]


def test_all_mistakes_are_told() -> None:
    websocket = NEW.format("websocket")
    nothing_else = "a guest has only the contract, no WASI and no JavaScript"
    assert mistakes(f"""
        (import "{websocket}" "send-mesage" (func))
        (import "{websocket}" "get-tags" (func (param i64)))
        (import "wasi_snapshot_preview1" "fd_write" (func))
        (import "env" "memory" (memory 1))
        (func (export "{HANDLER}") (param i64 i32) (result i32) unreachable)
        (func (export "{HANDLER}s"))
        (func (export "cabi_realloc"))
        (func (export "cabi_post_{NEW.format("lifecycle")}#init") (param i32))
        (func (export "anything-else"))
    """) == [
        "the module does not fit theater:websocket@0.2.0",
        f"import {websocket}#send-mesage is unknown; is {websocket}#send-message meant?",
        f"import {websocket}#get-tags: expected (i64, i32) -> (), found (i64) -> ()",
        f"import wasi_snapshot_preview1#fd_write is unknown; {nothing_else}",
        f"import env#memory is unknown; {nothing_else}",
        f"export {HANDLER}: expected (i64, i32, i64, i32, i32) -> (i32), found (i64, i32) -> (i32)",
        f"export {HANDLER}s is unknown; is {HANDLER} meant?",
        f"export cabi_post_{NEW.format('lifecycle')}#init cleans up after an export that is not there",
        f"no export memory, which {HANDLER} needs",
        "export cabi_realloc: expected (i32, i32, i32, i32) -> (i32), found () -> ()",
    ]


def test_what_the_exports_need() -> None:
    drained = f'(import "{NEW.format("websocket")}" "drained" (func (param i64)))'
    assert mistakes(f"{drained}") == [
        "the module does not fit theater:websocket@0.2.0",
        f"no export for the host to call, such as {HANDLER}",
    ]
    assert mistakes(f"{FINE} {MEMORY}")[1:] == [f"no export cabi_realloc, which {HANDLER} needs"]
    init = f'(func (export "{NEW.format("lifecycle")}#init") (result i32) (i32.const 0))'
    Host(wrap(assemble(f"(module {init} {MEMORY})")))  # nothing comes in, so that it needs no realloc
    memory = '(func (export "memory"))'
    assert mistakes(f"{FINE} {memory} {REALLOC}")[1:] == ["export memory: expected memory, found () -> ()"]


def test_the_library_of_guests() -> None:
    for where, what in guests.all_hostile():
        Host(guests.hostile(where, what))
    with pytest.raises(ValueError, match="no bad-close from init"):
        guests.hostile("init", "bad-close")
