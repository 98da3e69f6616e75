"""The rules about what may stand where, as far as import-linter does not check them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import theater

SRC = Path(theater.__file__).parent
GUESTS = SRC / "guests"  # they run inside of components, where other modules are
MODULES = sorted(path for path in SRC.rglob("*.py") if GUESTS not in path.parents)

PURE = ["contract", "protocol", "errors.py", "limits.py"] + [
    f"runtime/{name}.py" for name in ("mailbox", "outbox", "address")
]
IMPURE = {"asyncio", "socket", "time", "logging", "threading"}
MAX_LINES = 400  # that are not blank

CHECK_IMPORTS = """
import importlib, sys
problems = []
ours = lambda: [name for name in sys.modules if name.partition(".")[0] == "theater"]
for module in sys.argv[1:]:
    for name in ours():
        del sys.modules[name]
    try:
        importlib.import_module(module)
    except BaseException as error:
        problems.append(f"{module}: {type(error).__name__}: {error}")
print("\\n".join(problems))
"""


def name_of(path: Path) -> str:
    """The dotted name of a module of ours."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """The modules that a module imports anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(path: Path, part: str) -> bool:
    place = path.relative_to(SRC).as_posix()
    return place == part or place.startswith(f"{part}/")


def test_there_are_modules_to_check() -> None:
    names = set(map(name_of, MODULES))
    assert {"theater", "theater.errors", "theater.runtime.cell", "theater.testing.clock"} <= names
    for part in PURE:
        assert any(inside(path, part) for path in MODULES), part


@pytest.mark.timeout(120)
def test_every_module_can_be_imported_first() -> None:
    names = [name_of(path) for path in MODULES if path.name != "__main__.py"]
    command = [sys.executable, "-c", CHECK_IMPORTS, *names]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_public_names_exist_and_are_listed_once() -> None:
    assert sorted(set(theater.__all__)) == sorted(theater.__all__)
    for name in theater.__all__:
        assert hasattr(theater, name), name


def test_what_the_package_imports_from_its_parts_is_public() -> None:
    tree = ast.parse((SRC / "__init__.py").read_text("utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert imported == set(theater.__all__)


@pytest.mark.parametrize("path", [path for path in MODULES if not inside(path, "testing")], ids=name_of)
def test_nothing_imports_the_test_kit(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("theater.testing")]


@pytest.mark.parametrize(
    "path", [path for path in MODULES if any(inside(path, part) for part in PURE)], ids=name_of
)
def test_pure_modules_do_no_input_or_output_read_no_clock_and_log_nothing(path: Path) -> None:
    assert not IMPURE & {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= MAX_LINES
