"""What waits for a client that reads slowly: a bounded queue, and a policy for when it is full."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from theater.limits import ConnectionLimits

T = TypeVar("T")

_LAST: Final = -1  # key of the last entry


class SendQueue(Generic[T]):
    """Messages in the order in which they are to be sent, within `max_send_queue` and
    `max_send_messages`; `slow_reader` says what happens to more.

    They wait unencoded, since what has been compressed with a context cannot be left out any more.

    Args:
        limits: of the connection.

    Attributes:
        size: bytes that wait.
        dropped: messages that were left out.
    """

    __slots__ = ("_entries", "_limits", "_serial", "dropped", "size")

    def __init__(self, limits: ConnectionLimits) -> None:
        self.size = 0
        self.dropped = 0
        self._limits = limits
        self._entries: OrderedDict[str | int, tuple[T, int]] = OrderedDict()  # by key, or serial number
        self._serial = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, item: T, size: int, key: str | None = None) -> bool:
        """Queues a message, or does what the policy says; False means that the client is to be given up.

        Args:
            item: the message.
            size: its bytes.
            key: under the policy `keep-latest` it takes the place of one with the same key.
        """
        if _LAST in self._entries:
            return True  # nothing is sent after that
        policy = self._limits.slow_reader
        if key is not None and policy == "keep-latest" and key in self._entries:
            self.size += size - self._entries[key][1]
            self._entries[key] = item, size
            self.dropped += 1
            return self._fits(0, 0)
        if not self._fits(size, 1):
            if policy == "drop-newest" or (policy == "drop-oldest" and size > self._limits.max_send_queue):
                self.dropped += 1
                return True
            if policy != "drop-oldest":
                return False
            while not self._fits(size, 1):
                self.take()
                self.dropped += 1
        if key is None or policy != "keep-latest":
            self._serial += 1
            self._entries[self._serial] = item, size
        else:
            self._entries[key] = item, size
        self.size += size
        return True

    def put_last(self, item: T) -> None:
        """Queues what is never left out and ends the queue: the closing of the connection. The first one
        counts."""
        self._entries.setdefault(_LAST, (item, 0))

    def take(self) -> T:
        """Removes the first message."""
        _, (item, size) = self._entries.popitem(last=False)
        self.size -= size
        return item

    def _fits(self, size: int, count: int) -> bool:
        limits = self._limits
        return (
            self.size + size <= limits.max_send_queue
            and len(self._entries) + count <= limits.max_send_messages
        )
