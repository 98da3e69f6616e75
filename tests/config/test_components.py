"""Manifests of components: their keys, and whether what they name fits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wasm import guests

from theater import Actor
from theater.config import ComponentFile, Manifest, inspect_manifests, load_manifests
from theater.config.components import invalid, unserved
from theater.errors import ConfigError, InvalidComponent, Mistake
from theater.runtime.ports import Batch
from theater.server.routing import Pattern, Route
from theater.wasm.wat import assemble

HEAD = 'name = "room"\ncomponent = "room.wasm"\n'
HANDLER = '[[handlers]]\ntype = "websocket-server"\npath = "/x"\n'

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a manifest next to a component, and gives its path."""
    monkeypatch.setenv("THEATER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "room.wasm").write_bytes(guests.echo())

    def write(text: str, name: str = "theater.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def mistakes(load: Callable[[list[str]], object], *arguments: str) -> list[Mistake]:
    with pytest.raises(ConfigError) as error:
        load(list(arguments))
    return error.value.mistakes


# What stands in a manifest


def test_component(write: Write, tmp_path: Path) -> None:
    [manifest] = load_manifests([write(HEAD + HANDLER)])
    assert manifest.actor == ComponentFile(tmp_path / "room.wasm", "loop", ())


def test_everything_about_it(write: Write, tmp_path: Path) -> None:
    grants = '["wasi:clocks", "wasi:random"]'
    [manifest] = load_manifests([write(f'{HEAD}execution = "thread"\ngrants = {grants}\n{HANDLER}')])
    assert manifest.actor == ComponentFile(tmp_path / "room.wasm", "thread", ("wasi:clocks", "wasi:random"))


def test_a_component_is_not_looked_into_before_it_is_needed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "room.wasm").write_bytes(b"nonsense")
    assert len(load_manifests([write(HEAD + HANDLER)])) == 1


PACKAGES = "wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets"
MISTAKES = {
    "both": (HEAD + 'python = "room.py:Room"\n', "component", "it beside python", "one of the two"),
    "neither": ("", "python", "nothing", "text such as 'chat.py:ChatRoom', or component"),
    "no text": ("component = 1\n", "component", "1 (a number)", "text such as 'chat.wasm'"),
    "empty": ('component = ""\n', "component", "''", "text such as 'chat.wasm'"),
    "execution": (HEAD + 'execution = "fiber"\n', "execution", "'fiber'", "loop or thread"),
    "execution of no kind": (HEAD + "execution = 1\n", "execution", "1 (a number)", "loop or thread"),
    "no grants": (
        HEAD + 'grants = "wasi:io"\n',
        "grants",
        "'wasi:io'",
        f"a list, each one of {PACKAGES}",
    ),
    "unknown grant": (HEAD + 'grants = ["wasi:http"]\n', "grants[0]", "'wasi:http'", f"one of {PACKAGES}"),
    "grant of an interface": (
        HEAD + 'grants = ["wasi:io", "wasi:io/poll"]\n',
        "grants[1]",
        "'wasi:io/poll'",
        f"one of {PACKAGES}",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(write: Write, name: str) -> None:
    text, key, found, expected = MISTAKES[name]
    file = write(('name = "room"\n' if "name" not in text else "") + text + HANDLER)
    assert mistakes(load_manifests, file) == [Mistake(file, key, found, expected)]


@pytest.mark.parametrize(("key", "value"), [("execution", '"loop"'), ("grants", "[]")])
def test_keys_that_only_components_have(write: Write, tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "room.py").write_text("from theater import Actor\n\nclass Room(Actor):\n    pass\n")
    file = write(f'name = "room"\npython = "room.py:Room"\n{key} = {value}\n{HANDLER}')
    assert mistakes(load_manifests, file) == [Mistake(file, key, "it without component", "it only there")]


def test_missing_file(write: Write, tmp_path: Path) -> None:
    file = write(HEAD.replace("room.wasm", "owl.wasm") + HANDLER)
    found = "'owl.wasm', which is no file"
    [mistake] = mistakes(load_manifests, file)
    assert mistake == Mistake(file, "component", found, f"a component in {tmp_path}")
    (tmp_path / "owl.js").touch()
    [mistake] = mistakes(load_manifests, file)
    assert mistake == Mistake(
        file, "component", found, f"a component; `theater build {tmp_path / 'owl.js'}` makes one"
    )


@pytest.mark.parametrize("name", [".", "..", "/", "a\\u0000b", "no/where.wasm"])
def test_what_is_no_file(write: Write, name: str) -> None:
    file = write(HEAD.replace("room.wasm", name) + HANDLER)
    [mistake] = mistakes(load_manifests, file)
    assert mistake.expected.startswith("a component in /")


def test_a_component_without_a_manifest(tmp_path: Path) -> None:
    file = str(tmp_path / "room.wasm")
    expected = "a manifest with component = 'room.wasm'"
    assert mistakes(load_manifests, file) == [Mistake(file, "", "a component", expected)]


# What a component is


def test_components_are_looked_into(write: Write, tmp_path: Path) -> None:
    (tmp_path / "counter.wasm").write_bytes(guests.counter())
    (tmp_path / "room.py").write_text("from theater import Actor\n\nclass Room(Actor):\n    pass\n")
    files = [
        write(HEAD + HANDLER),
        write('name = "counter"\ncomponent = "counter.wasm"\n' + HANDLER.replace("/x", "/y"), "counter.toml"),
        write('name = "native"\npython = "room.py:Room"\n' + HANDLER.replace("/x", "/z"), "native.toml"),
    ]
    manifests, inspections = inspect_manifests(files)
    assert [manifest.name for manifest in manifests] == ["room", "counter", "native"]
    assert list(inspections) == ["room", "counter"]
    assert list(inspections["counter"].imports) == ["state"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_all_mistakes_are_found_at_once(write: Write, tmp_path: Path) -> None:
    clock = "wasi:clocks/wall-clock@0.2.6"
    (tmp_path / "clock.wasm").write_bytes(
        assemble(
            f'(component (import "{clock}" (instance)) (instance $i)'
            ' (export "theater:websocket/lifecycle@0.2.0" (instance $i)))'
        )
    )
    (tmp_path / "core.wasm").write_bytes(assemble("(module)"))
    unserved = write(HEAD + HANDLER + '[[handlers]]\ntype = "http-server"\npath = "/"\n')
    clocked = write('name = "a"\ncomponent = "clock.wasm"\n' + HANDLER.replace("/x", "/y"), "a.toml")
    core = write('name = "b"\ncomponent = "core.wasm"\n' + HANDLER.replace("/x", "/z"), "b.toml")
    wrong = write('nmae = "c"\ncomponent = "room.wasm"\n' + HANDLER, "c.toml")
    found = mistakes(inspect_manifests, unserved, clocked, core, wrong)
    assert [(each.file, each.key) for each in found] == [
        (wrong, "nmae"),
        (wrong, "name"),
        (unserved, "handlers[1].type"),
        (clocked, "component"),
        (core, "component"),
    ]
    assert found[3].found == (
        f"'{tmp_path / 'clock.wasm'}', which imports {clock}, which the manifest does not grant:"
        ' add grants = ["wasi:clocks"]'
    )
    assert found[4].found.startswith(f"'{tmp_path / 'core.wasm'}', which is a core module, not a component")


def test_limits_of_the_server_are_those_of_the_engine(write: Write, tmp_path: Path) -> None:
    """So that `theater run` finds compiled what `theater check` has compiled."""
    for size, files in ((1_000_000, 1), (1_000_000, 1), (900_000, 2)):
        inspect_manifests([write(f"{HEAD}[server.limits]\nmax_stack = {size}\n{HANDLER}")])
        assert len(list((tmp_path / "cache").iterdir())) == files


def test_handlers_lead_to_what_a_component_has() -> None:
    pattern = Pattern("/")
    routes = (
        Route("websocket-server", pattern, "room"),
        Route("http-server", pattern, "room"),
        Route("websocket-server", pattern, "room", stream=True),
        Route("websocket-server", pattern, "room", batch=Batch()),
    )
    manifest = Manifest("room", ComponentFile(Path("room.wasm")), routes, file="f")
    assert list(unserved(manifest, {"http-actor", "stream-actor", "batch-actor"})) == []
    expected = "but the component does not export {}"
    assert list(unserved(manifest, {"websocket-actor"})) == [
        Mistake("f", "handlers[1].type", f"'http-server', {expected.format('http-actor')}", "one that does"),
        Mistake("f", "handlers[2].messages", f"'stream', {expected.format('stream-actor')}", "one that does"),
        Mistake("f", "handlers[3].batch", f"it, {expected.format('batch-actor')}", "one that does"),
    ]


def test_a_component_that_does_not_fit_is_a_mistake_of_its_manifest() -> None:
    manifest = Manifest("room", Actor, (), file="f")
    assert str(invalid(manifest, InvalidComponent("room.wasm", "is empty"))) == (
        "f: component: found 'room.wasm', which is empty, expected a component that fits the contract"
    )
