"""A child process that is always ended: by its pid, gently first, whatever happens to the benchmark."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from benchmarks.errors import BenchmarkError

REPOSITORY = Path(__file__).parents[2]
END_SECONDS = 2.0
OUTPUT_LINES_SHOWN = 15
NO_MORE: Mapping[str, str] = {}


class Process:
    """A running command. What it writes is kept, to be shown only when it fails."""

    def __init__(self, popen: subprocess.Popen[str], log: IO[str]) -> None:
        self.popen = popen
        self._log = log

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def failed(self, why: str) -> BenchmarkError:
        """The error to raise, with the last lines the process wrote."""
        self._log.seek(0)
        lines = [f"  | {line.rstrip()}" for line in self._log.readlines()[-OUTPUT_LINES_SHOWN:]]
        return BenchmarkError("\n".join([why, *lines]))


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str] = NO_MORE, talks: bool = False
) -> Iterator[Process]:
    """Run a command in the repository's root while the block lasts, with more variables in its environment.

    One that talks keeps stdin and stdout as pipes of text; else stdout goes where stderr goes. It gets a
    session of its own, so that Ctrl-C reaches the benchmark alone, which then ends its children in order.
    """
    pipe = subprocess.PIPE if talks else None
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            popen = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**_environment(), **environment},
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchmarkError(f"could not start: {error}") from error
        try:
            yield Process(popen, log)
        finally:
            _end(popen)


def _environment() -> dict[str, str]:
    """This process's own, but with byte code kept between starts, as an installed server's is."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _end(popen: subprocess.Popen[str]) -> None:
    for stream in (popen.stdin, popen.stdout):
        if stream:
            with suppress(BrokenPipeError):
                stream.close()
    popen.terminate()
    try:
        popen.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
