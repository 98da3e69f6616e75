"""A component, checked, compiled and linked to the host: what instances are made from."""

from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime import component as components

from theater.limits import ActorLimits
from theater.runtime.ports import Context
from theater.wasm import stock
from theater.wasm.cache import Cache
from theater.wasm.callbacks import HostFunction, define
from theater.wasm.calls import FunctionPlan, Registry
from theater.wasm.component import inspect
from theater.wasm.contracts import V0_1
from theater.wasm.engine import Engine, wait
from theater.wasm.imports import Host, OldHost

# Of one store. A component may be made of several core modules, but has one memory as a rule; what is put
# around it has two.
_MAX_TABLE: Final = 1_000_000
_MAX_INSTANCES: Final = 1_000
_MAX_TABLES: Final = 100
_MAX_MEMORIES: Final = 6

_WAITING: Final = frozenset(("send-now", "send-chunk", "drained", "send", "request"))


class Program:
    """One version of a component.

    Args:
        path: of its file.
        grants: packages outside of the contract that it may import.
        limits: of the actors.
        engine: what it is compiled for.
        cache: where it may have been compiled already.

    Attributes:
        contract: what it is built for.
        exports: names of the interfaces that it exports.
        plans: the functions in them, by name.
        registry: who owns which of its instances.
        heavy: how many calls are to begin in a worker thread, since one took long.

    Raises:
        InvalidComponent: it does not fit, cannot be read, or is none.
    """

    def __init__(
        self, path: Path, grants: tuple[str, ...], limits: ActorLimits, engine: Engine, cache: Cache
    ) -> None:
        found = inspect(
            path,
            grants,
            engine=engine.raw,
            cache=cache,
            settings=engine.settings,
            adapted=engine.problem is None,
        )
        self.contract = found.contract
        self.exports = frozenset(found.exports)
        self.engine = engine
        self.limits = limits
        self.registry = Registry()
        self.heavy = 0
        self.component = found.component
        self.linker = components.Linker(engine.raw)
        self._wasi = bool(found.foreign)
        self._host = OldHost if found.contract is V0_1 else Host
        if self._wasi:
            self.linker.add_wasip2()
        with self.linker.root() as root:
            for interface, functions in found.imports.items():
                with root.add_instance(found.contract.interface(interface)) as instance:
                    for name, kind in functions.items():
                        shape = found.shapes.imports[interface][name]
                        method = getattr(self._host, name.replace("-", "_"))
                        function = HostFunction(shape, method, name in _WAITING)
                        if engine.problem is None:
                            define(instance, name, kind, function, self.registry, limits.max_value)
                        else:
                            stock.define(
                                instance, name, kind, function, self.registry, limits.max_value, wait
                            )
        plan_for = FunctionPlan if engine.problem is None else stock.FunctionPlan
        self.plans: dict[str, tuple[components.ExportIndex, Any]] = {}
        for interface, functions in found.exports.items():
            outer = self.component.get_export_index(found.contract.interface(interface))
            for name, kind in functions.items():
                index = self.component.get_export_index(name, outer)
                assert index is not None  # noqa: S101  # it has just been reflected on
                plan = plan_for(kind, found.shapes.exports[interface][name], limits.max_value)
                self.plans[name] = index, plan

    def host(self, context: Context) -> Host:
        """What an actor's instances import."""
        return self._host(context)

    def store(self) -> wasmtime.Store:
        """A store for an instance, with its limits."""
        store = wasmtime.Store(self.engine.raw)
        store.set_limits(self.limits.max_memory, _MAX_TABLE, _MAX_INSTANCES, _MAX_TABLES, _MAX_MEMORIES)
        if self._wasi:
            store.set_wasi(wasmtime.WasiConfig())  # no files, no network, no environment
        return store
