"""Components in manifests."""

from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from theater.config.manifest import ComponentFile, Execution, Manifest
from theater.config.tables import Table
from theater.errors import InvalidComponent, Mistake
from theater.limits import Limits

if TYPE_CHECKING:
    from theater.wasm.component import Inspection

# What needs wasmtime is imported where a manifest has a component: it is slow to load.

_SOURCES: Final = (".py", ".js", ".mjs", ".zig", ".c", ".wat")  # what `theater build` takes


def read_component(table: Table, folder: Path) -> ComponentFile | None:
    """Reads those keys of a manifest that are about its component.

    Args:
        table: the manifest.
        folder: what the path is relative to.
    """
    name = table.text("component", "text such as 'chat.wasm'")
    execution = table.text("execution", "loop or thread", "loop")
    if execution not in ("loop", "thread", None):
        table.mistake("execution", repr(execution), "loop or thread")
    grants: tuple[str, ...] = ()
    if "grants" in table.values:
        from theater.wasm.component import WASI

        grants = table.texts("grants", WASI.__contains__, f"one of {', '.join(WASI)}")
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        table.mistake("component", f"{name!r}, which is no file", _expected_file(path))
    return ComponentFile(path, cast(Execution, execution), grants)


def _expected_file(path: Path) -> str:
    for suffix in _SOURCES:
        source = path.parent / (path.stem + suffix)
        if source.is_file():
            return f"a component; `theater build {source}` makes one"
    return f"a component in {path.parent.resolve()}"


def inspect_components(
    manifests: Iterable[Manifest], limits: Limits, mistakes: list[Mistake]
) -> dict[str, "Inspection"]:
    """Looks into the components of manifests.

    Args:
        manifests: of one server.
        limits: the server's.
        mistakes: where mistakes are put.

    Returns:
        What is known of those that fit, by the names of their manifests.
    """
    found = [(each, each.actor) for each in manifests if isinstance(each.actor, ComponentFile)]
    inspections: dict[str, Inspection] = {}
    if not found:
        return inspections
    from theater.wasm.cache import Cache, cache_folder
    from theater.wasm.component import inspect
    from theater.wasm.engine import Engine

    cache = Cache(cache_folder())
    with closing(Engine(limits.max_stack, limits.max_instances)) as engine:
        for manifest, file in found:
            try:
                inspection = inspect(
                    file.path, file.grants, engine=engine.raw, cache=cache, settings=engine.settings
                )
            except InvalidComponent as error:
                mistakes.append(invalid(manifest, error))
            else:
                inspections[manifest.name] = inspection
                mistakes += unserved(manifest, inspection.exports)
    return inspections


def invalid(manifest: Manifest, error: InvalidComponent) -> Mistake:
    """The mistake of a manifest whose component does not fit."""
    found = f"{error.path!r}, which {error.problem}"
    return Mistake(manifest.file, "component", found, "a component that fits the contract")


def unserved(manifest: Manifest, exports: Container[str]) -> Iterator[Mistake]:
    """Finds handlers that lead to what a component does not have.

    Args:
        manifest: the component's.
        exports: names of the interfaces that it exports, such as `http-actor`.
    """
    for index, route in enumerate(manifest.routes):
        needs = {
            ("type", "'http-server'", "http-actor"): route.kind == "http-server",
            ("messages", "'stream'", "stream-actor"): route.stream,
            ("batch", "it", "batch-actor"): route.batch is not None,
        }
        for (key, found, interface), needed in needs.items():
            if needed and interface not in exports:
                found = f"{found}, but the component does not export {interface}"
                yield Mistake(manifest.file, f"handlers[{index}].{key}", found, "one that does")
