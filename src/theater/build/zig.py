"""Components from Zig and C, by the compiler that PyPI has in the package `ziglang`."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from theater.build.errors import BuildError
from theater.build.wrap import wrap

OPTIONS: Final = ("-target", "wasm32-freestanding", "-O", "ReleaseSmall", "-fno-entry")
C_OPTIONS: Final = ("-std=c11", "-Wall", "-Wextra")


def build(source: Path, progress: Callable[[str], None]) -> bytes:
    """Builds the actor in a `.zig` or `.c` file, which may import or include others beside it.

    Args:
        source: the file.
        progress: told what begins, in a few words.

    Raises:
        BuildError: there is no compiler, or the file has mistakes.
        OSError: a file cannot be read or written.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError('the compiler is missing: pip install "theater[build]"')
    progress(f"compiling {source.name}")
    with (
        tempfile.TemporaryDirectory(prefix="theater-") as folder,
        as_file(files("theater") / "guests" / ("c" if source.suffix == ".c" else "zig")) as sdk,
    ):
        module = Path(folder, "module.wasm")
        command = [sys.executable, "-m", "ziglang", "build-exe", *OPTIONS]
        command += ["--cache-dir", folder, f"-femit-bin={module}", *_inputs(source, sdk)]
        done = subprocess.run(  # noqa: S603 - the user's own file
            command,
            cwd=source.parent,  # so that messages name the file as the user does
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise BuildError(f"{source} cannot be built", done.stderr.strip())
        return wrap(module.read_bytes())


def _inputs(source: Path, sdk: Path) -> list[str]:
    """What is compiled: in Zig the SDK is the root, which looks for handlers in the module `actor`."""
    if source.suffix == ".c":
        return ["-I", str(sdk), "-cflags", *C_OPTIONS, "--", source.name]
    root = ["--dep", "actor", f"-Mroot={sdk / 'theater.zig'}"]
    return ["-rdynamic", *root, "--dep", "theater=root", f"-Mactor={source.name}"]
