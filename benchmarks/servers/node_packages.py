"""The npm packages of the Node.js servers: installed on first use, next to their `package.json`."""

import json
import shutil
import subprocess
from pathlib import Path

NODE_FOLDER = Path(__file__).parent / "node"
NODE_MODULES = NODE_FOLDER / "node_modules"
INSTALLED = NODE_MODULES / ".package-lock.json"  # what npm writes last: what it has installed
INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")
INSTALL_SECONDS = 300


def node_problem() -> str | None:
    """Why the Node.js servers cannot run, or None once Node.js and their packages are in place."""
    if shutil.which("node") is None:
        return "Node.js is not installed (no `node` on PATH)"
    if _installed():
        return None
    if shutil.which("npm") is None:
        return "its npm packages are not installed, and there is no `npm` on PATH"
    return _install()


def workerd_binary() -> Path | None:
    """The platform's own executable: the package's `workerd` command may be a Node.js process before it."""
    return next(NODE_MODULES.glob("@cloudflare/workerd-*/bin/workerd"), None)


def _installed() -> bool:
    """Whether there is every package that `package.json` names."""
    if not INSTALLED.exists():
        return False
    wanted = json.loads((NODE_FOLDER / "package.json").read_text())["dependencies"]
    installed = json.loads(INSTALLED.read_text())["packages"]
    return all(f"node_modules/{name}" in installed for name in wanted)


def _install() -> str | None:
    try:
        subprocess.run(
            INSTALL, cwd=NODE_FOLDER, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(INSTALL)}` failed: {error.stderr.strip()}"
    except subprocess.TimeoutExpired:
        return f"`{' '.join(INSTALL)}` took more than {INSTALL_SECONDS} s"
    return None
