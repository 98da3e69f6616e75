"""Facts about the machine and the software, without which a number means nothing."""

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers.node_packages import NODE_MODULES

PYTHON_LIBRARIES = (
    "theater", "picows", "aiofastnet", "websockets", "aiohttp", "uvloop", "uvicorn", "httptools", "msgspec",
    "wasmtime", "ziglang", "componentize-py",
)  # fmt: skip
NODE_PACKAGES = ("ws", "socket.io", "workerd")


def machine_facts() -> dict[str, object]:
    """What a reader needs to judge the numbers, ready for JSON."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "node": _node_version(),
        "libraries": _python_libraries() | _node_packages(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _node_version() -> str | None:
    node = shutil.which("node")
    if node is None:
        return None
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def _python_libraries() -> dict[str, str]:
    found = {}
    for name in PYTHON_LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _node_packages() -> dict[str, str]:
    manifests = [(name, NODE_MODULES / name / "package.json") for name in NODE_PACKAGES]
    return {name: json.loads(path.read_text())["version"] for name, path in manifests if path.exists()}
