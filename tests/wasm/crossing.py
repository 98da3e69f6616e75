"""Components for these tests, written in WebAssembly's text format."""

from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import cache
from typing import Any, Final

import wasmtime
from wasmtime.component import Component, FuncType, Linker

from theater.wasm import stock
from theater.wasm.calls import HostFunction, Pending, Registry
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    EnumOf,
    FunctionShape,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    VariantOf,
)

MEMORY: Final = """
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32) (local $new i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (local.set $new (global.get $top))
    (global.set $top (i32.add (global.get $top) (local.get 3)))
    (block (loop
      (br_if 1 (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
      (br 0)))
    (memory.copy (local.get $new) (local.get 0) (local.get 1))
    (local.get $new))
  (func (export "reset") (global.set $top (i32.const 4096)))
"""
"""Of a core module: memory that is given out once and for all, until `reset`."""

_FLAT: Final = {
    BOOL: ["i32"],
    U8: ["i32"],
    U16: ["i32"],
    U32: ["i32"],
    U64: ["i64"],
    F64: ["f64"],
    STRING: ["i32", "i32"],
    BYTES: ["i32", "i32"],
}
LIMIT: Final = 64 * 1024 * 1024

COMPUTING_FUNCTIONS: Final = """
  (func (export "spin") (loop (br 0)))
  (func (export "count") (param i32) (result i32) (local i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get 1) (local.get 0))))
    (local.get 1))
  (func (export "trap") unreachable)
  (func $deep (export "deep") (call $deep) (call $deep))
  (func (export "long") (param i32) (result i32)
    (i32.store (i32.const 0) (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get 0)))
    (i32.store (i32.const 4) (local.get 0))
    (i32.const 0))
"""
"""Of a guest that has a `$realloc`: they compute, trap, and return a long text."""

TEXTS = FunctionShape((STRING,), STRING)
NOTHING = FunctionShape((), None)


def flat(shape: Shape | None) -> list[str]:
    """The core types that a type comes down to (Canonical ABI, Flattening)."""
    match shape:
        case Scalar():
            return _FLAT[shape]
        case ListOf():
            return ["i32", "i32"]
        case OptionOf(item):
            return ["i32", *flat(item)]
        case TupleOf(items):
            return [each for item in items for each in flat(item)]
        case RecordOf(_, fields):
            return [each for field in fields for each in flat(field.shape)]
        case ResultOf(ok, error):
            return ["i32", *_join(flat(ok), flat(error))]
        case VariantOf(cases):
            joined: list[str] = []
            for case in cases:
                joined = _join(joined, flat(case.shape))
            return ["i32", *joined]
        case EnumOf():
            return ["i32"]
        case Adapted(inner):
            return flat(inner)
        case None:
            return []


def _join(one: list[str], other: list[str]) -> list[str]:
    longer, shorter = sorted((one, other), key=len, reverse=True)
    both = [a if a == b else "i64" for a, b in zip(longer, shorter, strict=False)]
    return both + longer[len(both) :]


