"""wasmtime's C interface as the converters see it: functions, and how values lie in memory.

wasmtime-py reflects on every value of every call, which costs two hundred times what the call does
(190 µs against 1 µs). So `lowering` and `lifting` read and write the C structures themselves, and
`calls` uses the functions by which a call runs on a stack of its own. `check` tries all of what they
rely on, once; where something does not fit, `stock` stands in.

A value is a `wasmtime_component_val_t` (`wasmtime/component/val.h`), here called a cell: its kind and up
to three words. A text, a list or a record is length and address; a variant adds the address of a
payload's cell to its name; an option is that address, or 0; a result is a flag and the address.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, PYFUNCTYPE, c_bool, c_char_p, c_size_t, c_uint64, c_void_p
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi

CELL: Final = 32
"""Bytes of a value."""

FIELD: Final = 48
"""Bytes of a record's field: its name, length and address, and its value."""

KIND_BOOL: Final[int] = ffi.WASMTIME_COMPONENT_BOOL.value
KIND_U8: Final[int] = ffi.WASMTIME_COMPONENT_U8.value
KIND_U16: Final[int] = ffi.WASMTIME_COMPONENT_U16.value
KIND_U32: Final[int] = ffi.WASMTIME_COMPONENT_U32.value
KIND_U64: Final[int] = ffi.WASMTIME_COMPONENT_U64.value
KIND_F64: Final[int] = ffi.WASMTIME_COMPONENT_F64.value
KIND_STRING: Final[int] = ffi.WASMTIME_COMPONENT_STRING.value
KIND_LIST: Final[int] = ffi.WASMTIME_COMPONENT_LIST.value
KIND_RECORD: Final[int] = ffi.WASMTIME_COMPONENT_RECORD.value
KIND_TUPLE: Final[int] = ffi.WASMTIME_COMPONENT_TUPLE.value
KIND_VARIANT: Final[int] = ffi.WASMTIME_COMPONENT_VARIANT.value
KIND_ENUM: Final[int] = ffi.WASMTIME_COMPONENT_ENUM.value
KIND_OPTION: Final[int] = ffi.WASMTIME_COMPONENT_OPTION.value
KIND_RESULT: Final[int] = ffi.WASMTIME_COMPONENT_RESULT.value

# All the addresses there are, as one array: MEM[a:b] is a copy of what lies there as bytes, three times
# as fast as ctypes.string_at. MEMORY is the same for pack_into and unpack_from.
MEM: Final[Any] = (ctypes.c_char * ((1 << 56) - 1)).from_address(0)
MEMORY: Final = memoryview(MEM)

BYTES_HEADER: Final = bytes.__basicsize__ - 1
"""Where the contents of a `bytes` object lie, from its `id`: what spares a call for the address. A `bytes`
object that nobody else has seen yet is also what cells are written into."""

read_cell: Final = struct.Struct("<8xQQQ").unpack_from  # without its kind, which is known from the type
read_cells: Final = struct.Struct("<8xQQQ").iter_unpack
read_fields: Final = struct.Struct("<24xQQQ").iter_unpack
read_word: Final = struct.Struct("<Q").unpack_from
write_word: Final = struct.Struct("<Q").pack_into
write_1: Final = struct.Struct("<QQ").pack_into  # a cell's kind and one word, and so on
write_2: Final = struct.Struct("<QQQ").pack_into
write_3: Final = struct.Struct("<QQQQ").pack_into
write_double: Final = struct.Struct("<Qd").pack_into

_missing: list[str] = []


