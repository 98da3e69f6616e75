"""How the core modules of a component are instantiated without the component."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from theater.wasm.sections import CoreModule, Part, Unsupported, trapping

MAX_DEFINITIONS: Final = 100_000
"""Definitions that are followed; those of a component count each time that it is instantiated."""


class Export(NamedTuple):
    """An export of a core instance that was made before.

    Attributes:
        instance: number of the step that made it.
        name: of the export.
    """

    instance: int
    name: str


class Lowered(NamedTuple):
    """A function of the host, as core modules import it (`canon lower`).

    Attributes:
        interface: its short name, such as `websocket`.
        function: its name, such as `send-message`.
        memory: where pointers point to, if there are any.
        realloc: what allocates there, if the host has to.
    """

    interface: str
    function: str
    memory: Export | None
    realloc: Export | None


class Lifted(NamedTuple):
    """A function for the host to call (`canon lift`).

    Attributes:
        function: the core function.
        memory, realloc: as in `Lowered`.
        post_return: what is called with the core function's result once that has been read.
    """

    function: Export
    memory: Export | None
    realloc: Export | None
    post_return: Export | None


Source = Export | Lowered


class Step(NamedTuple):
    """One core instance; its number is that of the step.

    Attributes:
        module: index of the module that is instantiated.
        imports: all that this imports, by module name and field name.
    """

    module: int
    imports: Mapping[tuple[str, str], Source]


class Plan(NamedTuple):
    """How the core modules of a component are instantiated.

    Attributes:
        modules: in binary form, each once.
        steps: what is instantiated, in this order.
        exports: what there is to call afterwards, by the interface's short name and the function's name.
    """

    modules: tuple[bytes, ...]
    steps: tuple[Step, ...]
    exports: Mapping[tuple[str, str], Lifted]


class Between(NamedTuple):
    """A function of a component, as a core module of another one imports it."""

    function: Lifted


class Builtin(NamedTuple):
    """A core function that is neither a module's nor the host's, such as `resource.drop`."""

    name: str


class Place(NamedTuple):
    """Where a core module begins and ends in the file."""

    at: int
    end: int


Key = tuple[str, str]
"""Module name and field name of an import."""

Imports = Mapping[Key, Source | Between | Builtin]


class _CoreInstance(NamedTuple):
    """A core instance; its group is that of the component's instance that it belongs to."""

    place: Place
    imports: Imports
    group: int


class Assembly:
    """The core instances of a component, and in the end the plan.

    Builders leave nothing of WASI to import when they put in a component whose functions only trap. Such a
    one has no place in the plan: whoever imports a function of it gets one that traps at once. To that end
    an instance of a component is in a group of its own if it has been given nothing, for then nobody can
    tell whether it exists, unless he calls what it exports.
    """

    OUTERMOST: Final = 0
    """The group of all that is not in another one."""

    def __init__(self, component: bytes) -> None:
        self._component = component
        self._modules: dict[Place, CoreModule] = {}
        self._instances: list[_CoreInstance] = []
        self._last_group = self.OUTERMOST
        self._definitions = 0

    def count(self) -> None:
        """Counts a definition."""
        self._definitions += 1
        if self._definitions > MAX_DEFINITIONS:
            raise Unsupported(f"has more than {MAX_DEFINITIONS} definitions")

    def new_group(self) -> int:
        self._last_group += 1
        return self._last_group

    def module(self, place: Place) -> CoreModule:
        if place not in self._modules:
            self._modules[place] = CoreModule(Part(self._component, *place))
        return self._modules[place]

    def add(self, place: Place, imports: Imports, group: int) -> int:
        """The number of a new core instance."""
        self._instances.append(_CoreInstance(place, imports, group))
        return len(self._instances) - 1

    def plan(self, exports: Mapping[Key, Lifted]) -> Plan:
        """All that is needed for these exports."""
        groups = {
            self.OUTERMOST,
            *(self._instances[each.function.instance].group for each in exports.values()),
        }
        modules: dict[CoreModule, int] = {}
        steps: list[Step] = []
        numbers: dict[int, int] = {}  # of core instances here, and those of their steps

        def step(module: CoreModule, imports: Mapping[Key, Source]) -> int:
            steps.append(Step(modules.setdefault(module, len(modules)), imports))
            return len(steps) - 1

        for number, instance in enumerate(self._instances):
            if instance.group not in groups:
                continue
            imports: dict[Key, Source] = {}
            if traps := self._traps(instance):
                trap = step(trapping(list(traps.values())), {})
                imports |= {key: Export(trap, str(place)) for place, key in enumerate(traps)}
            for key, source in instance.imports.items():
                if isinstance(source, Export):
                    imports[key] = _moved(source, numbers)
                elif isinstance(source, Lowered):
                    imports[key] = _with_moved(source, numbers)
            numbers[number] = step(self.module(instance.place), imports)
        moved = {key: _with_moved(each, numbers) for key, each in exports.items()}
        _check_memory(steps, moved.values())
        return Plan(tuple(each.code for each in modules), tuple(steps), moved)

    def _traps(self, instance: _CoreInstance) -> dict[Key, bytes]:
        """The imports that trap when they are called, with their types."""
        module = self.module(instance.place)
        found = {}
        for each in module.imports:
            match instance.imports[each.module, each.name]:
                case Between(function):
                    if not self._is_unreachable(function.function):
                        raise Unsupported("has components that call each other")
                case Builtin(name):
                    # There are no resources if nothing makes any: neither the host does, nor `resource.new`.
                    if name != "resource.drop":
                        raise Unsupported(f"needs {name}")
                case _:
                    continue
            found[each.module, each.name] = module.type_of(each)
        return found

    def _is_unreachable(self, function: Export) -> bool:
        return self.module(self._instances[function.instance].place).is_unreachable(function.name)


def _moved(export: Export, numbers: Mapping[int, int]) -> Export:
    if export.instance not in numbers:
        raise Unsupported("has a core instance that is another component's")
    return Export(numbers[export.instance], export.name)


_T = TypeVar("_T", Lowered, Lifted)


def _with_moved(function: _T, numbers: Mapping[int, int]) -> _T:
    fields: dict[str, Any] = function._asdict()
    exports = {name: _moved(each, numbers) for name, each in fields.items() if isinstance(each, Export)}
    return function._replace(**fields | exports)


def _check_memory(steps: Iterable[Step], lifted: Iterable[Lifted]) -> None:
    """Values may lie in one memory only."""
    lowered = (each for step in steps for each in step.imports.values() if isinstance(each, Lowered))
    memories = {each.memory for each in lowered} | {each.memory for each in lifted}
    if len(memories - {None}) > 1:
        raise Unsupported("has values in several memories")
