"""What `theater connect` is to reach, and how it is talked to there."""

import asyncio
import io
import ssl
import sys

import msgspec

from theater.cli.dialogue import script
from theater.cli.dialogue.display import escaped
from theater.client import ClientConnection, connect
from theater.errors import ConnectFailed


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and how to open a WebSocket to it.

    Attributes:
        url: `ws:` or `wss:`.
        headers: added to the request.
        subprotocols: to offer, most wanted first.
        timeout: seconds to connect, and to wait for an answer where one is due.
        max_message: bytes of the largest message to take.
        insecure: trust any certificate.
    """

    url: str
    headers: list[tuple[str, str]] = []
    subprotocols: list[str] = []
    timeout: float = 10.0
    max_message: int
    insecure: bool = False

    async def open(self) -> ClientConnection:
        """Connects.

        Raises:
            ConnectFailed, InvalidHeader: as `theater.client.connect` does.
        """
        return await connect(
            self.url,
            headers=self.headers,
            subprotocols=self.subprotocols,
            max_message=self.max_message,
            timeout=self.timeout,
            tls=self._tls() if self.insecure else None,
        )

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


def talk(target: Target, texts: list[str], once: bool, linger: float) -> int:
    """Connects and talks: with whoever sits at the terminal, or for a script.

    Args:
        target: where to.
        texts: to send instead of what comes on standard input.
        once: take one answer to each text, and end.
        linger: seconds of silence after which a script's connection is closed.

    Returns:
        The exit code.

    Raises:
        InvalidHeader: one of the headers cannot be sent.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the locale may know fewer characters
    by_hand = not texts and not once and sys.stdin.isatty() and sys.stdout.isatty()
    return asyncio.run(_talk(target, texts, once, linger, by_hand))


async def _talk(target: Target, texts: list[str], once: bool, linger: float, by_hand: bool) -> int:
    try:
        connection = await target.open()
    except ConnectFailed as error:
        return complain(escaped(str(error)))  # it may quote the server
    if by_hand:
        from theater.cli.dialogue.prompt import Prompt  # takes 500 ms to load

        return await Prompt(connection, target.url).run()
    lines = script.given(texts) if texts else script.standard_input()
    try:
        if once:
            await script.ask(connection, lines, target.timeout)
        else:
            await script.converse(connection, lines, linger, target.timeout)
    except script.Failed as error:
        return complain(str(error))
    finally:
        await asyncio.shield(connection.close(timeout=1))
    return 0


def complain(problem: str) -> int:
    """Tells standard error what went wrong; returns the exit code."""
    print(f"theater: {problem}", file=sys.stderr)
    return 1
