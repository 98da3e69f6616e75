"""The engine that compiles and runs components, and the time it gives them."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import wasmtime
from wasmtime import _bindings as ffi  # the package does not set the size of stacks

from theater.wasm import capi
from theater.wasm.capi import address_of

log = logging.getLogger("theater")

T = TypeVar("T")

TICK: Final = 0.005
"""Seconds of a slice: as long as a component may compute at a time before something else gets a turn."""

RESERVATION: Final = 256 * 1024 * 1024
"""Bytes of addresses for each memory, so that tens of thousands fit. One that is no larger never moves."""

_GUARD: Final = 64 * 1024
_NICE: Final = 10  # of the threads below, on top of the process's own
_BLOCKING: Final = 64  # threads for calls that hold one while they wait
_HOST_STACK: Final = 2 * 1024 * 1024  # of addresses, too; what is not touched takes no memory


class Engine:
    """Compiles components, and counts the epochs by which their computing is cut into slices.

    The thread that counts sleeps while nothing is computed.

    Args:
        max_stack: bytes of stack that a component may use.
        max_instances: at most as many at a time.

    Attributes:
        raw: wasmtime's own.
        settings: what a compiled component depends on, besides wasmtime's version and the machine.
        problem: why calls cannot be made on stacks of their own here, if so; see `stock`.
        instances: how many there are.
        begun, ended: slices on the event loop, whose thread alone counts them.
        asleep: the thread that counts epochs has to be woken up.
    """

    def __init__(self, max_stack: int, max_instances: int) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.max_wasm_stack = max_stack
        # Host functions run on the same stack, and the interpreter below them.
        ffi.wasmtime_config_async_stack_size_set(config.ptr(), max_stack + _HOST_STACK)
        config.memory_reservation = RESERVATION
        config.memory_guard_size = _GUARD
        config.wasm_threads = False  # no two threads in one instance
        config.wasm_multi_memory = True  # for `glue`
        self.raw = wasmtime.Engine(config)
        self.settings = (
            f"epochs, stack {max_stack}, reservation {RESERVATION}, guard {_GUARD}, several memories"
        )
        self.problem = capi.check()
        if self.problem is not None:
            log.warning("components are slower than they could be: %s", self.problem)
        self.instances = 0
        self.max_instances = max_instances
        self.begun = 0
        self.ended = 0
        self._computing = 0  # slices in the workers
        self._lock = threading.Lock()
        self.asleep = False
        self._wake = threading.Event()
        self._pace = asyncio.Lock()
        self._closed = False
        self._ticker = threading.Thread(target=self._tick, name="theater-epochs", daemon=True)
        self._ticker.start()
        self._workers = [
            ThreadPoolExecutor(1, f"theater-component-{index}", _give_way)
            for index in range(max(1, (os.cpu_count() or 2) - 1))
        ]
        self._blocking = ThreadPoolExecutor(_BLOCKING, "theater-component")

    async def pace(self) -> None:
        """Waits for one's turn to make an instance.

        That takes long, and many may come to their end at once. There is one in a pass of the event loop at
        most, so that others are served between two.
        """
        async with self._pace:
            await asyncio.sleep(0)

    def here(self, compute: Callable[..., T], *arguments: object) -> T:
        """Computes on the event loop's thread."""
        self.begun += 1
        if self.asleep:
            self.wake()
        try:
            return compute(*arguments)
        finally:
            self.ended += 1

    def wake(self) -> None:
        """Goes on counting."""
        self._wake.set()

    async def elsewhere(self, affinity: int | None, compute: Callable[..., T], *arguments: object) -> T:
        """Computes in a worker thread, while the event loop goes on.

        What has begun is waited for, even if the task is cancelled meanwhile: nothing may be released
        while it is computed with.

        Args:
            affinity: equal ones use the same thread; None for a thread that may be held while it waits.
            compute: what to call with the arguments.
        """
        worker = self._blocking if affinity is None else self._workers[affinity % len(self._workers)]
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(worker, self._compute, loop, compute, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # has been seen; what counts is that the task was cancelled
            raise

    def _compute(self, loop: asyncio.AbstractEventLoop, compute: Callable[..., T], *arguments: object) -> T:
        _WORKER.loop = loop
        with self._lock:
            self._computing += 1
        if self.asleep:
            self.wake()
        try:
            return compute(*arguments)
        finally:
            with self._lock:
                self._computing -= 1

    def close(self) -> None:
        """Ends the threads; nothing may be computed any more."""
        self._closed = True
        self._wake.set()
        self._ticker.join()
        for worker in self._workers:
            worker.shutdown()
        self._blocking.shutdown()

    def _tick(self) -> None:
        advance = partial(capi.increment_epoch, address_of(self.raw.ptr()))
        while not self._closed:
            self._wake.clear()
            before = self.begun
            self.asleep = True
            # After that, not before: who begins now sees that this thread is asleep.
            if before == self.begun == self.ended and not self._computing:
                self._wake.wait()
            self.asleep = False
            while not self._closed:
                before = self.begun
                time.sleep(TICK)
                advance()
                if before == self.begun == self.ended and not self._computing:
                    break


def _give_way() -> None:
    """Makes a worker thread leave the processor to the event loop where there are not enough of them.

    Beside 200 actors that never return, others are answered twice as fast then.
    """
    if sys.platform == "linux":  # elsewhere it is for the whole process
        with suppress(OSError):
            os.nice(_NICE)


class _Worker(threading.local):
    """What a worker thread knows."""

    loop: asyncio.AbstractEventLoop
    resume: Callable[[], None]


_WORKER: Final = _Worker()


def wait(awaitable: Awaitable[T]) -> T:
    """Waits in a worker thread for what the event loop does; see `on_resume`."""

    async def result() -> T:
        return await awaitable

    try:
        return asyncio.run_coroutine_threadsafe(result(), _WORKER.loop).result()
    finally:
        _WORKER.resume()


def on_resume(call: Callable[[], None]) -> None:
    """What this worker thread calls when it has waited."""
    _WORKER.resume = call
