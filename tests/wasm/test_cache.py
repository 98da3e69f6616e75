"""Compiled components on disk: used when they are what they should be, and made anew when not."""

import hashlib
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wasm import guests
from wasmtime import Config, Engine, Module, WasmtimeError
from wasmtime.component import Component

from theater.wasm.cache import Cache, cache_folder
from theater.wasm.wat import assemble

EMPTY = assemble("(component)")


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache is; not there yet."""
    return tmp_path / "some" / "where"


def exports(component: Component, engine: Engine) -> list[str]:
    return [name.partition("@")[0] for name in component.type.exports(engine)]


ECHO = ["theater:websocket/websocket-actor"]


def name_of(file: Path, content: bytes) -> str:
    """What a file with this content is called in place of this one."""
    return f"{file.name.partition('-')[0]}-{hashlib.sha256(content).hexdigest()}.cwasm"


def test_a_component_is_compiled_once(folder: Path, engine: Engine) -> None:
    assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == ECHO
    [file] = folder.iterdir()
    # Another component in its place would be compiled, if it were.
    other = bytes(Component(engine, EMPTY).serialize())
    file.unlink()
    (folder / name_of(file, other)).write_bytes(other)
    assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == []


def test_nobody_else_can_read_or_write_it(folder: Path, engine: Engine) -> None:
    Cache(folder).load(engine, EMPTY, "")
    [file] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_components_and_settings_are_told_apart(folder: Path, engine: Engine) -> None:
    cache = Cache(folder)
    for settings in ("", "x"):
        assert exports(cache.load(engine, EMPTY, settings), engine) == []
        assert exports(cache.load(engine, guests.echo(), settings), engine) == ECHO
    assert len(list(folder.iterdir())) == 4


def test_what_is_no_component_is_not_kept(folder: Path, engine: Engine) -> None:
    with pytest.raises(WasmtimeError):
        Cache(folder).load(engine, b"\0asm\x0d\0\1\0nonsense", "")
    assert list(folder.iterdir()) == []


def test_core_modules_are_kept_too(folder: Path, engine: Engine) -> None:
    code = assemble('(module (func (export "f")))')
    assert [each.name for each in Cache(folder).load_module(engine, code, "").exports] == ["f"]
    [file] = folder.iterdir()
    other = bytes(Module(engine, assemble('(module (func (export "g")))')).serialize())
    file.unlink()
    (folder / name_of(file, other)).write_bytes(other)
    assert [each.name for each in Cache(folder).load_module(engine, code, "").exports] == ["g"]
    with pytest.raises(WasmtimeError):
        Cache(folder).load_module(engine, EMPTY, "")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-1],
    "changed": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(folder: Path, engine: Engine, damage: str) -> None:
    Cache(folder).load(engine, guests.echo(), "")
    [file] = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(DAMAGES[damage](content))
    assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == ECHO
    [file] = folder.iterdir()
    assert file.name == name_of(file, file.read_bytes())


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x7fELF" + bytes(1000)])
def test_a_file_that_wasmtime_has_not_made_is_replaced(folder: Path, engine: Engine, content: bytes) -> None:
    Cache(folder).load(engine, guests.echo(), "")
    [file] = folder.iterdir()
    file.unlink()
    (folder / name_of(file, content)).write_bytes(content)
    assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == ECHO
    assert [each.name for each in folder.iterdir()] == [file.name]


def test_a_file_for_another_engine_is_replaced(folder: Path, engine: Engine) -> None:
    config = Config()
    config.epoch_interruption = True
    other = Engine(config)
    for each in (engine, other, engine):
        assert exports(Cache(folder).load(each, guests.echo(), "the same"), each) == ECHO
        assert len(list(folder.iterdir())) == 1


def test_a_folder_in_place_of_a_file_is_left_alone(folder: Path, engine: Engine) -> None:
    Cache(folder).load(engine, EMPTY, "")
    [file] = folder.iterdir()
    odd = folder / name_of(file, b"odd")
    odd.mkdir()
    file.unlink()
    assert exports(Cache(folder).load(engine, EMPTY, ""), engine) == []
    assert sorted(folder.iterdir()) == sorted([file, odd])


# Folders that are not to be trusted


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, engine: Engine, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(mode)
    cache = Cache(tmp_path)
    for _ in range(2):
        assert exports(cache.load(engine, guests.echo(), ""), engine) == ECHO
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []
    expected = f"compiled components are not kept in {tmp_path}: other users can write to it"
    assert [record.message for record in caplog.records] == [expected]


def test_a_folder_that_others_can_read_is_used(tmp_path: Path, engine: Engine) -> None:
    tmp_path.chmod(0o755)
    Cache(tmp_path).load(engine, EMPTY, "")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert exports(Cache(tmp_path).load(engine, guests.echo(), ""), engine) == ECHO
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == [f"compiled components are not kept in {tmp_path}: it belongs to another user"]


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder, problem in ((file, "file exists"), (file / "below", "not a directory")):
        caplog.clear()
        assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == ECHO
        assert caplog.messages == [f"compiled components are not kept in {folder}: {problem}"]


def test_without_a_folder_nothing_is_said(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    assert exports(Cache(None).load(engine, guests.echo(), ""), engine) == ECHO
    assert caplog.messages == []


def test_a_full_disk(folder: Path, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        assert exports(Cache(folder).load(engine, guests.echo(), ""), engine) == ECHO
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caplog.messages == [f"a compiled component cannot be kept in {folder}: File too large"]
    assert list(folder.iterdir()) == []


# What is kept


def component(number: int) -> bytes:
    return assemble(f'(component (core module (func (export "{number}"))))')


def test_what_was_unused_for_longest_goes_first(folder: Path, engine: Engine) -> None:
    Cache(folder).load(engine, component(0), "")
    [first] = folder.iterdir()
    size = first.stat().st_size
    cache = Cache(folder, max_size=size * 7 // 2)  # three of them, whatever their sizes exactly are
    os.utime(first, (1, 1))
    for number in (1, 2):
        cache.load(engine, component(number), "")
        [newest] = [file for file in folder.iterdir() if file.stat().st_mtime > 1000]
        os.utime(newest, (number + 1, number + 1))
    second = next(file for file in folder.iterdir() if file.stat().st_mtime == 2)
    cache.load(engine, component(0), "")  # used again
    cache.load(engine, component(3), "")
    left = set(folder.iterdir())
    assert len(left) == 3
    assert first in left
    assert second not in left


def test_one_that_is_larger_than_all_may_be_is_kept_alone(folder: Path, engine: Engine) -> None:
    cache = Cache(folder, max_size=1)
    for number in range(3):
        cache.load(engine, component(number), "")
        assert len(list(folder.iterdir())) == 1


def test_files_that_were_never_finished_go(folder: Path, engine: Engine) -> None:
    folder.mkdir(parents=True)
    old, new, other = folder / "old.tmp", folder / "new.tmp", folder / "README"
    for file in (old, new, other):
        file.touch()
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    Cache(folder).load(engine, EMPTY, "")
    assert {file.name for file in folder.iterdir() if file.suffix != ".cwasm"} == {"new.tmp", "README"}


PROCESS = """
import sys
from pathlib import Path
from wasmtime import Engine, wat2wasm
from theater.wasm.cache import Cache
engine = Engine()
codes = [bytes(wat2wasm(f'(component (core module (func (export "{number}"))))')) for number in range(6)]
print("ready", flush=True)
sys.stdin.readline()
cache = Cache(Path(sys.argv[1]), max_size=40_000)  # so that they delete each other's files
for _ in range(5):
    for code in codes:
        cache.load(engine, code, "")
"""


def test_processes_share_a_folder(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROCESS, folder],
            stdin=-1,
            stdout=-1,
            stderr=-1,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.communicate("\n", timeout=50) == ("", "")
        assert process.returncode == 0
    assert not [file for file in folder.iterdir() if file.suffix == ".tmp"]
    assert all(file.name == name_of(file, file.read_bytes()) for file in folder.iterdir())


# Where it is


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/theater/components"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/x"}, "/x/theater/components"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "x"}, "/home/me/.cache/theater/components"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/x", "THEATER_CACHE": "/y"}, "/y"),
        (
            {"HOME": "/home/me", "XDG_CACHE_HOME": "", "THEATER_CACHE": ""},
            "/home/me/.cache/theater/components",
        ),
    ],
)
def test_folder(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "THEATER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_a_user_without_a_home_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    for name in ("XDG_CACHE_HOME", "THEATER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() is None
