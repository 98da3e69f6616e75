"""The core code between host and guest, in WebAssembly's text format.

What the host hands over lies in staging memory, which `canonical` describes. The glue asks the guest for
memory, copies it there, and only then calls the guest's function, or returns to it. So a call of a guest is
one call of core code, whatever it takes with it, and a function of the host has neither core parameters nor
core results: its arguments and its result are words in the slots, too.

A guest is given functions of the host before all of it is there, and can be called only after that. So there
is a module of glue before each of its modules that imports such functions, and one behind them all.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from theater.wasm.canonical import COUNT, FIRST, HEAD, HELD, PAGES, ROOM, SLOTS, WORD, signature, size_align
from theater.wasm.plan import Export, Lifted, Lowered
from theater.wasm.shapes import FunctionShape
from theater.wasm.wat import CoreFunction

HOST: Final = "host"
STAGING: Final = "staging"
"""Modules that the glue imports from. A core instance of the guest has the number of its step as its name."""

MEMORY: Final = "memory"
DELIVER: Final = "deliver"

STAGING_TEXT: Final = f"""(module
  (memory (export "{MEMORY}") 1)
  (global (export "closed") (mut i32) (i32.const 0)))"""
"""The module of staging memory. Its global is 1 while the guest may not call the host: while it allocates or
cleans up. It traps then, as the canonical ABI has it."""

REALLOC: Final = CoreFunction(("i32",) * 4, ("i32",))
"""Of `cabi_realloc`: where something is, its size, its alignment, and its new size; where it is then."""

_IMPORTED: Final = f"""(import "{STAGING}" "{MEMORY}" (memory $staging 1))
(import "{STAGING}" "closed" (global $closed (mut i32)))
(import "{HOST}" "{DELIVER}" (func $deliver))"""

_TO_WORD: Final = {"i32": "(i64.extend_i32_u {})", "i64": "{}", "f64": "(i64.reinterpret_f64 {})"}
_FROM_WORD: Final = {"i32": "(i32.wrap_i64 {})", "i64": "{}", "f64": "(f64.reinterpret_i64 {})"}


def symbol(interface: str, function: str) -> str:
    """The name of a function: of the host where the glue imports it, of the guest where it exports it."""
    return f"{interface}#{function}"


def lowered_glue(functions: Sequence[tuple[Lowered, FunctionShape]]) -> str:
    """A module that exports functions of the host as the guest imports them, by their numbers."""
    module = _Module(each.memory for each, _ in functions)
    for number, (each, shape) in enumerate(functions):
        name = symbol(each.interface, each.function)
        module.imports.append(f'(import "{HOST}" "{name}" (func $host{number}))')
        module.functions.append(f'(func (export "{number}") {_lowered(number, shape, each.realloc, module)})')
    return module.text()


def lifted_glue(functions: Mapping[tuple[str, str], tuple[Lifted, FunctionShape]]) -> str:
    """A module that exports what calls the functions of the guest, by `symbol`.

    It takes words in the slots, and leaves one there. What cleans up behind a call runs at the next one.
    """
    module = _Module(each.memory for each, _ in functions.values())
    cleaning = []
    for number, (name, (each, shape)) in enumerate(functions.items()):
        core = signature(shape, lowered=False).core
        module.take(f"call{number}", each.function, core)
        if each.post_return is not None:
            after = CoreFunction(core.results, ())
            module.take(f"after{number}", each.post_return, after)
            cleaning.append(_if_due(number, after))
        text = _lifted(number, shape, each, module)
        module.functions.append(f'(func (export "{symbol(*name)}") {text})')
    module.functions.append(_CLEAN_UP.format("\n".join(cleaning)))
    return module.text()


class _Module:
    """A module in the making.

    Args:
        memories: of the guest, which all are the same one, if there is any.
    """

    def __init__(self, memories: Iterable[Export | None]) -> None:
        self.imports: list[str] = [_IMPORTED]
        self.functions: list[str] = []
        self._givers: dict[Export, str] = {}
        memory = next(filter(None, memories), None)
        self._has_memory = memory is not None
        if memory is not None:
            self.imports.append(f"(import {_place(memory)} (memory $guest 0))")

    def take(self, name: str, source: Export, core: CoreFunction) -> None:
        """Imports a function of the guest, to be called by that name."""
        self.imports.append(f"(import {_place(source)} (func ${name} {_type(core)}))")

    def give(self, realloc: Export | None) -> str:
        """Code that hands over the blocks in staging memory, if the guest has what allocates them."""
        if realloc is None:
            return ""
        if realloc not in self._givers:
            name = f"realloc{len(self._givers)}"
            self._givers[realloc] = name
            self.take(name, realloc, REALLOC)
            self.functions.append(_GIVE.format(name=name))
        return f"(call $give-{self._givers[realloc]})"

    def measure(self) -> str:
        """Code that tells the host how large the guest's memory is."""
        return _MEASURE if self._has_memory else ""

    def text(self) -> str:
        return "\n".join(("(module", *self.imports, _RESULT, *self.functions, ")"))


def _place(source: Export) -> str:
    """Where something is imported from. Guests may use any name, and a text cannot have all of them."""
    name = "".join(map(r"\{:02x}".format, source.name.encode()))
    return f'"{source.instance}" "{name}"'


