"""Plain data that the host keeps for actors, as JSON, so that one in another language can read it."""

import json

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def pack(value: object, what: str, limit: int) -> str | None:
    """Encodes plain data: texts, numbers, booleans, None, lists and dictionaries.

    Tuples come back as lists, and the keys of dictionaries as text. None stands for no data.

    Args:
        value: the data.
        what: for the words of an error, such as `an attachment`.
        limit: bytes that the text may have in UTF-8.

    Raises:
        TypeError: the value is no plain data.
        ValueError: it is too large, refers to itself, or holds NaN, infinity or text that is no Unicode.
    """
    if value is None:
        return None
    try:
        text = _encode(value)
    except TypeError as error:
        raise TypeError(f"{what} cannot hold this: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot hold this: {error}") from error
    check_size(text, what, limit)
    return text


def unpack(text: str | None) -> object:
    """The reverse of `pack`."""
    return None if text is None else json.loads(text)


def check_size(text: str, what: str, limit: int) -> None:
    """Measures what an actor wants to be kept.

    Raises:
        ValueError: it is too large, or no Unicode.
    """
    size = len(text.encode())
    if size > limit:
        raise ValueError(f"{what} has at most {limit} bytes as JSON, not {size}")
