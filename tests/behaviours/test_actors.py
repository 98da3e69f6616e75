"""What actors say to each other."""

import asyncio

import pytest
from tests.behaviours.world import World, needs

from theater import Actor, Address, Text
from theater.config import Manifest
from theater.config.manifest import Execution
from theater.contract import Data

pytestmark = needs("actors")


class Sleeper(Actor):
    """Answers what it is told to answer, after some time."""

    async def handle_message(self, message: Data, sender: Address) -> Data | None:
        assert isinstance(message, Text)
        await asyncio.sleep(float(message.text))
        return Text(f"slept for {sender}")


SLEEPER = Manifest("sleeper", Sleeper, (), limits={"mailbox_high_water": 2, "mailbox_low_water": 1})


async def test_address(world: World) -> None:
    async with world.client("/%C3%A4") as client:
        assert await client.ask("address") == "conformance ä"


@pytest.mark.parametrize("execution", ["loop", "thread"])
async def test_a_request_is_answered(world: World, execution: Execution) -> None:
    async with world.serve(second="second", execution=execution) as running, running.client() as client:
        for address in ("conformance/b", "second/a", "second"):
            assert (
                await client.ask(f"ask - {address} ä😀 two") == f"{address} heard ä😀 two from conformance/a"
            )
        assert await client.ask_bytes("ask - conformance/b bytes") == b"\0\xff"
        assert await client.ask("ask - conformance/b nothing") == "no answer"


@pytest.mark.parametrize("execution", ["loop", "thread"])
async def test_others_go_on_while_one_waits(world: World, execution: Execution) -> None:
    async with world.serve(SLEEPER, execution=execution) as running:
        async with running.client("/a") as one, running.client("/b") as other:
            await one.send("ask - sleeper 0.2")
            await one.send("echo after that")
            assert await other.ask("echo meanwhile") == "meanwhile"
            assert not one.connection._messages
            assert await one.next() == "slept for conformance/a"
            assert await one.next() == "after that"


async def test_requests_of_many_at_once(world: World) -> None:
    async with world.serve() as running:
        async with running.client("/a") as one, running.client("/b") as two, running.client("/c") as three:
            for number in range(20):
                for client in (one, two, three):
                    await client.send(f"ask - conformance/d {number}")
            for number in range(20):
                for client, key in ((one, "a"), (two, "b"), (three, "c")):
                    assert await client.next() == f"conformance/d heard {number} from conformance/{key}"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("- No/a x", "invalid-address"),
        ("- nobody x", "no-such-actor"),
        ("- nobody/a x", "no-such-actor"),
        ("- conformance/b fail", "actor-failed"),
        ("- conformance/broken x", "actor-failed"),
        ("- conformance/a x", "local-error"),
        ("-1 conformance/b x", "local-error"),
        ("nan conformance/b x", "local-error"),
        ("inf conformance/b x", "local-error"),
        ("0.05 sleeper 60", "request-timeout"),
    ],
)
async def test_what_goes_wrong_with_a_request(world: World, what: str, error: str) -> None:
    async with world.serve(SLEEPER) as running, running.client() as client:
        if world.language.name == "javascript":
            what = what.replace("nan ", "NaN ").replace("inf ", "Infinity ")
        assert await client.ask(f"ask {what}") == error
        assert await client.ask("echo next") == "next"


async def test_a_request_has_the_hosts_limit(world: World) -> None:
    async with (
        world.serve(SLEEPER, settings={"request_timeout": 0.05}) as running,
        running.client() as client,
    ):
        assert await client.ask("ask - sleeper 60") == "request-timeout"


async def test_a_mailbox_is_full(world: World) -> None:
    async with world.serve(SLEEPER) as running, running.client() as client:
        for _ in range(3):
            assert await client.ask("post sleeper 60") == "sent"
        assert await client.ask("post sleeper 60") == "mailbox-full"
        assert await client.ask("ask - sleeper 60") == "mailbox-full"


@needs("events")
class TestPosts:
    async def test_arrive(self, world: World) -> None:
        async with world.serve() as running, running.client("/a") as one, running.client("/b") as other:
            assert await one.ask("post conformance/b note") == "sent"
            assert "note from conformance/a" in await other.events(lambda found: len(found) > 1)
            assert await one.ask("post conformance/a note") == "sent"  # also to itself
            assert "note from conformance/a" in await one.events(lambda found: len(found) > 1)
            assert await one.ask("post conformance/b fail") == "sent"  # what becomes of it is not known
            assert await one.ask("echo next") == "next"

    @pytest.mark.parametrize(("address", "error"), [("No", "invalid-address"), ("nobody", "no-such-actor")])
    async def test_to_nobody(self, world: World, address: str, error: str) -> None:
        async with world.client() as client:
            assert await client.ask(f"post {address} note") == error
