"""Calls into components, and the functions that they call in the host.

A call runs on a stack of its own, so that a component that waits for the host, or has computed for as long
as it may at once, is left where it is and taken up again later, by any thread. Until the call is over,
wasmtime holds the places of its arguments, its result and its error: a `Lane` has all of them.

Nothing here knows an event loop: a `Pending` tells what it waits for, and is told the answer.
"""

import enum
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wasmtime import Store
from wasmtime import _ffi as ffi
from wasmtime.component import Component, Func, FuncType, Instance, Linker

from theater.wasm import layout
from theater.wasm.layout import (
    BYTES_HEADER,
    CELL,
    KIND_BOOL,
    MEMORY,
    address_of,
    write_3,
    write_word,
)
from theater.wasm.lifting import compile_lifting
from theater.wasm.lowering import compile_lowering
from theater.wasm.shapes import FunctionShape, mismatch

if TYPE_CHECKING:
    from theater.wasm.fibers import Link

_KEPT: Final = 2048
"""Bytes of a result above which it is released at once, and not when the next one takes its place: each
of them may take up a cell."""

_new_call: Final = layout.new_call
_poll: Final = layout.poll
_delete_call: Final = layout.delete_call
_read_outcome: Final = struct.Struct(
    "<8xQQQQ"
).unpack_from  # the words of the result, and the error's address


class Context:
    """A store, and the call that runs in it: there is one at a time.

    Attributes:
        store: is held for as long as this object.
        owner: what host functions are given as their first argument.
        link: to the instance in it, if that is not wasmtime's doing; see `fibers`.
    """

    __slots__ = (
        "_flag",
        "address",
        "answer",
        "busy",
        "flag",
        "link",
        "owner",
        "raised",
        "registry",
        "store",
        "waiting",
    )

    def __init__(self, store: Store, owner: object, registry: "Registry") -> None:
        self.store = store
        self.owner = owner
        self.registry = registry  # has the host functions
        self.address = address_of(store._context())
        self.link: Link | None = None
        self.busy = False
        self.waiting: Awaitable[Any] | None = None
        self.answer: Callable[[Any], None] | None = None  # takes what a host function waits for
        self.raised: BaseException | None = None  # by a host function
        self._flag = bytes(8)  # whether there is an answer
        self.flag = id(self._flag) + BYTES_HEADER

    def enter(self) -> None:
        if self.busy:
            raise RuntimeError("a store runs one call at a time")
        self.busy = True

    def leave(self) -> None:
        self.busy = False
        self.waiting = self.answer = self.raised = None

    def error(self, address: int) -> BaseException:
        """The exception for an error of wasmtime's: what a host function raised, if that is the cause."""
        found = layout.take_error(address)
        return found if self.raised is None else self.raised


class Registry:
    """The stores that one component's host functions are called from, by which these find their owner."""

    def __init__(self) -> None:
        self.contexts: dict[int, Context] = {}
        self.functions: list[Any] = []  # the C side has their addresses

    def add(self, store: Store, owner: object) -> Context:
        """Lets calls be made in a store, on behalf of an owner."""
        context = Context(store, owner, self)
        self.contexts[context.address] = context
        return context

    def remove(self, context: Context) -> None:
        """Forgets a store, to be called before it is closed; it may not be called any more."""
        del self.contexts[context.address]


class Lane:
    """The memory of one call at a time: cells of the arguments and what belongs to them, result, error."""

    __slots__ = ("_block", "arguments", "error", "keep", "result", "start")

    def __init__(self, plan: "FunctionPlan") -> None:
        self._block = bytes(plan.size)
        self.start = id(self._block) + BYTES_HEADER
        self.result = self.start + plan.result
        self.error = self.result + CELL
        self.arguments = [
            (lower, self.start + cell, self.start + extra) for lower, cell, extra in plan.parameters
        ]
        self.keep: list[Any] = []

    def release(self) -> None:
        """Frees what the result holds."""
        layout.delete(self.result)
        write_3(MEMORY, self.result, KIND_BOOL, 0, 0, 0)

    def __del__(self, delete: Callable[[int], None] = layout.delete) -> None:
        delete(self.result)


