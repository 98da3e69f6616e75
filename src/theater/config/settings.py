"""Limits as manifests set them: which stand where, and what they may be."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from theater.limits import ActorLimits, ConnectionLimits, Limits

Setting = int | float | str | bool
Settings = Mapping[str, Setting]
"""Values of limits by name."""

SCOPES: Final[dict[type[ConnectionLimits], tuple[str, str]]] = {
    ConnectionLimits: ("connections", "a websocket-server handler"),
    ActorLimits: ("actors", "[limits]"),
    Limits: ("the server", "[server.limits]"),
}
"""What the limits of a class are of, and where they are set at the nearest."""

UNITS: Final = {
    **dict.fromkeys(("max_message", "max_frame", "max_stream", "max_send_queue"), "bytes"),
    **dict.fromkeys(("send_high_water", "send_low_water", "byte_burst", "compression_min"), "bytes"),
    **dict.fromkeys(("max_head", "max_body", "compression_memory"), "bytes"),
    **dict.fromkeys(("max_outbox_bytes", "max_state", "max_memory", "max_value", "max_stack"), "bytes"),
    "max_fragments": "frames",
    **dict.fromkeys(("max_send_messages", "message_burst"), "messages"),
    "message_rate": "messages a second",
    "byte_rate": "bytes a second",
    **dict.fromkeys(("ping_interval", "pong_timeout", "idle_timeout", "max_lifetime"), "seconds"),
    **dict.fromkeys(("close_timeout", "handler_timeout", "upgrade_timeout", "request_timeout"), "seconds"),
    **dict.fromkeys(("handshake_timeout", "body_timeout", "keep_alive"), "seconds"),
    **dict.fromkeys(("drain_window", "drain_timeout"), "seconds"),
    "compression_window": "bits",
    "max_inflation": "times",
    **dict.fromkeys(("mailbox_high_water", "mailbox_low_water"), "events"),
    "max_outbox": "effects",
    **dict.fromkeys(("max_connections", "max_address_connections", "max_actor_connections"), "connections"),
    "upgrade_rate": "upgrades a second",
    "upgrade_burst": "upgrades",
    "max_headers": "fields",
    "max_actors": "actors",
    "max_instances": "instances",
    **dict.fromkeys(("turn_time", "start_time"), "seconds"),
}
"""Units of the limits that have one."""

# The first must be below the second; where they may also be equal, it says so.
_ORDER: Final = (
    ("send_low_water", "send_high_water", False),
    ("send_high_water", "max_send_queue", True),
    ("mailbox_low_water", "mailbox_high_water", False),
)

_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(Limits)}


def scope_of(name: str) -> type[ConnectionLimits]:
    """The class that a limit stands in first."""
    return next(kind for kind in SCOPES if name in kind.__struct_fields__)


def read_limit(name: str, value: object) -> Setting | None:
    """A limit's value if it may have it, otherwise None.

    Args:
        name: of a limit.
        value: as TOML has it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        setting: Setting | None = msgspec.convert(value, _TYPES[name])
    except msgspec.ValidationError:
        return None
    return setting


def expected_limit(name: str) -> str:
    """What a limit may be, in words."""
    from msgspec import inspect  # only mistakes need it

    info = inspect.type_info(_TYPES[name])
    if isinstance(info, inspect.UnionType):
        info = next(each for each in info.types if not isinstance(each, inspect.NoneType))
    match info:
        case inspect.LiteralType(values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return _expected_number(
                name, info, "a whole number" if type(info) is inspect.IntType else "a number"
            )
    raise TypeError(f"no words for the limit {name}")


def _expected_number(name: str, bounds: Any, words: str) -> str:
    if name in UNITS:
        words += f" of {UNITS[name]}"
    if bounds.gt is not None:
        return f"{words} above {bounds.gt}"
    return (
        f"{words} from {bounds.ge} to {bounds.le}"
        if bounds.le is not None
        else f"{words}, at least {bounds.ge}"
    )


def disorder(limits: ConnectionLimits, settings: Settings) -> list[tuple[str, str, str]]:
    """Finds limits that contradict each other.

    Args:
        limits: as they are with these settings.
        settings: what is looked at: pairs with a limit among them.

    Returns:
        For each pair the limit to blame, what it is, and what was expected of it.
    """
    problems = []
    for low, high, equal in _ORDER:
        if not (settings.keys() & {low, high}) or not hasattr(limits, low):
            continue
        less, more = getattr(limits, low), getattr(limits, high)
        if less > more or (less == more and not equal):
            if low in settings:
                expected = f"{'at most' if equal else 'less than'} {high} ({more})"
                problems.append((low, str(less), expected))
            else:
                expected = f"{'at least' if equal else 'more than'} {low} ({less})"
                problems.append((high, str(more), expected))
    return problems
