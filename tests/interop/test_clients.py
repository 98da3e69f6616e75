"""Other people's clients, as `scripts/interop --quick` tries them; what they must do stands there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = 77
CLIENTS = ("Node ws", "websockets, asyncio", "websockets, threads", "aiohttp", "picows", "wsproto")


@pytest.mark.parametrize("client", CLIENTS)
def test_client(client: str) -> None:
    command = [sys.executable, "scripts/interop", "--clients", client]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == SKIPPED:
        pytest.skip(f"INTEROP NOT TESTED: {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout
