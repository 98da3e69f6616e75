"""Components of several builders are taken apart, and their core modules run without them."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.long import long
from tests.wasm import guests
from tests.wasm.linked import (
    EXPORT,
    HOST,
    INIT,
    INSTANCE,
    LIFT,
    MODULE,
    OURS,
    TYPE,
    Linked,
    component,
    unsupported,
)
from tests.wasm.test_plan import COMPOSED, RESOURCES

from theater.build import javascript, python, zig
from theater.build.wrap import wrap
from theater.wasm.binary import read
from theater.wasm.component import inspect
from theater.wasm.plan import Export, Lifted, Lowered, Plan, Step
from theater.wasm.sections import Unsupported
from theater.wasm.wat import assemble

EXAMPLES = Path(__file__).parents[2] / "examples"


def ignore(step: str) -> None:
    """Takes the steps of a build."""


# What builders make


def test_core_module_that_imports_nothing() -> None:
    symbol = f"{OURS}/websocket-actor@0.2.0#handle-websocket"
    plan = read(guests.echo())
    (module,) = plan.modules
    assert module in guests.echo()
    assert plan.steps == (Step(0, {}),)
    memory, realloc = Export(0, "memory"), Export(0, "cabi_realloc")
    handler = Lifted(Export(0, symbol), memory, realloc, Export(0, f"cabi_post_{symbol}"))
    assert plan.exports == {("websocket-actor", "handle-websocket"): handler}
    linked = Linked(plan)
    assert [linked.echo(text) for text in ("hello", "")] == ["hello", ""]


def test_contract_0_1_0() -> None:
    linked = Linked(read(wrap(assemble((EXAMPLES / "echo" / "echo.wat").read_text()))))
    handler = linked.plan.exports["websocket-actor", "handle-websocket"]
    result = linked[handler.function](linked.store, 1, 0, linked.give(handler, "hello"), 5)
    assert linked.word(handler, result) & 0xFF == 1
    assert linked.take(handler, result + 8) == "hello"


def test_functions_of_the_host() -> None:
    """They go by way of a table, since some of them need a memory that is not there yet."""
    plan = read(guests.counter())
    shim, main, fixup = plan.steps
    memory, realloc = Export(1, "memory"), Export(1, "cabi_realloc")
    assert main.imports == {
        (f"{OURS}/state@0.2.0", "get-state"): Export(0, "0"),
        (f"{OURS}/state@0.2.0", "set-state"): Export(0, "1"),
    }
    assert fixup.imports == {
        ("late", "0"): Lowered("state", "get-state", memory, realloc),
        ("late", "1"): Lowered("state", "set-state", memory, realloc),
        ("shim", "table"): Export(0, "table"),
    }
    assert shim.imports == {}
    linked = Linked(plan)
    assert linked.echo("count") == "1"
    assert linked.asked == ["get-state", "set-state"]


@pytest.mark.parametrize(
    "component", [guests.asker(), guests.answerer(), guests.hostile("init", "send-flood")]
)
def test_other_guests(component: bytes) -> None:
    exports = Linked(read(component)).plan.exports
    assert {name for name, _ in exports} == set(inspect(component).exports)


ZIG = """
const theater = @import("theater");
pub fn handleWebsocket(_: theater.Connection, event: theater.Event) !theater.Reply {
    _ = theater.state();
    return if (event == .received) theater.text(event.received.text) else theater.nothing;
}
"""
JAVASCRIPT = """
import { Actor } from "theater";
export default class Echo extends Actor {
  handleMessage(message) {
    return message;
  }
}
"""
PYTHON = """
from theater import Actor

class Echo(Actor):
    def handle_message(self, message, sender):
        return message
