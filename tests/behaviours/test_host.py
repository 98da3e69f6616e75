"""What the host gives besides: log, clock and chance."""

import logging
import time

import pytest
from tests.behaviours.world import World, needs


@needs("log")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_log(world: World, level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with world.client() as client:
        assert await client.ask(f"log {level} so it is ä😀") == "logged"
    found = [record for record in caplog.records if "so it is ä😀" in record.getMessage()]
    assert [record.levelname for record in found] == [level.upper()]


@needs("log", "failures")
async def test_what_fails_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.client() as client:
        await client.send("fail so it is")
        assert await client.ask("echo next") == "next"
    failed = [record for record in caplog.records if "failed in handle_websocket" in record.getMessage()]
    assert len(failed) == 1
    assert "conformance/a" in failed[0].getMessage()
    assert "as told: so it is" in caplog.text


@needs("clock")
async def test_clock(world: World) -> None:
    async with world.serve() as running, running.client("/a") as one, running.client("/b") as other:
        begun = time.time()
        readings = [
            [float(each) for each in (await client.ask("clock")).split()] for client in [one, other, one]
        ]
        ended = time.time()
        now, monotonic = zip(*readings, strict=True)
        # JavaScript's clock has milliseconds.
        assert [round(begun, 2) - 0.01, *now, ended + 0.01] == sorted(
            [round(begun, 2) - 0.01, *now, ended + 0.01]
        )
        assert monotonic[0] <= monotonic[2] <= monotonic[0] + ended - begun + 0.01


@needs("random")
async def test_random(world: World) -> None:
    async with world.serve() as running, running.client("/a") as one, running.client("/b") as other:
        drawn = [await client.ask_bytes("random 16") for client in [one, other, one, other]]
        assert [len(each) for each in drawn] == [16] * 4
        assert len(set(drawn)) == 4
        assert await one.ask_bytes("random 0") == b""
        many = await one.ask_bytes("random 65536")
        assert len(many) == 65_536
        assert len(set(many)) == 256
