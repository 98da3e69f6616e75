"""A host for components that has nothing of Theater: wasmtime's own interface, and a list of all calls."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, Variant

from theater.build.wit import Version, contract


class Case(NamedTuple):
    """A case of a variant, where the class of its payload does not tell which one it is."""

    name: str
    payload: Any = None


DEFAULTS: Mapping[str, Any] = {
    "get-waiting": 0,
    "get-tags": [],
    "get-connections": [],
    "get-address": {"type": "actor", "key": ""},
    "now": 0.0,
    "monotonic": 0.0,
    "random": b"",
}


class Host:
    """An instance of a component, and what it asked of its host. Records are dicts.

    Args:
        binary: the component.
        answers: what functions of the host return, by name; nothing, if left out.
        version: of the contract.
        memory: bytes that the instance may have.

    Attributes:
        calls: of the host's functions, in order: name and arguments.
    """

    def __init__(
        self,
        binary: bytes,
        answers: Mapping[str, Any] | None = None,
        version: Version = "0.2.0",
        memory: int = 64 * 1024 * 1024,
    ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = {**DEFAULTS, **(answers or {})}
        self._package = contract(version)
        engine = Engine()
        self._store = Store(engine)
        self._store.set_limits(memory_size=memory)
        linker = Linker(engine)
        with linker.root() as root:
            for interface in self._package.imports:
                with root.add_instance(self._package.qualified(interface)) as instance:
                    for name in self._package.interfaces[interface].functions:
                        instance.add_func(name, self._function(name))
        self._instance = linker.instantiate(self._store, Component(engine, binary))

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a handler."""
        for interface in self._package.exports:
            place = self._instance.get_export_index(self._store, self._package.qualified(interface))
            found = place and self._instance.get_export_index(self._store, name, place)
            if found:
                function = self._instance.get_func(self._store, found)
                assert function is not None
                result = _lowered(function(self._store, *map(_raised, arguments)))
                function.post_return(self._store)
                return result
        raise LookupError(name)

    def _function(self, name: str) -> Any:
        def function(store: Any, *arguments: Any) -> Any:
            self.calls.append((name, *map(_lowered, arguments)))
            return _raised(self._answers.get(name))

        return function


def _raised(value: Any) -> Any:
    match value:
        case Case(name, payload):
            return Variant(name, _raised(payload))
        case dict():
            record = Record()
            vars(record).update((name, _raised(each)) for name, each in value.items())
            return record
        case list():
            return [_raised(each) for each in value]
        case tuple():
            return tuple(map(_raised, value))
    return value


def _lowered(value: Any) -> Any:
    match value:
        case Variant():
            return Case(value.tag, _lowered(value.payload))
        case Record():
            return {name: _lowered(each) for name, each in vars(value).items()}
        case list():
            return [_lowered(each) for each in value]
        case tuple():
            return tuple(map(_lowered, value))
    return value
