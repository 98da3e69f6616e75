"""The command as a whole: version, help, mistakes and exit codes."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wasm import guests

import theater as package

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_version(theater: Theater) -> None:
    done = theater("--version")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (
        0,
        f"Theater {package.__version__}\n",
        b"",
    )


@pytest.fixture
def all_at_once(environment: dict[str, str]) -> Callable[[list[str]], dict[str, tuple[int, str, str]]]:
    """Runs `theater` with several arguments side by side; gives the exit code and what it said for each."""

    def run(commands: list[str]) -> dict[str, tuple[int, str, str]]:
        started = {
            command: subprocess.Popen(
                [sys.executable, "-m", "theater", *command.split()],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in commands
        }
        said = {command: process.communicate(timeout=30) for command, process in started.items()}
        return {command: (started[command].returncode, *said[command]) for command in commands}

    return run


AllAtOnce = Callable[[list[str]], dict[str, tuple[int, str, str]]]


def test_help_teaches_with_examples(all_at_once: AllAtOnce) -> None:
    commands = ["--help", "run --help", "check --help", "doctor --help", "connect -h", "new -h"]
    for command, (code, out, err) in all_at_once(commands).items():
        name = command.rpartition(" ")[0]
        assert f"Usage: theater {name}".strip() in out
        assert re.search(rf"Examples *\n.*theater {name}", out)
        assert (code, err) == (0, "")


def test_wrong_usage_ends_with_2(all_at_once: AllAtOnce) -> None:
    commands = ["", "dance", "run . --port 65536", "run . --tls-cert x", "run . --tls-key x"]
    commands += [f"run . --uds x --{each}" for each in ("host a", "port 1", "reuse-port")]
    commands += ["doctor . --lax", "connect x --header y"]
    for code, out, err in all_at_once(commands).values():
        assert code == 2
        assert "Usage: theater" in out + err
        assert "Traceback" not in err


def test_starting_a_server_loads_nothing_it_does_not_need(project: Path) -> None:
    code = """
