"""`theater connect` at a terminal."""

import asyncio

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import FormattedText

from theater.cli.dialogue.commands import HELP, Help, Misunderstood, parse
from theater.cli.dialogue.display import block, ending, escaped
from theater.cli.dialogue.history import open_history
from theater.client import ClientConnection
from theater.contract import Close, Message, Ping
from theater.errors import ConnectionEnded, LocalError

_SENT = ("ansigreen bold", "> ")
_RECEIVED = ("ansicyan bold", "< ")
_TOLD = ("ansiyellow", "* ")  # by us, not by the peer


class Prompt:
    """A prompt, whose lines are sent, and above which what is received appears.

    Args:
        connection: to the server.
        url: where that is.
    """

    def __init__(self, connection: ClientConnection, url: str) -> None:
        self._connection = connection
        self._url = url
        self._session: PromptSession[str] = PromptSession(
            FormattedText([_SENT]), history=open_history(), interrupt_exception=EOFError
        )
        self._ours = False  # it was us who closed
        self._pings: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Runs until one side closes; returns the exit code: 1 if the connection was lost."""
        subprotocol = self._connection.subprotocol
        agreed = f"the subprotocol is {escaped(subprotocol)}" if subprotocol else "no subprotocol"
        await self._tell(f"connected to {self._url}, {agreed}; /help for help")
        receiving = asyncio.create_task(self._receive())
        try:
            while await self._prompt(receiving):
                pass
        finally:
            self._ours = self._connection.closed is None
            await self._connection.close()
            await receiving
        closed = self._connection.closed or Close(1006)
        await self._tell(ending(closed, self._ours))
        return 1 if closed.code == 1006 else 0

    async def _prompt(self, receiving: asyncio.Task[None]) -> bool:
        """Takes one line; returns whether there should be another."""
        prompting = asyncio.create_task(self._session.prompt_async())
        await asyncio.wait([prompting, receiving], return_when=asyncio.FIRST_COMPLETED)
        if not prompting.done():
            self._session.app.exit(exception=EOFError, style="class:exiting")
        try:
            typed = await prompting
        except EOFError:  # Ctrl-D, Ctrl-C, or the end of the connection
            return False
        try:
            return await self._obey(parse(typed))
        except (Misunderstood, LocalError) as error:
            await self._tell(str(error))
        except ConnectionEnded:
            return False
        return True

    async def _obey(self, command: Message | Help) -> bool:
        match command:
            case Help():
                await self._tell(HELP)
            case Ping(payload):
                task = asyncio.create_task(self._ping(payload))
                self._pings.add(task)
                task.add_done_callback(self._pings.discard)
            case Close(code, reason):
                await self._connection.send(Close(code, reason))
                return False
            case _:
                await self._connection.send(command)
        return True

    async def _ping(self, payload: bytes) -> None:
        try:
            seconds = await self._connection.ping(payload or None)
        except LocalError as error:
            await self._tell(str(error))
        except ConnectionEnded:
            pass  # told elsewhere
        else:
            await self._tell(f"pong after {seconds * 1000:.1f} ms")

    async def _receive(self) -> None:
        async for message in self._connection:
            await self._show(_RECEIVED, block(message))

    async def _tell(self, text: str) -> None:
        await self._show(_TOLD, text.replace("\n", "\n  "))

    async def _show(self, mark: tuple[str, str], text: str) -> None:
        """Prints above the prompt; who sends faster than that is not read meanwhile."""
        await run_in_terminal(lambda: print_formatted_text(FormattedText([mark, ("", text)])))
