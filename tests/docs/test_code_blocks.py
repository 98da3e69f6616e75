"""Every code block of the documentation is run or checked, and every link inside it leads somewhere.

What a block's language means here:

* `python`: executed. The blocks of one page share a namespace, in order; functions named `test_*`
  that a block defines are called. With `title="room.py"` the block is also written to a file of
  that name in the page's folder, a temporary one in which everything of the page happens.
* `toml`: written to a file (`theater.toml`, unless it has a title) and read as a manifest; one that
  is marked `mistakes` must have some.
* `console`: lines that begin with `$ ` are commands, what follows is what they print, where `...`
  stands for anything. `theater run`, and a command that ends with `&`, stay until the page ends or
  the next one of them starts. `exit=2` behind the language is the exit code to expect.
* `sh`: the commands of the README for a fresh checkout. They install software, so they are only
  compared with those that CI runs.

Port 8080 becomes a free one everywhere. A block under `<!-- not run: reason -->` is left alone; all
of those are listed in `NOT_RUN`.
"""

import asyncio
import inspect
import logging
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from theater.config import load_manifests
from theater.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/README.md")])
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
CHECKED = ("python", "toml", "console", "sh")
PROGRAMS = {
    "theater": [sys.executable, "-m", "theater"],
    "python": [sys.executable],
    "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
    "curl": ["curl", "--silent"],
}
NOT_RUN = {
    ("docs/how-to/run-a-component.md", "it takes ten seconds, and tests/build does it"),
    ("docs/how-to/run-a-component.md", "the build takes Node.js, and installs a compiler with npm"),
    ("examples/javascript/README.md", "the build takes Node.js, and installs a compiler with npm"),
}
SECONDS = 20  # for one command


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    line: int
    language: str
    info: dict[str, str]
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        info = {}
        for word in shlex.split(match["info"]):
            key, _, value = word.partition("=")
            info[key] = value
        line = text.count("\n", 0, match.start("text"))
        name = str(page.relative_to(ROOT))
        found.append(Block(name, line, match["language"], info, match["text"], match["reason"]))
    return found