"""


def test_zig(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    (tmp_path / "echo.zig").write_text(ZIG)
    linked = Linked(read(zig.build(tmp_path / "echo.zig", ignore)))
    assert linked.echo("hello") == "hello"
    assert linked.asked == ["get-state"]


@pytest.mark.timeout(100)
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no Node.js")
def test_javascript(tmp_path: Path) -> None:
    """The compiler puts in a component for WASI, which consists of functions that trap."""
    (tmp_path / "echo.js").write_text(JAVASCRIPT)
    component = javascript.build(tmp_path / "echo.js", ignore)
    plan = read(component)
    assert {name for name, _ in plan.exports} == set(inspect(component).exports)
    linked = Linked(plan)
    linked.init()
    assert [linked.send(text) for text in ("hello", "")] == ["hello", ""]


@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec(python.COMPILER) is None, reason="no componentize-py")
@long
def test_python(tmp_path: Path) -> None:
    """Many libraries, linked by core modules that share a memory and a table."""
    (tmp_path / "echo.py").write_text(PYTHON)
    linked = Linked(read(python.build(tmp_path / "echo.py", ignore)))
    assert set(linked.plan.exports) == {("message-actor", "handle-message")}
    assert [linked.send(text) for text in ("hello", "")] == ["hello", ""]
    assert linked.asked == ["random"]


# What components consist of


def test_all_options_of_a_function() -> None:
    plan = component(
        MODULE,
        INSTANCE,
        TYPE,
        """(func $init (type $init) (canon lift (core func $i "init") string-encoding=utf8 (memory $memory)
          (realloc (core func $i "realloc")) (post-return (core func $i "after"))))
          (instance $lifecycle (export "init" (func $init)))""",
        EXPORT,
    )
    names = ("init", "memory", "realloc", "after")
    assert plan.exports["lifecycle", "init"] == Lifted(*(Export(0, name) for name in names))


@pytest.mark.parametrize(
    "parts",
    [
        (MODULE, INSTANCE, LIFT, EXPORT),
        ("(component $inner", MODULE, INSTANCE, LIFT, EXPORT, ")", "(instance $o (instantiate $inner))",
         f'(export "{OURS}/lifecycle@0.2.0" (instance $o "{OURS}/lifecycle@0.2.0"))'),
        # A module of the component around, given or reached
        (MODULE, "(component $inner", '(import "m" (core module $m', '(export "memory" (memory 1))',
         '(export "init" (func (result i32)))))', INSTANCE, LIFT, EXPORT, ")",
         '(instance $o (instantiate $inner (with "m" (core module $m))))',
         f'(export "{OURS}/lifecycle@0.2.0" (instance $o "{OURS}/lifecycle@0.2.0"))'),
        (MODULE, "(type $t u8) (component $inner (alias outer 1 $t (type $t))",
         "(alias outer 1 $m (core module $m))", INSTANCE, LIFT, EXPORT, ")",
         "(instance $o (instantiate $inner))",
         f'(export "{OURS}/lifecycle@0.2.0" (instance $o "{OURS}/lifecycle@0.2.0"))'),
        # An interface given to a component that exports its function again
        (MODULE, INSTANCE, LIFT, '(component $again (import "given" (instance $given (export "init" (func',
         '(result (result (error string)))))))', '(export "init" (func $given "init")))',
         '(instance $o (instantiate $again (with "given" (instance $lifecycle))))',
         f'(export "{OURS}/lifecycle@0.2.0" (instance $o))'),
        # What does not matter
        ('(core type (func (param i32)))', "(type (record (field \"a\" u8)))", MODULE, INSTANCE, LIFT, EXPORT,
         '(export "other" (instance $lifecycle)) (export "init" (func $init))', '(@custom "c" "\\00\\01")'),
    ],
)  # fmt: skip
def test_ways_to_say_the_same(parts: tuple[str, ...]) -> None:
    plan = component(*parts)
    assert (plan.steps, plan.exports) == ((Step(0, {}),), {("lifecycle", "init"): INIT})
    assert plan.modules == (assemble(f"({MODULE.strip().removeprefix('(core ')}"),)


def test_a_module_that_is_instantiated_twice_is_there_once() -> None:
    plan = component(MODULE, "(core instance (instantiate $m))", INSTANCE, LIFT, EXPORT)
    assert plan.steps == (Step(0, {}), Step(0, {}))
    assert len(plan.modules) == 1
    assert plan.exports["lifecycle", "init"].function == Export(1, "init")


def test_all_kinds_of_core_imports() -> None:
    plan = component(
        HOST,
        """
        (core module $a
          (memory (export "memory") 1) (table (export "table") 1 funcref)
          (table (export "references") 1 2 (ref null extern))
          (global (export "global") (mut i64) (i64.const 0))
          (func (export "init") (result i32) (i32.const 0)))
        (core instance $a (instantiate $a))
        (core func $now (canon lower (func $host "now")))
        (core instance $host (export "now" (func $now)) (export "unused" (func $a "init")))
        (core module $m
          (import "a" "memory" (memory 1)) (import "a" "table" (table 1 funcref))
          (import "a" "references" (table 1 2 (ref null extern))) (import "a" "global" (global (mut i64)))
          (import "host" "now" (func (result f64)))
          (export "memory" (memory 0)) (export "init" (func $init)) (func $init (result i32) (i32.const 0)))
        (core instance $i (instantiate $m (with "a" (instance $a)) (with "host" (instance $host))))
        (alias core export $i "memory" (core memory $memory))""",
        LIFT,
        EXPORT,
    )
    given = {("a", name): Export(0, name) for name in ("memory", "table", "references", "global")}
    assert plan.steps[1].imports == given | {("host", "now"): Lowered("host", "now", None, None)}
    Linked(plan)


def test_a_component_without_a_contract_exports_nothing() -> None:
    assert component() == Plan((), (), {})
    assert component(
        f'(component $c) (instance $c (instantiate $c)) (export "{OURS}/types" (instance $c))'
    ) == (Plan((), (), {}))


# What is not understood

ABROAD = '(import "wasi:clocks/clock@0.2.0" (instance $clock (export "now" (func (result u64)))))'
SECOND = """
  (core instance $j (instantiate $m))
  (func $other (type $init) (canon lift (core func $j "init") (memory (core memory $j "memory"))))
  (instance $both (export "init" (func $init)) (export "other" (func $other)))
