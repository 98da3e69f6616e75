"""What is known about a connection, as in `wit/0.2.0`, record `connection`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from theater.contract.fields import Headers, Peer, Query
from theater.limits import MAX_TAG_LENGTH, MAX_TAGS

NO_TAGS: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class ConnectionInfo:
    """The facts of a connection, fixed when it was accepted.

    Attributes:
        id: unique among all processes of a deployment, below 2^53 so that every guest language
            holds it exactly.
        path: percent-decoded, dot segments removed.
        parameters: what the braces of the route's pattern stood for, decoded.
        query: the part of the URL after the question mark.
        headers: header fields of the upgrade request.
        subprotocol: the one agreed on, or none.
        peer: the client's address; none on a Unix socket.
    """

    id: int
    path: str
    parameters: Mapping[str, str]
    query: Query
    headers: Headers
    subprotocol: str | None
    peer: Peer | None


def check_tags(tags: Iterable[str]) -> frozenset[str]:
    """Returns the tags as a set.

    Raises:
        TypeError: a tag is no text, or one text was given instead of several.
        ValueError: too many tags, or a tag that is empty, too long or no Unicode.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags must be a set or list of texts, not the text {tags!r}")
    found = frozenset(tags) or NO_TAGS
    if len(found) > MAX_TAGS:
        raise ValueError(f"a connection has at most {MAX_TAGS} tags, not {len(found)}")
    for tag in found:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be text, not {type(tag).__name__}")
        tag.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        if not 0 < len(tag) <= MAX_TAG_LENGTH:
            raise ValueError(f"a tag has 1 to {MAX_TAG_LENGTH} characters, not {len(tag)}")
    return found
