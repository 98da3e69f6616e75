"""Components taken apart: their core modules are linked to the host one by one.

wasmtime's interface for components makes a value of its own of every value, which costs more than all the
rest of a call. A component whose `Plan` is known needs none of that: its core modules are instantiated as the
plan says, `glue` comes between them and the host, and `fibers` calls it.

A core module imports by names of its own choice, from several others. So that each instance is made known as
a whole, not export by export, which takes ten times as long, a core module is first `renamed` to import from
the instances themselves.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

import wasmtime
from wasmtime import _ffi as ffi

from theater.limits import ActorLimits
from theater.wasm import capi
from theater.wasm.calls import Context, HostFunction, Pending, Registry
from theater.wasm.capi import address_of, address_of_struct, check_error
from theater.wasm.engine import RESERVATION
from theater.wasm.fibers import NOTHING, BoundFunction, Function, Link, Outcome, define, define_delivery
from theater.wasm.glue import (
    DELIVER,
    HOST,
    MEMORY,
    STAGING,
    STAGING_TEXT,
    lifted_glue,
    lowered_glue,
    symbol,
)
from theater.wasm.plan import Export, Lifted, Lowered, Plan, Source
from theater.wasm.renaming import renamed
from theater.wasm.sections import Unsupported
from theater.wasm.shapes import FunctionShape
from theater.wasm.wat import CoreFunction, assemble

T = TypeVar("T", HostFunction, Lifted)

Name = tuple[str, str]
"""Of a function: the interface's short name and its own."""

Work = Generator[int]
"""Gives the addresses of calls, each of which is over before the next one begins."""


class _Part(NamedTuple):
    """A core module to be instantiated, and the name by which others import from it."""

    name: str
    module: wasmtime.Module


class Linked:
    """A component taken apart, compiled and linked to the host: what instances are made from.

    Args:
        plan: of the component.
        host: what it may import.
        exports: what is to be called.
        compile: a core module in binary form.
        engine: what it is compiled for.
        registry: who owns its instances.
        limits: of these.

    Raises:
        Unsupported: it cannot be linked in this way.
    """

    def __init__(
        self,
        plan: Plan,
        host: Mapping[Name, HostFunction],
        exports: Mapping[Name, FunctionShape],
        compile: Callable[[bytes], wasmtime.Module],
        engine: wasmtime.Engine,
        registry: Registry,
        limits: ActorLimits,
    ) -> None:
        if limits.max_memory > RESERVATION:
            raise Unsupported("may have so much memory that it would have to be moved")
        self._limits = limits
        self._memory = _memory(plan)
        self._parts = [_Part(name, compile(code)) for name, code in _codes(plan, host, exports)]
        _check(self._parts)
        self._functions = {key: Function(shape) for key, shape in exports.items()}
        self._host = _Linker(capi.new_linker(address_of(engine.ptr())))
        define_delivery(self._host.address, HOST, DELIVER, registry)
        for key, function in host.items():
            define(self._host.address, HOST, symbol(*key), function, registry)

    def instantiate(self, context: Context) -> Pending:
        """Begins to instantiate the component in a store, which runs its start functions.

        The result of the call has its functions by name, as `BoundFunction`; it raises WasmtimeError if that
        is not possible.
        """
        outcome = Outcome()
        functions: dict[str, BoundFunction] = {}

        def take() -> dict[str, BoundFunction]:
            if outcome.found != NOTHING:
                link = context.link
                raise outcome.take() if link is None else link.failure(context.raised)
            return functions

        context.enter()
        try:
            return _Instantiation(context, outcome, self._instantiate(context, outcome, functions), take)
        except BaseException:
            context.leave()
            raise

    def _instantiate(self, context: Context, outcome: Outcome, functions: dict[str, BoundFunction]) -> Work:
        linker = self._host.clone()
        make = partial(_Instance, context.address, outcome, linker)
        (_, module), *parts, (_, glue) = self._parts
        yield (staging := make(module)).call
        linker.add(context, STAGING, staging)
        link = context.link = Link(context.address, staging.get(MEMORY).memory, outcome, self._limits)
        for name, module in parts:
            yield (made := make(module)).call
            linker.add(context, name, made)
            if self._memory is not None and name == str(self._memory.instance):
                link.attach(made.get(self._memory.name).memory)
        yield (last := make(glue)).call
        for key, function in self._functions.items():
            functions[key[1]] = BoundFunction(function, context, link, last.get(symbol(*key)).func)


def _memory(plan: Plan) -> Export | None:
    """The memory that values lie in, if there are any."""
    functions = (each for each in _sources(plan) if not isinstance(each, Export))
    return next((each.memory for each in functions if each.memory), None)


