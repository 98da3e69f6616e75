"""`theater connect`: reaching the server, or not."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

Theater = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_nobody_there(theater: Theater) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        done = theater("connect", url, "--once", "--send", "hello")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"theater: cannot connect to {url}: ")
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_refusal_is_told_without_its_control_characters(theater: Theater) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 9\r\n\r\nbad\x1b[2J!\n")
        writer.close()
        await writer.wait_closed()

    async def play() -> "subprocess.CompletedProcess[bytes]":
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(theater, "connect", f"127.0.0.1:{port}", "--send", "hello")

    done = asyncio.run(play())
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith(": the server answered with HTTP status 403: bad\\x1b[2J!")
    assert done.returncode == 1


def test_a_server_that_does_not_answer(theater: Theater) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        done = theater("connect", url, "--timeout", "0.2", "--send", "hello")
    assert done.stderr.decode() == f"theater: cannot connect to {url}: no answer within 0.2 s\n"
    assert done.returncode == 1


def test_headers(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--header", "X-Test: a: b", "--once", "--send", "header")
    assert done.stdout == b"a: b\n"
    done = theater("connect", peer, "--header", "X Test: a", "--once", "--send", "header")
    assert b"invalid header 'X Test'" in done.stderr
    assert done.returncode == 2


def test_a_message_that_is_too_large(theater: Theater, peer: str) -> None:
    done = theater("connect", peer, "--max-message", "4", "--send", "hello")
    assert b"1009 (message too big): a message of 5 bytes, at most 4 are allowed" in done.stderr
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_tls_is_checked_unless_insecure(theater: Theater, tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test"
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *files], cwd=tmp_path, capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def play(*options: str) -> "subprocess.CompletedProcess[bytes]":
        async with serve_websockets(echo, "127.0.0.1", 0, ssl=context) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            arguments = ["connect", f"wss://127.0.0.1:{port}/", "--once", "--send", "hello", *options]
            return await asyncio.to_thread(theater, *arguments)

    checked = asyncio.run(play())
    assert b"certificate verify failed" in checked.stderr
    assert (checked.returncode, checked.stdout) == (1, b"")
    unchecked = asyncio.run(play("--insecure"))
    assert (unchecked.returncode, unchecked.stdout, unchecked.stderr) == (0, b"hello\n", b"")
