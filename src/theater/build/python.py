"""Components from Python: the actor, its modules and CPython in one file.

The compiler is `componentize-py`. It imports the modules in a sandbox, once, and takes a picture of the
memory: a component starts with its modules loaded. What `from theater import ...` finds there is the package
in `theater/guests/python`, completed by those files of this one that do without a server.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from theater.build.errors import BuildError
from theater.build.wit import contract

COMPILER: Final = "componentize_py"
INSTALL: Final = 'pip install "theater[build]"'

_WORLD: Final = "guest"
_SHARED: Final = (
    "errors.py",
    "limits.py",
    "contract",
    "native",
    "protocol/__init__.py",
    "protocol/close.py",
    "protocol/deflate.py",
    "protocol/extensions.py",
    "protocol/handshake.py",
    "runtime/__init__.py",
    "runtime/address.py",
    "runtime/replies.py",
)
"""Files of this package that are a part of a component, too."""

_ENTRY: Final = """\
from theater.guest.environment import prepare

prepare()

from theater.guest.loading import load

globals().update(load({module!r}, {actor!r}))
"""
_ENTRY_NAME: Final = "theater_component"
_TAKEN: Final = frozenset((_ENTRY_NAME, "theater", "msgspec", "wit_world", "componentize_py_types"))

_DESCRIBE: Final = """\
import json, sys
sys.path[:0] = sys.argv[3:]
from theater.guest.loading import describe
found = describe(sys.argv[1], sys.argv[2] or None)
print()  # the module may have printed something
print(json.dumps(found))
"""
_WHAT_THERE_IS: Final = (
    "A component has what lies beside its source, theater, and of the standard library what needs no sockets "
    "or processes; modules must be written in Python."
)
_COMPILE: Final = f"from {COMPILER} import script; script()"

_SAID: Final = re.compile(r"^AssertionError: (.*?)\n*^Caused by:", re.DOTALL | re.MULTILINE)
_PLACE: Final = re.compile(r'(?<=File ")/(\d+)(?=/)')  # where the compiler has put a folder
_IMPORTING: Final = r"<|/python/|.*/importlib/__init__\.py"


def build(
    source: Path,
    progress: Callable[[str], None],
    actor: str | None = None,
    path: Sequence[Path] = (),
) -> bytes:
    """Builds an actor class.

    Modules that it imports lie beside its own, or in the folders of `path`; they must be written in Python.
    An interface is exported if the class overrides its handler.

    Args:
        source: a module or the folder of a package; perhaps with a colon and the name of the class.
        progress: told what begins, in a few words.
        actor: name of the class; not needed if the module has one.
        path: folders with further modules, such as `pip install --target` fills.

    Raises:
        BuildError: the compiler is missing, or the module has mistakes.
        OSError: a file cannot be read or written.
    """
    if importlib.util.find_spec(COMPILER) is None:
        raise BuildError(f"componentize-py is missing: {INSTALL}")
    source, actor = _split(source, actor)
    module = _module(source)
    with tempfile.TemporaryDirectory(prefix="theater-") as made:
        folder = Path(made)
        sdk, bindings, world = folder / "sdk", folder / "bindings", folder / "wit"
        copy_sdk(sdk)
        folders = [source.resolve().parent, *(each.resolve() for each in path)]
        progress(f"reading {source.name}")
        write_bindings(bindings, contract("0.2.0").exports)
        found = _describe(module, actor, [sdk, bindings, *folders], source)
        (sdk / f"{_ENTRY_NAME}.py").write_text(_ENTRY.format(module=module, actor=found["actor"]))
        _write_world(world, found["interfaces"])
        progress(f"compiling {found['actor']} with Python, which takes some seconds")
        output = folder / "out.wasm"
        paths = [option for each in (sdk, *folders) for option in ("--python-path", str(each))]
        done = _compile(
            world, "componentize", "--stub-wasi", *paths, "--output", str(output), _ENTRY_NAME, folder=folder
        )
        if done.returncode:
            raise BuildError(f"{source} cannot be built", _message(done.stderr, [sdk, *folders]))
        return output.read_bytes()


def copy_sdk(target: Path) -> None:
    """Puts together what a component has of Theater, in a folder for `sys.path`."""
    ignore = shutil.ignore_patterns("__pycache__")
    with as_file(files("theater")) as package:
        for name in _SHARED:
            place = target / "theater" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if (package / name).is_dir():
                shutil.copytree(package / name, place, ignore=ignore)
            else:
                shutil.copyfile(package / name, place)
        shutil.copytree(package / "guests" / "python", target, dirs_exist_ok=True, ignore=ignore)


def write_bindings(target: Path, exports: Iterable[str]) -> None:
    """Writes the Python modules by which a component reaches its host, with functions that do nothing."""
    with tempfile.TemporaryDirectory(prefix="theater-") as made:
        world = Path(made, "wit")
        _write_world(world, exports)
        done = _compile(world, "bindings", str(target), folder=Path(made))
        if done.returncode:
            raise BuildError("the bindings cannot be made", done.stderr)


def _split(source: Path, actor: str | None) -> tuple[Path, str | None]:
    """Takes the name of the class off the end of a path."""
    name, colon, given = source.name.rpartition(":")
    if colon and actor is None and not source.exists():
        return source.with_name(name), given
    return source, actor


def _module(source: Path) -> str:
    """The name under which a source is imported."""
    if source.is_dir():
        if not (source / "__init__.py").is_file():
            raise BuildError(f"{source} is no package: it has no __init__.py")
        name = source.resolve().name
    elif not source.is_file():
        raise BuildError(f"{source} does not exist")
    elif source.suffix != ".py":
        raise BuildError(f"{source} is no Python module: its name does not end in .py")
    else:
        name = source.stem
    if not name.isidentifier():
        raise BuildError(f"{source} cannot be imported: {name!r} is no name of a module")
    if name in _TAKEN:
        raise BuildError(f"{source} cannot be built: a component has a module {name} of its own")
    return name


def _write_world(folder: Path, exports: Iterable[str]) -> None:
    """Writes a world that imports all that there is, beside the contract."""
    package = contract("0.2.0")
    folder.mkdir(exist_ok=True)
    shutil.copy(str(files("theater") / "wit" / package.version / "theater-websocket.wit"), folder)
    items = [f"import {each};" for each in package.imports] + [f"export {each};" for each in exports]
    text = f"package {package.name}@{package.version};\nworld {_WORLD} {{ {' '.join(items)} }}\n"
    (folder / "guest.wit").write_text(text)


def _describe(module: str, actor: str | None, folders: Sequence[Path], source: Path) -> dict[str, Any]:
    """Imports the module in a Python that has what a component has, to find the actor and its handlers."""
    command = [sys.executable, "-I", "-S", "-B", "-c", _DESCRIBE, module, actor or "", *map(str, folders)]
    done = _run(command, Path.cwd())
    if done.returncode:
        raise BuildError(f"{source} cannot be built", _message(done.stderr, folders))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "problem" in found:
        raise BuildError(f"{source} cannot be built: {found['problem']}")
    if not found["interfaces"]:
        raise BuildError(f"{source} cannot be built: {found['actor']} overrides no handler")
    return found


def _compile(world: Path, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs the compiler."""
    # It would add the packages of this environment, which may have native code.
    nothing = folder / "nothing"
    (nothing / "lib" / "site-packages").mkdir(parents=True, exist_ok=True)
    options = ["--wit-path", str(world), "--world", _WORLD, "--quiet"]
    command = [sys.executable, "-c", _COMPILE, *options, *arguments]
    return _run(command, folder, {**os.environ, "VIRTUAL_ENV": str(nothing)})


def _run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end."""
    return subprocess.run(  # noqa: S603 - Python itself
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _message(text: str, folders: Sequence[Path]) -> str:
    """What Python says, without what is not the user's.

    Args:
        text: what was written.
        folders: where the modules are; the first has the SDK.
    """
    said = _SAID.search(text)
    if said is not None:
        text = _PLACE.sub(lambda found: str(folders[int(found[1])]), said[1])
    frame = rf'^  File "({re.escape(str(folders[0]))}|{_IMPORTING}).*\n(    .*\n)*'
    text = re.sub(frame, "", text, flags=re.MULTILINE).strip()
    return f"{text}\n{_WHAT_THERE_IS}" if "\nModuleNotFoundError:" in text else text