def _sources(plan: Plan) -> Iterator[Source | Lifted]:
    """All that is linked."""
    for step in plan.steps:
        yield from step.imports.values()
    yield from plan.exports.values()


def _used(plan: Plan) -> list[set[str]]:
    """What each step has to export."""
    used: list[set[str]] = [set() for _ in plan.steps]
    for source in _sources(plan):
        for each in (source,) if isinstance(source, Export) else source:
            if isinstance(each, Export):
                used[each.instance].add(each.name)
    return used


def _codes(
    plan: Plan, host: Mapping[Name, HostFunction], exports: Mapping[Name, FunctionShape]
) -> Iterator[tuple[str, bytes]]:
    """All core modules in the order in which they are instantiated, with names."""
    yield STAGING, assemble(STAGING_TEXT)
    for number, (step, used) in enumerate(zip(plan.steps, _used(plan), strict=True)):
        lowered = list(dict.fromkeys(each for each in step.imports.values() if isinstance(each, Lowered)))
        between = f"glue {number}"
        if lowered:
            functions = [(each, _find(host, (each.interface, each.function)).shape) for each in lowered]
            yield between, assemble(lowered_glue(functions))
        names = {
            place: (str(each.instance), each.name)
            if isinstance(each, Export)
            else (between, str(lowered.index(each)))
            for place, each in step.imports.items()
        }
        yield str(number), renamed(plan.modules[step.module], names, used)
    lifted = {key: (_find(plan.exports, key), shape) for key, shape in exports.items()}
    yield "", assemble(lifted_glue(lifted))


def _find(functions: Mapping[Name, T], key: Name) -> T:
    if key not in functions:
        raise Unsupported(f"has no {symbol(*key)}")
    return functions[key]


def _check(parts: list[_Part]) -> None:
    """Looks whether all that is imported is there, and of the right type.

    The types that the glue takes and has are those of the shapes, so these are found to be right, too.

    Raises:
        Unsupported: something is not.
    """
    exports: dict[str, dict[str, object]] = {}
    for name, module in parts:
        for each in module.imports:
            expected = _kind(each.type)
            found = expected if each.module == HOST else exports.get(each.module, {}).get(each.name or "")
            if found != expected:
                raise Unsupported(f"imports {each.name} of {each.module} as {expected}, not {found}")
        exports[name] = {each.name: _kind(each.type) for each in module.exports}


def _kind(type: object) -> object:
    if isinstance(type, wasmtime.FuncType):
        return CoreFunction(tuple(map(str, type.params)), tuple(map(str, type.results)))
    return (type.__class__, type.is_64) if isinstance(type, wasmtime.MemoryType) else type.__class__


class _Instantiation(Pending):
    """Instantiates one core module after the other.

    Args:
        context: of the store.
        outcome: of the calls.
        work: gives these.
        take: gives the result, when they are over.
    """

    __slots__ = ("_outcome", "_over", "_work")

    def __init__(self, context: Context, outcome: Outcome, work: Work, take: Callable[[], object]) -> None:
        self._outcome = outcome
        self._work = work
        self._over = False
        super().__init__(context, next(work), take, work.close)

    def poll(self) -> bool:
        while not self._over and super().poll():
            self._over = self._outcome.found != NOTHING or not self._go_on()
        return self._over

    def _go_on(self) -> bool:
        """Begins with the next core module, if there is one."""
        self._end_call()
        call = next(self._work, 0)
        if call:
            self._begin_call(call)
        return call != 0


class _Linker:
    """What finds imports by their names.

    Args:
        address: of wasmtime's, which it owns from now on.
    """

    def __init__(self, address: int) -> None:
        self.address = address

    def clone(self) -> "_Linker":
        return _Linker(capi.clone_linker(self.address))

    def add(self, context: Context, name: str, instance: "_Instance") -> None:
        """Makes known what an instance exports."""
        check_error(capi.add_instance(self.address, context.address, *capi.text(name), instance.address))

    def __del__(self, delete: Callable[[int], None] = capi.delete_linker) -> None:
        delete(self.address)


class _Instance:
    """An instance of a core module.

    Attributes:
        address: of wasmtime's.
        call: address of the call that makes it.
    """

    def __init__(self, context: int, outcome: Outcome, linker: _Linker, module: wasmtime.Module) -> None:
        self._context = context
        self._raw = ffi.wasmtime_instance_t()
        self.address = address_of_struct(self._raw)
        self.call: int = capi.new_core_instantiation(
            linker.address, context, address_of(module.ptr()), self.address, outcome.trap, outcome.error
        )

    def get(self, name: str) -> ffi.wasmtime_extern_union_t:
        """What it exports by a name, which is known to be there."""
        found = ffi.wasmtime_extern_t()
        capi.get_export(self._context, self.address, *capi.text(name), address_of_struct(found))
        return found.of
