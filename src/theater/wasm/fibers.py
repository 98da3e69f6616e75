"""Calls of core code, on stacks of their own, and the functions that it calls in the host.

All that crosses lies in memory, the guest's and staging memory, so that calls have neither arguments nor
results for wasmtime to convert.
"""

import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi

from theater.limits import ActorLimits
from theater.wasm import capi, loading, storing
from theater.wasm.calls import Context, HostFunction, Pending, Registry
from theater.wasm.canonical import PAGE
from theater.wasm.capi import BYTES_HEADER, MEMORY, address_of, address_of_struct, write_word
from theater.wasm.memory import Guest, Staging
from theater.wasm.shapes import FunctionShape

_poll: Final = capi.poll
_delete_call: Final = capi.delete_call
_context_of: Final = capi.context_of
_read_outcome: Final = struct.Struct("<QQ").unpack_from
_write_continuation: Final = struct.Struct("<QQQ").pack_into  # function, what it is given, finalizer
_YES: Final = b"\1"
_YES_ADDRESS: Final = id(_YES) + BYTES_HEADER
_FAILED: Final = b"a host function failed"
NOTHING: Final = bytes(16)
_FULL: Final = 15 / 16  # of what a memory may have; a guest that allocates asks for more than is left


class OutOfMemory(wasmtime.WasmtimeError):
    """A guest has trapped with all the memory that it may have, or nearly all."""


class Outcome:
    """Where wasmtime puts why calls in a store have failed, if they have.

    Attributes:
        found: two addresses, which are `NOTHING` as long as none has failed.
        trap, error: where they lie.
    """

    __slots__ = ("error", "found", "trap")

    def __init__(self) -> None:
        self.found = bytes(16)
        self.trap = id(self.found) + BYTES_HEADER
        self.error = self.trap + 8

    def take(self) -> wasmtime.WasmtimeError:
        """Why a call has failed."""
        trap, error = _read_outcome(MEMORY, self.trap)
        write_word(MEMORY, self.trap, 0)
        write_word(MEMORY, self.error, 0)
        return capi.take_trap(trap) if trap else capi.take_error(error)


class Link:
    """The host's side of an instance: its memories, and whether it can be called.

    It does not know its `Context`, which knows it: a store is to be closed as soon as nobody has it any more.

    Args:
        context: address of its store's context.
        staging: its staging memory.
        outcome: of its store.
        limits: of the instance.

    Attributes:
        guest: the guest's memory.
        alive: no call has been left in the middle.
    """

    __slots__ = ("_context", "_max_memory", "_memory", "alive", "guest", "outcome", "staging")

    def __init__(
        self, context: int, staging: ffi.wasmtime_memory_t, outcome: Outcome, limits: ActorLimits
    ) -> None:
        self._context = context
        self._max_memory = limits.max_memory
        self._memory: ffi.wasmtime_memory_t | None = None
        self.outcome = outcome
        self.alive = True
        address = address_of_struct(staging)
        base = capi.memory_data(context, address)
        size = capi.memory_size(context, address)
        self.staging = Staging(base, size, partial(_grow, context, staging))
        self.guest = Guest(0, limits.max_value)

    def attach(self, memory: ffi.wasmtime_memory_t) -> None:
        """Makes the guest's memory known, when there is one."""
        self._memory = memory
        self.guest.base = capi.memory_data(self._context, address_of_struct(memory))

    def watch(self) -> None:
        """Lets the guest's memory count as full when it has grown, and has nearly all that it may have."""
        if self._memory is not None:
            pages = self._size(self._memory) // PAGE
            self.guest.full = max(math.ceil(self._max_memory * _FULL / PAGE), pages + 1)

    def _size(self, memory: ffi.wasmtime_memory_t) -> int:
        return capi.memory_size(self._context, address_of_struct(memory))  # type: ignore[no-any-return]

    def failure(self, raised: BaseException | None) -> BaseException:
        """Why a call has failed, after which there is no other.

        Args:
            raised: by a host function, which then is the cause.
        """
        found = self.outcome.take()
        if raised is not None:
            return raised
        if self._memory is not None and self._size(self._memory) >= self._max_memory * _FULL:
            return OutOfMemory(str(found))
        return found


