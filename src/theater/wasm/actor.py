"""Components as actors."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Collection
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from theater.contract import (
    Accept,
    Binary,
    Closed,
    Congested,
    Data,
    Drained,
    Event,
    Received,
    Request,
    Response,
    Stream,
    Text,
    UpgradeRequest,
)
from theater.errors import CallFailed, InstanceEnded, LocalError
from theater.protocol.handshake import accept_key
from theater.runtime.address import Address
from theater.runtime.connection import Connection
from theater.runtime.ports import Context, Deliveries, Reply
from theater.runtime.replies import MESSAGES
from theater.wasm.contracts import HttpRequest, WebSocketRequest, WebSocketResponse
from theater.wasm.instance import Instance
from theater.wasm.shapes import Failure

if TYPE_CHECKING:
    from theater.wasm.kind import ComponentType

log = logging.getLogger("theater")

_PATIENCE: Final = 1  # instances that may end before a new one has to wait
_FORGIVEN: Final = 5.0  # seconds after which one of them does not count any more
_FIRST_DELAY: Final = 0.2  # seconds; four times as long each time
_LONGEST_DELAY: Final = 5.0
_SHORT_LIFE: Final = 1.0  # seconds; one that has used up its memory by then counts as one that has ended
_NOT_FOUND: Final = Response.text("Not Found\n", 404)


class ComponentActor:
    """An actor whose handlers are the exports of a component of `wit/0.2.0`; a `Behaviour`.

    When its instance has come to its end or used up its memory, or the component has been replaced, the
    next turn begins with a new instance, which finds the state and the connections that there are.

    Args:
        kind: what makes instances.
        context: what the actor can do.
    """

    _takes_id = True  # `handle-websocket`, of the connection

    def __init__(self, kind: "ComponentType", context: Context) -> None:
        self._kind = kind
        self._context = context
        self._host = kind.program.host(context)
        self._name = str(context.address)
        self._instance: Instance | None = None
        self._ends = 0.0  # of instances, but for those that time has forgiven
        self._last_end = 0.0
        self._made = 0.0  # when the instance was
        self._is_arriving = False  # a message of which the instance has had pieces

    # The handlers

    async def init(self) -> None:
        await self._renew()

    def upgrade_connection(
        self, request: UpgradeRequest
    ) -> Accept | Response | None | Awaitable[Accept | Response | None]:
        if "upgrade-connection" not in self._kind.program.functions:
            return Accept()
        return self._call("upgrade-connection", (request,))  # type: ignore[no-any-return]

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        if isinstance(event, Received):
            message: object = event.message
            if type(message) not in MESSAGES and isinstance(message, Stream):  # the second is slow
                return self._handle_stream(connection, message)
        if "handle-websocket" not in self._kind.program.functions:
            return None
        arguments = (connection.id, event) if self._takes_id else (event,)
        ended = (connection,) if type(event) is Closed else ()
        reply = self._call("handle-websocket", arguments, ended)
        if type(reply) is list and len(reply) == 1:
            return reply[0]  # type: ignore[no-any-return]
        return reply  # type: ignore[no-any-return]

    async def _handle_stream(self, connection: Connection, stream: Stream) -> None:
        """Hands over a message piece by piece, all to one instance. Each piece is a turn of its own."""
        try:
            async for chunk in stream:
                await self._handle_chunk(connection, _data(chunk), last=False)
                self._is_arriving = True
            await self._handle_chunk(connection, _data("" if stream.is_text else b""), last=True)
        finally:
            self._is_arriving = False

    async def _handle_chunk(self, connection: Connection, chunk: Data, last: bool) -> None:
        messages = self._call("handle-chunk", (connection.id, chunk, last))
        for message in await messages if type(messages) is CoroutineType else messages:
            connection.send(message)
        self._context.commit()

    def handle_batch(self, batch: Deliveries) -> Awaitable[None] | None:
        ended = [connection for connection, event in batch if type(event) is Closed]
        events = [(connection.id, event) for connection, event in batch]
        return self._call("handle-batch", (events,), ended)  # type: ignore[no-any-return]

    def handle_request(self, request: Request) -> Response | Awaitable[Response]:
        if "handle-request" not in self._kind.program.functions:
            return _NOT_FOUND
        return self._call("handle-request", (request,))  # type: ignore[no-any-return]

    def handle_message(self, message: Data, sender: Address) -> Data | None | Awaitable[Data | None]:
        if "handle-message" not in self._kind.program.functions:
            return None
        return self._call("handle-message", (message, sender))  # type: ignore[no-any-return]

    # Calls

    def _call(self, function: str, arguments: tuple[object, ...], ended: Collection[Connection] = ()) -> Any:
        """Calls an export: its result, or an awaitable of that.

        Raises:
            CallFailed: it returned an error, or something that is not what the contract means.
            InstanceEnded: it did not return.
        """
        host = self._host
        if ended or host.used:
            host.begin(ended)
        instance = self._instance
        if (
            instance is None
            or instance.has_ended
            or (instance.program is not self._kind.program and not self._is_arriving)
            or (instance.guest.is_full and not self._is_arriving and not host.streams)
        ):
            return self._finish(function, self._call_anew(function, arguments))
        try:
            result = instance.call(function, arguments)
        except BaseException as error:  # noqa: BLE001  # the turn fails with it
            raise self._failure(function, error) from None
        if type(result) is CoroutineType:
            return self._finish(function, result)
        if type(result) is Failure:
            raise self._failure(function, result)
        return result

    async def _call_anew(self, function: str, arguments: tuple[object, ...]) -> Any:
        """Makes a new instance, and calls that."""
        instance = await self._renew()
        result = instance.call(function, arguments)
        return await result if type(result) is CoroutineType else result

    async def _finish(self, function: str, call: Awaitable[Any]) -> Any:
        try:
            result = await call
        except BaseException as error:  # noqa: BLE001  # the turn fails with it
            raise self._failure(function, error) from None
        if type(result) is Failure:
            raise self._failure(function, result)
        return result

    def _failure(self, function: str, error: Failure | BaseException) -> BaseException:
        """What a call that has failed raises."""
        self._host.fail()
        if isinstance(error, Failure):
            return CallFailed(self._name, str(error.error))
        if isinstance(error, InstanceEnded):
            self._count_end()
        elif isinstance(error, ValueError | TypeError | LocalError):
            return CallFailed(self._name, f"{function} does not return what the contract means: {error}")
        return error

    def _count_end(self) -> None:
        now = time.monotonic()
        self._ends = max(0.0, self._ends - (now - self._last_end) / _FORGIVEN) + 1
        self._last_end = now

    async def _renew(self) -> Instance:
        """Puts a new instance in the place of the old one, after a while if many have ended of late.

        Raises:
            CallFailed: its `init` returned an error.
            InstanceEnded: it could not be made, or its `init` did not return.
            MailboxFull: there are too many instances.
        """
        self._host.forget()
        if self._instance is not None:
            if self._instance.guest.is_full and not self._instance.has_ended:
                log.warning(
                    "%s has used up nearly all its memory (max_memory): a new instance takes over", self._name
                )
                if time.monotonic() - self._made < _SHORT_LIFE:
                    self._count_end()
            self._instance.end()
            self._instance = None
        if self._ends > _PATIENCE:
            await asyncio.sleep(min(_FIRST_DELAY * 4 ** (self._ends - _PATIENCE - 1), _LONGEST_DELAY))
        instance = await self._kind.instance(self._host, self._name)
        if "init" in instance.program.functions:
            try:
                result = instance.call("init", ())
                result = await result if type(result) is CoroutineType else result
                if type(result) is Failure:
                    self._count_end()
                    raise CallFailed(self._name, str(result.error))
            except BaseException:
                instance.end()
                raise
        instance.watch()
        self._made = time.monotonic()
        self._instance = instance
        return instance


class OldComponentActor(ComponentActor):
    """The same for a component of `wit/0.1.0`."""

    _takes_id = False

    async def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response | None:
        if "upgrade-connection" not in self._kind.program.functions:
            return Accept()
        key = request.headers["sec-websocket-key"]
        version = request.headers["sec-websocket-version"]
        answer = self._call("upgrade-connection", (WebSocketRequest(key, version),))
        response: WebSocketResponse | None = await answer if type(answer) is CoroutineType else answer
        if response is None:
            return None
        expected = accept_key(key)
        if response.sec_websocket_accept != expected:
            problem = f"sec-websocket-accept must be {expected!r}, not {response.sec_websocket_accept!r}"
            raise CallFailed(self._name, f"upgrade-connection: {problem}")
        return Accept()

    def handle_websocket(self, connection: Connection, event: Event) -> Reply | Awaitable[Reply]:
        if type(event) is Congested or type(event) is Drained:
            return None  # that contract has no such events
        return super().handle_websocket(connection, event)

    def handle_request(self, request: Request) -> Response | Awaitable[Response]:
        if "handle-request" not in self._kind.program.functions:
            return _NOT_FOUND
        uri = quote(request.path) + (f"?{request.query}" if str(request.query) else "")
        old = HttpRequest(request.method, uri, request.headers, request.body or None)
        return self._call("handle-request", (old,))  # type: ignore[no-any-return]


def _data(chunk: str | bytes) -> Data:
    return Text(chunk) if isinstance(chunk, str) else Binary(chunk)
