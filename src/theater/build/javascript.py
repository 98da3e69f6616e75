"""Components from JavaScript: the actor, its modules and QuickJS in one file.

The compiler is `componentize-qjs`, which comes through npm into a folder of its own when it is needed
first. It evaluates the modules in a sandbox, once, and takes a picture of the memory: a component starts
with its modules loaded.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from theater.build.errors import BuildError
from theater.build.wit import contract

COMPILER: Final = "componentize-qjs"
VERSION: Final = "0.4.5"
NODE: Final = 20  # the oldest version of Node.js

_WORLD: Final = "guest"
_SUFFIXES: Final = (".js", ".mjs")
_MAX_FILES: Final = 20_000  # in the folder of a source; a home directory has more

# What a component exports, and the handlers that need it. An object of a connection is kept until its last
# event, so whatever hands one out needs those events, too.
_HANDLERS: Final = {
    "upgradeConnection": ("websocket-upgrade",),
    "handleWebsocket": ("websocket-actor",),
    "handleBatch": ("batch-actor", "websocket-actor"),
    "handleChunk": ("stream-actor", "websocket-actor"),
    "handleRequest": ("http-actor",),
    "handleMessage": ("message-actor",),
}
_FOUND: Final = re.compile(r"\bHANDLERS:([ \w]*)$", re.MULTILINE)  # what guest.js says
_WRAPPING: Final = re.compile(
    r"\AError: (: )?(Failed to evaluate user JavaScript module: )?"
    r"(Failed to \w+ JavaScript module( evaluation)?: )?(Error: )?"
)
_FRAME: Final = re.compile(r"^ +at .*/(node_modules/theater/|theater-entry\.mjs)")

_ENTRY: Final = """\
import {{ expose }} from "./node_modules/theater/guest.js";
import * as module from {name};

export const {{
  lifecycle, websocketUpgrade, websocketActor, batchActor, streamActor, httpActor, messageActor,
}} = expose(module.default, "{handlers}".split(" ").filter(Boolean));
"""
_ENTRY_NAME: Final = "theater-entry.mjs"


def build(source: Path, progress: Callable[[str], None]) -> bytes:
    """Builds the actor that is the default export of a module.

    Modules that it imports must lie in its folder or below, packages in `node_modules` there. An interface
    is exported if the class has a handler for it.

    Args:
        source: the module.
        progress: told what begins, in a few words.

    Raises:
        BuildError: there is no Node.js, the compiler cannot be installed, or the module has mistakes.
        OSError: a file cannot be read or written.
    """
    node = _node()
    compiler = _compiler(progress)
    module = source.resolve()
    with tempfile.TemporaryDirectory(prefix="theater-") as folder:
        stage = Path(folder, "stage")
        progress(f"reading {source.name}")
        _copy(module.parent, stage)
        with as_file(files("theater") / "guests" / "javascript") as sdk:
            shutil.copytree(sdk, stage / "node_modules" / "theater", dirs_exist_ok=True)
        progress(f"compiling {source.name}")
        command = [node, str(compiler / "node_modules" / COMPILER / "cli.mjs")]
        # Which handlers the class has is known when the modules have been evaluated, and what is to be
        # exported must be known before: so this takes those that are mentioned, and is told if it is wrong.
        handlers = _mentioned(stage)
        done = _compile(command, stage, module.name, handlers)
        found = _FOUND.search(done.stderr) if done.returncode else None
        if found is not None:
            done = _compile(command, stage, module.name, found[1].split())
        if done.returncode:
            raise BuildError(f"{source} cannot be built", _message(done.stderr, stage))
        return Path(folder, "out.wasm").read_bytes()


def _compile(
    command: list[str], stage: Path, name: str, handlers: list[str]
) -> "subprocess.CompletedProcess[str]":
    """Runs the compiler for a component with these handlers; it leaves `out.wasm` beside the stage."""
    world = stage.parent / "wit"
    world.mkdir(exist_ok=True)
    package = contract("0.2.0")
    shutil.copy(str(files("theater") / "wit" / package.version / "theater-websocket.wit"), world)
    (world / "guest.wit").write_text(_world(handlers))
    entry = stage / _ENTRY_NAME
    entry.write_text(_ENTRY.format(name=json.dumps(f"./{name}"), handlers=" ".join(handlers)))
    options = ["--wit", str(world), "--world", _WORLD, "--js", str(entry), "--module-root", str(stage)]
    output = str(stage.parent / "out.wasm")
    return _run([*command, *options, "--output", output, "--sync", "--stub-wasi"], stage.parent)


def _message(text: str, stage: Path) -> str:
    """What the compiler says, without what is not the user's."""
    own = [line for line in _WRAPPING.sub("", text).splitlines() if not _FRAME.search(line)]
    return re.sub(r"(?<=[ ('])/", "", "\n".join(own).replace(f"{stage}/", "")).strip()


