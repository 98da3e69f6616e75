"""What asynchronous handlers run on: nothing, since a component's call to the host blocks."""

from collections.abc import Awaitable, Generator
from typing import Any, Final, NoReturn

from theater.errors import LocalError


def _cannot_wait(what: str) -> LocalError:
    return LocalError(
        f"{what}: inside a component a handler can wait for nothing but the host (request, send_now, "
        "drained, stream) and the chunks of a Stream"
    )


class NoLoop:
    """Stands where asyncio looks for a running event loop; says that there is none, in words."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _cannot_wait(f"asyncio wants {name}")


class NextChunk:
    """What a handler waits for that has read all chunks of a message which have come."""

    def __await__(self) -> Generator["NextChunk", None, None]:
        yield self


NEXT_CHUNK: Final = NextChunk()


class Work:
    """A handler under way.

    Args:
        handler: its name.
        result: what it returned, perhaps to be awaited.

    Attributes:
        result: what it has returned in the end.
    """

    def __init__(self, handler: str, result: Any) -> None:
        self.result = result
        self._handler = handler
        self._run: Generator[Any, Any, Any] | None = None

    def advance(self) -> bool:
        """Goes on until the handler has ended, which is True, or waits for the next chunk of a message."""
        while self._run is not None or isinstance(self.result, Awaitable):
            if self._run is None:
                self._run = self.result.__await__()
            try:
                waits_for = self._run.send(None)
                while waits_for is not None:  # None is `asyncio.sleep(0)`: there is nobody to give way to
                    if waits_for is NEXT_CHUNK:
                        return False
                    waits_for = self._run.throw(_cannot_wait(f"{self._handler} waits for {waits_for!r:.100}"))
            except StopIteration as end:
                self._run = None
                self.result = end.value
            except BaseException:
                self._run = None
                self.result = None
                raise
        return True

    def cancel(self) -> None:
        """Gives it up where it waits."""
        if self._run is not None:
            self._run.close()
            self._run = None


def finish(handler: str, result: Any) -> Any:
    """Runs a handler to its end.

    Raises:
        LocalError: it waits for something for which a component cannot wait.
        Exception: whatever it raised.
    """
    if not isinstance(result, Awaitable):
        return result
    work = Work(handler, result)
    if not work.advance():
        raise LocalError(f"{handler} waits for the chunks of a message that another handler call was given")
    return work.result
