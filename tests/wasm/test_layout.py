"""The self-check of what the converters rely on."""

import ctypes
import sys

import pytest
from wasmtime import _ffi as ffi

from theater.wasm import layout


def test_this_machine_fits() -> None:
    assert layout.check() is None


def test_the_environment_can_say_that_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEATER_STOCK_WASM", "1")
    assert layout.check() == "THEATER_STOCK_WASM is set"


def test_an_interpreter_that_measures_stacks_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert layout.check() == "cpython 3.14 is not supported"


def test_a_wasmtime_that_lacks_a_function_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_missing", [])
    layout._function(ctypes.CFUNCTYPE, "wasmtime_component_dance", None)
    assert layout.check() == "wasmtime lacks wasmtime_component_dance"


def test_other_structures_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(ctypes.Structure):
        _fields_ = (("kind", ctypes.c_uint64), ("of", ctypes.c_uint64 * 4))

    monkeypatch.setattr(ffi, "wasmtime_component_val_t", Wider)
    assert layout.check() == "wasmtime's values lie in memory in another way: (40, 8, 48, 16)"


def test_other_kinds_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # What was a text is a list, as if the numbers had moved.
    monkeypatch.setattr(layout, "KIND_STRING", layout.KIND_LIST)
    monkeypatch.setattr(layout, "clone", lambda source, target: None)
    monkeypatch.setattr(layout, "delete", lambda cell: None)
    assert layout.check() == "wasmtime's values lie in memory in another way"


def test_a_bytes_object_is_found_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "BYTES_HEADER", layout.BYTES_HEADER + 1)
    assert layout.check() == "bytes objects lie in memory in another way"


def test_ready_is_a_flag() -> None:
    ready = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(layout.ready)
    flag = ctypes.c_uint64(0)
    assert not ready(ctypes.addressof(flag))
    flag.value = 1
    assert ready(ctypes.addressof(flag))