"""
CALLS = """
  (core func $between (canon lower (func $init) (memory $memory)))
  (core instance $e (export "f" (func $between)))
  (core module $n (import "e" "f" (func (param i32))))
  (core instance (instantiate $n (with "e" (instance $e))))
"""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((ABROAD, '(core func (canon lower (func $clock "now")))'), "calls now of wasi:clocks/clock@0.2.0"),
        (('(import "f" (func))',), "imports f, which is no interface"),
        ((f'(import "{OURS}/lifecycle@0.2.0" (instance $lifecycle))', EXPORT.replace("0.2.0", "0.1.0")),
         f"exports {OURS}/lifecycle@0.1.0, which it imports"),
        ((HOST, f'(instance $i (export "now" (func $host "now"))) (export "{OURS}/a@0.2.0" (instance $i))'),
         "uses host function as lifted"),
        ((RESOURCES.format("new"),), "needs resource.new"),
        ((RESOURCES.format("rep"),), "needs resource.rep"),
        ((MODULE, INSTANCE, LIFT, SECOND, EXPORT.replace("$lifecycle", "$both")),
         "has values in several memories"),
        ((MODULE, INSTANCE, LIFT, EXPORT, CALLS), "has components that call each other"),
        ((MODULE, INSTANCE, LIFT.replace("(memory", "string-encoding=utf16 (memory")),
         "has a canonical option that is not known: 0x01"),
        ((HOST, '(core func (canon lower (func $host "now") async))'), "option that is not known: 0x06"),
        (("(core func (canon task.cancel))",), "canonical definition that is not known: 0x05"),
        ((HOST, '(core func $now (canon lower (func $host "now")))',
          "(func (result f64) (canon lift (core func $now)))"),
         "uses lowered as export"),
    ],
)  # fmt: skip
def test_what_is_not_understood(parts: tuple[str, ...], expected: str) -> None:
    assert expected in unsupported(" ".join(parts))


def test_components_inside_of_each_other() -> None:
    def nested(depth: int) -> str:
        return f"(component $c {nested(depth - 1)}) (instance (instantiate $c))" if depth else ""

    assert component(nested(16)) == Plan((), (), {})
    assert unsupported(nested(17)) == "has more than 16 components inside of each other"


def test_components_that_double_what_they_contain() -> None:
    """A small file would be a large plan."""
    text = "(core module) " + "(core instance (instantiate 0)) " * 10
    for _ in range(14):
        text = f"(component $c {text}) (instance (instantiate $c)) (instance (instantiate $c))"
    assert unsupported(text) == "has more than 100000 definitions"


PREAMBLE = b"\0asm\x0d\0\1\0"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"", "ends too early"),
        (b"\0asm\1\0\0\0", "has a preamble that is not known"),
        (PREAMBLE + b"\x09\0", "has a section that is not known: 9"),
        (PREAMBLE + b"\x01\x7f", "ends too early"),
        (PREAMBLE + b"\x00\xff\xff\xff\xff\xff\x00", "has a number of more than 32 bits"),
        (PREAMBLE + b"\x0a\x05\1\0\1\xff\5", "has a name that is no UTF-8"),
        (PREAMBLE + b"\x0a\x05\1\2\1a\5", "has a name that is not known"),
        (PREAMBLE + b"\x0a\x06\1\0\1a\2\0", "has a definition that is not known: 0x02"),
        (PREAMBLE + b"\x02\x04\1\0\5\0", "uses core module 5, which is not there"),
        (PREAMBLE + b"\x06\x05\1\4\2\7\0", "uses a component around it that is not there"),
    ],
)  # fmt: skip
def test_files_that_are_no_components(code: bytes, expected: str) -> None:
    assert expected in unsupported(code)


def section(number: int, content: bytes) -> bytes:
    return bytes((number, len(content))) + content


def test_a_component_that_instantiates_itself() -> None:
    """It reaches itself through the one around it, where it stands already when it is instantiated."""
    alias, instance = section(6, b"\1\4\2\1\0"), section(5, b"\1\0\0\0")
    code = PREAMBLE + section(4, PREAMBLE + alias + instance) + instance
    assert unsupported(code) == "has more than 16 components inside of each other"


COMPONENTS = (guests.counter(), assemble(f"(component {HOST} {COMPOSED} {LIFT} {EXPORT})"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A component with a few bytes changed, left out or put in."""
    code = bytearray(draw(st.sampled_from(COMPONENTS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(code)))
        end = draw(st.sampled_from((start, start + 1, start + 4, len(code))))
        code[start:end] = draw(st.binary(max_size=6))
    return bytes(code)


@settings(max_examples=1000, deadline=None)
@given(mutated())
def test_no_file_does_harm(code: bytes) -> None:
    try:
        plan = read(code)
    except Unsupported:
        return
    for number, step in enumerate(plan.steps):
        sources = (each for each in step.imports.values() if isinstance(each, Export))
        assert all(each.instance < number for each in sources)
        assert step.module < len(plan.modules)
    assert all(each.function.instance < len(plan.steps) for each in plan.exports.values())
