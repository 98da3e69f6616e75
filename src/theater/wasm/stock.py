"""What stands in where a component cannot be taken apart, or `capi.check` finds a problem: slower.

Values are converted through the C structures as wasmtime-py declares them, one field at a time, and a
call holds its thread until it is over, also while a host function waits. wasmtime-py's own conversion is
not used: it cannot express every value (the error of a `result<option<T>, E>` is taken for its option).

All memory of these values belongs to wasmtime, and is freed by it. A value that is only half written is a
valid one too: what is not written yet is the boolean false, which holds no memory.
"""

import ctypes
from collections.abc import Awaitable, Callable
from ctypes import byref
from typing import Any, Final

from wasmtime import WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime.component import Component, Func, FuncType, Instance, Linker, LinkerInstance

from theater.wasm.calls import Context, HostFunction, Registry
from theater.wasm.capi import address_of, take_error
from theater.wasm.memory import ITEM
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    EnumOf,
    Failure,
    FunctionShape,
    ListOf,
    OptionOf,
    RecordOf,
    ResultOf,
    Scalar,
    Shape,
    TupleOf,
    ValueTooLarge,
    VariantOf,
    mismatch,
)

Meter = list[int]
"""How many bytes may still be copied, and how many might at first: those of texts and binary data, and a
cell for each item of a list."""

_Value: Final = ffi.wasmtime_component_val_t
_ITEM: Final = ctypes.sizeof(_Value)
_SCALARS: Final = {
    BOOL: (ffi.WASMTIME_COMPONENT_BOOL, "boolean"),
    U8: (ffi.WASMTIME_COMPONENT_U8, "u8"),
    U16: (ffi.WASMTIME_COMPONENT_U16, "u16"),
    U32: (ffi.WASMTIME_COMPONENT_U32, "u32"),
    U64: (ffi.WASMTIME_COMPONENT_U64, "u64"),
    F64: (ffi.WASMTIME_COMPONENT_F64, "f64"),
}
_BITS: Final = {U8: 8, U16: 16, U32: 32, U64: 64}
_U8: Final = _Value(kind=ffi.WASMTIME_COMPONENT_U8)
_WORD: Final = _Value.of.offset

_NO_FINALIZER: Final = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))
_delete: Final = ffi.wasmtime_component_val_delete


def _lower(shape: Shape, value: Any, cell: Any) -> None:
    match shape:
        case Scalar():
            _lower_scalar(shape, value, cell)
        case ListOf(item):
            cells = ffi.wasmtime_component_vallist_t()
            ffi.wasmtime_component_vallist_new_uninit(byref(cells), len(value))
            _set(cell, ffi.WASMTIME_COMPONENT_LIST, "list", cells)
            for index, each in zip(range(cells.size), value, strict=True):
                _lower(item, each, cells.data[index])
        case TupleOf(items):
            members = ffi.wasmtime_component_valtuple_t()
            ffi.wasmtime_component_valtuple_new_uninit(byref(members), len(items))
            _set(cell, ffi.WASMTIME_COMPONENT_TUPLE, "tuple", members)
            for index, (item, each) in enumerate(zip(items, value, strict=True)):
                _lower(item, each, members.data[index])
        case RecordOf(_, fields):
            entries = ffi.wasmtime_component_valrecord_t()
            ffi.wasmtime_component_valrecord_new_uninit(byref(entries), len(fields))
            _set(cell, ffi.WASMTIME_COMPONENT_RECORD, "record", entries)
            for index, field in enumerate(fields):
                entries.data[index].name = ffi.str_to_capi(field.name)
                _lower(field.shape, getattr(value, field.attribute), entries.data[index].val)
        case VariantOf():
            _lower_variant(shape, value, cell)
        case OptionOf(item):
            payload = None if value is None else _boxed(item, value)
            _set(cell, ffi.WASMTIME_COMPONENT_OPTION, "option", payload)
        case ResultOf(ok, error):
            failed = type(value) is Failure
            inner, content = (error, value.error) if failed else (ok, value)
            if inner is None and content is not None:
                raise TypeError(f"{content!r} is given where the result holds nothing")
            found = ffi.wasmtime_component_valresult_t(
                is_ok=not failed, val=None if inner is None else _boxed(inner, content)
            )
            _set(cell, ffi.WASMTIME_COMPONENT_RESULT, "result", found)
        case EnumOf(names):
            if value not in names:
                raise ValueError(f"{value!r} is none of {', '.join(names)}")
            _set(cell, ffi.WASMTIME_COMPONENT_ENUM, "enumeration", ffi.str_to_capi(value))
        case Adapted(inner, _, get):
            _lower(inner, value if get is None else get(value), cell)