def _grow(context: int, memory: ffi.wasmtime_memory_t, size: int) -> int:
    """Makes staging memory larger.

    Raises:
        OutOfMemory: it would be larger than any memory of the store may be.
    """
    address = address_of_struct(memory)
    pages = -(-size // PAGE) - capi.memory_size(context, address) // PAGE
    before = bytes(8)
    error = capi.memory_grow(context, address, pages, id(before) + BYTES_HEADER)
    if error:
        raise OutOfMemory(str(capi.take_error(error)))
    return capi.memory_size(context, address)  # type: ignore[no-any-return]


class Function:
    """The converters of an exported function, made once for a component."""

    __slots__ = ("load", "store")

    def __init__(self, shape: FunctionShape) -> None:
        self.store = storing.compile_arguments(shape.parameters)
        self.load = loading.compile_result(shape.result)


class BoundFunction:
    """An exported function of one instance.

    Args:
        function: its converters.
        context: of the instance's store.
        link: of the instance.
        func: the glue's, which calls it.
    """

    __slots__ = ("_context", "_found", "_link", "_load", "_new_call", "_store")

    def __init__(self, function: Function, context: Context, link: Link, func: ffi.wasmtime_func_t) -> None:
        self._store = function.store
        self._load = function.load
        self._context = context
        self._link = link
        self._found = link.outcome.found
        self._new_call = capi.core_call(context.address, func, link.outcome.trap, link.outcome.error)

    def start(self, arguments: tuple[Any, ...]) -> Pending:
        """Begins a call, without letting the guest run yet. Raises what `run` raises before it does."""
        context = self._context
        link = self._link
        context.enter()
        try:
            if not link.alive:
                raise wasmtime.WasmtimeError("wasm trap: cannot enter component instance")
            self._store(link.staging, arguments)
            link.alive = False
            call = self._new_call()
        except BaseException:
            context.leave()
            raise
        return Pending(context, call, self._take, _give_nothing)

    def run(self, arguments: tuple[Any, ...]) -> Any:
        """Calls, and lets the guest run at once, for a second slice too if it does not wait.

        Returns:
            What the function returned, or a `Pending` if it is not done.

        Raises:
            RuntimeError: the store runs a call already.
            TypeError, ValueError, OverflowError, AttributeError: an argument does not have its shape.
            WasmtimeError: it trapped, now or before.
            InvalidValue: what it returned is no value of its type; that is to count as a trap.
            ValueTooLarge: the result has more bytes than it may.
            BaseException: what a host function raised, or the shape's classes.
        """
        # `start`, `poll`, `result` and `drop` in one, since this is what happens for every message.
        context = self._context
        link = self._link
        if context.busy or not link.alive:
            return self.start(arguments)  # raises
        context.busy = True
        call = 0
        over = True
        try:
            self._store(link.staging, arguments)
            link.alive = False
            call = self._new_call()
            over = _poll(call) or (context.waiting is None and _poll(call))
            if not over:
                return Pending(context, call, self._take, _give_nothing)
            if self._found != NOTHING:
                raise link.failure(context.raised)
            link.alive = True
            return self._load(link.guest, link.staging.view)
        finally:
            if over:
                if call:
                    _delete_call(call)
                context.busy = False
                if not link.alive:
                    context.leave()

    def _take(self) -> Any:
        """What a call that is over returned."""
        link = self._link
        if self._found != NOTHING:
            raise link.failure(self._context.raised)
        link.alive = True
        return self._load(link.guest, link.staging.view)


def _give_nothing() -> None:
    """A call holds nothing besides itself."""


# The functions that guests call in the host


def define(linker: int, module: str, name: str, function: HostFunction, registry: Registry) -> None:
    """Defines a host function for one component's glue.

    What it raises makes the guest trap, and is what the call raises in the end.

    Args:
        linker: address of wasmtime's.
        module, name: as the glue imports it.
        function: what is called.
        registry: of the stores that it can be called from; must live as long as these.
    """
    make = _waiting_callback if function.waits else _callback
    _add(linker, module, name, make(function, registry), function.waits, registry)


def define_delivery(linker: int, module: str, name: str, registry: Registry) -> None:
    """Defines what the glue calls for the host to copy large values."""

    def deliver(_: Context, link: Link) -> None:
        link.staging.deliver(link.guest)

    _add(linker, module, name, _guarded(deliver, registry), False, registry)


def _add(
    linker: int, module: str, name: str, callback: Callable[..., Any], waits: bool, registry: Registry
) -> None:
    thunk = (capi.WAITING_CORE_FUNCTION if waits else capi.CORE_FUNCTION)(callback)
    registry.functions.append(thunk)
    add = capi.add_waiting_core_function if waits else capi.add_core_function
    place = *capi.text(module), *capi.text(name)
    kind = wasmtime.FuncType([], [])
    capi.check_error(add(linker, *place, address_of(kind.ptr()), thunk, None, None))


def _callback(function: HostFunction, registry: Registry) -> Callable[..., int]:
    load = loading.compile_arguments(function.shape.parameters)
    store = storing.compile_result(function.shape.result)
    call = function.call

    def run(context: Context, link: Link) -> None:
        staging = link.staging
        store(staging, call(context.owner, *load(link.guest, staging.view)))

    return _guarded(run, registry)


def _guarded(run: Callable[[Context, Link], None], registry: Registry) -> Callable[..., int]:
    contexts = registry.contexts

    def callback(_env: int, caller: int, _values: int, _count: int) -> int:
        context = contexts.get(_context_of(caller))
        try:
            run(*_known(context))
        except BaseException as raised:  # noqa: BLE001  nothing may pass through the guest's frames
            if context is not None:
                context.raised = raised
            return capi.new_trap(_FAILED, len(_FAILED))  # type: ignore[no-any-return]
        return 0

    return callback


def _known(context: Context | None) -> tuple[Context, Link]:
    if context is None or context.link is None:
        raise RuntimeError("a host function was called from an unknown store")
    return context, context.link


def _waiting_callback(function: HostFunction, registry: Registry) -> Callable[..., None]:
    load = loading.compile_arguments(function.shape.parameters)
    store = storing.compile_result(function.shape.result)
    call = function.call
    contexts = registry.contexts
    ready = capi.ready

    def callback(
        _env: int,
        caller: int,
        _arguments: int,
        _count: int,
        _results: int,
        _result_count: int,
        trap: int,
        then: int,
    ) -> None:
        found = contexts.get(_context_of(caller))
        try:
            context, link = _known(found)
            staging = link.staging
            value = call(context.owner, *load(link.guest, staging.view))
            if hasattr(value, "__await__"):
                write_word(MEMORY, context.flag, 0)
                context.waiting = value
                context.answer = partial(store, staging)
                _write_continuation(MEMORY, then, ready, context.flag, 0)
                return
            store(staging, value)
        except BaseException as raised:  # noqa: BLE001  nothing may pass through the guest's frames
            if found is not None:
                found.raised = raised
            write_word(MEMORY, trap, capi.new_trap(_FAILED, len(_FAILED)))
        _write_continuation(MEMORY, then, ready, _YES_ADDRESS, 0)

    return callback
