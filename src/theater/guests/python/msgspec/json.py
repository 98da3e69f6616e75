"""Values from and to JSON."""

import json
import math
import re
from typing import Any, NoReturn

from msgspec.conversion import convert, plan, to_builtins
from msgspec.errors import DecodeError


class Encoder:
    """Writes values as JSON in UTF-8, without spaces."""

    def encode(self, value: Any) -> bytes:
        """Writes a value.

        Raises:
            TypeError: JSON has nothing for it.
        """
        plain = to_builtins(value)
        try:
            text = _strict(plain)
        except ValueError:  # NaN and infinity are null
            text = _strict(_without_nan(plain))
        return text.encode()


_strict = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _without_nan(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case list() | tuple():
            return [_without_nan(each) for each in value]
        case dict():
            return {key: _without_nan(each) for key, each in value.items()}
    return value


def _no_constant(name: str) -> NoReturn:
    raise DecodeError(f"JSON is malformed: invalid number {name}")


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _check_text(plain: Any) -> None:
    try:
        _strict(plain).encode()
    except UnicodeEncodeError:
        raise DecodeError("JSON is malformed: half a surrogate pair") from None


_load = json.JSONDecoder(parse_constant=_no_constant).decode


class Decoder:
    """Reads values of one type.

    Raises:
        TypeError: components do not support the type.
    """

    def __init__(self, type: Any = Any) -> None:
        plan(type)
        self.type = type

    def decode(self, data: bytes | bytearray | memoryview | str) -> Any:
        """Reads a value.

        Raises:
            DecodeError: this is no JSON.
            ValidationError: it is not of the type.
        """
        text = data if isinstance(data, str) else bytes(data).decode()
        try:
            plain = _load(text)
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
                raise DecodeError("Input data was truncated") from None
            where = len(text[: error.pos].encode())
            problem = f"{error.msg[0].lower()}{error.msg[1:]} (byte {where})"
            raise DecodeError(f"JSON is malformed: {problem}") from None
        if _SURROGATE.search(text):
            _check_text(plain)
        return convert(plain, self.type)


_encoder = Encoder()


def encode(value: Any) -> bytes:
    """Writes a value as JSON."""
    return _encoder.encode(value)


def decode(data: bytes | bytearray | memoryview | str, *, type: Any = Any) -> Any:
    """Reads a value of a type from JSON."""
    return Decoder(type).decode(data)