def _type(core: CoreFunction) -> str:
    return f"(param {' '.join(core.parameters)}) (result {' '.join(core.results)})"


_MEASURE: Final = f"(i32.store $staging offset={PAGES} (i32.const 0) (memory.size $guest))"
_RESULT: Final = """(global $due (mut i32) (i32.const 0))
(global $result (mut i64) (i64.const 0))"""


def _set_word(place: int, type: str, value: str) -> str:
    word = _TO_WORD[type].format(value)
    return f"(i64.store $staging offset={SLOTS + place * WORD} (i32.const 0) {word})"


def _word(place: int, type: str) -> str:
    return _FROM_WORD[type].format(f"(i64.load $staging offset={SLOTS + place * WORD} (i32.const 0))")


def _lowered(number: int, shape: FunctionShape, realloc: Export | None, module: _Module) -> str:
    """A function that hands its arguments to the host, and what comes back to the guest."""
    core, _, returned = signature(shape, lowered=True)
    types = core.parameters[:-1] if returned else core.parameters
    parts = [_type(core), "(if (global.get $closed) (then (unreachable)))"]
    parts += [_set_word(place, each, f"(local.get {place})") for place, each in enumerate(types)]
    parts += [module.measure(), f"(call $host{number})"]
    if returned and shape.result is not None:
        size, align = size_align(shape.result)
        target = f"(local.get {len(types)})"
        parts += [
            module.give(realloc),
            f"(if (i32.and {target} (i32.const {align - 1})) (then (unreachable)))",
            f"(memory.copy $guest $staging {target} (i32.const {ROOM}) (i32.const {size}))",
        ]
    else:
        parts += [_word(0, each) for each in core.results]
    return "\n".join(parts)


def _lifted(number: int, shape: FunctionShape, lifted: Lifted, module: _Module) -> str:
    """A function that calls one of the guest."""
    core, _, returned = signature(shape, lowered=False)
    words = (_word(place, each) for place, each in enumerate(core.parameters))
    call = f"(call $call{number} {' '.join(words)})"
    parts = ["(call $clean-up)", module.give(lifted.realloc)]
    parts += [_set_word(0, each, call) for each in core.results] or [call]
    if returned and shape.result is not None:
        size, _ = size_align(shape.result)
        source = _word(0, "i32")
        parts.append(f"(memory.copy $staging $guest (i32.const {ROOM}) {source} (i32.const {size}))")
    if lifted.post_return is not None:
        parts += [
            f"(global.set $due (i32.const {number + 1}))",
            f"(global.set $result {_word(0, 'i64')})",
        ]
    return "\n".join((*parts, module.measure()))


# `$due` is the number of the function behind which is to be cleaned up, from 1; `$result` is the word that it
# returned.
_CLEAN_UP: Final = """(func $clean-up (local $due i32)
  (local.set $due (global.get $due))
  (if (i32.eqz (local.get $due)) (then (return)))
  (global.set $due (i32.const 0))
  (global.set $closed (i32.const 1))
  {}
  (global.set $closed (i32.const 0)))"""


def _if_due(number: int, after: CoreFunction) -> str:
    words = (_FROM_WORD[each].format("(global.get $result)") for each in after.parameters)
    call = f"(call $after{number} {' '.join(words)})"
    return f"(if (i32.eq (local.get $due) (i32.const {number + 1})) (then {call}))"


# The addresses of all blocks are put where they belong before any block is copied.
_GIVE: Final = (
    """(func $give-{name} (local $left i32) (local $head i32) (local $at i32)
  (if (i32.eqz (i32.load $staging offset=COUNT (i32.const 0))) (then (return)))
  (global.set $closed (i32.const 1))
  (local.set $left (i32.load $staging offset=COUNT (i32.const 0)))
  (local.set $head (i32.load $staging offset=FIRST (i32.const 0)))
  (loop $next
    (local.set $at (call ${name} (i32.const 0) (i32.const 0)
      (i32.load $staging (local.get $head)) (i32.load $staging offset=4 (local.get $head))))
    (if (i32.and (local.get $at) (i32.sub (i32.load $staging (local.get $head)) (i32.const 1)))
      (then (unreachable)))
    (i32.store $staging (i32.load $staging offset=12 (local.get $head)) (local.get $at))
    NEXT
    (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (global.set $closed (i32.const 0))
  (local.set $left (i32.load $staging offset=COUNT (i32.const 0)))
  (local.set $head (i32.load $staging offset=FIRST (i32.const 0)))
  (loop $next
    (memory.copy $guest $staging
      (i32.load $staging (i32.load $staging offset=12 (local.get $head)))
      (i32.add (local.get $head) (i32.const HEAD))
      (i32.load $staging offset=8 (local.get $head)))
    NEXT
    (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (if (i32.load $staging offset=HELD (i32.const 0)) (then MEASURE (call $deliver))))""".replace(
        "NEXT",
        f"""(local.set $head (i32.and (i32.const -8) (i32.add (local.get $head)
      (i32.add (i32.load $staging offset=8 (local.get $head)) (i32.const {HEAD + 7})))))""",
    )
    .replace("COUNT", str(COUNT))
    .replace("FIRST", str(FIRST))
    .replace("HELD", str(HELD))
    .replace("HEAD", str(HEAD))
    .replace("MEASURE", _MEASURE)
)
