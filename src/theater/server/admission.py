"""Who is let in before any actor is asked: counts, rates, hosts and origins, and who was not."""

import math
import socket
from collections import Counter, OrderedDict
from typing import Final, NamedTuple, TypeVar

import msgspec

from theater.contract import Headers
from theater.limits import Limits
from theater.protocol.handshake import Refusal
from theater.protocol.rate import TokenBucket
from theater.runtime.address import Address
from theater.runtime.ports import Clock
from theater.server.origins import host_allowed, origin_allowed
from theater.server.proxies import Proxies, Source
from theater.server.wheel import Wheel

_MOST_ADDRESSES: Final = 65_536  # whose upgrades are remembered; a scan may come from more
_MOST_SURPLUS: Final = 1_000  # connections past the limit that may stay until they have read a 503
_ROUNDING: Final = 1e-6  # seconds
_LATER: Final = 5.0  # seconds until one may try again where nobody can tell

_MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address in IPv6, RFC 4291 §2.5.5.2
_LOOPBACK: Final = bytes(15) + b"\1"

K = TypeVar("K")


class _Answer(NamedTuple):
    status: int
    sentence: str


_ANSWERS: Final = {
    "connections": _Answer(503, "The server has too many connections."),
    "address-connections": _Answer(429, "There are too many connections from your address."),
    "upgrade-rate": _Answer(429, "There are too many new connections from your address."),
    "actor-connections": _Answer(503, "There are too many connections to this address."),
    # RFC 9110 §15.5.20: a server that is not configured for the host answers 421, not 403.
    "host": _Answer(421, "This server is not there for that host."),
    "origin": _Answer(403, "Pages of this origin may not connect here."),
    "head-size": _Answer(431, "The head of the request is too large."),
    "head-fields": _Answer(431, "The request has too many header fields."),
    "head-timeout": _Answer(408, "The head of the request took too long."),
    "body-timeout": _Answer(408, "The body of the request took too long."),
    "malformed": _Answer(400, "The request is not well-formed HTTP."),
}

REASONS: Final = (*_ANSWERS, "handshake", "proxy-protocol", "overloaded", "actor")
"""Why connections and requests are refused: by the table above, with various answers for a malformed
handshake, with none for a malformed PROXY protocol header, with 503 by an actor that does not keep
up or a server that stops, and by an actor's own decision."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a server is there for, and whom it believes.

    Attributes:
        hosts: the hosts it answers for, without ports; `*.example.org` for all subdomains; any, if
            there are none.
        trusted_proxies: IP addresses and networks of proxies that may say who their clients are, and
            `unix` for whoever connects by a Unix socket.
        proxy_protocol: trusted proxies begin each connection with a PROXY protocol header.
    """

    hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False


