"""Bytes as digits: every function of the contract, as one that is called and as one that calls."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import make_dataclass
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wasm import guests
from tests.wasm.crossing import MEMORY, Types, engine, finish, flat
from wasmtime.component import Component, ComponentInstanceType, Linker

from theater.wasm import callbacks, calls
from theater.wasm.adapter import adapt
from theater.wasm.calls import BoundFunction, FunctionPlan, Pending, Registry
from theater.wasm.component import inspect
from theater.wasm.contracts import V0_1, V0_2, Contract
from theater.wasm.packing import FULL
from theater.wasm.shapes import (
    BOOL,
    BYTES,
    DIGITS,
    F64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Adapted,
    Case,
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
    with_digits,
)

MIB = 1024 * 1024
LIMIT = 64 * MIB


def passes_on(shape: FunctionShape) -> str:
    """A component whose function `g` hands its arguments to the host's `f`, and returns its answer.

    It uses no more memory than for one call.
    """
    types = Types()
    parameters = [types.write(each) for each in shape.parameters]
    result = "" if shape.result is None else f"(result {types.write(shape.result)})"
    kind = " ".join([*(f'(param "p{n}" {each})' for n, each in enumerate(parameters)), result])
    cores = [core for each in shape.parameters for core in flat(each)]
    cores = ["i32"] if len(cores) > 16 else cores
    results = flat(shape.result)
    arguments = " ".join(f"(local.get {place})" for place in range(len(cores)))
    if len(results) > 1:
        core, given, body = f"(param {' '.join(cores)} i32)", "i32", f"{arguments} (i32.const 64)"
        body = f"(call $f {body}) (i32.const 64)"
    else:
        given = " ".join(results)
        core, body = f"(param {' '.join(cores)}) (result {given})", f"(call $f {arguments})"
    names = [f"t{number}" for number in range(len(types.lines))]
    lines = " ".join(types.lines)
    return f"""(component
      (import "host" (instance $host {lines.replace('(import "t', '(export "t')}
        (export "f" (func {kind}))))
      {" ".join(f'(alias export $host "{name}" (type ${name}))' for name in names)}
      (core module $memory {MEMORY})
      (core instance $memory (instantiate $memory))
      (alias core export $memory "memory" (core memory $mem))
      (alias core export $memory "realloc" (core func $realloc))
      (core func $f (canon lower (func $host "f") (memory $mem) (realloc $realloc)))
      (core module $m (import "h" "f" (func $f {core})) (import "m" "reset" (func $reset))
        (func (export "g") (param {" ".join(cores)}) (result {given}) {body})
        (func (export "after") (param {given}) (call $reset)))
      (core instance $i (instantiate $m
        (with "h" (instance (export "f" (func $f)))) (with "m" (instance $memory))))
      (func $g {kind}
        (canon lift (core func $i "g") (memory $mem) (realloc $realloc) (post-return (core func $i "after"))))
      (instance $guest {" ".join(f'(export "{name}" (type ${name}))' for name in names)}
        (export "g" (func $g)))
      (export "guest" (instance $guest)))"""


class Passing:
    """An instance of such a component, adapted, in a store of its own.

    Args:
        shape: of its functions.
        memory: bytes that each of its memories may have.
    """

    def __init__(self, shape: FunctionShape, memory: int = 256 * MIB, max_value: int = LIMIT) -> None:
        self.seen: list[object] = []
        self.answer: Callable[[], Any] = lambda: None
        code = bytes(wasmtime.wat2wasm(passes_on(shape)))
        imports, exports = boundary(Component(engine(), code))
        component = Component(engine(), adapt(code, imports, exports))
        imports, exports = boundary(component)
        changed = FunctionShape(
            tuple(map(with_digits, shape.parameters)), shape.result and with_digits(shape.result)
        )
        self._store = wasmtime.Store(engine())
        self._store.set_limits(memory_size=memory)
        self._store.set_epoch_deadline(1)
        calls.yield_on_epoch(self._store, 1)
        linker = Linker(engine())
        self._registry = Registry()
        host = callbacks.HostFunction(changed, self._f, waits=True)
        with linker.root() as root, root.add_instance("host") as linked:
            callbacks.define(linked, "f", imports["host"]["f"], host, self._registry, max_value)
        context = self._registry.add(self._store, None)
        instance = finish(calls.instantiate(linker, context, component))
        index = component.get_export_index("g", component.get_export_index("guest"))
        assert index is not None
        func = instance.get_func(self._store, index)
        plan = FunctionPlan(exports["guest"]["g"], changed, max_value)
        self.g = BoundFunction(plan, context, func)

    def _f(self, owner: None, *arguments: object) -> Any:
        self.seen.append(arguments)
        return self.answer()

    def run(self, arguments: Iterable[object], answer: object) -> tuple[object, object]:
        """What the host is given, and what comes back."""
        self.answer = lambda: answer
        result = self.g.run(*arguments)
        return self.seen.pop(), result


def boundary(component: Component) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The items of what a component imports and exports."""
    both = component.type.imports(engine()), component.type.exports(engine())
    found = [{name: _items(extern.ty) for name, extern in externs.items()} for externs in both]
    return found[0], found[1]


