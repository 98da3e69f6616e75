"""Everything that can go wrong, in one tree and one table.

    TheaterError
    ├── LocalError            our side used the interface wrongly
    │   ├── InvalidReply          a handler returned something that is no reply
    │   ├── InvalidMessage        something that is no message, or cannot be sent as one
    │   ├── InvalidClose          a close code or reason that may not be sent
    │   ├── InvalidHeader         a header name or value that may not be sent
    │   └── InvalidAddress        text that is no actor address
    ├── RemoteError           the other side of a connection did something wrong
    │   ├── ConnectFailed         an outbound WebSocket could not be opened
    │   └── ConnectionEnded       a WebSocket ended while it was used
    ├── GuestError            an actor did something wrong, or cannot take part
    │   ├── NoSuchActor           the address names no known actor type
    │   ├── MailboxFull           the actor is not keeping up
    │   ├── ActorFailed           the actor's handler raised
    │   ├── HandlerTimeout        the actor's handler took too long
    │   ├── RequestTimeout        the actor did not answer in time
    │   ├── CallFailed            a component's call returned an error
    │   ├── InstanceEnded         a component's instance was ended: a trap, or a limit
    │   └── InvalidComponent      a file that is no component, or one that does not fit
    ├── ConfigError           a manifest or setting has mistakes (exit code 2)
    └── StartupError          the server cannot start (exit code 3)

What the peer of a *served* connection does wrong is not an exception: the protocol machine reports
it as a `Failure`, since a hostile peer is an everyday event and must not unwind anything. `Reason`
is the one table that says what a peer is told: nothing internal is ever sent.
"""

import enum
from typing import NamedTuple


class Blame(enum.Enum):
    """Whose doing it was: ours, the peer's, or an actor's."""

    LOCAL = "local"
    REMOTE = "remote"
    GUEST = "guest"


class _Public(NamedTuple):
    close_code: int  # RFC 6455 §7.4.1 and IANA's WebSocket Close Code Number Registry
    status: int  # HTTP status
    blame: Blame


class Reason(_Public, enum.Enum):
    """Why a connection is closed or a request refused: close code, HTTP status, blame."""

    GOING_AWAY = 1001, 503, Blame.LOCAL
    PROTOCOL_ERROR = 1002, 400, Blame.REMOTE
    INVALID_TEXT = 1007, 400, Blame.REMOTE
    POLICY_VIOLATION = 1008, 403, Blame.REMOTE
    MESSAGE_TOO_BIG = 1009, 413, Blame.REMOTE
    INTERNAL_ERROR = 1011, 500, Blame.GUEST
    RESTARTING = 1012, 503, Blame.LOCAL
    TOO_SLOW = 1013, 503, Blame.REMOTE
    OVERLOADED = 1013, 503, Blame.LOCAL


class TheaterError(Exception):
    """Base of every exception Theater raises on purpose."""


class LocalError(TheaterError):
    """The calling code used the interface wrongly."""


def _hint(found: object) -> str:
    if isinstance(found, str):
        return "; wrap it in Text(...)"
    if isinstance(found, bytes | bytearray | memoryview):
        return "; wrap it in Binary(...)"
    return ""


class InvalidReply(LocalError, TypeError):
    """A handler returned something that is no reply.

    Args:
        handler: name of the handler.
        found: what it returned.
        expected: what it may return, in words.
    """

    def __init__(self, handler: str, found: object, expected: str) -> None:
        super().__init__(handler, found, expected)
        self.handler = handler
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"{self.handler} must return {self.expected}, not {type(self.found).__name__}{_hint(self.found)}"
        )


