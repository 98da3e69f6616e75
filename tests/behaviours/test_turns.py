"""Turns: what lasts, what is taken back, and who is told."""

import pytest
from tests.behaviours.world import World, needs
from tests.server.raw import dial, handshake

from theater.config.manifest import Execution
from theater.errors import ConnectFailed, ConnectionEnded
from theater.limits import MAX_ATTACHMENT

VALUE = '{"a":[1,"ä😀",null,true],"b":{"c":[]}}'


@needs("tags")
class TestTags:
    async def test_are_replaced(self, world: World) -> None:
        async with world.client() as client:
            assert await client.ask("tags") == ""
            await client.send("tag two,one")
            assert await client.ask("tags") == "one,two"
            await client.send("tag ä😀")
            assert await client.ask("tags") == "ä😀"
            await client.send("tag")
            assert await client.ask("tags") == ""

    async def test_have_limits(self, world: World) -> None:
        sixteen = ",".join(f"{number:x}" for number in range(16))
        async with world.client() as client:
            await client.send(f"tag {sixteen}")
            for wrong in (f"{sixteen},10", "x" * 257, "a,,b"):
                assert (await client.ask(f"attempt tag {wrong}")).startswith("refused: ")
            assert await client.ask("tags") == sixteen
            await client.send(f"tag {'x' * 256}")
            assert await client.ask("tags") == "x" * 256


@needs("attachments")
class TestAttachment:
    async def test_is_kept_and_replaced(self, world: World) -> None:
        async with world.serve() as running, running.client() as client, running.client() as other:
            assert await client.ask("attachment") == "null"
            for value in (VALUE, '"text"', "0", "false", "[]", "null"):
                await client.send(f"attach {value}")
                assert await client.ask("attachment") == value
            await client.send("attach 1")
            assert await other.ask("attachment") == "null"

    async def test_has_a_limit(self, world: World) -> None:
        async with world.client() as client:
            fits = f'"{"x" * (MAX_ATTACHMENT - 2)}"'
            await client.send(f"attach {fits}")
            assert (await client.ask(f'attempt attach "{"ä" * (MAX_ATTACHMENT // 2)}"')).startswith(
                "refused: "
            )
            assert await client.ask("attachment") == fits


@needs("state")
class TestState:
    async def test_is_kept_and_replaced(self, world: World) -> None:
        async with world.serve() as running, running.client("/a") as client, running.client("/b") as other:
            assert await client.ask("state") == "null"
            for value in (VALUE, '"text"', "0", "false", "[]", "null"):
                await client.send(f"keep {value}")
                assert await client.ask("state") == value
            await client.send("keep 1")
            assert await other.ask("state") == "null"

    async def test_has_a_limit(self, world: World) -> None:
        async with world.serve(settings={"max_state": 20}) as running, running.client() as client:
            await client.send('keep "123456789012345678"')
            assert (await client.ask('attempt keep "ä23456789012345678"')).startswith("refused: ")
            assert await client.ask("state") == '"123456789012345678"'

    @needs("crashes", "events", "attachments", "tags")
    @pytest.mark.parametrize("execution", ["loop", "thread"])
    async def test_outlives_an_instance(self, world: World, execution: Execution) -> None:
        settings = {"turn_time": 0.1}
        async with world.serve(settings=settings, execution=execution) as running:
            async with running.client() as client, running.client() as other:
                await client.send(f"keep {VALUE}")
                await client.send("attach 1")
                await client.send("tag one")
                assert await client.events() == ["connected", "connected"]
                await client.send("spin")
                assert await client.ask("state") == VALUE
                assert await client.ask("attachment") == "1"
                assert await client.ask("tags") == "one"
                events = await client.events()
                assert len(events) == 1  # in the memory of another instance, that came after those two
                assert events[0].startswith("error ")
                assert await other.ask("echo still here") == "still here"