def _items(type: object) -> dict[str, Any]:
    if not isinstance(type, ComponentInstanceType):
        return {}  # a type of its own
    return {name: item.ty for name, item in type.exports(engine()).items()}


# Values of all shapes


def plain(shape: Shape) -> Shape:
    """The same type, with classes that take every value."""
    match shape:
        case ListOf(item):
            return ListOf(plain(item))
        case OptionOf(item):
            return OptionOf(plain(item))
        case TupleOf(items):
            return TupleOf(tuple(map(plain, items)))
        case ResultOf(ok, error):
            return ResultOf(ok and plain(ok), error and plain(error))
        case RecordOf(_, fields):
            names = [field.attribute for field in fields]
            return RecordOf(
                lambda *values: SimpleNamespace(**dict(zip(names, values, strict=True))),
                tuple(field._replace(shape=plain(field.shape)) for field in fields),
            )
        case VariantOf(cases):
            return VariantOf(tuple(map(_plain_case, cases)))
        case Adapted(inner):
            return plain(inner)
        case _:
            return shape


def _plain_case(case: Case) -> Case:
    name = case.name.title().replace("-", "")
    if case.shape is None:
        return Case(case.name, make_dataclass(name, []))
    return Case(case.name, make_dataclass(name, ["payload"]), plain(case.shape), attrgetter("payload"))


SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    U8: st.integers(0, 2**8 - 1),
    U16: st.integers(0, 2**16 - 1),
    U32: st.integers(0, 2**32 - 1),
    U64: st.integers(0, 2**64 - 1),
    F64: st.floats(allow_nan=False),
    STRING: st.text(max_size=40),
    BYTES: st.binary(max_size=80),
}


def values(shape: Shape | None) -> st.SearchStrategy[Any]:
    match shape:
        case None:
            return st.none()
        case Scalar():
            return SCALARS[shape]
        case ListOf(item):
            return st.lists(values(item), max_size=4)
        case OptionOf(item):
            return st.none() | values(item)
        case TupleOf(items):
            return st.tuples(*map(values, items))
        case ResultOf(ok, error):
            return values(ok) | values(error).map(Failure)
        case RecordOf(make, fields):
            return st.builds(make, *(values(field.shape) for field in fields))
        case VariantOf(cases):
            payloads = ([values(case.shape)] if case.shape else [] for case in cases)
            return st.one_of([st.builds(case.cls, *each) for case, each in zip(cases, payloads, strict=True)])
        case EnumOf(names):
            return st.sampled_from(names)
        case _:
            raise AssertionError(shape)


def functions() -> Iterable[Any]:
    for contract in (V0_1, V0_2):
        for interfaces in (contract.imports, contract.exports):
            for interface, found in interfaces.items():
                for name, shape in found.items():
                    yield pytest.param(shape, id=f"{contract.version}-{interface}-{name}")


