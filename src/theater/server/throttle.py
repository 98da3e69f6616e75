"""How much one client may send."""

from typing import Final

from theater.limits import ConnectionLimits
from theater.protocol.rate import TokenBucket

_LEASE: Final = 16  # part of a burst that is taken from its bucket in advance


class Throttle:
    """Two token buckets, for messages and bytes, behind two counts that are cheap to look at.

    The owner lowers the counts for all that arrives, and calls `settle` when one falls below zero.

    Args:
        limits: of the connection.
        now: seconds of the clock.

    Attributes:
        messages: that may still come before the buckets are asked.
        size: bytes that may.
    """

    __slots__ = ("_limits", "_messages", "_size", "messages", "size")

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self.messages = 0
        self.size = 0
        self._limits = limits
        self._messages = TokenBucket(limits.message_rate, limits.message_burst, now)
        self._size = TokenBucket(limits.byte_rate, limits.byte_burst, now)

    def settle(self, now: float) -> float:
        """Charges what has arrived, and some in advance if there is plenty.

        Args:
            now: seconds of the clock.

        Returns:
            seconds until the rate is kept again; 0 if it is.
        """
        limits = self._limits
        messages, size = -self.messages, -self.size
        if messages > 0:
            advance = int(limits.message_burst or limits.message_rate) // _LEASE
            self.messages = _charge(self._messages, messages, advance, now)
        if size > 0:
            advance = int(limits.byte_burst or limits.byte_rate) // _LEASE
            self.size = _charge(self._size, size, advance, now)
        return self.wait(now)

    def admits(self, size: int, now: float) -> bool:
        """Charges one message if that is within the rate, and only then; instead of `settle`, where
        messages beyond the rate are thrown away.

        Args:
            size: its bytes.
            now: seconds of the clock.
        """
        self.messages = self.size = 0  # so that each message comes here
        self._messages.take(1, now)
        self._size.take(size, now)
        if not self.wait(now):
            return True
        self._messages.put_back(1)
        self._size.put_back(size)
        return False

    def wait(self, now: float) -> float:
        """Seconds until the rate is kept again; 0 if it is."""
        return max(self._messages.take(0, now), self._size.take(0, now))


def _charge(bucket: TokenBucket, owed: int, advance: int, now: float) -> int:
    """Charges what is owed, and some in advance if there is plenty; returns how much of that."""
    if advance:
        if not bucket.take(owed + advance, now):
            return advance
        bucket.put_back(owed + advance)
    bucket.take(owed, now)
    return 0
