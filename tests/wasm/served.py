"""Components as what `theater.testing.serve` takes."""

from pathlib import Path
from typing import Final

from theater.config import ComponentFile, Manifest
from theater.config.manifest import Execution
from theater.config.settings import Settings
from theater.server.routing import Pattern, Route

NONE: Final[Settings] = {}


def component(
    folder: Path,
    wasm: bytes,
    *,
    name: str = "guest",
    path: str = "/",
    instance: str = "",
    http: bool = False,
    execution: Execution = "loop",
    limits: Settings = NONE,
    grants: tuple[str, ...] = (),
) -> Manifest:
    """A manifest for a component, which is put into a folder.

    Args:
        folder: where its file is put.
        wasm: the component.
        name: of the actor type, and of the file.
        path, instance: of its handler for WebSockets.
        http: whether it answers plain requests there too.
        execution, limits, grants: as in a manifest.
    """
    file = folder / f"{name}.wasm"
    file.write_bytes(wasm)
    routes = [Route("websocket-server", Pattern(path), name, instance)]
    if http:
        routes.append(Route("http-server", Pattern(path), name, instance))
    return Manifest(name, ComponentFile(file, execution, grants), tuple(routes), limits=limits)
