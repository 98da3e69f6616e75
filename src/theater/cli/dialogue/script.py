"""`theater connect` in a script: lines in, lines out, and nothing else on standard output."""

import asyncio
import itertools
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterable

from theater.cli.dialogue.display import ending, line
from theater.client import ClientConnection
from theater.contract import Close, Data, Text
from theater.errors import ConnectionEnded

_CHUNK = 64 * 1024  # bytes of standard input that are read at a time
_FINE = (1000, 1001, 1005)  # close codes of a server that has nothing to complain about


class Failed(Exception):
    """The conversation did not come to its end; the text says why."""


async def given(texts: Iterable[str]) -> AsyncIterator[str]:
    """The texts of the command line."""
    for text in texts:
        yield text


async def standard_input() -> AsyncIterator[str]:
    """The lines of standard input, without their line feeds.

    A thread of its own reads it, since files cannot be polled. It dies with the process, for a read
    cannot be called off; and it goes past `sys.stdin`, whose lock it would hold to the end.

    Raises:
        Failed: a line is not UTF-8.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        chunk = b"-"
        while chunk:
            wanted.acquire()
            chunk = os.read(descriptor, _CHUNK)
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:  # the loop is closed: nobody wants it any more
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    number = itertools.count(1)
    rest = b""
    while chunk := await chunks.get():
        *lines, rest = (rest + chunk).split(b"\n")
        for each in lines:
            yield _decoded(each, next(number))
        wanted.release()
    if rest:
        yield _decoded(rest, next(number))


def _decoded(data: bytes, number: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failed(f"line {number} of standard input is not UTF-8") from None


async def ask(connection: ClientConnection, texts: AsyncIterator[str], timeout: float) -> None:
    """Sends each text, and prints the first message that comes after it.

    Args:
        connection: to the server.
        texts: what to send.
        timeout: seconds to wait for each answer.

    Raises:
        Failed: an answer did not come.
    """
    try:
        async for text in texts:
            async with asyncio.timeout(timeout):
                await connection.send(Text(text))
                answer = await connection.receive()
            _print(answer)
    except TimeoutError:
        raise Failed(f"no answer within {timeout:g} s") from None
    except ConnectionEnded as error:
        raise Failed(f"no answer: {ending(Close(error.code, error.reason), ours=False)}") from None


async def converse(
    connection: ClientConnection, texts: AsyncIterator[str], linger: float, timeout: float
) -> None:
    """Sends every text, and prints every message, until both sides have nothing more to say.

    Args:
        connection: to the server.
        texts: what to send.
        linger: seconds the server must have been silent after the last text.
        timeout: seconds it has to take in all that was sent.

    Raises:
        Failed: the server did not close in good order, or does not keep up.
    """
    printer = _Printer(connection)
    printing = asyncio.create_task(printer.run())
    sending = asyncio.create_task(_send(connection, texts, timeout))
    try:
        await asyncio.wait([printing, sending], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            await printer.until_silent(printing, linger)
        if printing.done():
            printing.result()
    finally:
        for task in (printing, sending):
            task.cancel()
        await asyncio.wait([printing, sending])
    closed = connection.closed
    if closed is not None and closed.code not in _FINE:
        raise Failed(ending(closed, ours=False))


async def _send(connection: ClientConnection, texts: AsyncIterator[str], timeout: float) -> None:
    try:
        async for text in texts:
            await connection.send(Text(text))
        # Its pong says that the server has read all that was sent, however slow the way there is.
        async with asyncio.timeout(timeout):
            await connection.ping()
    except TimeoutError:
        raise Failed(f"the server does not answer within {timeout:g} s") from None
    except ConnectionEnded:
        pass  # how it ended is told when all that came before it is printed


class _Printer:
    """Prints what a connection receives, and knows when it last did."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0

    async def run(self) -> None:
        async for message in self._connection:
            _print(message)
            self._heard = self._loop.time()

    async def until_silent(self, printing: asyncio.Task[None], seconds: float) -> None:
        """Waits until nothing was printed for so long, or there is nothing more to come."""
        self._heard = self._loop.time()
        while not printing.done() and (left := self._heard + seconds - self._loop.time()) > 0:
            await asyncio.wait([printing], timeout=left)


def _print(message: Data) -> None:
    print(line(message), flush=True)
