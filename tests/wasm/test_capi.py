"""The self-check of what the converters rely on."""

import ctypes
import sys

import pytest

from theater.wasm import capi


def test_this_machine_fits() -> None:
    assert capi.check() is None


def test_the_environment_can_say_that_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEATER_STOCK_WASM", "1")
    assert capi.check() == "THEATER_STOCK_WASM is set"


def test_an_interpreter_that_measures_stacks_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert capi.check() == "cpython 3.14 is not supported"


def test_a_wasmtime_that_lacks_a_function_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi, "_missing", [])
    capi._function(ctypes.CFUNCTYPE, "wasmtime_component_dance", None)
    assert capi.check() == "wasmtime lacks wasmtime_component_dance"


def test_a_bytes_object_is_found_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi, "BYTES_HEADER", capi.BYTES_HEADER + 1)
    assert capi.check() == "bytes objects lie in memory in another way"


def test_ready_is_a_flag() -> None:
    ready = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(capi.ready)
    flag = ctypes.c_uint64(0)
    assert not ready(ctypes.addressof(flag))
    flag.value = 1
    assert ready(ctypes.addressof(flag))
