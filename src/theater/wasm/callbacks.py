"""The functions that components call in the host."""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from wasmtime.component import FuncType, LinkerInstance

from theater.wasm import layout
from theater.wasm.calls import Registry
from theater.wasm.layout import BYTES_HEADER, CELL, MEM, MEMORY, address_of, write_word
from theater.wasm.lifting import compile_lifting
from theater.wasm.lowering import compile_lowering
from theater.wasm.shapes import BOOL, F64, U8, U16, U32, U64, FunctionShape, Shape, mismatch

_write_continuation: Final = struct.Struct("<QQQ").pack_into  # function, what it is given, finalizer
_YES: Final = b"\1"
_YES_ADDRESS: Final = id(_YES) + BYTES_HEADER
_PLAIN: Final = (BOOL, U8, U16, U32, U64, F64)  # what their cells hold lies in no other memory


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


def define(
    linker: LinkerInstance,
    name: str,
    type: FuncType,
    function: HostFunction,
    registry: Registry,
    max_value: int,
) -> None:
    """Defines a host function for one component.

    What it raises makes the component trap, and is what the call raises in the end.

    Args:
        linker: the interface it belongs to.
        name: in the interface.
        type: as the component imports it.
        function: what is called.
        registry: of the stores that it can be called from; must live as long as these.
        max_value: bytes that the arguments of a call may have.

    Raises:
        TypeError: the type does not have the function's shape.
    """
    if problem := mismatch(type, function.shape):
        raise TypeError(f"{name}: {problem}")
    thunk = layout.HOST_FUNCTION(_callback(function, registry, max_value))
    registry.functions.append(thunk)
    encoded = name.encode()
    error = layout.add_function(address_of(linker.ptr()), encoded, len(encoded), thunk, None, None)
    if error:
        raise layout.take_error(error)


def _callback(function: HostFunction, registry: Registry, max_value: int) -> Callable[..., None]:
    shape, call, waits = function
    lift = _compile_arguments(shape.parameters)
    answer = _compile_answer(shape.result)
    contexts = registry.contexts
    ready = layout.ready

    def callback(
        _env: int,
        address: int,
        _type: int,
        cells: int,
        _count: int,
        result: int,
        _results: int,
        error: int,
        then: int,
    ) -> None:
        context = contexts.get(address)
        try:
            if context is None:
                raise RuntimeError("a host function was called from an unknown store")
            value = call(context.owner, *lift([max_value, max_value], cells))
            if waits and hasattr(value, "__await__"):
                write_word(MEMORY, context.flag, 0)
                context.waiting = value
                context.answer = partial(answer, result)
                _write_continuation(MEMORY, then, ready, context.flag, 0)
                return
            answer(result, value)
        except BaseException as raised:  # noqa: BLE001  nothing may pass through the component's frames
            if context is not None:
                context.raised = raised
            write_word(MEMORY, error, layout.new_error(b"a host function failed"))
        _write_continuation(MEMORY, then, ready, _YES_ADDRESS, 0)

    return callback


def _compile_arguments(shapes: tuple[Shape, ...]) -> Callable[[list[int], int], Any]:
    """Compiles what reads the arguments of a host function, given a meter and the address of their cells."""
    lifts = [compile_lifting(shape) for shape in shapes]
    size = len(lifts) * CELL
    read_cells = layout.read_cells

    def lift(meter: list[int], cells: int) -> list[Any]:
        words = read_cells(MEM[cells : cells + size])
        return [each(meter, a, b, c) for each, (a, b, c) in zip(lifts, words, strict=True)]

    return lift if lifts else lambda meter, cells: ()  # noqa: ARG005


def _compile_answer(shape: Shape | None) -> Callable[[int, Any], None]:
    """Compiles what writes the result of a host function to a cell whose contents wasmtime will free."""
    if shape is None:
        return lambda result, value: None  # noqa: ARG005
    lower, extra = compile_lowering(shape)
    if shape in _PLAIN:
        return lambda result, value: lower(value, result, 0, [])
    size = CELL + extra

    def answer(result: int, value: Any) -> None:
        block = bytes(size)
        start = id(block) + BYTES_HEADER
        keep = [block]
        lower(value, start, start + CELL, keep)
        layout.clone(start, result)

    return answer
