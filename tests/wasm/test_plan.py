"""Components that consist of several, of which some are only there to trap."""

import pytest
import wasmtime
from tests.wasm.linked import EXPORT, INIT, INSTANCE, LIFT, MODULE, OURS, Linked, component, unsupported

from theater.wasm.plan import Export, Plan, Step

TRAPPING = """
  (component $abroad
    (type $resource (resource (rep i32)))
    (core func $new (canon resource.new $resource))
    (core instance $resources (export "new" (func $new)))
    (core module $m
      (import "resources" "new" (func (param i32) (result i32)))
      (func (export "exit") (param i64) unreachable))
    (core instance $i (instantiate $m (with "resources" (instance $resources))))
    (func $exit (param "code" u64) (canon lift (core func $i "exit")))
    (export "resource" (type $resource))
    (export "exit" (func $exit)))
  (instance $abroad (instantiate $abroad))
  (alias export $abroad "resource" (type $resource))
  (core func $drop (canon resource.drop $resource))
  (core func $exit (canon lower (func $abroad "exit")))
  (core instance $abroad (export "drop" (func $drop)) (export "exit" (func $exit)))
"""
COMPOSED = f"""
  {TRAPPING}
  (core module $m
    (import "abroad" "drop" (func $drop (param i32)))
    (import "abroad" "exit" (func $exit (param i64)))
    (memory (export "memory") 1)
    (func (export "init") (result i32) (i32.const 0))
    (func (export "drop") (call $drop (i32.const 0)))
    (func (export "exit") (call $exit (i64.const 0))))
  (core instance $i (instantiate $m (with "abroad" (instance $abroad))))
  (alias core export $i "memory" (core memory $memory))
"""


def test_functions_that_trap() -> None:
    plan = component(COMPOSED, LIFT, EXPORT)
    imports = {("abroad", name): Export(0, str(number)) for number, name in enumerate(("drop", "exit"))}
    assert plan.steps == (Step(0, {}), Step(1, imports))
    assert len(plan.modules) == 2
    assert plan.exports["lifecycle", "init"].function == Export(1, "init")
    linked = Linked(plan)
    linked[Export(1, "init")](linked.store)
    for name in ("drop", "exit"):
        with pytest.raises(wasmtime.Trap) as trap:
            linked[Export(1, name)](linked.store)
        assert trap.value.trap_code is wasmtime.TrapCode.UNREACHABLE


def test_a_component_that_nobody_uses_is_left_out() -> None:
    plan = component(TRAPPING, MODULE, INSTANCE, LIFT, EXPORT)
    assert (plan.steps, plan.exports["lifecycle", "init"]) == ((Step(0, {}),), INIT)


@pytest.mark.parametrize(
    "body",
    ["nop", "nop unreachable", "(call 0 (i32.const 0)) drop unreachable", "(local i32) unreachable"],
)
def test_functions_that_do_anything_else(body: str) -> None:
    assert unsupported(COMPOSED.replace("unreachable", body) + LIFT) == "has components that call each other"


RESOURCES = """
  (type $resource (resource (rep i32)))
  (core func $builtin (canon resource.{} $resource))
  (core instance $resources (export "f" (func $builtin)))
  (core module $n (import "resources" "f" (func (param i32) (result i32))))
  (core instance (instantiate $n (with "resources" (instance $resources))))
"""


def test_a_component_that_the_host_calls_is_not_left_out() -> None:
    inner = f"(component $inner {RESOURCES.format('new')} {MODULE} {INSTANCE} {LIFT} {EXPORT})"
    name = f"{OURS}/lifecycle@0.2.0"
    parts = (inner, "(instance $inner (instantiate $inner))")
    assert component(*parts) == Plan((), (), {})
    assert (
        unsupported(" ".join((*parts, f'(export "{name}" (instance $inner "{name}"))')))
        == "needs resource.new"
    )