class Reader:
    """Does what a page says, as its reader would.

    Args:
        folder: where; `cd` changes it.
        port: what stands in for 8080.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._namespace: dict[str, Any] = {"__name__": "page"}
        self._server: tuple[str, subprocess.Popen[bytes]] | None = None

    def follow(self, block: Block) -> None:
        text = block.text.replace("8080", str(self._port))
        os.chdir(self._folder)
        match block.language:
            case "python":
                self._python(block, text)
            case "toml":
                self._toml(block, text)
            case "console":
                self._console(block, text)
            case "sh":
                pass  # see test_readme_commands_are_those_of_ci

    def stop(self) -> None:
        """Ends the server, which must end in good order."""
        if self._server is not None:
            place, process = self._server
            self._server = None
            process.terminate()
            try:
                assert process.wait(SECONDS) in (0, -15), f"{place}: ended with {process.returncode}"
            finally:
                process.kill()

    def _python(self, block: Block, text: str) -> None:
        title = block.info.get("title")
        if title is not None:
            path = self._folder / title
            path.write_text(text, "utf-8")
            if not path.name.startswith("test_"):  # those are run with pytest
                runpy.run_path(str(path), run_name=path.stem)
            return
        before = dict(self._namespace)
        exec(compile("\n" * block.line + text, block.page, "exec"), self._namespace)
        for name, value in self._namespace.items():
            if name.startswith("test_") and before.get(name) is not value:
                result = value()
                if inspect.iscoroutine(result):
                    asyncio.run(result)

    def _toml(self, block: Block, text: str) -> None:
        title = block.info.get("title", "theater.toml")
        path = self._folder / title
        path.write_text(text, "utf-8")
        if "mistakes" in block.info:
            with pytest.raises(ConfigError):
                load_manifests([title])
        else:
            assert load_manifests([title])

    def _console(self, block: Block, text: str) -> None:
        parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
        assert not parts[0], f"{block.place}: a console block begins with a command"
        for command, expected in zip(parts[1::2], parts[2::2], strict=True):
            os.chdir(self._folder)
            words = shlex.split(command)
            if words[0] == "cd":
                self._folder = self._folder / words[1]
                assert self._folder.is_dir(), f"{block.place}: no folder {words[1]}"
                continue
            stays = words[:2] == ["theater", "run"] or words[-1] == "&"
            if words[-1] == "&":
                del words[-1]
            assert words[0] in PROGRAMS, f"{block.place}: {words[0]} cannot be run here"
            arguments = [*PROGRAMS[words[0]], *words[1:]]
            if words[:2] == ["theater", "connect"]:
                arguments += ["--linger", "0.1"]  # on one machine, half a second is long
            if stays:
                self._start(block.place, arguments, expected)
            else:
                done = subprocess.run(
                    arguments, stdout=-1, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=SECONDS
                )
                output = done.stdout.decode()
                assert fits(expected, output), f"{block.place}: {command} printed\n{output}"
                code = int(block.info.get("exit", "0"))
                assert done.returncode == code, f"{block.place}: exit {done.returncode}\n{output}"

    def _start(self, place: str, arguments: list[str], expected: str) -> None:
        """Starts a server, and waits until it has printed what it should."""
        self.stop()
        if "theater" in arguments and "--port" not in arguments:
            arguments = [*arguments, "--port", str(self._port)]
        file = self._folder / ".output"
        with file.open("wb") as output:
            process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT)
        self._server = place, process
        deadline = time.monotonic() + SECONDS
        while not fits(expected or "...listening on...", file.read_text("utf-8")):
            assert process.poll() is None, f"{place}: ended, having said\n{file.read_text('utf-8')}"
            assert time.monotonic() < deadline, f"{place}: said only\n{file.read_text('utf-8')}"
            time.sleep(0.02)


def fits(expected: str, output: str) -> bool:
    """Whether what was printed is what the page shows, but for white space, times and `...`."""

    def simple(text: str) -> str:
        lines = (" ".join(line.split()) for line in text.splitlines())
        return "\n".join(re.sub(r"\b\d\d:\d\d:\d\d\b", "00:00:00", line) for line in lines if line)

    pattern = ".*".join(re.escape(part) for part in simple(expected).split("..."))
    return re.search(pattern, simple(output), re.DOTALL) is not None


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Somebody who starts with an empty folder, but for the examples of this checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv(
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"
    )  # the pages need none, and loading takes seconds
    modules = set(sys.modules)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reader = Reader(tmp_path, port)
    try:
        yield reader
    finally:
        reader.stop()
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """A page may silence a logger; the next test wants it back."""
    logger = logging.getLogger("theater.actor")
    yield
    logger.disabled = False


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_blocks_do_what_the_page_says(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        if block.reason is None and block.language in CHECKED:
            reader.follow(block)


def test_blocks_that_are_not_run_are_known() -> None:
    marked = {
        (block.page, block.reason) for page in PAGES for block in blocks(page) if block.reason is not None
    }
    assert marked == NOT_RUN


def test_every_fence_is_understood() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), f"{page}: a fence without a language, or indented"


def test_readme_commands_are_those_of_ci() -> None:
    commands = [block.text.strip() for block in blocks(ROOT / "README.md") if block.language == "sh"]
    assert commands == [
        "pip install -q uv && uv run --no-dev theater run examples/chat",
        "pip install -q uv && uv run pytest",
    ]
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    run_by_ci = {line.strip() for line in script if line.startswith("pip install -q uv && ")}
    assert run_by_ci <= set(commands), "CI and README say different things"
    assert commands[1] in run_by_ci


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page}: {target} does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page}: {target} has no such heading"


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
