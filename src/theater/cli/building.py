"""`theater build`: a component from the source of an actor."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from rich.console import Console
from rich.status import Status

from theater.build import BuildError
from theater.errors import ConfigError, InvalidComponent, Mistake
from theater.limits import Limits

if TYPE_CHECKING:
    from theater.wasm.component import Inspection

Progress = Callable[[str], None]

_KIB: Final = 1024


class Steps:
    """Shows on standard error what is being done, and how long it took when something else begins.

    A context manager, and what builders call with the name of each step.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._step = ""
        self._since = 0.0

    def __call__(self, step: str) -> None:
        """Begins a step."""
        self._end()
        self._step, self._since = step, time.monotonic()
        self._status = self._console.status(step)
        self._status.start()

    def _end(self, succeeded: bool = True) -> None:
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        if succeeded:
            took = f"{time.monotonic() - self._since:.1f} s"
            self._console.print(f"{took:>7}  {self._step}", markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(succeeded=error is None)


def build(source: str, output: Path | None, folders: Sequence[Path]) -> int:
    """Builds a component, checks it, writes it, and says what it is.

    Args:
        source: path of the source; that of a Python file may be followed by a colon and a class.
        output: where the component goes; beside the source, with the suffix `.wasm`, if left out.
        folders: where Python looks for modules besides.

    Returns:
        The exit code: 2 if the source has mistakes, or what builds it is missing.

    Raises:
        ConfigError: there is no such source, or the component cannot be written.
    """
    path, actor = _parse(source)
    if folders and path.suffix not in (".py", ""):
        raise ConfigError([Mistake("theater build", "--path", source, "a source in Python")])
    output = output or path.with_suffix(".component.wasm" if path.suffix == ".wasm" else ".wasm")
    try:
        with Steps() as progress:
            code = _BUILDERS[path.suffix](path, Details(actor, folders), progress)
            progress("checking the component")
            inspection = _inspect(code)
    except (BuildError, InvalidComponent, OSError) as error:
        print(f"theater build: {error}", file=sys.stderr)
        return 2
    _write(output, code)
    for line in _summary(output, inspection):
        print(line)
    return 0


def _parse(source: str) -> tuple[Path, str | None]:
    """The file, and the class if one is named."""
    script, _, name = source.rpartition(":")
    path, actor = (Path(script), name) if script.endswith(".py") else (Path(source), None)
    if path.is_dir() and (path / "__init__.py").is_file():
        return path, None
    if path.suffix not in _BUILDERS or not path.suffix:
        expected = f"a Python package, or a file that ends in {', '.join(filter(None, _BUILDERS))}"
        raise ConfigError([Mistake("theater build", "SOURCE", repr(source), expected)])
    if not path.is_file():
        raise ConfigError([Mistake(str(path), "", "no file", "the source of an actor")])
    return path, actor


def _inspect(code: bytes) -> "Inspection":
    """Checks a component as a server does when it starts."""
    from theater.wasm.cache import Cache, cache_folder
    from theater.wasm.component import inspect
    from theater.wasm.engine import Engine

    limits = Limits()
    engine = Engine(limits.max_stack, limits.max_instances)
    try:
        return inspect(code, engine=engine.raw, cache=Cache(cache_folder()), settings=engine.settings)
    finally:
        engine.close()


def _write(output: Path, code: bytes) -> None:
    """Writes the component whole or not at all: a server may be about to read it."""
    unfinished = output.with_name(f"{output.name}~")  # a name that `theater run --reload` ignores
    try:
        unfinished.write_bytes(code)
        unfinished.replace(output)
    except OSError as error:
        expected = "a file that can be written"
        raise ConfigError([Mistake(str(output), "", str(error.strerror).lower(), expected)]) from error


def _summary(output: Path, inspection: "Inspection") -> list[str]:
    contract = inspection.contract
    lines = [f"{output}: {_size(inspection.size)}, {contract.package}@{contract.version}"]
    for title, interfaces in (("exports", inspection.exports), ("imports", inspection.imports)):
        lines.append(f"  {title}  {', '.join(sorted(interfaces)) or 'nothing'}")
    return [*lines, "Its line in theater.toml:", f'  component = "{output.name}"']


def _size(size: int) -> str:
    """A number of bytes, for people."""
    if size < 10 * _KIB:
        return f"{size:_} bytes"
    return f"{size / _KIB:_.0f} KiB" if size < _KIB * _KIB else f"{size / (_KIB * _KIB):.1f} MiB"


class Details(NamedTuple):
    """What matters to Python only: the class, and where modules are looked for besides."""

    actor: str | None
    folders: Sequence[Path]


# Builders: what is slow to load is imported by the one that needs it.


def _python(source: Path, details: Details, progress: Progress) -> bytes:
    from theater.build.python import build

    return build(source, progress, details.actor, details.folders)


def _javascript(source: Path, _: Details, progress: Progress) -> bytes:
    from theater.build.javascript import build

    return build(source, progress)


def _zig(source: Path, _: Details, progress: Progress) -> bytes:
    from theater.build.zig import build

    return build(source, progress)


def _text(source: Path, _: Details, progress: Progress) -> bytes:
    from theater.build.wrap import wrap
    from theater.wasm.binary import COMPONENT
    from theater.wasm.wat import assemble

    progress(f"assembling {source.name}")
    try:
        code = assemble(source.read_text("utf-8"))
    except ValueError as error:
        raise BuildError(f"{source} cannot be built", str(error)) from None
    return code if code.startswith(COMPONENT) else wrap(code)


def _core(source: Path, _: Details, progress: Progress) -> bytes:
    from theater.build.wrap import wrap

    progress(f"wrapping {source.name}")
    return wrap(source.read_bytes())


_BUILDERS: Final = {
    "": _python,
    ".py": _python,
    ".js": _javascript,
    ".mjs": _javascript,
    ".zig": _zig,
    ".c": _zig,
    ".wat": _text,
    ".wasm": _core,
}
