"""A component, checked, compiled and linked to the host: what instances are made from."""

import logging
from pathlib import Path
from typing import Final

import wasmtime
from wasmtime import component as components

from theater.errors import InvalidComponent
from theater.limits import ActorLimits
from theater.runtime.ports import Context
from theater.wasm import stock
from theater.wasm.binary import read
from theater.wasm.cache import Cache
from theater.wasm.calls import HostFunction, Registry
from theater.wasm.component import Inspection, inspect
from theater.wasm.contracts import V0_1, Contract
from theater.wasm.engine import Engine, wait
from theater.wasm.imports import Host, OldHost
from theater.wasm.linking import Linked
from theater.wasm.sections import Unsupported

log = logging.getLogger("theater")

# Of one store. A component may be made of several core modules, but has one memory as a rule; the glue that
# links it to the host has another.
_MAX_TABLE: Final = 1_000_000
_MAX_INSTANCES: Final = 1_000
_MAX_TABLES: Final = 100
_MAX_MEMORIES: Final = 4

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
        functions: the names of those in them.
        linked: calls them, if the component is taken apart.
        registry: who owns which of its instances.
        heavy: how many calls are to begin in a worker thread, since one took long.

    Raises:
        InvalidComponent: it does not fit, cannot be read, or is none.
    """

    def __init__(
        self, path: Path, grants: tuple[str, ...], limits: ActorLimits, engine: Engine, cache: Cache
    ) -> None:
        self.engine = engine
        self.limits = limits
        self.registry = Registry()
        self.heavy = 0
        self.linked: Linked | None = None
        fits = engine.problem is None
        found = self._take_apart(path, grants, cache) if fits else None
        if found is None:
            found = inspect(
                path, grants, engine=engine.raw, cache=cache, settings=engine.settings, hollowed=False
            )
            self._link(found)
        self.contract = found.contract
        self.exports = frozenset(found.exports)
        self.functions = frozenset(name for names in found.exports.values() for name in names)
        self._wasi = bool(found.foreign)
        self._host = _host(found.contract)

    def _take_apart(self, path: Path, grants: tuple[str, ...], cache: Cache) -> Inspection | None:
        """Links the core modules of a component to the host.

        Returns:
            What the component is; None if it cannot be taken apart, or is no good.
        """
        engine = self.engine
        try:
            code = path.read_bytes()
            # Its core modules are compiled by themselves.
            found = inspect(code, grants, engine=engine.raw, cache=cache, settings=engine.settings)
            exports = {
                (interface, name): found.contract.exports[interface][name]
                for interface, functions in found.exports.items()
                for name in functions
            }
            self.linked = Linked(
                read(code),
                _host_functions(found),
                exports,
                lambda module: cache.load_module(engine.raw, module, engine.settings),
                engine.raw,
                self.registry,
                self.limits,
            )
        except (OSError, InvalidComponent):
            return None  # which is found out once more, and then told
        except (Unsupported, wasmtime.WasmtimeError) as error:
            log.debug("%s is run as a component: %s", path, error)
            return None
        return found

    def _link(self, found: Inspection) -> None:
        """Links a component to the host as a whole."""
        limit = self.limits.max_value
        offered = _host_functions(found)
        self.component = found.component
        self.linker = components.Linker(self.engine.raw)
        if found.foreign:
            self.linker.add_wasip2()
        with self.linker.root() as root:
            for interface, functions in found.imports.items():
                with root.add_instance(found.contract.interface(interface)) as instance:
                    for name, kind in functions.items():
                        function = offered[interface, name]
                        stock.define(instance, name, kind, function, self.registry, limit, wait)
        self.plans: dict[str, tuple[components.ExportIndex, stock.FunctionPlan]] = {}
        for interface, functions in found.exports.items():
            outer = self.component.get_export_index(found.contract.interface(interface))
            for name, kind in functions.items():
                index = self.component.get_export_index(name, outer)
                assert index is not None  # noqa: S101  # it has just been reflected on
                shape = found.contract.exports[interface][name]
                self.plans[name] = index, stock.FunctionPlan(kind, shape, limit)

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


def _host(contract: Contract) -> type[Host]:
    return OldHost if contract is V0_1 else Host


def _host_functions(found: Inspection) -> dict[tuple[str, str], HostFunction]:
    """What a component imports, by interface and name."""
    host = _host(found.contract)
    return {
        (interface, name): HostFunction(
            found.contract.imports[interface][name], getattr(host, name.replace("-", "_")), name in _WAITING
        )
        for interface, functions in found.imports.items()
        for name in functions
    }