def _set(cell: Any, kind: Any, name: str, content: Any) -> None:
    setattr(cell.of, name, content)
    cell.kind = kind


def _lower_scalar(shape: Scalar, value: Any, cell: Any) -> None:
    if shape == STRING:
        if not isinstance(value, str):
            raise TypeError(f"expected a text, not {type(value).__name__}")
        _set(cell, ffi.WASMTIME_COMPONENT_STRING, "string", ffi.str_to_capi(value))
    elif shape == BYTES:
        data = bytes(memoryview(value))
        written = bytearray(bytes(_U8)) * len(data)
        written[_WORD::_ITEM] = data
        cells = ffi.wasmtime_component_vallist_t()
        ffi.wasmtime_component_vallist_new_uninit(byref(cells), len(data))
        ctypes.memmove(cells.data, bytes(written), len(written))
        _set(cell, ffi.WASMTIME_COMPONENT_LIST, "list", cells)
    else:
        bits = _BITS.get(shape)
        if bits is not None and (type(value) is not int or not 0 <= value < 1 << bits):
            raise OverflowError(f"{value!r} is not an unsigned integer of {bits} bits")
        kind, name = _SCALARS[shape]
        _set(cell, kind, name, bool(value) if shape == BOOL else value)


def _lower_variant(shape: VariantOf, value: Any, cell: Any) -> None:
    for case in shape.cases:
        if case.cls is type(value):
            content = case.payload(value)
            found = ffi.wasmtime_component_valvariant_t(
                val=None if case.shape is None else _boxed(case.shape, content)
            )
            found.discriminant = ffi.str_to_capi(case.name)
            _set(cell, ffi.WASMTIME_COMPONENT_VARIANT, "variant", found)
            return
    expected = ", ".join(case.cls.__name__ for case in shape.cases)
    raise TypeError(f"expected one of {expected}, not {type(value).__name__}")


def _boxed(shape: Shape, value: Any) -> Any:
    """A pointer to a value."""
    cell = _Value()
    try:
        _lower(shape, value, cell)
    except BaseException:
        _delete(byref(cell))
        raise
    return ffi.wasmtime_component_val_new(byref(cell))  # which has moved it


def _lift(shape: Shape, cell: Any, meter: Meter) -> Any:
    match shape:
        case Scalar():
            return _lift_scalar(shape, cell, meter)
        case ListOf(item):
            cells = cell.of.list
            _spend(meter, cells.size * ITEM)
            return [_lift(item, cells.data[index], meter) for index in range(cells.size)]
        case TupleOf(items):
            cells = cell.of.tuple
            return tuple(_lift(item, cells.data[index], meter) for index, item in enumerate(items))
        case RecordOf(make, fields):
            entries = cell.of.record
            values = [
                _lift(field.shape, entries.data[index].val, meter) for index, field in enumerate(fields)
            ]
            return make(*values)
        case VariantOf(cases):
            name = ffi.to_str(cell.of.variant.discriminant)
            case = next(case for case in cases if case.name == name)
            if case.shape is None:
                return case.cls()
            content = _lift(case.shape, cell.of.variant.val.contents, meter)
            return content if case.get is None else case.cls(content)
        case OptionOf(item):
            return _lift(item, cell.of.option.contents, meter) if cell.of.option else None
        case ResultOf(ok, error):
            found = cell.of.result
            if found.is_ok:
                return None if ok is None else _lift(ok, found.val.contents, meter)
            return Failure(None if error is None else _lift(error, found.val.contents, meter))
        case EnumOf():
            return ffi.to_str(cell.of.enumeration)
        case Adapted(inner, make):
            return make(_lift(inner, cell, meter))


def _lift_scalar(shape: Scalar, cell: Any, meter: Meter) -> Any:
    if shape == STRING:
        _spend(meter, cell.of.string.size)
        return ffi.to_str(cell.of.string)
    if shape == BYTES:
        cells = cell.of.list
        _spend(meter, cells.size)
        return ctypes.string_at(cells.data, cells.size * _ITEM)[_WORD::_ITEM]
    return getattr(cell.of, _SCALARS[shape][1])


