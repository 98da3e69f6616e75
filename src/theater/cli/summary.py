"""What manifests serve, in a few lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from theater.config import ComponentFile, Manifest
from theater.limits import Limits
from theater.server.routing import Route

if TYPE_CHECKING:
    from theater.wasm.component import Inspection

_DEFAULT = Limits()


def summary(manifests: Iterable[Manifest], inspections: Mapping[str, "Inspection"]) -> Iterator[str]:
    """The lines that `theater check` prints: what is served, and what differs from the defaults.

    Args:
        manifests: of one server.
        inspections: what is known of their components, by the names of the manifests.
    """
    for manifest in manifests:
        yield f"{manifest.file}: {manifest.name} {manifest.version}".rstrip()
        if isinstance(manifest.actor, ComponentFile):
            yield from _component(manifest.actor, inspections[manifest.name])
        if manifest.server is not None:
            yield from _set("server", {**manifest.server.policy, **manifest.server.limits})
        yield from _set("limits", manifest.limits)
        for index, route in enumerate(manifest.routes):
            methods = ", ".join(route.methods) + " " if route.methods else ""
            instance = f", instance {route.instance}" if route.instance else ""
            yield f"  {route.kind:<16}  {methods}{route.pattern.text}{instance}"
            settings = manifest.route_limits[index] if manifest.route_limits else {}
            yield from _set("", {**settings, **options(route)})


def _component(file: ComponentFile, inspection: "Inspection") -> Iterator[str]:
    """What a component is, and what it needs."""
    execution = ", in a worker thread" if file.execution == "thread" else ""
    version, size = inspection.contract.version, show(inspection.size)
    yield f"  {'component':<16}  {file.path.name}, contract {version}, {size} bytes{execution}"
    for verb, names in (
        ("exports", inspection.exports),
        ("imports", inspection.imports),
        ("granted", inspection.foreign),
    ):
        if names:
            yield f"  {'':<16}  {verb} {', '.join(names)}"


def options(route: Route) -> Mapping[str, object]:
    """What is set for a path, but for limits."""
    batch = route.batch and f"{show(route.batch.max_messages)} messages, {show(route.batch.max_wait)} seconds"
    every = {
        "origins": route.origins,
        "messages": "stream" if route.stream else "",
        "batch": batch,
        "answers": [f"{text}: {answer}" for text, answer in route.answers.items()],
    }
    return {name: value for name, value in every.items() if value}


def show(value: object) -> str:
    """A value as a manifest could have it, without its quotes."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int | float):
        return f"{int(value) if value == int(value) else value:_}"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)


def _set(title: str, settings: Mapping[str, object]) -> Iterator[str]:
    """A line with what is not the default."""
    shown = [
        f"{name} {show(value)}" for name, value in settings.items() if value != getattr(_DEFAULT, name, None)
    ]
    if shown:
        yield f"  {title:<16}  {'; '.join(shown)}"