class TestEveryFunction:
    @pytest.mark.parametrize("shape", [*functions()])
    def test_values_cross_in_both_directions(self, shape: FunctionShape) -> None:
        shape = FunctionShape(tuple(map(plain, shape.parameters)), shape.result and plain(shape.result))
        passing = Passing(shape)

        @settings(max_examples=40, deadline=None)
        @given(arguments=st.tuples(*map(values, shape.parameters)), answer=values(shape.result))
        def cross(arguments: tuple[object, ...], answer: object) -> None:
            assert passing.run(arguments, answer) == (arguments, answer)

        cross()

    def test_more_parameters_than_core_values(self) -> None:
        shape = FunctionShape((*([BYTES] * 9), U8, ListOf(BYTES)), TupleOf((U8, BYTES, U64, BYTES)))
        arguments = (*(bytes([n]) * n for n in range(9)), 7, [b"a", b"", b"bc"])
        answer = (1, b"xyz", 2, b"")
        assert Passing(shape).run(arguments, answer) == (arguments, answer)

    def test_results_that_are_core_values(self) -> None:
        assert Passing(FunctionShape((BYTES,), U64)).run((b"abc",), 2**63) == ((b"abc",), 2**63)
        assert Passing(FunctionShape((BYTES,), F64)).run((b"abc",), 0.5) == ((b"abc",), 0.5)
        assert Passing(FunctionShape((BYTES,), None)).run((b"abc",), None) == ((b"abc",), None)

    def test_cases_that_share_core_values_with_wider_ones(self) -> None:
        class Wide(make_dataclass("Wide", ["payload"])): ...  # type: ignore[misc]

        class Deep(make_dataclass("Deep", ["payload"])): ...  # type: ignore[misc]

        get = attrgetter("payload")
        kinds = (Case("a", Wide, TupleOf((U64, U64, F64)), get), Case("b", Deep, OptionOf(BYTES), get))
        shape = VariantOf(kinds)
        passing = Passing(FunctionShape((shape,), shape))
        for value in (Wide((2**64 - 1, 1, 0.5)), Deep(b"\0\xff" * 50), Deep(b""), Deep(None)):
            assert passing.run((value,), value) == ((value,), value)


