"""From a request's path to an actor's address."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from theater.limits import ConnectionLimits
from theater.runtime.address import Address
from theater.runtime.ports import Batch

Kind = Literal["websocket-server", "http-server"]

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEGMENT: Final = re.compile(r"[^{}/?#%]*")


def split_path(raw: str) -> list[str] | None:
    """Percent-decodes a path and removes its dot segments (RFC 3986 §5.2.4).

    Segments are decoded one by one, so that `%2F` does not part them.

    Args:
        raw: as it stands in the request, without the query.

    Returns:
        the segments behind the first slash, or None if the path is malformed.
    """
    if not raw.startswith("/"):
        return None
    segments: list[str] = []
    parts = raw[1:].split("/")
    for index, part in enumerate(parts):
        if "%" in part:
            if re.search(r"%(?![0-9A-Fa-f]{2})", part):
                return None
            try:
                part = unquote_to_bytes(part).decode()
            except UnicodeDecodeError:
                return None
        if "\0" in part:
            return None
        if part in (".", ".."):
            if part == ".." and segments:
                segments.pop()
            if index == len(parts) - 1:
                segments.append("")
        else:
            segments.append(part)
    return segments


class Pattern:
    """A path with parameters, such as `/rooms/{room}`; a parameter stands for one segment.

    Args:
        text: the pattern.

    Attributes:
        parameters: names, in order.
        shape: equal for patterns that match the same paths.

    Raises:
        ValueError: it is no pattern; the message says why.
    """

    def __init__(self, text: str) -> None:
        if not text.startswith("/"):
            raise ValueError("a path that begins with a slash")
        self.text = text
        self.segments: list[str | None] = []  # None for a parameter
        self.parameters: list[str] = []
        for segment in text[1:].split("/"):
            parameter = _PARAMETER.fullmatch(segment)
            if parameter:
                if parameter[1] in self.parameters:
                    raise ValueError(f"each parameter once, {{{parameter[1]}}} stands twice")
                self.parameters.append(parameter[1])
                self.segments.append(None)
            elif _SEGMENT.fullmatch(segment) and segment not in (".", ".."):
                self.segments.append(segment)
            else:
                raise ValueError("segments of plain text or one whole {parameter}")

    @property
    def shape(self) -> tuple[str | None, ...]:
        return tuple(self.segments)

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The values of the parameters, or None if the path does not match. No value is empty."""
        if len(segments) != len(self.segments):
            return None
        values = []
        for expected, found in zip(self.segments, segments, strict=True):
            if expected is None:
                if not found:
                    return None
                values.append(found)
            elif expected != found:
                return None
        return dict(zip(self.parameters, values, strict=True))


class Route(msgspec.Struct, frozen=True):
    """Which actor serves which requests.

    Attributes:
        kind: WebSocket or plain HTTP.
        pattern: of the path.
        actor: name of the actor type.
        instance: key of the instance, with parameters in braces; empty for a single actor.
        methods: HTTP methods that are let through; all, if empty.
        limits: of each WebSocket.
        origins: of web pages that may open one; that of the server itself, if empty.
        stream: messages reach the actor while they are still arriving.
        batch: how events are handled together, if they are.
        answers: texts that are answered with others, without the actor.
    """

    kind: Kind
    pattern: Pattern
    actor: str
    instance: str = ""
    methods: tuple[str, ...] = ()
    limits: ConnectionLimits = ConnectionLimits()
    origins: tuple[str, ...] = ()
    stream: bool = False
    batch: Batch | None = None
    answers: Mapping[str, str] = msgspec.field(default_factory=dict)

    def address(self, parameters: Mapping[str, str]) -> Address:
        """Whom a request with these parameters goes to."""
        return Address(self.actor, _PARAMETER.sub(lambda found: parameters[found[1]], self.instance))


def instance_parameters(instance: str) -> list[str] | None:
    """The parameters that an instance template names, or None if it is malformed."""
    if re.search(r"[{}]", _PARAMETER.sub("", instance)):
        return None
    return _PARAMETER.findall(instance)


class Match(msgspec.Struct, frozen=True):
    """A route that a path leads to, and the values of its parameters."""

    route: Route
    parameters: Mapping[str, str]


class Router:
    """Finds routes by path. Where several match, plain text goes before a parameter, from the left."""

    def __init__(self, routes: Iterable[Route]) -> None:
        def by_plainness(route: Route) -> list[bool]:
            return [segment is None for segment in route.pattern.segments]

        self._routes = sorted(routes, key=by_plainness)

    def find(self, kind: Kind, segments: list[str]) -> Match | None:
        """The best route of a kind for the segments that `split_path` gave."""
        for route in self._routes:
            if route.kind == kind:
                parameters = route.pattern.match(segments)
                if parameters is not None:
                    return Match(route, parameters)
        return None
