"""A load client while it runs: a process that carries out one command at a time."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.harness.process import Process, running
from benchmarks.harness.server import RunningServer


class LoadClient:
    """The harness's end of the pipe that `benchmarks.load.commands` describes."""

    def __init__(self, process: Process, server: RunningServer) -> None:
        self._process = process
        self._server = server

    def ask(self, number: float, *, within: float) -> dict[str, float]:
        """Have a command carried out; a client that takes longer than `within` seconds is ended."""
        stdin, stdout = self._process.popen.stdin, self._process.popen.stdout
        assert stdin is not None
        assert stdout is not None
        watchdog = threading.Timer(within, self._process.popen.kill)
        watchdog.start()
        try:
            stdin.write(f"{number}\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise self._process.failed("the load client ended without an answer")
        reply = json.loads(line)
        if "error" in reply:
            raise self._server.process.failed(f"the load client reports {reply['error']}")
        return dict(reply)


@contextmanager
def load_client(module: str, server: RunningServer, *arguments: object) -> Iterator[LoadClient]:
    """Run `benchmarks.load.MODULE URL ARGUMENTS` against a server while the block lasts."""
    command = [sys.executable, "-m", f"benchmarks.load.{module}", server.url, *map(str, arguments)]
    with running(command, talks=True) as process:
        yield LoadClient(process, server)
