"""What the suite shares: each test runs once for each language that has what it needs.

    @needs("tags", "state")
    async def test_something(world: World) -> None: ...

A test that needs what a language's actor lacks is skipped, and says so; so are all tests of a language whose
compiler is missing.
"""

import importlib.util
import shutil
from pathlib import Path

import pytest
from tests.behaviours.languages import FEATURES, LANGUAGES, Language
from tests.behaviours.world import World

MODULES = {"python": "componentize_py", "zig": "ziglang"}
"""Modules of compilers that PyPI has."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))  # the first test of a language waits for compilers


def missing(language: Language) -> str | None:
    """What cannot be found that builds a language's component."""
    if language.name == "javascript":
        return next((name for name in ("node", "npm") if shutil.which(name) is None), None)
    module = MODULES.get(language.name)
    return module if module and importlib.util.find_spec(module) is None else None


@pytest.fixture(params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest) -> Language:
    """One that has all that the test needs."""
    found: Language = request.param
    needed = {feature for mark in request.node.iter_markers("needs") for feature in mark.args}
    assert needed <= FEATURES, needed - FEATURES
    if lacking := needed & found.lacks:
        pytest.skip(f"the conformance actor in {found.name} has no {', '.join(sorted(lacking))}")
    if tool := missing(found):
        pytest.skip(f"{tool} IS MISSING: nothing of the contract is tested in {found.name}")
    return found


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Path:
    """A folder of built components, kept from run to run."""
    assert pytestconfig.cache is not None
    return pytestconfig.cache.mkdir("components")


@pytest.fixture
def world(language: Language, built: Path) -> World:
    """What a test serves and asks."""
    return World(language, built)
