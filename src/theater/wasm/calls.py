"""Calls that are under way.

A call runs on a stack of its own, so that a component that waits for the host, or has computed for as long
as it may at once, is left where it is and taken up again later, by any thread.

Nothing here knows an event loop: a `Pending` tells what it waits for, and is told the answer.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wasmtime import Store

from theater.wasm import capi
from theater.wasm.capi import BYTES_HEADER, MEMORY, address_of, write_word
from theater.wasm.shapes import FunctionShape

if TYPE_CHECKING:
    from theater.wasm.fibers import Link

_poll: Final = capi.poll
_delete_call: Final = capi.delete_call


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
        found = capi.take_error(address)
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


class HostFunction(NamedTuple):
    """A function that the host offers.

    Attributes:
        shape: of its parameters, without the owner, and its result.
        call: is called with the store's owner and the arguments, in the thread that polls.
        waits: it may return an awaitable of its result.
    """

    shape: FunctionShape
    call: Callable[..., Any]
    waits: bool = False


def yield_on_epoch(store: Store, ticks: int) -> None:
    """Makes a call be left whenever the engine's epoch has advanced that often, and have as much again."""
    capi.yield_on_epoch(address_of(store._context()), ticks)
