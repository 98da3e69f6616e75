"""What can be done with any struct."""

from typing import Any, TypeVar

from msgspec.struct import Struct

S = TypeVar("S", bound=Struct)


def asdict(struct: Struct) -> dict[str, Any]:
    """The fields by name."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def astuple(struct: Struct) -> tuple[Any, ...]:
    """The fields in order."""
    return tuple(getattr(struct, name) for name in struct.__struct_fields__)


def replace(struct: S, /, **changes: Any) -> S:
    """A copy in which some fields are different."""
    return type(struct)(**{**asdict(struct), **changes})