def _spend(meter: Meter, size: int) -> None:
    if size > meter[0]:
        left, limit = meter
        raise ValueTooLarge(limit, limit - left + size)
    meter[0] -= size


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
        self.shape = shape
        self.max_value = max_value


class BoundFunction:
    """An exported function of one instance; its calls are over when they return."""

    def __init__(self, plan: FunctionPlan, context: Context, func: Func) -> None:
        self._plan = plan
        self._context = context
        self._func = func

    def run(self, arguments: tuple[Any, ...]) -> Any:
        """Calls, and returns what the function returned, in the thread that this is called in.

        Raises:
            RuntimeError: the store runs a call already.
            TypeError, ValueError, OverflowError, AttributeError: an argument does not have its shape.
            WasmtimeError: it trapped.
            ValueTooLarge: the result has more bytes than it may.
            BaseException: what a host function raised, or the shape's classes.
        """
        shapes, result = self._plan.shape
        if len(arguments) != len(shapes):
            raise TypeError(f"expected {len(shapes)} arguments, not {len(arguments)}")
        self._context.enter()
        cells = (_Value * (len(shapes) + 1))()  # the result is the last one
        try:
            for shape, value, cell in zip(shapes, arguments, cells, strict=False):
                _lower(shape, value, cell)
            self._enter(cells, 0 if result is None else 1)
            limit = self._plan.max_value
            return None if result is None else _lift(result, cells[-1], [limit, limit])
        finally:
            for cell in cells:
                _delete(byref(cell))
            self._context.leave()

    def _enter(self, cells: Any, results: int) -> None:
        count = len(cells) - 1
        error: Any = ffi.wasmtime_component_func_call(
            byref(self._func._func),
            self._context.store._context(),
            cells,
            count,
            byref(cells[count]),
            results,
        )
        if error:
            raise self._context.error(address_of(error))


def define(
    linker: LinkerInstance,
    name: str,
    type: FuncType,
    function: HostFunction,
    registry: Registry,
    max_value: int,
    wait: Callable[[Awaitable[Any]], Any],
) -> None:
    """Defines a host function for one component.

    Args:
        wait: gives the result of what a host function waits for; called in the thread of the call.
    """
    if problem := mismatch(type, function.shape):
        raise TypeError(f"{name}: {problem}")
    thunk = ffi.wasmtime_component_func_callback_t(_callback(function, registry, max_value, wait))
    registry.functions.append(thunk)
    encoded = name.encode()
    error: Any = ffi.wasmtime_component_linker_instance_add_func(
        linker.ptr(), ctypes.create_string_buffer(encoded), len(encoded), thunk, None, _NO_FINALIZER
    )
    if error:
        raise take_error(address_of(error))


def _callback(
    function: HostFunction, registry: Registry, max_value: int, wait: Callable[[Awaitable[Any]], Any]
) -> Callable[..., int]:
    (shapes, shape), call, waits = function

    def callback(
        _env: int, store: Any, _type: Any, cells: Any, _count: int, results: Any, _results: int
    ) -> int:
        context = registry.contexts.get(address_of(store))
        try:
            if context is None:
                raise RuntimeError("a host function was called from an unknown store")
            meter = [max_value, max_value]
            value = call(context.owner, *[_lift(each, cells[n], meter) for n, each in enumerate(shapes)])
            if waits and hasattr(value, "__await__"):
                value = wait(value)
            if shape is not None:
                _lower(shape, value, results[0])
        except BaseException as raised:  # noqa: BLE001  nothing may pass through the component's frames
            if context is not None:
                context.raised = raised
            return address_of(ffi.wasmtime_error_new(b"a host function failed"))
        return 0

    return callback


def instantiate(linker: Linker, context: Context, component: Component) -> Instance:
    """Instantiates a component in a store, which runs its start functions.

    Raises:
        WasmtimeError: that is not possible.
        BaseException: what a host function raised.
    """
    context.enter()
    try:
        return linker.instantiate(context.store, component)
    except WasmtimeError:
        if context.raised is not None:
            raise context.raised from None
        raise
    finally:
        context.leave()
