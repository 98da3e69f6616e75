import asyncio
from typing import Any

import pytest
from tests.runtime.conftest import MakeWorld
from tests.runtime.world import Quiet, error_records, settle

from theater.contract import Data, Request, Response, Text
from theater.errors import ActorFailed, MailboxFull, NoSuchActor
from theater.limits import Limits
from theater.runtime.address import Address

ASK = Request("GET", "/")


class Broken(Quiet):
    """Cannot start, and knows so at once."""

    def init(self) -> Any:
        raise ValueError


class Failing(Quiet):
    """Cannot start, but needs some time to find out."""

    async def init(self) -> None:
        await asyncio.sleep(0)
        raise ValueError


class Waiting(Quiet):
    """Answers requests when the test says so."""

    gate: asyncio.Event

    async def handle_request(self, request: Request) -> Any:
        await self.gate.wait()
        return Response()


async def test_the_same_address_leads_to_the_same_actor(make_world: MakeWorld) -> None:
    world = make_world(chat=Quiet, other=Quiet)
    assert world.cell("chat/a") is world.cell("chat/a")
    assert len({world.cell("chat/a"), world.cell("chat/b"), world.cell("chat"), world.cell("other/a")}) == 4
    assert {cell.address for cell in world.system} == {
        *(Address("chat", "a"), Address("chat", "b"), Address("chat"), Address("other", "a"))
    }


async def test_no_type_no_actor(make_world: MakeWorld) -> None:
    world = make_world(chat=Quiet)
    with pytest.raises(NoSuchActor) as caught:
        world.cell("chatter/a")
    assert caught.value.address == "chatter/a"
    assert list(world.system) == []


async def test_there_are_no_more_actors_than_allowed(make_world: MakeWorld) -> None:
    world = make_world(Limits(max_actors=2), chat=Quiet)
    first = world.cell("chat/1")
    world.cell("chat/2")
    with pytest.raises(MailboxFull) as caught:
        world.cell("chat/3")
    assert caught.value.address == "chat/3"
    assert world.cell("chat/1") is first


async def test_actors_of_one_type_count_together(make_world: MakeWorld) -> None:
    world = make_world(chat=Quiet, other=Quiet)
    world.connect("chat/1")
    world.connect("chat/2").say("x")
    counters = world.system.counters
    assert (counters["chat"].connections, counters["chat"].turns) == (2, 3)
    assert (counters["other"].connections, counters["other"].turns) == (0, 0)


async def test_an_actor_that_cannot_start_takes_no_place(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(Limits(max_actors=1), broken=Broken, chat=Quiet)
    for _ in range(3):
        assert world.cell("broken").failed
    assert list(world.system) == []
    assert not world.cell("chat").failed
    assert len(error_records(caplog)) == 3


async def test_actors_that_turn_out_not_to_start_take_no_place(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise clients that ask for ever new keys could fill the server with nothing."""
    world = make_world(Limits(max_actors=2), failing=Failing, chat=Quiet)
    for key in "ab":
        with pytest.raises(ActorFailed):
            await world.cell(f"failing/{key}").call("handle_request", ASK)
    assert not world.cell("chat").failed
    assert len(error_records(caplog)) == 2


async def test_an_actor_that_could_not_start_is_made_anew_even_when_there_is_no_room_for_more(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(Limits(max_actors=1), failing=Failing)
    cells = []
    for _ in range(2):
        cells.append(world.cell("failing"))
        with pytest.raises(ActorFailed):
            await cells[-1].call("handle_request", ASK)
    assert cells[0] is not cells[1]
    assert len(error_records(caplog)) == 2


async def test_draining_waits_for_turns_that_wait(make_world: MakeWorld) -> None:
    Waiting.gate = asyncio.Event()
    world = make_world(waiting=Waiting, chat=Quiet)
    world.cell("chat")
    answers = [world.cell(f"waiting/{key}").call("handle_request", ASK) for key in "aab"]
    draining = asyncio.create_task(world.system.drain())
    await settle()
    assert not draining.done()
    Waiting.gate.set()
    await draining
    assert all(answer.done() for answer in answers)


async def test_draining_what_is_idle_is_immediate(make_world: MakeWorld) -> None:
    world = make_world(chat=Quiet)
    world.cell("chat")
    async with asyncio.timeout(0):
        await world.system.drain()
    assert [cell.task for cell in world.system] == [None]


async def test_draining_waits_for_messages_that_are_on_their_way(make_world: MakeWorld) -> None:
    handled = []

    class Receiving(Quiet):
        async def handle_message(self, message: Data, sender: Address) -> Any:
            await settle()
            handled.append(message)

    world = make_world(sending=Quiet, receiving=Receiving)
    world.cell("sending").send(Address("receiving"), Text("x"))
    await world.system.drain()
    assert handled == [Text("x")]


async def test_stopping_ends_every_actor(make_world: MakeWorld) -> None:
    Waiting.gate = asyncio.Event()
    world = make_world(waiting=Waiting)
    answers = [world.cell(f"waiting/{key}").call("handle_request", ASK) for key in "aab"]
    await settle()
    await world.system.stop()
    for answer in answers:
        assert isinstance(answer.exception(), ActorFailed)
    assert asyncio.all_tasks() == {asyncio.current_task()}
