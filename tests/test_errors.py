"""One tree of exceptions, one table of reasons, and texts made of fields."""

import inspect
import pickle

import pytest

from theater import errors
from theater.errors import (
    ActorFailed,
    Blame,
    CallFailed,
    ConfigError,
    ConnectFailed,
    ConnectionEnded,
    End,
    GuestError,
    HandlerTimeout,
    InstanceEnded,
    InvalidAddress,
    InvalidClose,
    InvalidComponent,
    InvalidHeader,
    InvalidMessage,
    InvalidReply,
    LocalError,
    MailboxFull,
    Mistake,
    NoSuchActor,
    Reason,
    RemoteError,
    RequestTimeout,
    StartupError,
    TheaterError,
)
from theater.protocol.close import may_be_sent

EXAMPLES: list[tuple[TheaterError, type[TheaterError], str]] = [
    (
        InvalidReply("handle_websocket", 5, "a message"),
        LocalError,
        "handle_websocket must return a message, not int",
    ),
    (
        InvalidReply("f", "x", "a message"),
        LocalError,
        "f must return a message, not str; wrap it in Text(...)",
    ),
    (
        InvalidMessage(b"x", "a message"),
        LocalError,
        "cannot send b'x': expected a message; wrap it in Binary(...)",
    ),
    (InvalidMessage(None, "a message"), LocalError, "cannot send None: expected a message"),
    (InvalidClose(1005, "", "no"), LocalError, "cannot close with code 1005 and reason '': no"),
    (InvalidHeader("a b", "x", "no token"), LocalError, "invalid header 'a b': no token"),
    (
        InvalidAddress("A"),
        LocalError,
        "'A' is no actor address: expected 'type' or 'type/key', such as 'chat/lobby'",
    ),
    (ConnectFailed("ws://x", "refused", 403), RemoteError, "cannot connect to ws://x: refused"),
    (ConnectionEnded(1006, ""), RemoteError, "the connection was closed with code 1006"),
    (ConnectionEnded(1000, "bye"), RemoteError, "the connection was closed with code 1000: bye"),
    (NoSuchActor("a"), GuestError, "no actor type answers to the address 'a'"),
    (MailboxFull("a/b"), GuestError, "the mailbox of 'a/b' is full"),
    (ActorFailed("a"), GuestError, "'a' failed while handling the request"),
    (HandlerTimeout("a/b", 30.0), GuestError, "a handler of 'a/b' took longer than 30 s"),
    (RequestTimeout("a", 1.5), GuestError, "'a' did not answer within 1.5 s"),
    (CallFailed("a", "no seats left"), GuestError, "no seats left"),
    (
        InstanceEnded("a/b", End.MEMORY, "128 MiB"),
        GuestError,
        "the instance of 'a/b' was ended: it needs more memory than it may have (128 MiB)",
    ),
    (InvalidComponent("a.wasm", "is empty"), GuestError, "a.wasm is empty"),
    (InvalidComponent("", "is empty"), GuestError, "the component is empty"),
    (
        ConfigError([Mistake("f", "k", "x", "y"), Mistake("g", "", "x", "y")]),
        TheaterError,
        "f: k: found x, expected y\ng: found x, expected y",
    ),
    (StartupError("taken"), TheaterError, "taken"),
]


@pytest.mark.parametrize(("error", "base", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_text_and_place_in_the_tree(error: TheaterError, base: type[TheaterError], text: str) -> None:
    assert isinstance(error, base)
    assert str(error) == text


@pytest.mark.parametrize("error", [example[0] for example in EXAMPLES], ids=lambda e: type(e).__name__)
def test_errors_survive_pickling(error: TheaterError) -> None:
    """They cross the borders of processes, with their fields."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_error_is_in_the_tree_and_in_the_picture() -> None:
    for name, value in inspect.getmembers(errors, inspect.isclass):
        if issubclass(value, Exception) and value.__module__ == errors.__name__:
            assert issubclass(value, TheaterError)
            assert name in (errors.__doc__ or "")


def test_errors_are_what_python_would_raise() -> None:
    assert issubclass(InvalidReply, TypeError)
    assert issubclass(InvalidMessage, TypeError)
    assert issubclass(InvalidClose, ValueError)
    assert issubclass(InvalidHeader, ValueError)
    assert issubclass(InvalidAddress, ValueError)
    assert issubclass(RequestTimeout, TimeoutError)
    assert issubclass(HandlerTimeout, TimeoutError)


def test_reasons_can_be_told() -> None:
    for reason in Reason.__members__.values():
        assert may_be_sent(reason.close_code)
        assert 200 <= reason.status <= 599
        assert isinstance(reason.blame, Blame)


def test_large_values_do_not_flood_the_text() -> None:
    assert len(str(InvalidMessage("x" * 10_000, "a message"))) < 200