import sys
from theater.cli import app
app(["check", sys.argv[1]], standalone_mode=False)
import theater.cli.serving
# watchfiles is not for us to keep out: uvicorn loads it, too.
print(sorted({name.partition(".")[0] for name in sys.modules} & {"rich", "prompt_toolkit", "wasmtime"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(project)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_check_says_what_is_served(theater: Theater, project: Path) -> None:
    (project / "more.toml").write_text(
        'name = "other"\npython = "parrot.py:Parrot"\nlimits.handler_timeout = 5\n'
        '[[handlers]]\ntype = "websocket-server"\npath = "/{room}/x"\ninstance = "{room}"\n'
        "max_message = 1048576\nmax_frame = 65_536\n"
        '[server]\nhosts = ["a", "b"]\nlimits.max_body = 5000\n'
    )
    done = theater("check", project, project / "more.toml")
    assert done.stdout.decode() == (
        f"{project}/theater.toml: parrot 1.2.3\n"
        "  websocket-server  /\n"
        f"{project}/more.toml: other\n"
        "  server            hosts a, b; max_body 5_000\n"
        "  limits            handler_timeout 5\n"
        "  websocket-server  /{room}/x, instance {room}\n"
        "                    max_frame 65_536\n"
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_check_looks_into_components(theater: Theater, project: Path, environment: dict[str, str]) -> None:
    manifest = project / "theater.toml"
    manifest.write_text(manifest.read_text().replace('python = "parrot.py:Parrot"', 'component = "p.wasm"'))
    (project / "p.wasm").write_bytes(guests.echo())
    done = theater("check", project)
    assert done.stdout.decode() == (
        f"{manifest}: parrot 1.2.3\n"
        f"  component         p.wasm, contract 0.2.0, {len(guests.echo()):_} bytes\n"
        "                    exports websocket-actor\n"
        "  websocket-server  /\n"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(Path(environment["HOME"], ".cache", "theater", "components").iterdir())) == 1
    (project / "p.wasm").write_bytes(guests.echo()[:100])
    done = theater("check", project)
    expected = f"{manifest}: component: found '{project / 'p.wasm'}', which is no valid component: "
    assert done.stderr.decode().startswith(expected)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


MISTAKES = {
    "unknown key": ("version =", "vresion =", "vresion", "an unknown key", "'version' perhaps"),
    "missing key": ('name = "parrot"\n', "", "name", "nothing", "a name such as 'chat'"),
    "wrong type": ('"1.2.3"', "1", "version", "1 (a number)", "text such as '0.1.0'"),
    "bad name": ('"parrot"', '"Parrot!"', "name", "'Parrot!'", "lower-case letters"),
    "no handlers": (
        '\n[[handlers]]\ntype = "websocket-server"\npath = "/"\n',
        "",
        "handlers",
        "nothing",
        "one or more [[handlers]] tables",
    ),
    "bad kind": ("websocket-server", "ws", "handlers[0].type", "'ws'", "one of websocket-server, http"),
    "bad path": ('path = "/"', 'path = "x"', "handlers[0].path", "'x'", ""),
    "reserved path": (
        '"/"',
        '"/_theater/x"',
        "handlers[0].path",
        "'/_theater/x'",
        "a path outside /_theater",
    ),
    "bad instance": (
        'path = "/"',
        'path = "/"\ninstance = "{room}"',
        "handlers[0].instance",
        "{room}",
        "parameters of the path /",
    ),
    "bad size": (
        'path = "/"',
        'path = "/"\nmax_message = 0',
        "handlers[0].max_message",
        "0 (a number)",
        "a whole number of bytes, at least 1",
    ),
    "no handler": (
        "websocket-server",
        "http-server",
        "handlers[0].type",
        "'http-server', but Parrot has no handle_request",
        "a class that defines handle_request",
    ),
    "no such file": (
        "parrot.py:Parrot",
        "owl.py:Owl",
        "python",
        "'owl.py', which is no file",
        "a Python file in",
    ),
    "no such class": (
        ":Parrot",
        ":Owl",
        "python",
        "no 'Owl' in ../parrot/parrot.py",
        "one of its actors: Parrot",
    ),
    "not TOML": ("[[handlers]]", "[[handlers]", "", "a mistake in its TOML", "a manifest in TOML"),
    # Between manifests or handlers; these are found last.
    "taken path": (
        'path = "/"\n',
        'path = "/"\n[[handlers]]\ntype = "websocket-server"\npath = "/"\n',
        "handlers[1].path",
        "'/', which handlers[0] serves already",
        "another path",
    ),
}


def test_every_mistake_is_told_in_a_line(theater: Theater, project: Path, tmp_path: Path) -> None:
    text = (project / "theater.toml").read_text()
    folders = []
    for name, (before, after, *_) in MISTAKES.items():
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        folders.append(folder)
        assert before in text
        (folder / "theater.toml").write_text(
            text.replace(before, after, 1).replace("parrot.py", "../parrot/parrot.py")
        )
    done = theater("check", *folders)
    lines = done.stderr.decode().splitlines()
    for folder, (_, _, key, found, expected), line in zip(folders, MISTAKES.values(), lines, strict=True):
        where = f"{folder}/theater.toml: {key}: " if key else f"{folder}/theater.toml: "
        assert line.startswith(f"{where}found {found}")
        assert f", expected {expected}" in line
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("command", ["check", "run"])
def test_all_mistakes_are_told_at_once(theater: Theater, project: Path, command: str) -> None:
    manifest = project / "theater.toml"
    manifest.write_text(manifest.read_text().replace("name", "nmae"))
    (project / "parrot.py").write_text("import theater\n\nraise OSError('no luck')\n")
    done = theater(command, project, "nowhere")
    failed = "'parrot.py', which fails to load: OSError: no luck (line 3)"
    assert done.stderr.decode().splitlines() == [
        f"{manifest}: nmae: found an unknown key, expected 'name' perhaps",
        f"{manifest}: name: found nothing, expected a name such as 'chat'",
        f"{manifest}: python: found {failed}, expected a file that Python can import",
        "nowhere: found no such file, expected a manifest, a folder with a theater.toml, or file.py:Class",
    ]
    assert (done.returncode, done.stdout) == (2, b"")
