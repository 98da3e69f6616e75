"""Slices of time for components."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import wasmtime

from theater.wasm.engine import TICK, Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(512 * 1024, 10)
    yield engine
    engine.close()


def spin(engine: Engine, epochs: int) -> int:
    """Computes until a number of epochs have begun; how many instructions that took does not matter."""
    module = wasmtime.Module(engine.raw, '(module (func (export "spin") (loop $on (br $on))))')
    store = wasmtime.Store(engine.raw)
    store.set_epoch_deadline(epochs)
    spin = wasmtime.Instance(store, module, []).exports(store)["spin"]
    assert isinstance(spin, wasmtime.Func)
    with pytest.raises(wasmtime.Trap, match="interrupt"):
        spin(store)
    return epochs


def test_what_computes_here_is_interrupted(engine: Engine) -> None:
    begun = time.perf_counter()
    assert engine.here(spin, engine, 3) == 3
    assert time.perf_counter() - begun > 2 * TICK


async def test_what_computes_elsewhere_is_interrupted_and_holds_nobody_up(engine: Engine) -> None:
    spinning = asyncio.create_task(engine.elsewhere(0, spin, engine, 10))
    rounds = 0
    while not spinning.done():
        await asyncio.sleep(0)
        rounds += 1
    assert spinning.result() == 10
    assert rounds > 100


def test_epochs_are_counted_after_a_pause(engine: Engine) -> None:
    for _ in range(20):
        engine.here(spin, engine, 1)
        time.sleep(2 * TICK)  # the counting thread falls asleep, or is about to


async def test_equal_affinity_is_the_same_thread(engine: Engine) -> None:
    first = await engine.elsewhere(5, threading.current_thread)
    assert first is await engine.elsewhere(5, threading.current_thread)
    assert first is not threading.current_thread()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")
async def test_threads_give_way_to_the_event_loop(engine: Engine) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert await engine.elsewhere(0, os.getpriority, os.PRIO_PROCESS, 0) == min(mine + 10, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


async def test_others_are_served_between_two_that_make_instances(engine: Engine) -> None:
    passes = 0
    turns: list[int] = []

    async def take_turn() -> None:
        await engine.pace()
        turns.append(passes)

    tasks = [asyncio.create_task(take_turn()) for _ in range(5)]
    while len(turns) < len(tasks):
        await asyncio.sleep(0)
        passes += 1
    assert len(set(turns)) == 5


async def test_what_has_begun_elsewhere_ends_before_its_task(engine: Engine) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        may_end.wait()
        ended.set()
        raise ValueError("is seen by nobody")

    task = asyncio.create_task(engine.elsewhere(0, compute))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0.01, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_threads_end_with_it(engine: Engine) -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("theater-")}

    async def use() -> None:
        await engine.elsewhere(0, int)

    asyncio.run(use())
    assert names() == {"theater-epochs", "theater-component-0_0"}
    engine.close()
    assert names() == set()


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 * 1024])
def test_stacks_of_every_allowed_size(size: int) -> None:
    engine = Engine(size, 10)
    engine.here(spin, engine, 1)
    engine.close()
