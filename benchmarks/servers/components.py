"""Theater's components: built from their sources on first use, and whenever those or Theater have changed."""

from importlib import import_module
from pathlib import Path

import theater
from theater.build import BuildError

COMPONENTS_FOLDER = Path(__file__).parent / "theater" / "components"
SOURCES = {"zig": "echo.zig", "javascript": "echo.js", "python": "echo.py", "hostile": "hostile.zig"}
LANGUAGES = {".zig": "zig", ".js": "javascript", ".py": "python"}
LIBRARY = Path(theater.__file__).parent


def component_problem(name: str) -> str | None:
    """Why there is no component of a name, or None once there is."""
    source, output = COMPONENTS_FOLDER / SOURCES[name], COMPONENTS_FOLDER / f"{name}.wasm"
    language = LANGUAGES[source.suffix]
    if output.exists() and output.stat().st_mtime > _changed(source):
        return None
    try:
        output.write_bytes(import_module(f"theater.build.{language}").build(source, lambda _step: None))
    except (BuildError, ImportError, OSError) as error:
        return str(error)
    return None


def _changed(source: Path) -> float:
    """When the newest file was changed that a component may depend on."""
    files = [file for file in LIBRARY.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return max(file.stat().st_mtime for file in (source, *files))