class InvalidMessage(LocalError, TypeError):
    """Something that is no message, or a message that holds what its kind cannot carry.

    Args:
        found: what was to be sent.
        expected: what can be, in words.
    """

    def __init__(self, found: object, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"cannot send {self.found!r:.100}: expected {self.expected}{_hint(self.found)}"


class InvalidClose(LocalError, ValueError):
    """A close code or reason that RFC 6455 §7.4 does not allow to be sent."""

    def __init__(self, code: int, reason: str, problem: str) -> None:
        super().__init__(code, reason, problem)
        self.code = code
        self.reason = reason
        self.problem = problem

    def __str__(self) -> str:
        return f"cannot close with code {self.code!r} and reason {self.reason!r}: {self.problem}"


class InvalidHeader(LocalError, ValueError):
    """A header whose name is no RFC 9110 token, or whose value holds a line break or NUL."""

    def __init__(self, name: str, value: str, problem: str) -> None:
        super().__init__(name, value, problem)
        self.name = name
        self.value = value
        self.problem = problem

    def __str__(self) -> str:
        return f"invalid header {self.name!r}: {self.problem}"


class InvalidAddress(LocalError, ValueError):
    """Text that is no actor address; expected `type` or `type/key`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is no actor address: expected 'type' or 'type/key', such as 'chat/lobby'"


class RemoteError(TheaterError):
    """The other side of a connection did something wrong, or went away."""


class ConnectFailed(RemoteError):
    """An outbound WebSocket could not be opened.

    Args:
        url: what was to be opened.
        problem: what happened, in words.
        status: the HTTP status of the answer, if there was one.
    """

    def __init__(self, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(url, problem, status)
        self.url = url
        self.problem = problem
        self.status = status

    def __str__(self) -> str:
        return f"cannot connect to {self.url}: {self.problem}"


class ConnectionEnded(RemoteError):
    """An outbound WebSocket ended while it was used, or any while a message was still arriving.

    Args:
        code: close code; 1005 if the peer gave none, 1006 if there was no closing handshake.
        reason: the peer's words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection was closed with code {self.code}" + (
            f": {self.reason}" if self.reason else ""
        )


class GuestError(TheaterError):
    """An actor did something wrong, or cannot take part."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


class NoSuchActor(GuestError):
    """The address names no actor type that this server knows."""

    def __str__(self) -> str:
        return f"no actor type answers to the address {self.address!r}"


class MailboxFull(GuestError):
    """The actor is not keeping up: its mailbox is at its high-water mark."""

    def __str__(self) -> str:
        return f"the mailbox of {self.address!r} is full"


class ActorFailed(GuestError):
    """The actor's handler raised. What it raised stands in the log, not here."""

    def __str__(self) -> str:
        return f"{self.address!r} failed while handling the request"


class HandlerTimeout(GuestError, TimeoutError):
    """A handler took too long and was cancelled, or, if it blocked the event loop, interrupted.

    Args:
        address: the actor's.
        seconds: how long it may take.
    """

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__(address)
        self.args = (address, seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"a handler of {self.address!r} took longer than {self.seconds:g} s"


class RequestTimeout(GuestError, TimeoutError):
    """The actor did not answer in time.

    Args:
        address: who was asked.
        seconds: how long was waited.
    """

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__(address)
        self.args = (address, seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.address!r} did not answer within {self.seconds:g} s"


class CallFailed(GuestError):
    """A call of a component returned an error, and its turn has failed.

    Args:
        address: the actor's.
        reason: the component's own words.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address)
        self.args = (address, reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class End(enum.Enum):
    """Why an instance was ended."""

    DEADLINE = "it computed for too long"
    MEMORY = "it needs more memory than it may have"
    STACK = "it ran out of stack"
    PANIC = "it panicked"
    VALUE = "it returned or sent more than one call may carry"
    TRAP = "it trapped"


class InstanceEnded(GuestError):
    """An instance of a component has come to its end in the middle of a call; a new one takes over.

    Args:
        address: the actor's.
        end: why.
        detail: what is known besides.
    """

    def __init__(self, address: str, end: End, detail: str) -> None:
        super().__init__(address)
        self.args = (address, end, detail)
        self.end = end
        self.detail = detail

    def __str__(self) -> str:
        return f"the instance of {self.address!r} was ended: {self.end.value} ({self.detail})"


class InvalidComponent(GuestError):
    """A file is no component, or one that does not fit.

    Args:
        path: the file's; empty if it was none.
        problem: what is wrong with it, such as "is empty".
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__("")  # there is no actor of it yet
        self.args = (path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path or 'the component'} {self.problem}"


class Mistake(NamedTuple):
    """One thing wrong in a manifest.

    Attributes:
        file: path of the manifest, as the user gave it.
        key: dotted path of the key, such as `handlers[0].path`; empty if the whole file is meant.
        found: what stands there.
        expected: what should.
    """

    file: str
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: found {self.found}, expected {self.expected}"


class ConfigError(TheaterError):
    """A manifest or setting has mistakes; all that were found are in `mistakes`."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(map(str, self.mistakes))


class StartupError(TheaterError):
    """The server cannot start, for example because the port is taken."""