class FunctionPlan:
    """The converters of an exported function, made once for a component.

    Args:
        type: of the component's own function.
        shape: what it should be.
        max_value: bytes that a result may have.

    Raises:
        TypeError: the type does not have the shape.
    """

    def __init__(self, type: FuncType, shape: FunctionShape, max_value: int) -> None:
        if problem := mismatch(type, shape):
            raise TypeError(problem)
        self.count = len(shape.parameters)
        self.result = self.count * CELL
        self.size = self.result + CELL + 8
        self.parameters = []
        for number, each in enumerate(shape.parameters):
            lower, extra = compile_lowering(each)
            self.parameters.append((lower, number * CELL, self.size))
            self.size += extra
        self.results = 0 if shape.result is None else 1
        self._lift = None if shape.result is None else compile_lifting(shape.result)
        self._max_value = max_value
        self.lanes: list[Lane] = []

    def lane(self) -> Lane:
        """Memory for a call; to be given back."""
        try:
            return self.lanes.pop()
        except IndexError:
            return Lane(self)

    def give(self, lane: Lane) -> None:
        """Takes back a lane, from which wasmtime reads no more."""
        lane.keep.clear()
        self.lanes.append(lane)

    def take(self, lane: Lane, context: Context) -> Any:
        """What a call that is over returned.

        Raises:
            WasmtimeError: it trapped.
            ValueTooLarge: the result has more bytes than it may.
            BaseException: what a host function raised, or the shape's classes.
        """
        a, b, c, error = _read_outcome(MEMORY, lane.result)
        if error:
            write_word(MEMORY, lane.error, 0)
            raise context.error(error)
        if self._lift is None:
            return None
        limit = self._max_value
        meter = [limit, limit]
        try:
            value = self._lift(meter, a, b, c)
        except BaseException:
            lane.release()
            raise
        if limit - meter[0] > _KEPT:
            lane.release()
        return value


class _State(enum.Enum):
    OPEN = enum.auto()
    ENTERED = enum.auto()
    DONE = enum.auto()


_OPEN, _ENTERED, _DONE = _State


class Pending:
    """A call that has begun. It is over when `poll` returned true, and must be dropped in any case.

    Args:
        context: of its store.
        call: the address of wasmtime's.
        take: gives its result, when it is done.
        give: gives back what it holds.
    """

    __slots__ = ("_call", "_context", "_give", "_state", "_take")

    def __init__(
        self, context: Context, call: int, take: Callable[[], Any], give: Callable[[], None]
    ) -> None:
        self._context = context
        self._call = call
        self._take = take
        self._give: Callable[[], None] | None = give
        self._state = _OPEN

    @property
    def waiting(self) -> Awaitable[Any] | None:
        """What a host function waits for; none if the component was computing when it was left.

        It is for the caller to await it, and to tell `resume` or `fail` how that ended.
        """
        return self._context.waiting

    def poll(self) -> bool:
        """Lets the component go on until it is done, waits for the host, or its slice is over.

        Any thread may do so, one at a time.

        Returns:
            Whether it is done.

        Raises:
            BaseException: what `fail` was given; the component does not go on.
        """
        if self._state is not _OPEN:
            if self._state is _DONE:
                return True
            raise RuntimeError("the call is polled already, or was left by an exception")
        if self._context.raised is not None:
            raise self._context.raised
        self._state = _ENTERED
        done: bool = _poll(self._call)
        self._state = _DONE if done else _OPEN
        return done

    def resume(self, value: Any) -> None:
        """Gives the host function that waits its result. If it does not fit, that counts as its failure."""
        answer = self._answer()
        try:
            answer(value)
        except Exception as error:  # noqa: BLE001  belongs to the host function
            self._context.raised = error
        else:
            write_word(MEMORY, self._context.flag, 1)

    def fail(self, error: BaseException) -> None:
        """Fails the host function that waits. wasmtime knows no way to: the call can only be dropped."""
        self._answer()
        self._context.raised = error

    def _answer(self) -> Callable[[Any], None]:
        answer = self._context.answer
        if answer is None or self._state is not _OPEN:
            raise RuntimeError("no host function of this call waits")
        self._context.waiting = self._context.answer = None
        return answer

    def result(self) -> Any:
        """What the function returned, to be asked once, after `poll` returned true.

        Raises:
            WasmtimeError: it trapped.
            ValueTooLarge: the result has more bytes than it may.
            BaseException: what a host function raised, or the shape's classes.
        """
        if self._state is not _DONE:
            raise RuntimeError("the call is not done")
        return self._take()

    def drop(self) -> None:
        """Gives the call up, or what it held. If it was not done, its store cannot be used any more."""
        give, self._give = self._give, None
        if give is not None:
            self._end_call()
            self._state = _ENTERED
            self._context.leave()
            give()

    def _end_call(self) -> None:
        if self._call:
            _delete_call(self._call)
            self._call = 0

    def _begin_call(self, call: int) -> None:
        """Goes on with another call of wasmtime's."""
        self._call = call
        self._state = _OPEN


