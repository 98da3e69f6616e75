"""The languages that the conformance actor is written in, and how each of them is built."""

import hashlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from tests.behaviours import wat
from tests.behaviours.conformance import Conformance

import theater
from theater import Actor
from theater.build import javascript, python, zig
from theater.config import ComponentFile, Manifest
from theater.config.manifest import Execution
from theater.config.settings import Settings
from theater.runtime.ports import Batch
from theater.server.routing import Pattern, Route

HERE: Final = Path(__file__).parent
PACKAGE: Final = Path(theater.__file__).parent
WRAPPED: Final = ("build/wit.py", "build/flat.py", "build/text.py", "build/wrap.py", "wasm/wat.py", "wit")
"""What components depend on that are made from core modules, in the package."""

SDK: Final = ("errors.py", "limits.py", "contract", "native", "protocol", "runtime", "guests/python", "wit")
"""What those in Python have of it."""

FEATURES: Final = frozenset(
    (
        "actors",
        "attachments",
        "batches",
        "broadcasts",
        "clock",
        "closing",
        "crashes",
        "events",
        "facts",
        "failures",
        "http",
        "init",
        "log",
        "pings",
        "random",
        "sends",
        "state",
        "streams",
        "tags",
        "upgrades",
        "waiting",
    )
)
"""What tests can need."""


class Language(NamedTuple):
    """One of them.

    Attributes:
        name: for people, and of the file that is built.
        build: makes the component; none for the actor class itself.
        sources: files that it is made of, in this folder or beside it.
        inputs: folders or files of the package that it depends on.
        package: on PyPI, that compiles it.
        lacks: what its actor does not do.
    """

    name: str
    build: Callable[[], bytes] | None
    sources: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    package: str = ""
    lacks: frozenset[str] = frozenset()

    def actor(self, folder: Path, execution: Execution) -> type[Actor] | ComponentFile:
        """What a manifest names; a component is built unless the folder has it."""
        if self.build is None:
            return Conformance
        file = folder / f"{self.name}-{self._digest()}.wasm"
        if not file.exists():
            unfinished = file.with_suffix(".tmp")
            unfinished.write_bytes(self.build())
            for old in folder.glob(f"{self.name}-*.wasm"):
                old.unlink()
            unfinished.rename(file)
        return ComponentFile(file, execution)

    def _digest(self) -> str:
        """Of all that the component is made of."""
        digest = hashlib.sha256()
        if self.package:
            digest.update(metadata.version(self.package).encode())
        for file in (*(HERE / each for each in self.sources), *self._files()):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def _files(self) -> Iterator[Path]:
        for each in self.inputs:
            place = PACKAGE / each
            found = sorted(place.rglob("*")) if place.is_dir() else [place]
            yield from (file for file in found if file.is_file() and file.suffix != ".pyc")

    def manifest(self, folder: Path, name: str, execution: Execution, limits: Settings) -> Manifest:
        """A manifest whose routes are `/{name}`, which is the key, `/batch/{name}` and `/stream/{name}`; and
        `/by-hand/{name}`, where upgrade requests are plain ones.

        Args:
            folder: of built components.
            name: of the actor type; if it is not `conformance`, all paths begin with it.
            execution, limits: as in a manifest.
        """
        prefix = "" if name == "conformance" else f"/{name}"
        paths = {kind: Pattern(f"{prefix}{kind}/{{name}}") for kind in ("", "/batch", "/stream")}
        plain = Route("websocket-server", paths[""], name, "{name}")
        routes = [plain]
        if "http" not in self.lacks:
            routes.append(msgspec.structs.replace(plain, kind="http-server"))
            by_hand = Pattern(f"{prefix}/by-hand/{{name}}")
            routes.append(msgspec.structs.replace(plain, kind="http-server", pattern=by_hand))
        if "batches" not in self.lacks:
            batch = Batch(max_wait=0.05)
            routes.append(msgspec.structs.replace(plain, pattern=paths["/batch"], batch=batch))
        if "streams" not in self.lacks:
            routes.append(msgspec.structs.replace(plain, pattern=paths["/stream"], stream=True))
        return Manifest(name, self.actor(folder, execution), tuple(routes), limits=limits)


def ignore(step: str) -> None:
    """Takes the steps of a build."""


LANGUAGES: Final = (
    # An endless loop of a native actor would be one of the test itself.
    Language("native", None, lacks=frozenset({"crashes"})),
    Language(
        "python",
        lambda: python.build(HERE / "conformance.py", ignore),
        ("conformance.py",),
        ("build/python.py", *SDK),
        "componentize-py",
    ),
    Language(
        "javascript",
        lambda: javascript.build(HERE / "conformance.js", ignore),
        ("conformance.js",),
        ("build/javascript.py", "guests/javascript", "wit"),
    ),
    Language(
        "zig",
        lambda: zig.build(HERE / "conformance.zig", ignore),
        ("conformance.zig",),
        ("build/zig.py", "guests/zig", *WRAPPED),
        "ziglang",
    ),
    Language("wat", wat.build, ("wat.py", "../wasm/guests.py"), WRAPPED, lacks=FEATURES - wat.FEATURES),
)
