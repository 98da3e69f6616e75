"""One instance of a component: its store, the calls into it, and how they end."""

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import wasmtime

from theater.errors import End, InstanceEnded, LocalError
from theater.wasm import stock
from theater.wasm.calls import Pending, yield_on_epoch
from theater.wasm.canonical import InvalidValue
from theater.wasm.engine import TICK, on_resume
from theater.wasm.fibers import OutOfMemory
from theater.wasm.memory import Guest
from theater.wasm.program import Program
from theater.wasm.shapes import ValueTooLarge

_WORDS: Final = (  # the C interface tells in words only what kind of trap it was
    ("call stack exhausted", End.STACK),
    ("wasm trap: interrupt", End.DEADLINE),
    ("`unreachable` instruction executed", End.PANIC),
    ("exceeds memory limits", End.MEMORY),
    ("too much data is being copied", End.VALUE),
)

_SHORT_CALLS: Final = 100  # after a long one, before the program's calls begin on the event loop again


class Instance:
    """A component's instance with a store of its own, so that it can harm no other.

    It computes on the event loop at first. A call that takes longer than two slices goes on in a
    worker thread, slice by slice, and there the program's next calls begin, until many have been short.

    Args:
        program: what it is an instance of.
        threaded: whether it computes in the worker thread from the start.

    Attributes:
        program: what it is an instance of.
        guest: its memory.
        has_ended: it must not be called any more.
    """

    def __init__(self, program: Program, threaded: bool) -> None:
        self.program = program
        self.guest = Guest(0, 0)  # until it is there
        self.has_ended = False
        self._threaded = threaded
        self._engine = program.engine
        self._here = program.engine.here
        self._name = ""
        self._affinity = 0
        self._functions: dict[str, Callable[[tuple[Any, ...]], Any]] = {}
        self._context = program.registry.add(program.store(), None)
        self._slice()
        program.engine.instances += 1

    def _slice(self) -> None:
        """Makes calls be left at the end of a slice."""
        store = self._context.store
        store.set_epoch_deadline(1)
        yield_on_epoch(store, 1)

    def adopt(self, owner: object, name: str, affinity: int) -> None:
        """Gives the instance to an actor.

        Args:
            owner: given to host functions as their first argument.
            name: for errors.
            affinity: of its worker thread.
        """
        self._context.owner = owner
        self._name = name
        self._affinity = affinity

    async def start(self) -> None:
        """Instantiates; to be awaited once, before all else.

        Raises:
            InstanceEnded: it cannot be instantiated within its limits.
        """
        program = self.program
        assert program.linked is not None  # noqa: S101  # `BlockingInstance` stands for the others
        call = self._here(program.linked.instantiate, self._context)
        functions = await self._finish(call, program.limits.start_time, here=True)
        self._functions = {name: function.run for name, function in functions.items()}
        assert self._context.link is not None  # noqa: S101  # what has been made has one
        self.guest = self._context.link.guest

    def watch(self) -> None:
        """To be called after its `init`: what it has by then is what it needs.

        `guest.is_full` tells from now on that it needs nearly all the memory that it may have, and another
        one should take its place while it still works.
        """
        if self._context.link is not None:
            self._context.link.watch()

    def call(self, function: str, arguments: tuple[object, ...]) -> Any:
        """Calls an export.

        Returns what it returned; or an awaitable of that, if it waits or takes long.

        Raises:
            InstanceEnded: it trapped, took too long, or handed over too much; so may the awaitable.
            ValueError: an argument cannot be given to a component, or what it returned is no such
                value as the contract means.
        """
        run = self._functions[function]
        if self._threaded or self.program.heavy:
            return self._call_elsewhere(run, arguments)
        engine = self._engine
        engine.begun += 1  # `here`, unrolled
        if engine.asleep:
            engine.wake()
        try:
            result = run(arguments)
        except BaseException as error:  # noqa: BLE001  # it is raised, or what it means
            raise self._failure(error) from None
        finally:
            engine.ended += 1
        if type(result) is not Pending:
            return result
        self._note(result)
        return self._finish(result, self.program.limits.turn_time)

    async def _call_elsewhere(self, run: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
        try:
            result = await self._engine.elsewhere(self._affinity, run, arguments)
        except BaseException as error:  # noqa: BLE001  # it is raised, or what it means
            raise self._failure(error) from None
        if type(result) is Pending:
            self._note(result)
            return await self._finish(result, self.program.limits.turn_time)
        self.program.heavy = max(0, self.program.heavy - 1)
        return result

    def _note(self, call: Pending) -> None:
        """Notes that a call has computed for a whole slice."""
        if call.waiting is None:
            self.program.heavy = _SHORT_CALLS

    async def _finish(self, call: Pending, allowed: float, here: bool = False) -> Any:
        """Sees a call to its end, which waits or whose time on the event loop is over.

        Args:
            call: what has begun.
            allowed: seconds that it may compute from now on.
            here: it has had no time on the event loop yet.
        """
        spent = 0.0
        try:
            while True:
                waiting = call.waiting
                if waiting is not None:
                    await _resume(call, waiting)
                    here = True
                if here and not self._threaded:
                    done, computed = self._here(_poll, call)
                    if not done and call.waiting is None:
                        # That slice may have been over as it began: epochs advance while a store is idle.
                        spent += computed
                        done, computed = self._here(_poll, call)
                else:
                    done, computed = await self._engine.elsewhere(self._affinity, _poll, call)
                spent += computed
                if done:
                    return call.result()
                here = False
                self._note(call)
                if spent > allowed and call.waiting is None:
                    raise InstanceEnded(self._name, End.DEADLINE, f"more than {allowed:g} s")
        except BaseException as error:  # noqa: BLE001  # it is raised, or what it means
            raise self._failure(error) from None
        finally:
            call.drop()

    def _failure(self, error: BaseException) -> BaseException:
        """What a call raises that has not come to a good end; most often the instance has ended, too."""
        if isinstance(error, ValueTooLarge):
            error = InstanceEnded(self._name, End.VALUE, str(error))
        elif isinstance(error, InvalidValue):
            error = InstanceEnded(self._name, End.TRAP, str(error))
        elif isinstance(error, wasmtime.WasmtimeError):
            text = str(error)
            end = next((end for words, end in _WORDS if words in text), End.TRAP)
            if isinstance(error, OutOfMemory) and end in (End.PANIC, End.TRAP):
                end = End.MEMORY
            error = InstanceEnded(self._name, end, text.strip().rpartition("\n")[2].strip())
        elif isinstance(error, ValueError | TypeError | LocalError):
            return error  # it returned no such value as the contract means, but it did return
        self.end()
        return error

    def end(self) -> None:
        """Lets go of the store; harmless if that has been done."""
        if not self.has_ended:
            self.has_ended = True
            self.program.registry.remove(self._context)
            self._functions.clear()
            self._engine.instances -= 1


class BlockingInstance(Instance):
    """An instance whose calls hold a worker thread until they are over, also while they wait.

    It stands in where a component cannot be taken apart, or where calls cannot run on stacks of their
    own, see `capi.check`.
    """

    def _slice(self) -> None:
        """Calls are not left; one that takes too long traps."""

    async def start(self) -> None:
        program = self.program
        make = partial(stock.instantiate, program.linker, self._context, program.component)
        raw = await self._hold(make, program.limits.start_time)
        for name, (index, plan) in program.plans.items():
            function = raw.get_func(self._context.store, index)
            assert function is not None  # noqa: S101  # it has been reflected on
            self._functions[name] = stock.BoundFunction(plan, self._context, function).run

    def call(self, function: str, arguments: tuple[object, ...]) -> Any:
        return self._hold(partial(self._functions[function], arguments), self.program.limits.turn_time)

    async def _hold(self, run: Callable[[], Any], allowed: float) -> Any:
        """Gives a call a worker thread, and its time, and that again whenever it has waited."""

        def allow() -> None:
            self._context.store.set_epoch_deadline(math.ceil(allowed / TICK))

        def compute() -> Any:
            allow()
            on_resume(allow)
            return run()

        try:
            return await self._engine.elsewhere(None, compute)
        except BaseException as error:  # noqa: BLE001  # it is raised, or what it means
            raise self._failure(error) from None


def instance(program: Program, threaded: bool) -> Instance:
    """Makes an instance, of the kind that fits."""
    kind = BlockingInstance if program.linked is None else Instance
    return kind(program, threaded)


def _poll(call: Pending) -> tuple[bool, float]:
    """Polls, and tells how many seconds that has computed: others may have had the processor meanwhile."""
    begun = time.thread_time()
    done = call.poll()
    return done, time.thread_time() - begun


async def _resume(call: Pending, waiting: Awaitable[object]) -> None:
    """Waits for what a host function waits for, and hands it to the component."""
    try:
        value = await waiting
    except Exception as error:  # noqa: BLE001  # it comes out of the call's `poll` again
        call.fail(error)
    else:
        call.resume(value)
