"""A server while it runs, and waiting until it answers."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness.process import Process, running
from benchmarks.servers.registry import Server

HOST = "127.0.0.1"
START_SECONDS = 180.0  # a component of many megabytes may have to be compiled
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has answered an HTTP request."""

    process: Process
    url: str

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def running_server(server: Server) -> Iterator[RunningServer]:
    """Start a server on a free port, and yield as soon as it answers."""
    port = _free_port()
    with running(server.command(port), environment=server.environment) as process:
        _wait_until_answering(process, port)
        yield RunningServer(process, f"ws://{HOST}:{port}{server.path}")


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_until_answering(process: Process, port: int) -> None:
    """Until a plain `GET /` gets any HTTP response, whatever its status."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.ended:
            raise process.failed(f"ended with status {process.popen.returncode} instead of listening")
        if time.monotonic() > deadline:
            raise process.failed(f"did not answer within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False