class TestSizes:
    @pytest.mark.parametrize("size", [*range(66), 1_000, 65_535, 65_536, MIB, 16 * MIB])
    def test_all_bytes_arrive(self, size: int) -> None:
        data, other = os.urandom(size), os.urandom(size)
        assert echo().run((data,), other) == ((data,), other)

    def test_every_byte_in_every_place(self) -> None:
        for byte in range(256):
            data = bytes((byte, 0, 255 - byte)) * 7
            assert echo().run((data,), data) == ((data,), data)

    def test_several_at_once(self) -> None:
        items = [os.urandom(size) for size in (0, 1, 15, 16, 17, 1_000, 70_000, 0, 33)]
        passing = Passing(FunctionShape((ListOf(BYTES), STRING), ListOf(TupleOf((BYTES, STRING)))))
        answer = [(each, "ä" * len(each)) for each in items]
        assert passing.run((items, "text"), answer) == ((items, "text"), answer)

    def test_anything_with_the_buffer_protocol(self) -> None:
        for data in (bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aXbXcX")[::2]):
            assert echo().run((data,), b"") == ((b"abc",), b"")

    @pytest.mark.parametrize("data", ["text", 5, None])
    def test_nothing_else(self, data: object) -> None:
        with pytest.raises(TypeError):
            echo().run((data,), b"")
        assert echo().run((b"x",), b"y") == ((b"x",), b"y")


def echo() -> Passing:
    return _ECHO


_ECHO = Passing(FunctionShape((BYTES,), BYTES))


class TestMemory:
    def test_does_not_grow(self) -> None:
        shape = FunctionShape((ListOf(BYTES), OptionOf(STRING)), ResultOf(ListOf(BYTES), STRING))
        passing = Passing(shape, memory=2 * MIB)
        data, text = [b"x" * 10_000] * 3, "y" * 10_000
        for _ in range(10_000):
            passing.run((data, text), data)
            passing.run(([], None), Failure(text))

    def test_what_one_message_needs(self) -> None:
        """Its digits, and a little; as long as it is the only one."""
        size = MIB
        passing = Passing(FunctionShape((BYTES,), BYTES), memory=2 * size + 65_536)
        assert passing.run((b"x" * size,), b"y" * size) == ((b"x" * size,), b"y" * size)
        with pytest.raises(wasmtime.WasmtimeError, match=FULL):
            passing.run((b"x" * (size + 65_536),), b"")

    def test_too_large_for_the_host(self) -> None:
        passing = Passing(FunctionShape((BYTES,), BYTES), max_value=1_000)
        assert passing.run((b"x" * 1_000,), b"y" * 1_000) == ((b"x" * 1_000,), b"y" * 1_000)
        with pytest.raises(ValueTooLarge, match="at least 1001 bytes"):
            passing.run((b"",), b"x" * 1_001)
        with pytest.raises(ValueTooLarge, match="at least 1001 bytes"):
            passing.run((b"x" * 1_001,), b"")


class TestWaiting:
    def pending(self, passing: Passing, data: bytes, waits: Awaitable[bytes]) -> Pending:
        passing.answer = lambda: waits
        call = passing.g.run(data)
        assert isinstance(call, Pending)
        assert call.waiting is waits
        return call

    async def test_while_others_are_called(self) -> None:
        passings = [Passing(FunctionShape((BYTES,), BYTES)) for _ in range(3)]
        for _ in range(3):
            begun = []
            for number, passing in enumerate(passings):
                answer = asyncio.get_running_loop().create_future()
                begun.append(self.pending(passing, bytes([number]) * 70_000, answer))
            assert echo().run((b"a" * 100_000,), b"b") == ((b"a" * 100_000,), b"b")
            for number, (passing, call) in enumerate(zip(passings, begun, strict=True)):
                assert passing.seen.pop() == (bytes([number]) * 70_000,)
                call.resume(bytes([number + 1]) * 90_000)
                assert call.poll()
                assert call.result() == bytes([number + 1]) * 90_000
                call.drop()

    async def test_for_nothing(self) -> None:
        passing = Passing(FunctionShape((BYTES,), BYTES))
        call = self.pending(passing, b"x", asyncio.get_running_loop().create_future())
        call.fail(KeyError("gone"))
        with pytest.raises(KeyError, match="gone"):
            call.poll()
        call.drop()


def test_what_the_host_raises_comes_out() -> None:
    passing = Passing(FunctionShape((BYTES,), BYTES))

    def fail() -> None:
        raise KeyError("no")

    passing.answer = fail
    with pytest.raises(KeyError, match="no"):
        passing.g.run(b"x")
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter"):
        passing.g.run(b"x")


# Components


@pytest.mark.parametrize("contract", [V0_1, V0_2], ids=["0.1.0", "0.2.0"])
def test_contracts_differ_in_bytes_only(contract: Contract) -> None:
    changed = contract.with_digits()
    assert str(changed).replace("digits=True", "digits=False").replace("'string'", "'list<u8>'") == str(
        contract
    ).replace("'string'", "'list<u8>'")
    assert str(BYTES) not in str(changed)
    assert str(DIGITS) not in str(contract)


@pytest.mark.parametrize(
    "guest",
    [
        guests.echo(),
        guests.echo_0_1_0(),
        guests.asker(),
        guests.answerer(),
        guests.counter(),
        *(guests.hostile(where, what) for where, what in guests.all_hostile()),
    ],
)
def test_components_keep_their_interfaces(guest: bytes) -> None:
    plain, adapted = inspect(guest), inspect(guest, adapted=True)
    assert adapted.contract is plain.contract
    assert adapted.size == plain.size
    assert plain.shapes is plain.contract
    for found, expected in ((adapted.exports, plain.exports), (adapted.imports, plain.imports)):
        assert {name: list(items) for name, items in found.items()} == {
            name: list(items) for name, items in expected.items()
        }


def test_interfaces_without_bytes_stay_as_they_are() -> None:
    code = guests.hostile("init", "error")
    found = inspect(code, adapted=True)
    assert list(found.exports) == ["lifecycle", "websocket-actor"]