@needs("failures")
class TestFailure:
    @needs("events")
    async def test_is_the_next_event(self, world: World) -> None:
        async with world.serve() as running, running.client() as client, running.client() as other:
            await client.send("fail so it is")
            await client.send("echo still here")
            assert await client.next() == "still here"
            events = await other.events(lambda found: len(found) > 2)
            assert events[2].startswith("error ")
            assert "as told: so it is" in events[2]
            assert len(events) == 3

    async def test_takes_all_back(self, world: World) -> None:
        async with world.serve() as running, running.client() as client, running.client() as other:
            if not world.language.lacks & {"tags"}:
                await client.send("tag before")
            await client.send('attach "before"')
            await client.send('keep "before"')
            await client.send("change-and-fail")
            assert await client.ask("attachment") == '"before"'
            assert await client.ask("state") == '"before"'
            assert await other.ask("echo next") == "next"
            if not world.language.lacks & {"tags", "events"}:
                assert await client.ask("tags") == "before"
                assert not [event for event in await client.events() if event.startswith("note")]

    async def test_that_the_actor_handles_is_none(self, world: World) -> None:
        async with world.client() as client:
            assert "as told: so it is" in await client.ask("attempt fail so it is")
            assert await client.ask("echo next") == "next"

    @needs("sends")
    async def test_of_a_turn_that_does_too_much(self, world: World) -> None:
        async with world.serve(settings={"max_outbox": 20}) as running, running.client() as client:
            await client.send("effects 19")
            assert [await client.next() for _ in range(19)] == ["effect"] * 19
            await client.send("effects 21")
            assert await client.ask("echo next") == "next"
            await client.send("attempt effects 21")  # what tells of the failure is one too many
            assert await client.ask("echo next") == "next"


@needs("upgrades")
class TestUpgrade:
    async def test_is_accepted_in_detail(self, world: World) -> None:
        async with world.serve() as running:
            path, offered = "/a%20%C3%A4?accept", ("one", "two")
            async with running.client(path, headers=[("X-Test", "seen")], subprotocols=offered) as client:
                assert client.connection.subprotocol == "two"
                assert client.connection.headers["x-seen"] == "seen"
                assert await client.ask("tags") == "one,two"
                assert await client.ask("attachment") == '{"from":"upgrade"}'

    @pytest.mark.parametrize(("query", "status"), [("none", 403), ("fail", 500), ("unasked", 500)])
    async def test_is_refused(self, world: World, query: str, status: int) -> None:
        async with world.serve() as running:
            for _ in range(2):
                with pytest.raises(ConnectFailed) as failed:
                    async with running.client(f"/a?{query}"):
                        pass
                assert failed.value.status == status
                assert "as told" not in str(failed.value)
            async with running.client("/a") as client:
                assert await client.ask("echo next") == "next"

    async def test_is_refused_with_a_response(self, world: World) -> None:
        async with world.serve() as running, dial(running.port) as raw:
            raw.write(handshake("GET /a?refuse HTTP/1.1"))
            answer = await raw.answer()
            assert (answer.status, answer.body) == (409, b"taken \0\xff")
            assert [value for name, value in answer.headers if name == "x-why"] == ["one", "two"]


@needs("facts")
async def test_facts(world: World) -> None:
    async with world.serve() as running:
        path, headers = "/a%20%C3%A4?x=%C3%A4&y", [("X-Test", "caf\xe9")]
        async with running.client(path, headers=headers) as client:
            facts = (await client.ask("facts")).split("\n")
            port = client.connection._transport.get_extra_info("sockname")[1]  # type: ignore[union-attr]
            assert facts == ["/a ä", "a ä", "x=%C3%A4&y", "caf\xe9", "none", f"127.0.0.1 {port}"]


@needs("init")
async def test_an_actor_that_cannot_start(world: World) -> None:
    async with world.serve() as running:
        for _ in range(2):
            with pytest.raises(ConnectFailed) as failed:
                async with running.client("/broken"):
                    pass
            assert failed.value.status == 500
            assert "as told" not in str(failed.value)
        async with running.client("/a") as client:
            assert await client.ask("echo next") == "next"


