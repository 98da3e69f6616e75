"""Components that do what they should not: each is told apart, and harms nobody but itself."""

from pathlib import Path
from typing import Final

import aiohttp
import pytest
from tests.server.actors import resident
from tests.wasm.guests import What, Where, all_hostile, echo, hostile
from tests.wasm.served import component

from theater import Binary, Text
from theater.client import connect
from theater.errors import ConnectFailed
from theater.limits import Limits
from theater.testing import Server, serve

MIB: Final = 1024 * 1024


def limits(what: What) -> Limits:
    """Of the server; who computes for ever is not waited for as long as others are."""
    seconds = 0.05 if what == "spin" else 30.0
    return Limits(turn_time=seconds, start_time=seconds, max_memory=8 * MIB, max_value=MIB)


ENDS: Final[dict[What, str]] = {
    "spin": "it computed for too long (",
    "memory": "it panicked (wasm trap: wasm `unreachable` instruction executed)",
    "recursion": "it ran out of stack (wasm trap: call stack exhausted)",
    "unreachable": "it panicked (wasm trap: wasm `unreachable` instruction executed)",
    "huge-error": "it returned or sent more than one call may carry (",
    "huge-reply": "it returned or sent more than one call may carry (",
    "invalid-utf8": "it trapped (",
    "bad-pointer": "it trapped (",
}
"""How an instance ends, in the log."""

REASONS: Final[dict[What, str]] = {
    "spin": "deadline",
    "memory": "panic",
    "recursion": "stack",
    "unreachable": "panic",
    "huge-error": "value",
    "huge-reply": "value",
    "invalid-utf8": "trap",
    "bad-pointer": "trap",
}
"""The same in the metrics."""

FAILURES: Final[dict[What, str]] = {
    "error": ": no",
    "bad-close": "cannot close with code 1005",
    "bad-status": "does not return what the contract means: ",
    "bad-header": "invalid header",
}
"""What else a failed turn says there."""

HARMLESS: Final = ("unknown-connection", "send-flood")


def check_log(caplog: pytest.LogCaptureFixture, what: What) -> None:
    """Whether the log says what has happened."""
    assert (ENDS.get(what) or FAILURES[what]) in caplog.text
    if what in ENDS:
        assert "Traceback" not in caplog.text


async def answers(server: Server, path: str) -> str:
    """What an actor answers to a text, on a new connection."""
    async with await connect(server.url(path)) as client:
        await client.send(Text("hello"))
        message = await client.receive()
        assert isinstance(message, Text)
        return message.text


@pytest.mark.parametrize(("where", "what"), [each for each in all_hostile() if each[0] == "handle-websocket"])
async def test_in_handle_websocket(
    where: Where, what: What, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(component(tmp_path, hostile(where, what)), limits=limits(what)) as server:
        async with await connect(server.url()) as client:
            await client.send(Text("!"))
            await client.send(Text("still here"))
            message = await client.receive()
            while isinstance(message, Binary) and what == "send-flood":
                message = await client.receive()
            assert message == Text("still here")
        assert await answers(server, "/") == "hello"
        ends = server.theater.system.counters["guest"].ends
        assert ends == ({REASONS[what]: 1} if what in REASONS else {})
    if what not in HARMLESS:
        check_log(caplog, what)


@pytest.mark.parametrize(("where", "what"), [each for each in all_hostile() if each[0] == "init"])
async def test_in_init(where: Where, what: What, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = component(tmp_path, echo(), name="good", path="/good")
    async with serve(component(tmp_path, hostile(where, what)), good, limits=limits(what)) as server:
        if what in HARMLESS:
            assert await answers(server, "/") == "hello"
        else:
            with pytest.raises(ConnectFailed, match="500"):
                await connect(server.url())
            check_log(caplog, what)
        assert await answers(server, "/good") == "hello"


@pytest.mark.parametrize(
    ("where", "what"), [each for each in all_hostile() if each[0] == "upgrade-connection"]
)
async def test_in_upgrade_connection(
    where: Where, what: What, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = component(tmp_path, echo(), name="good", path="/good")
    async with serve(component(tmp_path, hostile(where, what)), good, limits=limits(what)) as server:
        if what in HARMLESS:
            assert await answers(server, "/") == "hello"
        else:
            with pytest.raises(ConnectFailed, match="500"):
                await connect(server.url())
            check_log(caplog, what)
        assert await answers(server, "/good") == "hello"


@pytest.mark.parametrize(("where", "what"), [each for each in all_hostile() if each[0] == "handle-request"])
async def test_in_handle_request(
    where: Where, what: What, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serve(component(tmp_path, hostile(where, what), http=True), limits=limits(what)) as server,
        aiohttp.ClientSession() as session,
        session.get(server.url(scheme="http")) as response,
    ):
        assert response.status == (200 if what in HARMLESS else 500)
        assert await response.text() in ("", "Internal Server Error\n")
        if what not in HARMLESS:
            check_log(caplog, what)
        assert await answers(server, "/") == "hello"


async def test_memory_comes_back(tmp_path: Path) -> None:
    wasm = hostile("handle-websocket", "memory")
    manifest = component(tmp_path, wasm, path="/{room}", instance="{room}", limits={"max_memory": 64 * MIB})
    before = 0
    async with serve(manifest) as server:
        for room in range(40):
            async with await connect(server.url(f"/{room}")) as client:
                await client.send(Text("!"))
                await client.send(Text("still here"))
                assert await client.receive() == Text("still here")
            if room == 9:
                before = resident()
        assert resident() - before < 16 * MIB


@pytest.mark.parametrize(("where", "what"), [("handle-websocket", "spin"), ("init", "unreachable")])
async def test_where_calls_hold_threads(
    where: Where,
    what: What,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THEATER_STOCK_WASM", "1")
    test = test_in_init if where == "init" else test_in_handle_websocket
    await test(where, what, tmp_path, caplog)