class Slot:
    """The place of one TCP connection in the counts, as HTTP and as WebSocket, until it is released."""

    __slots__ = ("_actor", "_admission", "_key")

    def __init__(self, admission: "Admission | None") -> None:
        self._admission = admission
        self._key: bytes | None = None
        self._actor: Address | None = None

    def release(self) -> None:
        """Counts the connection no longer; harmless the second time."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.released(self._key, self._actor)


NO_SLOT: Final = Slot(None)
"""That of a connection that is not counted."""


class Admission:
    """Decides who is let in before any actor is asked, and counts who is not.

    Addresses are those of IPv4, and networks of 64 bits of IPv6, since one client has all of such a
    network. Connections from this machine itself count for the process only, unless a trusted proxy
    told the address: they are an unknown proxy's, or somebody's who has the machine anyway.

    Args:
        limits: of the server.
        policy: whom it is there for.
        clock: source of time.

    Attributes:
        limits: of the server.
        proxies: those that may speak for clients.
        policy: whom the server is there for.
        refused: how often, by reason.
        clock: source of time.
        wheel: the deadlines of connections that speak HTTP.

    Raises:
        ValueError: a trusted proxy is none.
    """

    def __init__(self, limits: Limits, policy: Policy, clock: Clock) -> None:
        self.limits = limits
        self.policy = policy
        self.proxies = Proxies(policy.trusted_proxies)
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.clock = clock
        self.wheel = Wheel(clock)
        self._surplus = min(limits.max_connections // 10 + 1, _MOST_SURPLUS)
        self._open = 0
        self._connections: dict[bytes, int] = {}  # by address
        self._actors: dict[Address, int] = {}  # connections and undecided upgrades
        self._rate, self._burst = limits.upgrade_rate, limits.upgrade_burst
        self._upgrades: OrderedDict[bytes, tuple[TokenBucket, float]] = OrderedDict()  # last used last

    def refuse(self, reason: str, retry: float | None = None) -> Refusal:
        """The answer to what is refused for a reason, which is counted.

        Args:
            reason: one that has an answer.
            retry: seconds after which it may be tried again.
        """
        self.refused[reason] += 1
        status, sentence = _ANSWERS[reason]
        headers = (("retry-after", str(math.ceil(retry))),) if retry is not None else ()
        return Refusal(status, sentence, headers)

    # Connections

    def connect(self) -> Slot | None:
        """Counts a TCP connection; None if there is not even room for telling it that there is none."""
        if self._open >= self.limits.max_connections + self._surplus:
            self.refused["connections"] += 1
            return None
        self._open += 1
        return Slot(self)

    def check_connections(self) -> Refusal | None:
        """Refuses the connection that was counted last, if there are too many with it."""
        if self._open > self.limits.max_connections:
            return self.refuse("connections", _LATER)
        return None

    def count(self, slot: Slot, source: Source) -> Refusal | None:
        """Counts a connection for its address, when that is known; harmless when it has been."""
        key = _key(source) if slot._key is None else None
        if key is None:
            return None
        number = self._connections.get(key, 0)
        if number >= self.limits.max_address_connections:
            return self.refuse("address-connections", _LATER)
        self._connections[key] = number + 1
        slot._key = key
        return None

    def released(self, key: bytes | None, actor: Address | None) -> None:
        """Takes what a slot stood for from the counts."""
        self._open -= 1
        if key is not None:
            _less(self._connections, key)
        if actor is not None:
            _less(self._actors, actor)

    # Requests

    def check_host(self, authority: str) -> Refusal | None:
        """Refuses requests for hosts that the server is not there for."""
        return None if host_allowed(authority, self.policy.hosts) else self.refuse("host")

    def check_upgrade(self, slot: Slot, source: Source) -> Refusal | None:
        """Refuses upgrades that come too fast or from too many connections of an address."""
        key = _key(source)
        if key is not None:
            wait = self._wait(key)
            if wait:
                return self.refuse("upgrade-rate", wait)
        return self.count(slot, source)

    def check_origin(
        self, headers: Headers, allowed: tuple[str, ...], authority: str, secure: bool
    ) -> Refusal | None:
        """Refuses pages of other origins (RFC 6455 §10.2); arguments are those of `origin_allowed`.

        Clients that are no browser send no `Origin`, and are let through: they could send any.
        """
        origins = headers.get_all("origin")
        if not origins or (len(origins) == 1 and origin_allowed(origins[0], allowed, authority, secure)):
            return None
        return self.refuse("origin")

    def join(self, slot: Slot, actor: Address, most: int) -> Refusal | None:
        """Counts a connection for an actor that is to decide on it, unless that has `most` already."""
        number = self._actors.get(actor, 0)
        if number >= most:
            return self.refuse("actor-connections", _LATER)
        self._actors[actor] = number + 1
        slot._actor = actor
        return None

    def leave(self, slot: Slot) -> None:
        """Takes a connection back that an actor has refused."""
        if slot._actor is not None:
            _less(self._actors, slot._actor)
            slot._actor = None

    def _wait(self, key: bytes) -> float:
        """Takes one upgrade for an address; returns seconds until it may, if it may not now."""
        now = self.clock.now()
        bucket, _ = self._upgrades.get(key) or (TokenBucket(self._rate, self._burst, now), now)
        self._upgrades[key] = bucket, now
        self._upgrades.move_to_end(key)
        self._forget(now - self._burst / self._rate)
        wait = bucket.take(1, now)
        if wait < _ROUNDING:
            return 0.0
        bucket.put_back(1)  # who is refused is not held back any longer for that
        return wait

    def _forget(self, full: float) -> None:
        """Forgets addresses that have been quiet, or are too many, two at a time: more than are added.

        Args:
            full: what was used before this moment is full again.
        """
        for _ in range(2):
            key, (_, used) = next(iter(self._upgrades.items()))
            if used > full and len(self._upgrades) <= _MOST_ADDRESSES:
                break
            del self._upgrades[key]


def _key(source: Source) -> bytes | None:
    """What an address is counted under; None if it is not counted."""
    if source.peer is None:
        return b"unix" if source.told else None
    address = source.peer.address.partition("%")[0]
    try:  # twenty times faster than `ipaddress`
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        return None
    packed = packed.removeprefix(_MAPPED)
    if not source.told and (packed == _LOOPBACK or (len(packed) == 4 and packed[0] == 127)):
        return None
    return packed[:8]


def _less(counts: dict[K, int], key: K) -> None:
    """One less, and forgotten at none."""
    if counts[key] > 1:
        counts[key] -= 1
    else:
        del counts[key]
