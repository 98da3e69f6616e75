"""Python actors, as those who write them see them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.runtime.world import Client, World, settle

from theater import Actor, Address, Connection, Data, Event, Received, Request, Response, Text, UpgradeRequest
from theater.contract import Accept, Close, Congested, Connected, Drained, Ping, Stream
from theater.errors import (
    InvalidAddress,
    InvalidClose,
    InvalidMessage,
    LocalError,
    MailboxFull,
    NoSuchActor,
    RequestTimeout,
)
from theater.limits import Limits
from theater.native.actor import factory
from theater.runtime.ports import Batch, Deliveries

MakeActors = Callable[..., World]


@pytest.fixture
async def make() -> AsyncIterator[MakeActors]:
    """Makes a world of actor classes."""
    worlds: list[World] = []

    def make(limits: Limits = Limits(), **actors: type[Actor]) -> World:
        worlds.append(World({name: factory(actor) for name, actor in actors.items()}, limits))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.system.stop()


class Say(Actor):
    """Does what a test puts into `on_message`."""

    on_message: Callable[["Say", Connection], Any]

    def handle_websocket(self, connection: Connection, event: Event) -> Any:
        if isinstance(event, Received):
            return type(self).on_message(self, connection)
        return None


def sayer(on_message: Callable[[Any, Connection], Any]) -> type[Say]:
    return type("Sayer", (Say,), {"on_message": on_message})


class TestDefaults:
    async def test_let_every_client_in_and_say_nothing(self, make: MakeActors) -> None:
        world = make(actor=Actor)
        assert world.cell().call("upgrade_connection", UpgradeRequest("/")).result() == Accept()
        client = world.connect()
        client.say("x")
        client.end()
        assert client.sent == []

    async def test_answer_requests_with_404(self, make: MakeActors) -> None:
        response = make(actor=Actor).cell().call("handle_request", Request("GET", "/")).result()
        assert response.status == 404
        assert response.body == b"Not Found\n"

    async def test_cannot_handle_events_together(
        self, make: MakeActors, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Unready(Actor):
            pass

        client = make(actor=Unready).connect(batch=Batch())
        await settle()
        assert "NotImplementedError: Unready has no handle_batch" in caplog.text
        client.end()
        await settle()
        assert list(client.cell.connections) == []

    async def test_answer_other_actors_with_nothing(self, make: MakeActors) -> None:
        answer = make(actor=Actor).cell().call("handle_message", Text("x"), Address("other"))
        assert answer.result() is None


class TestInstances:
    async def test_know_their_address_from_the_first_line_of_init_on(self, make: MakeActors) -> None:
        class Named(Actor):
            def __init__(self) -> None:
                self.name = f"I am {self.address}"
                self.crowd = len(self.connections)

            def handle_websocket(self, connection: Connection, event: Event) -> Text:
                return Text(f"{self.name}, {self.crowd} then, {len(self.connections)} now")

        client = make(actor=Named).connect("actor/7")
        assert client.sent == [Text("I am actor/7, 0 then, 1 now")]

    async def test_hold_the_state_of_one_address(self, make: MakeActors) -> None:
        class Counting(Actor):
            def __init__(self) -> None:
                self.count = 0

            async def handle_websocket(self, connection: Connection, event: Event) -> Text:
                self.count += 1
                return Text(str(self.count))

        world = make(actor=Counting)
        one, other = world.connect("actor/1"), world.connect("actor/2")
        one.say("x", "y")
        await settle()
        assert one.sent == [Text("1"), Text("2"), Text("3")]
        assert other.sent == [Text("1")]

    async def test_run_init_before_all_else(self, make: MakeActors) -> None:
        class Starting(Actor):
            async def init(self) -> None:
                await settle()
                self.ready = "ready"

            def handle_websocket(self, connection: Connection, event: Event) -> Text:
                return Text(self.ready)

        client = make(actor=Starting).connect()
        for _ in range(3):
            await settle()
        assert client.sent == [Text("ready")]

    async def test_handle_requests_and_messages_in_async_handlers_too(self, make: MakeActors) -> None:
        class Asynchronous(Actor):
            async def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | None:
                return None

            async def handle_request(self, request: Request) -> Response:
                return Response.text(request.path)

            async def handle_message(self, message: Data, sender: Address) -> Data | None:
                return Text(f"from {sender}")

        cell = make(actor=Asynchronous).cell()
        assert await cell.call("upgrade_connection", UpgradeRequest("/")) is None
        assert (await cell.call("handle_request", Request("GET", "/p"))).body == b"/p"
        assert await cell.call("handle_message", Text("x"), Address("a", "b")) == Text("from a/b")


class TestEvents:
    async def test_come_together_where_the_path_wants_it(self, make: MakeActors) -> None:
        class Counting(Actor):
            async def handle_batch(self, batch: Deliveries) -> None:
                texts = [event for _, event in batch if isinstance(event, Received)]
                self.broadcast(Text(f"{len(texts)} of {len({connection for connection, _ in batch})}"))

        world = make(actor=Counting)
        one, two = world.connect(batch=Batch()), world.connect(batch=Batch())
        one.say("a", "b")
        two.say("c")
        await settle()
        assert one.sent == two.sent == [Text("3 of 2")]

    async def test_of_a_slow_client_can_be_told_apart(self, make: MakeActors) -> None:
        class Careful(Actor):
            def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
                match event:
                    case Congested(waiting):
                        return Text(f"{waiting} bytes")
                    case Drained():
                        return Text("none")
                return None

        client = make(actor=Careful).connect()
        client.give(Congested(70_000))
        client.give(Drained())
        assert client.sent == [Text("70000 bytes"), Text("none")]

    async def test_may_be_streams(self, make: MakeActors) -> None:
        class Measuring(Actor):
            async def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
                match event:
                    case Received(Stream() as stream):
                        return Text(str(sum([len(chunk) async for chunk in stream])))
                return None

        client = make(actor=Measuring).connect()
        stream = client.stream(is_text=False)
        await settle()
        for size in (1, 20, 300):
            stream.feed(bytes(size), last=size == 300)
            await settle()
        assert client.sent == [Text("321")]


class TestBroadcast:
    async def test_says_how_the_message_may_be_sent(self, make: MakeActors) -> None:
        def tell(actor: Actor, connection: Connection) -> None:
            actor.broadcast(Text("a"))
            actor.broadcast(Text("b"), key="price", compress=False)

        client = make(actor=sayer(tell)).connect()
        client.say("go")
        assert client.wire.frames == [(None, True), ("price", False)]

    @pytest.mark.parametrize(
        ("excluded", "tag", "reached"),
        [
            ((), None, "abc"),
            ("a", None, "bc"),
            (["a"], None, "bc"),
            (("a", "c"), None, "b"),
            (frozenset("abc"), None, ""),
            (iter("ab"), None, "c"),
            ((), "red", "ab"),
            ("a", "red", "b"),
            ((), "green", ""),
        ],
        ids=repr,
    )
    async def test_reaches_all_but_one_or_several_or_those_with_a_tag(
        self, make: MakeActors, excluded: Any, tag: str | None, reached: str
    ) -> None:
        clients: dict[str, Client] = {}

        def tell(actor: Actor, connection: Connection) -> None:
            if isinstance(excluded, str):
                actor.broadcast(Text("x"), exclude=clients[excluded].connection, tag=tag)
            else:
                actor.broadcast(Text("x"), exclude=[clients[each].connection for each in excluded], tag=tag)

        world = make(actor=sayer(tell))
        for name, tags in (("a", ["red"]), ("b", ["red", "blue"]), ("c", ["blue"])):
            clients[name] = world.connect(accept=Accept(tags=tags))
        clients["b"].say("go")
        assert {name for name, client in clients.items() if client.sent == [Text("x")]} == set(reached)
        assert {name for name, client in clients.items() if client.sent} == set(reached)

    async def test_of_control_messages(self, make: MakeActors) -> None:
        def tell(actor: Actor, connection: Connection) -> None:
            actor.broadcast(Ping(b"?"))
            actor.broadcast(Close(1001, "bye"))

        world = make(actor=sayer(tell))
        clients = [world.connect(), world.connect()]
        clients[0].say("go")
        assert [client.sent for client in clients] == [[Ping(b"?"), Close(1001, "bye")]] * 2

    @pytest.mark.parametrize(
        ("message", "error"),
        [("text", InvalidMessage), (Text("\ud800"), InvalidMessage), (Close(1), InvalidClose)],
    )
    async def test_of_what_cannot_be_sent_raises(
        self, make: MakeActors, message: Any, error: type[Exception]
    ) -> None:
        def tell(actor: Actor, connection: Connection) -> Text:
            with pytest.raises(error):
                actor.broadcast(message)
            return Text("caught")

        client = make(actor=sayer(tell)).connect()
        client.say("go")
        assert client.sent == [Text("caught")]


class Mirror(Actor):
    """Answers messages with their text, after noting who sent them."""

    seen: list[tuple[Address, Data]]

    def handle_message(self, message: Data, sender: Address) -> Data:
        type(self).seen.append((sender, message))
        return message


@pytest.fixture
def mirror() -> type[Mirror]:
    return type("FreshMirror", (Mirror,), {"seen": []})


class TestOtherActors:
    @pytest.mark.parametrize("address", ["mirror/1", Address("mirror", "1")])
    async def test_are_sent_to_by_text_or_address(
        self, make: MakeActors, mirror: type[Mirror], address: Address | str
    ) -> None:
        world = make(actor=sayer(lambda actor, connection: actor.send(address, Text("x"))), mirror=mirror)
        world.connect("actor/me").say("go")
        await settle()
        assert mirror.seen == [(Address("actor", "me"), Text("x"))]

    @pytest.mark.parametrize("address", ["mirror/1", Address("mirror", "1")])
    async def test_are_asked_by_text_or_address(
        self, make: MakeActors, mirror: type[Mirror], address: Address | str
    ) -> None:
        async def ask(actor: Actor, connection: Connection) -> Data | None:
            return await actor.request(address, Text("x"))

        client = make(actor=sayer(ask), mirror=mirror).connect("actor/me")
        client.say("go")
        await settle()
        assert client.sent == [Text("x")]
        assert mirror.seen == [(Address("actor", "me"), Text("x"))]

    @pytest.mark.parametrize(
        ("address", "message", "error"),
        [
            ("", Text("x"), InvalidAddress),
            ("Mirror", Text("x"), InvalidAddress),
            ("mirror/", Text("x"), InvalidAddress),
            ("nobody/1", Text("x"), NoSuchActor),
            (Address("nobody"), Text("x"), NoSuchActor),
            ("mirror", "x", InvalidMessage),
            ("mirror", Ping(), InvalidMessage),
        ],
    )
    async def test_that_cannot_be_reached_raise(
        self, make: MakeActors, mirror: type[Mirror], address: Any, message: Any, error: type[Exception]
    ) -> None:
        async def attempt(actor: Actor, connection: Connection) -> Text:
            with pytest.raises(error):
                actor.send(address, message)
            with pytest.raises(error):
                await actor.request(address, message)
            return Text("caught")

        client = make(actor=sayer(attempt), mirror=mirror).connect()
        client.say("go")
        await settle()
        assert client.sent == [Text("caught")]
        assert mirror.seen == []

    async def test_are_not_asked_in_a_circle_of_one(self, make: MakeActors) -> None:
        async def ask(actor: Actor, connection: Connection) -> Text:
            with pytest.raises(LocalError, match="cannot make a request to itself"):
                await actor.request(actor.address, Text("x"))
            return Text("caught")

        client = make(actor=sayer(ask)).connect()
        client.say("go")
        await settle()
        assert client.sent == [Text("caught")]

    async def test_have_as_long_to_answer_as_the_caller_says(self, make: MakeActors) -> None:
        class Silent(Actor):
            async def handle_message(self, message: Data, sender: Address) -> Data | None:
                for _ in range(200):
                    await settle()
                return None

        async def ask(actor: Actor, connection: Connection) -> Text:
            with pytest.raises(RequestTimeout) as caught:
                await actor.request("silent", Text("x"), timeout=2.5)
            assert caught.value.seconds == 2.5
            assert isinstance(caught.value, TimeoutError)
            return Text("gave up")

        world = make(actor=sayer(ask), silent=Silent)
        client = world.connect()
        client.say("go")
        await settle()
        world.clock.advance(2.5)
        await settle()
        assert client.sent == [Text("gave up")]

    async def test_that_do_not_keep_up_are_sent_no_more(self, make: MakeActors) -> None:
        gate = asyncio.Event()

        class Stuck(Actor):
            async def handle_message(self, message: Data, sender: Address) -> Data | None:
                await gate.wait()
                return None

        def send(actor: Actor, connection: Connection) -> Text:
            try:
                actor.send("stuck", Text("x"))
            except MailboxFull as error:
                return Text(f"full: {error.address}")
            return Text("sent")

        world = make(Limits(mailbox_high_water=2, mailbox_low_water=1), actor=sayer(send), stuck=Stuck)
        client = world.connect()
        answer = world.cell("stuck").call("handle_message", Text("x"), Address("actor"))
        client.say("1", "2", "3")
        assert client.sent == [Text("sent"), Text("sent"), Text("full: stuck")]
        gate.set()
        assert await answer is None
        client.say("4")
        assert client.sent[3:] == [Text("sent")]
        await settle()


class TestClasses:
    async def test_that_need_arguments_cannot_start(
        self, make: MakeActors, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Demanding(Actor):
            def __init__(self, name: str) -> None:
                self.name = name

        assert make(actor=Demanding).cell().failed
        assert "missing 1 required positional argument" in caplog.text

    async def test_need_not_call_the_init_of_their_base(self, make: MakeActors) -> None:
        class Plain(Actor):
            def __init__(self) -> None:
                pass

            def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
                return Text(str(self.address)) if event == Connected() else None

        assert make(actor=Plain).connect().sent == [Text("actor")]
