"""What a component exports: the actor's handlers, called with the classes of the bindings."""

from collections.abc import Callable
from typing import Any, TypeVar

from componentize_py_types import Err
from wit_world.imports import types

from theater.contract import Closed, Error, Event, Received, Stream
from theater.guest.context import Context
from theater.guest.environment import start
from theater.guest.failures import log_failure, words
from theater.guest.incoming import IncomingMessage
from theater.guest.loop import finish
from theater.guest.values import (
    lift_data,
    lift_event,
    lift_request,
    lift_upgrade_request,
    lower_answer,
    lower_decision,
    lower_message,
    lower_nothing,
    lower_response,
)
from theater.native.actor import Actor, factory
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.replies import MESSAGES, check_result, replies

T = TypeVar("T")


class Stage:
    """The one actor of a component's instance, made when it is first called.

    Args:
        actor: its class.
    """

    def __init__(self, actor: type[Actor]) -> None:
        self._create = factory(actor)
        self._context: Context | None = None
        self._instance: Any = None
        self._arriving: dict[int, IncomingMessage] = {}  # by connection

    def begin(self) -> Context:
        """Begins a turn."""
        context = self._context
        if context is None:
            start()
            context = Context()
            self._instance = self._create(context)
            self._context = context
        context.connections.ended.clear()
        return context

    def call(self, handler: str, lower: Callable[[Any], T], *arguments: Any) -> T:
        """Calls a handler in a turn of its own, and checks what it returns.

        Raises:
            Err: it failed; with a sentence for the host. All that follow here raise it, too.
        """
        try:
            self.begin()
            result = finish(handler, getattr(self._instance, handler)(*arguments))
            check_result(handler, result)
            return lower(result)
        except BaseException as error:  # noqa: BLE001  # anything else would be a trap without words
            raise _failure(handler, error) from None

    def handle_websocket(self, id: int, event: types.Event) -> list[types.Message]:
        """Handles an event of a connection."""
        try:
            context = self.begin()
            lifted = lift_event(event)
            connection = self._meet(context, id, lifted)
            result = self._instance.handle_websocket(connection, lifted)
            if type(result) in MESSAGES:
                return [lower_message(result)]
            return [lower_message(message) for message in replies(finish("handle_websocket", result))]
        except BaseException as error:  # noqa: BLE001
            raise _failure("handle_websocket", error) from None

    def handle_chunk(self, id: int, chunk: types.Data, last: bool) -> list[types.Message]:
        """Lets a handler go on with a piece of a message."""

        def handle(stream: Stream) -> Any:
            return self._instance.handle_websocket(context.connections.of(id), Received(stream))

        try:
            context = self.begin()
            piece = lift_data(chunk)
            message = self._arriving.pop(id, None)
            if message is not None and message.broken:
                _despite_failures(message.cancel)
                message = None
            if message is None:
                message = IncomingMessage(piece, handle)
            result = message.take(piece, last)
            if not last:
                self._arriving[id] = message
            return [lower_message(each) for each in replies(result)]
        except BaseException as error:  # noqa: BLE001
            raise _failure("handle_websocket", error) from None

    def _meet(self, context: Context, id: int, event: Event) -> Connection:
        """The connection of an event; and what the event means for a message that is arriving."""
        connection = context.connections.of(id)
        if type(event) is Closed:
            context.connections.end(id)
            message = self._arriving.pop(id, None)
            if message is not None:
                _despite_failures(message.lose, event.code, event.reason)
        elif type(event) is Error and id in self._arriving:
            self._arriving[id].broken = True
        return connection

    def handle_batch(self, batch: list[tuple[int, types.Event]]) -> None:
        """Handles several events."""
        try:
            context = self.begin()
            deliveries = []
            for each, event in batch:
                lifted = lift_event(event)
                deliveries.append((self._meet(context, each, lifted), lifted))
            result = finish("handle_batch", self._instance.handle_batch(deliveries))
            check_result("handle_batch", result)
        except BaseException as error:  # noqa: BLE001
            raise _failure("handle_batch", error) from None


def _failure(handler: str, error: BaseException) -> Err[str]:
    """What the host is told of a turn that has failed."""
    log_failure(handler, error)
    return Err(words(error))


def _despite_failures(function: Callable[..., None], *arguments: Any) -> None:
    """Ends a handler that has nobody left to fail for."""
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001
        log_failure("handle_websocket", error)


def exports(actor: type[Actor]) -> dict[str, type]:
    """The classes that the bindings look for, by the name of the interface that each exports."""
    stage = Stage(actor)

    class Lifecycle:
        def init(self) -> None:
            stage.call("init", lower_nothing)

    class WebsocketUpgrade:
        def upgrade_connection(self, request: types.UpgradeRequest) -> types.Decision | None:
            return stage.call("upgrade_connection", lower_decision, lift_upgrade_request(request))

    class WebsocketActor:
        handle_websocket = staticmethod(stage.handle_websocket)

    class BatchActor:
        handle_batch = staticmethod(stage.handle_batch)

    class StreamActor:
        handle_chunk = staticmethod(stage.handle_chunk)

    class HttpActor:
        def handle_request(self, request: types.Request) -> types.Response:
            return stage.call("handle_request", lower_response, lift_request(request))

    class MessageActor:
        def handle_message(self, message: types.Data, sender: types.Address) -> types.Data | None:
            address = Address(sender.type, sender.key)
            return stage.call("handle_message", lower_answer, lift_data(message), address)

    classes = (
        Lifecycle,
        WebsocketUpgrade,
        WebsocketActor,
        BatchActor,
        StreamActor,
        HttpActor,
        MessageActor,
    )
    return {each.__name__: each for each in classes}
