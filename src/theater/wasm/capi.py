"""wasmtime's C interface, as far as its Python package does not have it: calls on stacks of their own.

Others here call it, and read and write the memory of guests themselves. `check` tells whether they can; if
not, `stock` stands in.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, PYFUNCTYPE, byref, c_bool, c_char_p, c_size_t, c_uint64, c_void_p
from functools import partial
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi

# All the addresses there are, as one array: MEM[a:b] is a copy of what lies there as bytes, three times
# as fast as ctypes.string_at. MEMORY is the same for pack_into and unpack_from.
MEM: Final[Any] = (ctypes.c_char * ((1 << 56) - 1)).from_address(0)
MEMORY: Final = memoryview(MEM)

BYTES_HEADER: Final = bytes.__basicsize__ - 1
"""Where the contents of a `bytes` object lie, from its `id`: what spares a call for the address. A `bytes`
object that nobody else has seen yet is also what wasmtime writes into."""

write_word: Final = struct.Struct("<Q").pack_into

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


poll: Final = _function(CFUNCTYPE, "wasmtime_call_future_poll", c_bool, c_void_p)
delete_call: Final = _function(PYFUNCTYPE, "wasmtime_call_future_delete", None, c_void_p)
increment_epoch: Final = _function(PYFUNCTYPE, "wasmtime_engine_increment_epoch", None, c_void_p)
yield_on_epoch: Final = _function(
    PYFUNCTYPE, "wasmtime_context_epoch_deadline_async_yield_and_update", None, c_void_p, c_uint64
)

# Without the types of its arguments; see `core_call`.
_new_core_call: Final = _function(PYFUNCTYPE, "wasmtime_func_call_async", c_void_p)
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
    return ctypes.addressof(pointer.contents)


def address_of_struct(raw: ctypes.Structure) -> int:
    """Where a structure lies; it must be held while that is used."""
    return ctypes.addressof(raw)


def take_error(address: int) -> wasmtime.WasmtimeError:
    """An error of wasmtime's as an exception, which frees it."""
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasmtime_error_t)))


def core_call(context: int, function: ffi.wasmtime_func_t, trap: int, error: int) -> Callable[[], int]:
    """What begins a call of a core function without parameters and results, and returns its address.

    All its arguments are converted here, once, which spares a third of a call's time.

    Args:
        context: address of the wasmtime_context_t.
        function: is held for as long as what is returned.
        trap, error: where the address of a trap or an error is put.
    """
    address, size = c_void_p.from_param, c_size_t.from_param
    none = address(None), size(0)
    return partial(
        _new_core_call, address(context), byref(function), *none, *none, address(trap), address(error)
    )


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
    return None
