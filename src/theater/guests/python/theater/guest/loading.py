"""Finds the actor in the user's module; used by the builder, and in the component while it is built."""

import ast
import importlib
import sys
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from sysconfig import get_path
from types import ModuleType
from typing import Any, Final

import componentize_py_types
import wit_world

from theater.native.actor import Actor

INTERFACES: Final = {
    "__init__": ("lifecycle",),  # as an exception there means that the actor cannot start
    "init": ("lifecycle",),
    "upgrade_connection": ("websocket-upgrade",),
    "handle_websocket": ("websocket-actor", "stream-actor"),
    "handle_batch": ("batch-actor",),
    "handle_request": ("http-actor",),
    "handle_message": ("message-actor",),
}
"""What a component exports for a method that the actor overrides."""

_OWN: Final = tuple(
    f"{folder}/"
    for folder in (
        sys.prefix,
        Path(__file__).parents[2],
        Path(wit_world.__path__[0]).parent,
        Path(componentize_py_types.__file__).parent,
    )
)
"""Where Python, this package and the bindings are."""


def describe(module: str, name: str | None) -> dict[str, Any]:
    """What the builder must know: the actor's name and what to export; or a problem, in words."""
    try:
        found = importlib.import_module(module)
        _check_native_code()
        actor = find_actor(found, name)
    except LookupError as problem:
        return {"problem": str(problem)}
    return {"actor": actor.__name__, "interfaces": interfaces(actor)}


def load(module: str, name: str) -> dict[str, type]:
    """Loads an actor; what a component exports for it, by name."""
    from theater.guest.environment import keep_source
    from theater.guest.exports import exports

    actor = find_actor(importlib.import_module(module), name)
    seen: set[str] = set()
    while unseen := _files_of_user().keys() - seen:
        for file in unseen:
            seen.add(file)
            _import_what_functions_import(_files_of_user()[file], keep_source(file))
    return exports(actor)


def find_actor(module: ModuleType, name: str | None) -> type[Actor]:
    """The actor of this name in a module, or the only one.

    Raises:
        LookupError: there is none, or more than one; in words.
    """
    if name is not None:
        found = getattr(module, name, None)
        if not (isinstance(found, type) and issubclass(found, Actor)):
            problem = "no class of that name derives from Actor"
            raise LookupError(f"{module.__name__} has no actor {name}: {problem}")
        return found
    actors = {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Actor)}
    # A class from which another derives is a part of that one.
    actors -= {base for actor in actors for base in actor.__mro__[1:]} | {Actor}
    if not actors:
        raise LookupError(f"{module.__name__} has no actor: no class in it derives from Actor")
    if len(actors) > 1:
        names = ", ".join(sorted(actor.__name__ for actor in actors))
        raise LookupError(f"{module.__name__} has more than one actor: say which one is meant of {names}")
    return actors.pop()


def _check_native_code() -> None:
    """Python itself could import a module of native code, the component's cannot."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.endswith(tuple(EXTENSION_SUFFIXES)) and not file.startswith(get_path("platstdlib")):
            raise LookupError(f"{name} is native code, which runs in no component")


def interfaces(actor: type[Actor]) -> list[str]:
    """What a component exports for an actor."""
    found = [
        interface
        for method, names in INTERFACES.items()
        if getattr(actor, method) is not getattr(Actor, method)
        for interface in names
    ]
    return list(dict.fromkeys(found))


def _files_of_user() -> dict[str, ModuleType]:
    """The user's modules that have been imported, by their files."""
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and not file.startswith(_OWN):
            found[file] = module
    return found


def _import_what_functions_import(module: ModuleType, text: str) -> None:
    """Imports now what a module imports when a function is called: there will be nothing to read then."""
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in ast.walk(function):
                if isinstance(statement, ast.Import):
                    for alias in statement.names:
                        _try_import(alias.name)
                elif isinstance(statement, ast.ImportFrom):
                    _try_import("." * statement.level + (statement.module or ""), module.__package__)


def _try_import(name: str, package: str | None = None) -> None:
    with suppress(ImportError):  # which then comes when the function is called
        importlib.import_module(name, package)