def _function(make: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of wasmtime's, with a prototype of its own: those of wasmtime-py are left alone.

    Args:
        make: CFUNCTYPE lets other threads run meanwhile; PYFUNCTYPE, half as dear, does not.
        name: in the C interface.
        result, arguments: their types.
    """
    try:
        return make(result, *arguments)((name, ffi.dll))  # type: ignore[no-any-return]
    except AttributeError:
        _missing.append(name)
        return ctypes.string_at  # is never called: `check` does not let it come to that


_PREFIX = "wasmtime_component_"
new_call: Final = _function(
    PYFUNCTYPE,
    f"{_PREFIX}func_call_async",
    c_void_p,  # the call
    c_void_p,  # wasmtime_component_func_t
    c_void_p,  # wasmtime_context_t
    c_void_p,  # cells of the arguments
    c_size_t,
    c_void_p,  # cell of the result
    c_size_t,
    c_void_p,  # where the address of an error is put
)
new_instantiation: Final = _function(
    PYFUNCTYPE,
    f"{_PREFIX}linker_instantiate_async",
    c_void_p,  # the call
    c_void_p,  # wasmtime_component_linker_t
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_component_t
    c_void_p,  # where the wasmtime_component_instance_t is put
    c_void_p,  # where the address of an error is put
)
poll: Final = _function(CFUNCTYPE, "wasmtime_call_future_poll", c_bool, c_void_p)
delete_call: Final = _function(PYFUNCTYPE, "wasmtime_call_future_delete", None, c_void_p)
clone: Final = _function(PYFUNCTYPE, f"{_PREFIX}val_clone", None, c_void_p, c_void_p)
delete: Final = _function(PYFUNCTYPE, f"{_PREFIX}val_delete", None, c_void_p)
new_error: Final = _function(PYFUNCTYPE, "wasmtime_error_new", c_void_p, c_char_p)
yield_on_epoch: Final = _function(
    PYFUNCTYPE, "wasmtime_context_epoch_deadline_async_yield_and_update", None, c_void_p, c_uint64
)

HOST_FUNCTION: Final = CFUNCTYPE(
    None,
    c_void_p,  # what it was defined with
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_component_func_type_t
    c_void_p,  # cells of the arguments
    c_size_t,
    c_void_p,  # cell of the result
    c_size_t,
    c_void_p,  # where the address of an error is put
    c_void_p,  # where the wasmtime_async_continuation_t is put
)
add_function: Final = _function(
    PYFUNCTYPE,
    f"{_PREFIX}linker_instance_add_func_async",
    c_void_p,  # an error
    c_void_p,  # wasmtime_component_linker_instance_t
    c_char_p,  # its name
    c_size_t,
    HOST_FUNCTION,
    c_void_p,  # what it is given
    c_void_p,  # called when it is not needed any more
)

# The same for core modules.

new_core_call: Final = _function(
    PYFUNCTYPE,
    "wasmtime_func_call_async",
    c_void_p,  # the call
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_func_t
    c_void_p,  # arguments
    c_size_t,
    c_void_p,  # results
    c_size_t,
    c_void_p,  # where the address of a trap is put
    c_void_p,  # where the address of an error is put
)
new_core_instantiation: Final = _function(
    PYFUNCTYPE,
    "wasmtime_linker_instantiate_async",
    c_void_p,  # the call
    c_void_p,  # wasmtime_linker_t
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_module_t
    c_void_p,  # where the wasmtime_instance_t is put
    c_void_p,  # where the address of a trap is put
    c_void_p,  # where the address of an error is put
)
new_trap: Final = _function(PYFUNCTYPE, "wasmtime_trap_new", c_void_p, c_char_p, c_size_t)
context_of: Final = _function(PYFUNCTYPE, "wasmtime_caller_context", c_void_p, c_void_p)
memory_data: Final = _function(PYFUNCTYPE, "wasmtime_memory_data", c_void_p, c_void_p, c_void_p)
memory_size: Final = _function(PYFUNCTYPE, "wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p)
memory_grow: Final = _function(
    PYFUNCTYPE,
    "wasmtime_memory_grow",
    c_void_p,  # an error
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_memory_t
    c_uint64,  # by how many pages
    c_void_p,  # where the number there were is put
)
get_export: Final = _function(
    PYFUNCTYPE,
    "wasmtime_instance_export_get",
    c_bool,
    c_void_p,  # wasmtime_context_t
    c_void_p,  # wasmtime_instance_t
    c_char_p,  # its name
    c_size_t,
    c_void_p,  # where the wasmtime_extern_t is put
)

CORE_FUNCTION: Final = CFUNCTYPE(
    c_size_t,  # the address of a trap
    c_void_p,  # what it was defined with
    c_void_p,  # wasmtime_caller_t
    c_void_p,  # arguments, and then results
    c_size_t,
)
WAITING_CORE_FUNCTION: Final = CFUNCTYPE(
    None,
    c_void_p,  # what it was defined with
    c_void_p,  # wasmtime_caller_t
    c_void_p,  # arguments
    c_size_t,
    c_void_p,  # results
    c_size_t,
    c_void_p,  # where the address of a trap is put
    c_void_p,  # where the wasmtime_async_continuation_t is put
)
_PLACE: Final = (c_char_p, c_size_t, c_char_p, c_size_t)  # names of module and field
new_linker: Final = _function(PYFUNCTYPE, "wasmtime_linker_new", c_void_p, c_void_p)
clone_linker: Final = _function(PYFUNCTYPE, "wasmtime_linker_clone", c_void_p, c_void_p)
delete_linker: Final = _function(PYFUNCTYPE, "wasmtime_linker_delete", None, c_void_p)
add_instance: Final = _function(
    PYFUNCTYPE,
    "wasmtime_linker_define_instance",
    c_void_p,  # an error
    c_void_p,  # wasmtime_linker_t
    c_void_p,  # wasmtime_context_t
    c_char_p,  # the name that it has as a module
    c_size_t,
    c_void_p,  # wasmtime_instance_t
)
add_core_function: Final = _function(
    PYFUNCTYPE,
    "wasmtime_linker_define_func_unchecked",
    c_void_p,  # an error
    c_void_p,  # wasmtime_linker_t
    *_PLACE,
    c_void_p,  # wasm_functype_t
    CORE_FUNCTION,
    c_void_p,  # what it is given
    c_void_p,  # called when it is not needed any more
)
add_waiting_core_function: Final = _function(
    PYFUNCTYPE,
    "wasmtime_linker_define_async_func",
    c_void_p,  # an error
    c_void_p,  # wasmtime_linker_t
    *_PLACE,
    c_void_p,  # wasm_functype_t
    WAITING_CORE_FUNCTION,
    c_void_p,  # what it is given
    c_void_p,  # called when it is not needed any more
)

# A host function's continuation is asked, whenever the call is polled, whether it may go on: a C function
# from an address to a boolean. `strlen` is one, for a text of one character or none: so no callback into
# Python is needed for what the host knows already.
ready: Final = ctypes.cast(ctypes.CDLL(None).strlen, c_void_p).value or 0


def address_of(pointer: Any) -> int:
    """Where a pointer of wasmtime-py's leads to; its owner must be held while that is used."""
    return ctypes.cast(pointer, c_void_p).value or 0


def address_of_struct(raw: ctypes.Structure) -> int:
    """Where a structure lies; it must be held while that is used."""
    return ctypes.addressof(raw)


def take_error(address: int) -> wasmtime.WasmtimeError:
    """An error of wasmtime's as an exception, which frees it."""
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasmtime_error_t)))


