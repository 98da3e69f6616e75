"""Which extensions a connection has: RFC 6455 §9, from the header field to what is agreed on.

A row of `_TABLE` is all that an extension is negotiated by, in both roles.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from theater.limits import ConnectionLimits
from theater.protocol import deflate
from theater.protocol.deflate import ContextBudget, Deflate, Parameters

FIELD: Final = "sec-websocket-extensions"

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token, RFC 9110 §5.6.2
_PARAMETER: Final = re.compile(
    rf'[ \t]*;[ \t]*({_NAME.pattern})(?:[ \t]*=[ \t]*({_NAME.pattern}|"(?:[^"\\]|\\.)*"))?'
)
_GAP: Final = re.compile(r"[ \t]*(?:,[ \t,]*|$)")  # RFC 9110 §5.6.1: a list may have empty elements
_ESCAPE: Final = re.compile(r"\\(.)")


class Extension(NamedTuple):
    """An extension as it stands in the header field: offered, or agreed on."""

    name: str
    parameters: Parameters = ()

    def __str__(self) -> str:
        return "; ".join(
            [self.name, *(name if value is None else f"{name}={value}" for name, value in self.parameters)]
        )


class Agreed(NamedTuple):
    """The extensions of one connection; None is one that it does not have."""

    deflate: Deflate | None = None

    def answer(self) -> list[Extension]:
        """How a server tells its client."""
        fields = [(row.name, getattr(self, row.field)) for row in _TABLE.values()]
        return [Extension(name, found.parameters) for name, found in fields if found is not None]


NOTHING: Final = Agreed()


class _Row(NamedTuple):
    name: str
    field: str  # of `Agreed`
    offer: Callable[[ConnectionLimits], Parameters | None]
    accept: Callable[[Parameters, ConnectionLimits, ContextBudget], Deflate | None]
    check: Callable[[Parameters, ConnectionLimits], Deflate | str]


_TABLE: Final = {
    row.name: row
    for row in [_Row("permessage-deflate", "deflate", deflate.offer, deflate.accept, deflate.check)]
}


def parse_extensions(values: Iterable[str]) -> tuple[Extension, ...] | str:
    """Reads all `Sec-WebSocket-Extensions` of a head (§9.1); text says what is wrong with them."""
    text = ", ".join(values).strip(" \t,")
    found = []
    position = 0
    while position < len(text):
        name = _NAME.match(text, position)
        if name is None:
            return f"expected the name of an extension at {text[position:][:20]!r}"
        position = name.end()
        parameters: list[tuple[str, str | None]] = []
        while parameter := _PARAMETER.match(text, position):
            position = parameter.end()
            value: str | None = parameter[2]
            if value is not None and value[0] == '"':
                # "the value after quoted-string unescaping MUST conform to the 'token' ABNF"
                value = _ESCAPE.sub(r"\1", value[1:-1])
                if not _NAME.fullmatch(value):
                    return f"the value of {parameter[1]} is not a token"
            parameters.append((parameter[1], value))
        gap = _GAP.match(text, position)
        if gap is None:
            return f"expected a parameter, a comma or the end at {text[position:][:20]!r}"
        position = gap.end()
        found.append(Extension(name[0], tuple(parameters)))
    return tuple(found)


def format_extensions(extensions: Iterable[Extension]) -> str:
    """The value of the header field."""
    return ", ".join(map(str, extensions))


def negotiate(offers: Sequence[Extension], limits: ConnectionLimits, budget: ContextBudget) -> Agreed:
    """The server's choice: of each extension that it knows, the first offer that it can meet.

    Args:
        offers: of the client, most wanted first.
        limits: of the connection.
        budget: pays for contexts; what was taken is given back with `budget.give_back`.
    """
    agreed: dict[str, Deflate] = {}
    for name, parameters in offers:
        row = _TABLE.get(name)
        # §9.1: what is not accepted is declined by leaving it out of the response
        if row is not None and row.field not in agreed:
            accepted = row.accept(parameters, limits, budget)
            if accepted is not None:
                agreed[row.field] = accepted
    return Agreed(**agreed)


def offer_extensions(limits: ConnectionLimits) -> list[Extension]:
    """What a client offers."""
    offers = [(row.name, row.offer(limits)) for row in _TABLE.values()]
    return [Extension(name, parameters) for name, parameters in offers if parameters is not None]


def check_answer(answer: Sequence[Extension], limits: ConnectionLimits) -> Agreed | str:
    """What a server's answer to `offer_extensions` comes to; text says why it cannot be."""
    offered = {extension.name for extension in offer_extensions(limits)}
    agreed: dict[str, Deflate] = {}
    for name, parameters in answer:
        # §4.1: a client fails the connection if the response names "an extension that was not
        # present in the client's handshake"
        if name not in offered:
            return f"the server uses the extension {name}, which was not offered"
        row = _TABLE[name]
        if row.field in agreed:
            return f"the server names the extension {name} twice"
        checked = row.check(parameters, limits)
        if isinstance(checked, str):
            return f"the server answers the offer of {name} with {checked}"
        agreed[row.field] = checked
    return Agreed(**agreed)