class Types:
    """Writes types; those that need a name are imported by one."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, shape: Shape) -> str:
        match shape:
            case Scalar():
                return "(list u8)" if shape == BYTES else shape.wit
            case ListOf(item):
                return f"(list {self.write(item)})"
            case OptionOf(item):
                return f"(option {self.write(item)})"
            case TupleOf(items):
                return f"(tuple {' '.join(map(self.write, items))})"
            case RecordOf(_, fields):
                return self._named(
                    "record", [f'(field "{field.name}" {self.write(field.shape)})' for field in fields]
                )
            case ResultOf(ok, error):
                good = "" if ok is None else self.write(ok)
                bad = "" if error is None else f"(error {self.write(error)})"
                return f"(result {good} {bad})"
            case VariantOf(cases):
                return self._named(
                    "variant",
                    [
                        f'(case "{case.name}" {"" if case.shape is None else self.write(case.shape)})'
                        for case in cases
                    ],
                )
            case EnumOf(names):
                return self._named("enum", [f'"{name}"' for name in names])
            case Adapted(inner):
                return self.write(inner)

    def _named(self, kind: str, parts: list[str]) -> str:
        number = len(self.lines)
        name = f'(import "t{number}" (type $t{number} (eq $d{number})))'
        self.lines.append(f"(type $d{number} ({kind} {' '.join(parts)})) {name}")
        return f"$t{number}"


def passes_on(shape: Shape) -> str:
    """A component with a function that hands what it is given to one of the host's, and returns its answer.

    So each value crosses the boundary four times.
    """
    types = Types()
    kind = types.write(shape)
    values = flat(shape)
    spilled = len(values) > 16
    parameters = ["i32"] if spilled else values
    many = len(values) > 1
    get = " ".join(f"(local.get {index})" for index in range(len(parameters)))
    if many:
        core = f'(import "h" "f" (func $f (param {" ".join(parameters)} i32)))'
        body = f"(result i32) (call $f {get} (i32.const 64)) (i32.const 64)"
    else:
        core = f'(import "h" "f" (func $f (param {" ".join(parameters)}) (result {values[0]})))'
        body = f"(result {values[0]}) (call $f {get})"
    return f"""(component
      {" ".join(types.lines)}
      (import "host" (instance $host (export "f" (func (param "v" {kind}) (result {kind})))))
      (core module $memory {MEMORY})
      (core instance $memory (instantiate $memory))
      (alias core export $memory "memory" (core memory $mem))
      (alias core export $memory "realloc" (core func $realloc))
      (alias core export $memory "reset" (core func $reset))
      (core func $f (canon lower (func $host "f") (memory $mem) (realloc $realloc)))
      (core module $m {core} (import "m" "reset" (func $reset))
        (func (export "g") (param {" ".join(parameters)}) {body})
        (func (export "after") (param {"i32" if many else values[0]}) (call $reset)))
      (core instance $i (instantiate $m
        (with "h" (instance (export "f" (func $f)))) (with "m" (instance (export "reset" (func $reset))))))
      (func $g (param "v" {kind}) (result {kind})
        (canon lift (core func $i "g") (memory $mem) (realloc $realloc) (post-return (core func $i "after"))))
      (export "g" (func $g)))"""


@cache
def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.epoch_interruption = True
    return wasmtime.Engine(config)


@cache
def component(text: str) -> Component:
    return Component(engine(), bytes(wasmtime.wat2wasm(text)))


def functions(text: str, instance: str) -> Iterator[tuple[str, FuncType]]:
    """The functions of an imported interface."""
    found: Any = component(text).type.imports(engine())[instance].ty
    for name, item in found.exports(engine()).items():
        yield name, item.ty


class Later(Awaitable[Any]):
    """What a host function waits for; nothing here is awaited by an event loop."""

    def __await__(self) -> Generator[Any, Any, Any]:
        raise AssertionError("is awaited by the caller of the component alone")


def never(awaitable: Awaitable[Any]) -> Any:
    raise AssertionError("nothing waits here")


class Guest:
    """An instance of a component in a store of its own, run by wasmtime itself.

    Args:
        text: of the component; what it exports are functions.
        shapes: of these functions.
        host: functions of the interface `host` that it imports; their owner is the text `owner`.
        wait: for what they wait for.
        max_value: bytes that a value may have.
    """

    def __init__(
        self,
        text: str,
        shapes: dict[str, FunctionShape],
        host: dict[str, HostFunction] | None = None,
        wait: Callable[[Awaitable[Any]], Any] = never,
        max_value: int = LIMIT,
    ) -> None:
        self.registry = Registry()
        self.store = wasmtime.Store(engine())
        self.store.set_epoch_deadline(1_000)
        linker = Linker(engine())
        if host:
            with linker.root() as root, root.add_instance("host") as linked:
                for name, kind in functions(text, "host"):
                    stock.define(linked, name, kind, host[name], self.registry, max_value, wait)
        self.context = self.registry.add(self.store, "owner")
        instance = stock.instantiate(linker, self.context, component(text))
        self.functions = {}
        for name, shape in shapes.items():
            func = instance.get_func(self.store, name)
            assert func is not None
            plan = stock.FunctionPlan(func.type(self.store), shape, max_value)
            self.functions[name] = stock.BoundFunction(plan, self.context, func)

    def run(self, name: str, *arguments: object) -> Any:
        return self.functions[name].run(arguments)


def finish(call: Pending) -> Any:
    """Sees a call to its end that waits for nothing."""
    try:
        while not call.poll():
            assert call.waiting is None
        return call.result()
    finally:
        call.drop()
