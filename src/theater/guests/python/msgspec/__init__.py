"""The part of msgspec that does without its C extension, for actors inside a component.

`Struct`, `Meta`, `field`, `convert`, `to_builtins` and the `json` module behave as in msgspec 0.20, with the
same words in errors. Whatever is left out is missing here, so that an actor that needs it cannot be built.
"""

from msgspec import json, structs
from msgspec.conversion import convert, to_builtins
from msgspec.errors import DecodeError, EncodeError, MsgspecError, ValidationError
from msgspec.struct import NODEFAULT, Meta, Struct, field

__all__ = [
    "NODEFAULT",
    "DecodeError",
    "EncodeError",
    "Meta",
    "MsgspecError",
    "Struct",
    "ValidationError",
    "convert",
    "field",
    "json",
    "structs",
    "to_builtins",
]
