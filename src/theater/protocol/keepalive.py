"""When a quiet connection is pinged, and when it ends: RFC 6455 §5.5.2 and §5.5.3."""

import enum
from math import inf

from theater.limits import ConnectionLimits


class Beat(enum.Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    PING = "ping"  # send a ping with `payload`
    GONE = "gone"  # the peer is not there any more: 1006
    IDLE = "idle"  # close with 1000
    EXPIRED = "expired"  # close with 1001


class Keepalive:
    """The times of one connection.

    Args:
        limits: of the connection; all in seconds.
        now: as of every method, in seconds since any moment.

    Attributes:
        heard: when bytes last came. The owner sets it; anything at all is a sign of life.
        active: when a data message last went either way. The owner sets it.
        deadline: when `check` is to be called next. Later is fine, earlier is harmless.
        payload: of the last ping; no other ping of this connection has had it.
        round_trip: seconds between the last ping that was answered and its pong, if there is one.
    """

    __slots__ = (
        "_expires",
        "_limits",
        "_pinged",
        "_pings",
        "active",
        "deadline",
        "heard",
        "payload",
        "round_trip",
    )

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self.heard = now
        self.active = now
        self.payload = b""
        self.round_trip: float | None = None
        self._limits = limits
        self._pinged = -inf
        self._pings = 0
        self._expires = inf if limits.max_lifetime is None else now + limits.max_lifetime
        self.deadline = self._next()

    def check(self, now: float) -> Beat:
        """What is to be done at this time; `deadline` is new afterwards."""
        limits = self._limits
        beat = Beat.NOTHING
        if now >= self._expires:
            return Beat.EXPIRED
        if now >= self.active + limits.idle_timeout:
            return Beat.IDLE
        if self.heard < self._pinged:
            if now >= self._pinged + limits.pong_timeout:
                return Beat.GONE
        elif now >= self.heard + limits.ping_interval:
            self._pings += 1
            self._pinged = now
            self.payload = self._pings.to_bytes(4, "big")
            beat = Beat.PING
        self.deadline = self._next()
        return beat

    def pong(self, payload: bytes, now: float) -> bool:
        """Takes a pong; says whether it is the first answer to the last ping."""
        if not payload or payload != self.payload:
            return False
        self.payload = b""
        self.round_trip = now - self._pinged
        return True

    def _next(self) -> float:
        if self.heard < self._pinged:
            life = self._pinged + self._limits.pong_timeout
        else:
            life = self.heard + self._limits.ping_interval
        return min(life, self.active + self._limits.idle_timeout, self._expires)
