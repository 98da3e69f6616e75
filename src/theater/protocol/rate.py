"""How much may come in a second."""

from typing import Final

_ROUNDING: Final = 1e-9  # seconds that are nothing but the rounding of floats


class TokenBucket:
    """A bucket that holds `burst` tokens, of which `rate` a second come back.

    What it holds need not be counted: it follows from the time at which it will be full again.

    Args:
        rate: tokens a second.
        burst: tokens that may be taken at once; as many as in a second, if 0.
        now: seconds since any moment; it is full then.
    """

    __slots__ = ("_full", "_rate", "_slack")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._slack = burst / rate if burst else 1.0  # seconds that an empty one takes to be full
        self._full = now

    def take(self, count: float, now: float) -> float:
        """Takes tokens, also those that are not there yet; returns the seconds until they would be.

        Args:
            count: of tokens.
            now: seconds; not earlier than in the call before.
        """
        full = self._full
        if full < now:
            full = now
        self._full = full = full + count / self._rate
        wait = full - now - self._slack
        return wait if wait > _ROUNDING else 0.0

    def put_back(self, count: float) -> None:
        """Returns tokens that were taken for something that did not happen after all."""
        self._full -= count / self._rate
