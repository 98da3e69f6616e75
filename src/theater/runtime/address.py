"""Where an actor is found: its type, and the key of the instance."""

import re
from typing import NamedTuple, Self

from theater.errors import InvalidAddress

TYPE_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
"""Names of actor types: lower-case letters, digits and hyphens, at most 64 of them."""


class Address(NamedTuple):
    """An actor's address; written `type`, or `type/key` where a type has many instances.

    It is data, not a reference: it stays good when the actor is restarted or lives elsewhere.
    """

    type: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an address; the key may hold any character.

        Raises:
            InvalidAddress: the text has no valid type.
        """
        kind, slash, key = text.partition("/")
        if not TYPE_NAME.fullmatch(kind) or (slash and not key):
            raise InvalidAddress(text)
        return cls(kind, key)

    def __str__(self) -> str:
        return f"{self.type}/{self.key}" if self.key else self.type