def check_error(address: int | None) -> None:
    """Raises an error of wasmtime's, if there is one."""
    if address:
        raise take_error(address)


def text(value: str) -> tuple[bytes, int]:
    """A text as two arguments."""
    encoded = value.encode()
    return encoded, len(encoded)


def take_trap(address: int) -> wasmtime.WasmtimeError:
    """A trap of core code as the same exception as that of a component, and frees it."""
    trap = wasmtime.Trap._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasm_trap_t)))
    return wasmtime.WasmtimeError(str(trap))


def check() -> str | None:
    """Tells in a sentence why this interpreter or this wasmtime does not fit; None if both do.

    `THEATER_STOCK_WASM=1` in the environment makes nothing fit, for tests and for finding faults.
    """
    if os.environ.get("THEATER_STOCK_WASM") == "1":
        return "THEATER_STOCK_WASM is set"
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 14):
        # From 3.14 the interpreter measures how much of a thread's stack is left, and does not know others.
        return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]} is not supported"
    if sys.byteorder != "little" or sys.maxsize != (1 << 63) - 1:
        return "the machine is not one of 64 bits, the least significant first"
    if _missing:
        return f"wasmtime lacks {', '.join(_missing)}"
    probe = b"some bytes"
    if ctypes.string_at(id(probe) + BYTES_HEADER, len(probe)) != probe:
        return "bytes objects lie in memory in another way"
    cell, field = ffi.wasmtime_component_val_t, ffi.wasmtime_component_valrecord_entry
    sizes = (ctypes.sizeof(cell), cell.of.offset, ctypes.sizeof(field), field.val.offset)
    if sizes != (CELL, 8, FIELD, 16):
        return f"wasmtime's values lie in memory in another way: {sizes}"
    return None if _probe() else "wasmtime's values lie in memory in another way"


def _probe() -> bool:
    """Whether wasmtime copies a value written as `lowering` does into one that reads as in `lifting`."""
    name, text, copy = b"name", b"text", bytes(CELL)
    cells = bytes(3 * CELL)
    start, result = id(cells) + BYTES_HEADER, id(copy) + BYTES_HEADER
    write_2(MEMORY, start, KIND_LIST, 1, start + CELL)
    write_3(MEMORY, start + CELL, KIND_VARIANT, len(name), id(name) + BYTES_HEADER, start + 2 * CELL)
    write_2(MEMORY, start + 2 * CELL, KIND_STRING, len(text), id(text) + BYTES_HEADER)
    clone(start, result)
    try:
        kinds = [MEM[result]]
        size, item, _ = read_cell(MEMORY, result)
        if size != 1:
            return False
        kinds.append(MEM[item])
        size, address, payload = read_cell(MEMORY, item)
        texts = [MEM[address : address + size]]
        kinds.append(MEM[payload])
        size, address, _ = read_cell(MEMORY, payload)
        texts.append(MEM[address : address + size])
        return b"".join(kinds) == bytes((KIND_LIST, KIND_VARIANT, KIND_STRING)) and texts == [name, text]
    finally:
        delete(result)