@needs("batches", "events")
class TestBatches:
    async def test_events_come_together(self, world: World) -> None:
        async with world.serve() as running, running.client("/batch/a") as client, running.client() as other:
            for text in ("one", "two", "three"):
                await client.send(text)
            answers = [(await client.next()).split() for _ in range(3)]
            assert [text for _, text in answers] == ["one", "two", "three"]
            assert int(answers[2][0]) > 1
            await client.connection.close()
            events = await other.events(lambda found: len(found) > 3)
            assert sorted(events) == [
                "closed 1000 ",
                "connected",
                "connected",
                "left /batch/a not open  null",
            ]

    async def test_fail_together(self, world: World) -> None:
        async with world.serve() as running, running.client("/batch/a") as client, running.client() as other:
            await client.send("before")
            await client.next()
            for text in ("one", "fail", "two"):
                await client.send(text)
            events = await other.events(lambda found: any("batch as told" in event for event in found))
            assert events[-1].startswith("error ")
            await client.send("next")
            while not (answer := str(await client.next())).endswith("next"):
                assert answer.split()[1] in ("one", "two")  # if they came in another batch than `fail`


@needs("streams")
class TestStreams:
    @pytest.mark.parametrize("execution", ["loop", "thread"])
    async def test_of_the_client(self, world: World, execution: Execution) -> None:
        text, data = "aä€😀" * 30_000, bytes(range(256)) * 1500
        async with world.serve(execution=execution) as running, running.client("/stream/a") as client:
            for sent in (text, data, "", b""):
                place = len(sent) // 3
                await client.connection.send_chunk(sent[:place], last=False)
                await client.connection.send_chunk(sent[place:], last=False)
                await client.connection.send_chunk(sent[:0], last=True)
                kind, bytes_sent = ("text", sent.encode()) if isinstance(sent, str) else ("binary", sent)
                assert await client.next() == f"{kind} {len(bytes_sent)} {sum(bytes_sent)}"
            await client.send("whole")
            assert await client.next() == f"text 5 {sum(b'whole')}"

    async def test_whose_rest_is_not_wanted(self, world: World) -> None:
        async with world.serve() as running, running.client("/stream/a") as client:
            await client.connection.send_chunk("early", last=False)
            assert await client.next() == "enough"
            await client.connection.send_chunk("more", last=False)
            await client.connection.send_chunk("and more", last=True)
            await client.send("x")
            assert await client.next() == "text 1 120"

    @needs("events")
    async def test_that_fail(self, world: World) -> None:
        async with world.serve() as running, running.client("/stream/a") as client, running.client() as other:
            await client.connection.send_chunk("fail", last=False)
            await client.connection.send_chunk("more", last=True)
            events = await other.events(lambda found: any("stream as told" in event for event in found))
            assert len([event for event in events if event.startswith("error ")]) == 1
            await client.send("x")
            assert await client.next() == "text 1 120"

    @needs("events")
    async def test_that_do_not_end(self, world: World) -> None:
        async with world.serve() as running, running.client() as other:
            async with running.client("/stream/a") as client:
                await client.connection.send_chunk("begun", last=False)
                await client.connection.ping()
                client.connection.abort()
            await other.events(lambda found: "closed 1006 " in found)
            async with running.client("/stream/a") as client:
                await client.send("x")
                assert await client.next() == "text 1 120"

    async def test_of_the_actor(self, world: World) -> None:
        async with world.client() as client:
            await client.send("pieces 12")
            expected = "".join(str(number % 10) * 1000 for number in range(12))
            assert await client.next() == expected
            assert [await client.next(), await client.next()] == ["sent meanwhile", "done"]

    async def test_that_the_actor_breaks_off(self, world: World) -> None:
        async with world.client() as client:
            await client.send("broken-piece")
            with pytest.raises(ConnectionEnded) as ended:
                await client.next()
            assert ended.value.code == 1011