def _world(handlers: Iterable[str]) -> str:
    """The world of a component that imports all that there is, and exports what the handlers need."""
    package = contract("0.2.0")
    exports = {"lifecycle", *(each for handler in handlers for each in _HANDLERS[handler])}
    items = [f"import {each};" for each in package.imports] + [f"export {each};" for each in sorted(exports)]
    return f"package {package.name}@{package.version};\nworld {_WORLD} {{ {' '.join(items)} }}\n"


def _mentioned(stage: Path) -> list[str]:
    """The handlers whose names occur in the modules, but for those of packages."""
    texts = [
        file.read_text("utf-8", "replace")
        for file in stage.rglob("*")
        if file.suffix in _SUFFIXES and "node_modules" not in file.parts
    ]
    return [name for name in _HANDLERS if any(re.search(rf"\b{name}\b", text) for text in texts)]


def _copy(folder: Path, stage: Path) -> None:
    """Copies the modules of a folder and those below: the compiler lets nobody out of one folder."""
    seen = 0
    for path, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        seen += len(names)
        if seen > _MAX_FILES:
            raise BuildError(f"{folder} has more than {_MAX_FILES} files: give the actor a folder of its own")
        target = stage / Path(path).relative_to(folder)
        for name in names:
            if name.endswith(_SUFFIXES) or name == "package.json":
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(path, name), target / name)


# Node.js and the compiler


def _node() -> str:
    """The path of Node.js."""
    node = shutil.which("node")
    if node is None:
        raise BuildError(f"Node.js is missing: install version {NODE} or later")
    version = _run([node, "--version"], Path.cwd()).stdout.strip()
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE:
        raise BuildError(f"{node} is Node.js {version or 'of no known version'}: install {NODE} or later")
    return node


def _compiler(progress: Callable[[str], None]) -> Path:
    """The folder of the compiler, which is installed if it is not there."""
    folder = _cache() / f"{COMPILER}-{VERSION}"
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(f"npm is missing, which installs {COMPILER}; it comes with Node.js")
    progress(f"installing {COMPILER} {VERSION}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder.parent) as made:
        new = Path(made, "compiler")
        new.mkdir()
        (new / "package.json").write_text('{"private": true}\n')  # or npm would look for one further up
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = _run([npm, "install", *options, f"{COMPILER}@{VERSION}"], new)
        if done.returncode:
            raise BuildError(f"npm could not install {COMPILER} {VERSION}", done.stderr.strip())
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise somebody else was faster
                raise
    return folder


def _cache() -> Path:
    """The user's folder for what can be had again (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # "All paths set in these environment variables must be absolute", others are to be ignored
        folder = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        raise BuildError(f"there is no folder for {COMPILER}: set XDG_CACHE_HOME") from None
    return folder / "theater"


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end."""
    return subprocess.run(  # noqa: S603 - the paths are those of the user's tools
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
