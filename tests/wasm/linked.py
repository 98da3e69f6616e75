"""Core modules that run by a plan, and the parts of small components."""

from typing import Any

import pytest
import wasmtime

from theater.wasm.binary import read
from theater.wasm.contracts import V0_2
from theater.wasm.plan import Export, Lifted, Plan, Step
from theater.wasm.sections import Unsupported
from theater.wasm.wat import assemble

OURS = "theater:websocket"


class Linked:
    """The core instances of a plan. The host answers all that they ask with zeros."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.asked: list[str] = []
        config = wasmtime.Config()
        config.cranelift_opt_level = "none"  # compiles in half the time
        engine = wasmtime.Engine(config)
        modules = [wasmtime.Module(engine, each) for each in plan.modules]
        self.store = wasmtime.Store(engine)
        self.instances: list[Any] = []
        for step in plan.steps:
            module = modules[step.module]
            assert len(module.imports) == len(step.imports)
            items = [self._source(step, each) for each in module.imports]
            self.instances.append(wasmtime.Instance(self.store, module, items).exports(self.store))

    def _source(self, step: Step, wanted: Any) -> Any:
        source = step.imports[wanted.module, wanted.name]
        if isinstance(source, Export):
            return self[source]

        result = V0_2.imports[source.interface][source.function].result

        def answer(*arguments: int) -> int | None:
            self.asked.append(source.function)
            if wanted.type.results:
                return 0
            if result is not None:  # it goes where the last argument points to
                assert source.memory is not None
                self[source.memory].write(self.store, bytes(16), arguments[-1])
            return None

        return wasmtime.Func(self.store, wanted.type, answer)

    def __getitem__(self, export: Export) -> Any:
        return self.instances[export.instance][export.name]

    def echo(self, text: str) -> str:
        """The one message, a text, that `handle-websocket` of contract 0.2.0 answers with."""
        handler = self.plan.exports["websocket-actor", "handle-websocket"]
        result = self[handler.function](self.store, 7, 1, 0, self.give(handler, text), len(text))
        failed, messages, count = (self.word(handler, result + offset) for offset in (0, 4, 8))
        assert (failed & 0xFF, count, self.word(handler, messages) & 0xFF) == (0, 1, 0)
        return self.finish(handler, result, messages + 4)

    def send(self, text: str) -> str:
        """The text that `handle-message` answers another actor with."""
        handler = self.plan.exports["message-actor", "handle-message"]
        message, kind, key = (self.give(handler, each) for each in (text, "type", "key"))
        result = self[handler.function](self.store, 0, message, len(text), kind, 4, key, 3)
        failed, some, case = (self.word(handler, result + offset) & 0xFF for offset in (0, 4, 8))
        assert (failed, some, case) == (0, 1, 0)
        return self.finish(handler, result, result + 12)

    def init(self) -> None:
        init = self.plan.exports["lifecycle", "init"]
        result = self[init.function](self.store)
        assert self.memory(init, result, 1) == b"\0"
        assert init.post_return is not None
        self[init.post_return](self.store, result)

    def finish(self, handler: Lifted, result: int, text: int) -> str:
        """Takes a text out of a result, which is given up then."""
        taken = self.take(handler, text)
        assert handler.post_return is not None
        self[handler.post_return](self.store, result)
        return taken

    def give(self, handler: Lifted, text: str) -> int:
        """Puts a text into the guest's memory."""
        assert handler.memory is not None
        assert handler.realloc is not None
        at = self[handler.realloc](self.store, 0, 0, 1, len(text))
        self[handler.memory].write(self.store, text.encode(), at)
        return int(at)

    def take(self, handler: Lifted, place: int) -> str:
        """Reads a text from there."""
        at, length = self.word(handler, place), self.word(handler, place + 4)
        return self.memory(handler, at, length).decode()

    def word(self, handler: Lifted, at: int) -> int:
        return int.from_bytes(self.memory(handler, at, 4), "little")

    def memory(self, handler: Lifted, at: int, length: int) -> bytes:
        assert handler.memory is not None
        return bytes(self[handler.memory].read(self.store, at, at + length))


def unsupported(component: bytes | str) -> str:
    with pytest.raises(Unsupported) as error:
        read(component if isinstance(component, bytes) else assemble(f"(component {component})"))
    return str(error.value)


# Parts of a component in text

MODULE = """
  (core module $m
    (memory (export "memory") 1)
    (func (export "init") (result i32) (i32.const 4))
    (func (export "stop") (result i32) unreachable)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "after") (param i32)))
"""
INSTANCE = '(core instance $i (instantiate $m)) (alias core export $i "memory" (core memory $memory))'
TYPE = "(type $init (func (result (result (error string)))))"
LIFT = f"""{TYPE}
  (func $init (type $init) (canon lift (core func $i "init") (memory $memory)))
  (instance $lifecycle (export "init" (func $init)))
"""
EXPORT = f'(export "{OURS}/lifecycle@0.2.0" (instance $lifecycle))'
HOST = f'(import "{OURS}/host@0.2.0" (instance $host (export "now" (func (result f64)))))'
INIT = Lifted(Export(0, "init"), Export(0, "memory"), None, None)


def component(*parts: str) -> Plan:
    return read(assemble(f"(component {' '.join(parts)})"))
