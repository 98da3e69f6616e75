"""The clients: how each is started, and what it has no interface for."""

import hashlib
import shutil
import ssl
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

PROGRAMS: Final = Path(__file__).parent / "programs"
NODE_FOLDER: Final = Path(tempfile.gettempdir()) / "theater-interop-ws-8"


class Missing(Exception):
    """A client cannot be tried on this machine."""


class Surroundings(NamedTuple):
    """What a client finds when it is started.

    Attributes:
        folder: its own.
        certificate: file with the certificate of the server, to be trusted.
        key: file with the key.
        tls_port: where the server is reached over TLS.
        page: URL of the page for browsers.
    """

    folder: Path
    certificate: Path
    key: Path
    tls_port: int
    page: str


class Client(NamedTuple):
    """A row of the table.

    Attributes:
        name: its heading.
        command: the command that starts it; raises `Missing`.
        quick: part of the short form: it is there wherever Theater is developed.
        browser: it is told what to do by its page, not by its standard input.
        lacks: the features it has no interface for, with the reason.
        fails: those that fail for a reason of its own, which is known. They are tried all the same.
    """

    name: str
    command: Callable[[Surroundings], list[str]]
    quick: bool = False
    browser: bool = False
    lacks: Mapping[str, str] = {}
    fails: Mapping[str, str] = {}


def _python(program: str) -> Callable[[Surroundings], list[str]]:
    return lambda _: [sys.executable, str(PROGRAMS / program)]


def _websocket_client(_: Surroundings) -> list[str]:
    uv = _found("uv")
    package = "websocket-client>=1.8,<2"
    command = [uv, "run", "-q", "--no-project", "--python", sys.executable, "--with", package, "python"]
    if subprocess.run([*command, "-c", "import websocket"], capture_output=True, timeout=120).returncode:
        raise Missing("uv cannot install websocket-client")
    return [*command, str(PROGRAMS / "websocket_client.py")]


def _node_ws(_: Surroundings) -> list[str]:
    node, npm = _found("node"), _found("npm")
    NODE_FOLDER.mkdir(exist_ok=True)
    if not (NODE_FOLDER / "node_modules" / "ws" / "package.json").exists():
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(NODE_FOLDER), "ws@8"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=50)
        except (subprocess.SubprocessError, OSError) as error:
            raise Missing(f"npm cannot install ws ({error})") from error
    return [node, str(PROGRAMS / "node_ws.mjs"), str(NODE_FOLDER)]


def _node_builtin(_: Surroundings) -> list[str]:
    node = _found("node")
    for options in ([], ["--experimental-websocket"]):
        script = "process.exit(typeof WebSocket === 'function' ? 0 : 1)"
        if subprocess.run([node, *options, "-e", script], capture_output=True).returncode == 0:
            return [node, "--no-warnings", *options, str(PROGRAMS / "node_builtin.mjs")]
    raise Missing("this Node.js has no WebSocket of its own")


def _java(_: Surroundings) -> list[str]:
    java = _found("java")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True).stdout
    if "jdk.compiler" not in modules:
        raise Missing("this Java has no compiler")
    return [java, "-XX:TieredStopAtLevel=1", str(PROGRAMS / "JavaClient.java")]


def _chromium(around: Surroundings) -> list[str]:
    command = ["openssl", "pkey", "-in", str(around.key), "-pubout", "-outform", "der"]
    public = subprocess.run(command, check=True, capture_output=True).stdout
    trusted = b64encode(hashlib.sha256(public).digest()).decode()
    return [
        _found("chromium", "chromium-browser", "google-chrome"),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tempfile.mkdtemp(dir=around.folder)}",
        f"--ignore-certificate-errors-spki-list={trusted}",
        around.page,
    ]


def _firefox(around: Surroundings) -> list[str]:
    firefox = _found("firefox-esr", "firefox")
    profile = Path(tempfile.mkdtemp(dir=around.folder))
    # The certificate is trusted for this server only, as by "Accept the risk and continue".
    der = ssl.PEM_cert_to_DER_cert(around.certificate.read_text())
    fingerprint = ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())
    (profile / "cert_override.txt").write_text(
        f"127.0.0.1:{around.tls_port}:\tOID.2.16.840.1.101.3.4.2.1\t{fingerprint}\t\n"
    )
    quiet = ("browser.aboutwelcome.enabled", "app.normandy.enabled", "network.captive-portal-service.enabled")
    (profile / "user.js").write_text("".join(f'user_pref("{name}", false);\n' for name in quiet))
    return [firefox, "--headless", "--no-remote", "--profile", str(profile), around.page]


def _found(*names: str) -> str:
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise Missing(f"{names[0]} is not installed")


_NO_FRAGMENTS: Final = {"fragments sent": "its interface has no fragments"}
_NO_PINGS: Final = {"ping": "its interface has no pings"}
_NO_DEFLATE: Final = dict.fromkeys(("compressed sent", "compressed received"), "it has no compression")

CLIENTS: Final = (
    Client("Chromium", _chromium, browser=True, lacks=_NO_FRAGMENTS | _NO_PINGS),
    Client("Firefox", _firefox, browser=True, lacks=_NO_FRAGMENTS | _NO_PINGS),
    Client("Node `ws`", _node_ws, quick=True),
    Client(
        "Node's own (undici)",
        _node_builtin,
        lacks=_NO_FRAGMENTS | _NO_PINGS | {"compressed sent": "it does not compress what it sends"},
        fails={
            "16 MiB": "it always offers compression, and gives up a compressed message of more than 4 MiB;"
            " `compression = false` for the path helps"
        },
    ),
    Client("`websockets`, asyncio", _python("websockets_asyncio.py"), quick=True),
    Client("`websockets`, threads", _python("websockets_sync.py"), quick=True),
    Client("`aiohttp`", _python("aiohttp_client.py"), quick=True, lacks=_NO_FRAGMENTS),
    Client("`picows`", _python("picows_client.py"), quick=True, lacks=_NO_DEFLATE),
    Client("`wsproto`", _python("wsproto_client.py"), quick=True),
    Client("`websocket-client`", _websocket_client, lacks=_NO_DEFLATE),
    Client("Java, `java.net.http`", _java, lacks=_NO_DEFLATE),
)
