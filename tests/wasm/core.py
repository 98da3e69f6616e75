"""Core modules for these tests, linked to the host by plans that are written by hand."""

from collections.abc import Callable
from typing import Any, Final

import wasmtime
from tests.wasm.crossing import LIMIT, MEMORY, engine, finish

from theater.limits import ActorLimits
from theater.wasm import calls
from theater.wasm.calls import Context, HostFunction, Registry
from theater.wasm.canonical import signature
from theater.wasm.linking import Linked
from theater.wasm.plan import Export, Lifted, Lowered, Plan, Source, Step
from theater.wasm.shapes import FunctionShape, Shape
from theater.wasm.wat import CoreFunction, assemble

HEAP: Final = Export(0, "memory")
REALLOC: Final = Export(0, "realloc")
IMPORTS: Final = """
  (import "m" "memory" (memory 1))
  (import "m" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "m" "reset" (func $reset))
"""
"""What the code of a guest has of the module with its memory."""


def core_type(core: CoreFunction) -> str:
    return f"(param {' '.join(core.parameters)}) (result {' '.join(core.results)})"


def plan(
    code: str, shapes: dict[str, FunctionShape], host: dict[str, HostFunction], memory: str = MEMORY
) -> Plan:
    """A guest of two core modules: one with its memory, and one with its code.

    Args:
        code: begins with `IMPORTS`, and imports host functions from `h`. Behind a function `f`, there may be
            one to clean up, `after f`.
        shapes: of what is to be called.
        host: what it imports.
        memory: code of the first module.
    """
    imports: dict[tuple[str, str], Source] = {
        ("m", name): Export(0, name) for name in ("memory", "realloc", "reset")
    }
    imports |= {("h", name): Lowered("host", name, HEAP, REALLOC) for name in host}
    exports = {}
    for name in shapes:
        after = Export(1, f"after {name}") if f'"after {name}"' in code else None
        exports["guest", name] = Lifted(Export(1, name), HEAP, REALLOC, after)
    modules = assemble(f"(module {memory})"), assemble(f"(module {code})")
    return Plan(modules, (Step(0, {}), Step(1, imports)), exports)


def passes_on(shape: Shape) -> str:
    """Code with a function that hands what it is given to one of the host's, and returns its answer."""
    function = FunctionShape((shape,), shape)
    given, returned = signature(function, lowered=False), signature(function, lowered=True)
    count = len(given.core.parameters)
    get = " ".join(f"(local.get {place})" for place in range(count))
    body = f"(call $f {get} (i32.const 64)) (i32.const 64)" if returned.returned else f"(call $f {get})"
    after = core_type(CoreFunction(given.core.results, ()))
    return f"""
      (import "h" "f" (func $f {core_type(returned.core)})) {IMPORTS}
      (func (export "g") {core_type(given.core)} {body})
      (func (export "after g") {after} (call $reset))"""


def compiled(code: bytes) -> wasmtime.Module:
    return wasmtime.Module(engine(), code)


class Guest:
    """An instance of such a guest in a store of its own.

    Args:
        code, shapes, host, memory: as of `plan`.
        owner: given to host functions.
        limits: of the instance.
        by: another plan, in place of that with this code.
    """

    def __init__(
        self,
        code: str,
        shapes: dict[str, FunctionShape],
        host: dict[str, HostFunction] | None = None,
        owner: object = None,
        *,
        memory: str = MEMORY,
        limits: ActorLimits | None = None,
        by: Plan | None = None,
    ) -> None:
        limits = limits or ActorLimits(max_value=LIMIT)
        host = host or {}
        self.registry = Registry()
        functions = {("host", name): function for name, function in host.items()}
        exports = {("guest", name): shape for name, shape in shapes.items()}
        made = by or plan(code, shapes, host, memory)
        self.linked = Linked(made, functions, exports, compiled, engine(), self.registry, limits)
        self.limits = limits
        self.context, self.functions = self.instance(owner)

    def instance(self, owner: object) -> tuple[Context, dict[str, Any]]:
        """One more."""
        store = wasmtime.Store(engine())
        store.set_limits(self.limits.max_memory)
        store.set_epoch_deadline(1)
        calls.yield_on_epoch(store, 1)
        context = self.registry.add(store, owner)
        return context, finish(self.linked.instantiate(context))

    def run(self, name: str, *arguments: object) -> Any:
        return self.functions[name].run(arguments)

    def close(self) -> None:
        self.registry.remove(self.context)
        self.context.store.close()


def passing_on(
    shape: Shape, between: Callable[[Any], Any] = lambda value: value, limits: ActorLimits | None = None
) -> Guest:
    """A guest whose function `g` returns what the host makes of its argument."""
    both = FunctionShape((shape,), shape)
    function = HostFunction(both, lambda owner, value: between(value))
    return Guest(passes_on(shape), {"g": both}, {"f": function}, limits=limits)