class BoundFunction:
    """An exported function of one instance.

    Args:
        plan: of the component.
        context: of the instance's store.
        func: of the instance.
    """

    __slots__ = ("_address", "_context", "_func", "_plan")

    def __init__(self, plan: FunctionPlan, context: Context, func: Func) -> None:
        self._plan = plan
        self._context = context
        self._func = func
        self._address = layout.address_of_struct(func._func)

    def start(self, *arguments: Any) -> Pending:
        """Begins a call, without letting the component run yet.

        Raises:
            RuntimeError: the store runs a call already.
            TypeError, ValueError, OverflowError, AttributeError: an argument does not have its shape.
        """
        plan = self._plan
        context = self._context
        context.enter()
        lane = plan.lane()
        try:
            call = self._begin(lane, arguments)
        except BaseException:
            plan.give(lane)
            context.leave()
            raise
        return Pending(context, call, partial(plan.take, lane, context), partial(self._give, lane))

    def run(self, *arguments: Any) -> Any:
        """Calls, and lets the component run at once, for a second slice too if it does not wait: the first
        may be over as soon as it begins, since epochs advance while a store is idle.

        Returns:
            What the function returned, or a `Pending` if it is not done.

        Raises:
            RuntimeError: the store runs a call already.
            TypeError, ValueError, OverflowError, AttributeError: an argument does not have its shape.
            WasmtimeError: it trapped.
            ValueTooLarge: the result has more bytes than it may.
            BaseException: what a host function raised, or the shape's classes.
        """
        plan = self._plan
        context = self._context
        context.enter()
        lane = plan.lane()
        call = 0
        over = True
        try:
            call = self._begin(lane, arguments)
            over = _poll(call) or (context.waiting is None and _poll(call))
            if over:
                return plan.take(lane, context)
            return Pending(context, call, partial(plan.take, lane, context), partial(self._give, lane))
        finally:
            if over:
                if call:
                    _delete_call(call)
                context.leave()
                plan.give(lane)

    def _begin(self, lane: Lane, arguments: tuple[Any, ...]) -> int:
        plan = self._plan
        if len(arguments) != plan.count:
            raise TypeError(f"expected {plan.count} arguments, not {len(arguments)}")
        keep = lane.keep
        for (lower, cell, extra), value in zip(lane.arguments, arguments):  # noqa: B905  checked, and that costs
            lower(value, cell, extra, keep)
        call: int = _new_call(
            self._address,
            self._context.address,
            lane.start,
            plan.count,
            lane.result,
            plan.results,
            lane.error,
        )
        return call

    def _give(self, lane: Lane) -> None:
        self._plan.give(lane)


def instantiate(linker: Linker, context: Context, component: Component) -> Pending:
    """Begins to instantiate a component in a store, which runs its start functions.

    The result of the call is an `Instance`; it raises WasmtimeError if that is not possible.
    """
    context.enter()
    raw = ffi.wasmtime_component_instance_t()
    failed = bytes(8)
    error = id(failed) + BYTES_HEADER
    call = layout.new_instantiation(
        address_of(linker.ptr()),
        context.address,
        address_of(component.ptr()),
        layout.address_of_struct(raw),
        error,
    )

    def take() -> Instance:
        (found,) = layout.read_word(MEMORY, error)
        if found:
            write_word(MEMORY, error, 0)
            raise context.error(found)
        return Instance._from_raw(raw)

    def give(*_: object, held: object = (linker, component, failed, raw)) -> None: ...

    return Pending(context, call, take, give)


def yield_on_epoch(store: Store, ticks: int) -> None:
    """Makes a call be left whenever the engine's epoch has advanced that often, and have as much again."""
    layout.yield_on_epoch(address_of(store._context()), ticks)
