"""permessage-deflate, RFC 7692: what is agreed on, the contexts that this takes, and their memory.

A context is what makes compression pay for small messages, and what makes it expensive: some
40 KiB for both directions. So it is made when the first message needs it, and thrown away after
every message by who has agreed to have no "context takeover".

The library is zlib. zlib-ng takes 160 KiB for a compressor where zlib takes 31, and isal 89; and
what they gain on messages of 1 KiB is little (zlib-ng), or is paid with a worse ratio (isal).
"""

import zlib
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from theater.errors import LocalError
from theater.limits import ConnectionLimits

Parameters = tuple[tuple[str, str | None], ...]
"""Names and values of an extension's parameters, in order."""

_SERVER_RESETS: Final = "server_no_context_takeover"  # §7.1.1.1
_CLIENT_RESETS: Final = "client_no_context_takeover"  # §7.1.1.2
_SERVER_WINDOW: Final = "server_max_window_bits"  # §7.1.2.1
_CLIENT_WINDOW: Final = "client_max_window_bits"  # §7.1.2.2

_LARGEST: Final = 15  # bits of a window; what counts where none are given
_SMALLEST: Final = 9  # that zlib can make
_BITS: Final = {str(bits): bits for bits in range(8, _LARGEST + 1)}

_TAIL: Final = b"\x00\x00\xff\xff"  # §7.2.1: the end of every message, left out on the wire
_LAST_BLOCK: Final = b"\x01\x00\x00\xff\xff"  # RFC 1951 §3.2.4: one without content
_MAX_FINAL_BLOCKS: Final = 16  # in one frame: after each of them a context is made anew


class Deflate(msgspec.Struct, frozen=True, gc=False):
    """What both ends of a connection have agreed on, as one of them sees it.

    Attributes:
        send_window: bits of the window that this end compresses with.
        send_takeover: it may keep its context from message to message.
        receive_window: bits of the window that the peer compresses with, at most.
        receive_takeover: so may the peer, so this end has to keep its own.
        parameters: of the server's answer.
    """

    send_window: int
    send_takeover: bool
    receive_window: int
    receive_takeover: bool
    parameters: Parameters = ()

    @property
    def can_send(self) -> bool:
        """Whether this end can compress at all. It never has to (§6)."""
        # zlib makes no window of 8 bits (https://github.com/madler/zlib/issues/171).
        return self.send_window >= _SMALLEST

    @property
    def memory(self) -> int:
        """Bytes of the contexts that are kept between messages: the formulas of zlib's `zconf.h`."""
        sending = (1 << self.send_window + 2) + (1 << _memory_level(self.send_window) + 9)
        receiving = (1 << self.receive_window) + 7 * 1024
        return sending * self.send_takeover + receiving * self.receive_takeover


class ContextBudget:
    """Memory for the contexts of all connections together. Those past it keep none.

    Args:
        limit: bytes.

    Attributes:
        taken: bytes that are.
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, deflate: Deflate) -> bool:
        """Takes the memory of a new connection's contexts, if there is as much."""
        if self.taken + deflate.memory > self.limit:
            return False
        self.taken += deflate.memory
        return True

    def give_back(self, deflate: Deflate | None) -> None:
        """Takes note that a connection has ended. Once for every one that was negotiated."""
        if deflate is not None:
            self.taken -= deflate.memory


# Negotiation, §7.1


class _Terms(NamedTuple):
    """The parameters of an offer or an answer; a window that is not given is None."""

    server_resets: bool
    client_resets: bool
    server_window: int | None
    client_window: int | None


def _read(parameters: Parameters, offered: bool) -> _Terms | None:
    """None if they are not all known, valid and named once."""
    found: dict[str, int] = {}
    for name, value in parameters:
        if name in found:
            return None
        if name in (_SERVER_RESETS, _CLIENT_RESETS) and value is None:
            found[name] = 1
        elif name in (_SERVER_WINDOW, _CLIENT_WINDOW) and value in _BITS:
            found[name] = _BITS[value]
        elif name == _CLIENT_WINDOW and value is None and offered:  # any window will do
            found[name] = _LARGEST
        else:
            return None
    return _Terms(
        _SERVER_RESETS in found, _CLIENT_RESETS in found, found.get(_SERVER_WINDOW), found.get(_CLIENT_WINDOW)
    )


def accept(offered: Parameters, limits: ConnectionLimits, budget: ContextBudget) -> Deflate | None:
    """What a server agrees to; None if it declines this offer."""
    terms = _read(offered, offered=True) if limits.compression else None
    if terms is None or terms.server_window == 8:  # see `Deflate.can_send`; there may be another offer
        return None
    agreed = _answer(terms, limits.compression_window, False)
    if budget.take(agreed):
        return agreed
    return _answer(terms, limits.compression_window, True)  # takes nothing


@lru_cache(maxsize=256)  # so that connections that agree on the same share it
def _answer(terms: _Terms, largest: int, reset: bool) -> Deflate:
    """The server's answer; `largest` is the window that it keeps, `reset` if it keeps none."""
    send = min(largest, terms.server_window or _LARGEST)
    receive = min(largest, terms.client_window) if terms.client_window else _LARGEST
    server_resets = reset or terms.server_resets
    # §7.1.1.2: a server may ask this of every client. The window of one that cannot be asked for a
    # smaller one (§7.1.2.2: it has to have offered that) is too large to be kept.
    client_resets = reset or terms.client_resets or receive > largest
    parameters: list[tuple[str, str | None]] = []
    if server_resets:
        parameters.append((_SERVER_RESETS, None))
    if client_resets:
        parameters.append((_CLIENT_RESETS, None))
    if terms.server_window or send < _LARGEST:
        parameters.append((_SERVER_WINDOW, str(send)))
    if terms.client_window:
        parameters.append((_CLIENT_WINDOW, str(receive)))
    return Deflate(send, not server_resets, receive, not client_resets, tuple(parameters))


def offer(limits: ConnectionLimits) -> Parameters | None:
    """What a client offers, which is what browsers do; None if it does not want compression."""
    return ((_CLIENT_WINDOW, None),) if limits.compression else None


def check(answer: Parameters, limits: ConnectionLimits) -> Deflate | str:
    """What a server's answer to `offer` comes to for the client; text says what is wrong with it."""
    terms = _read(answer, offered=False)
    if terms is None:
        return "parameters that are unknown, invalid or given twice"
    return Deflate(
        min(limits.compression_window, terms.client_window or _LARGEST),
        not terms.client_resets,
        terms.server_window or _LARGEST,
        not terms.server_resets,
        answer,
    )


# Sending, §7.2.1


def _memory_level(window: int) -> int:
    """zlib's `memLevel`: as much memory for the rest as for the window, but not too little."""
    return max(window - 7, 5)


class Deflater:
    """Compresses messages.

    Args:
        window: bits.
        level: of zlib.
        takeover: keep the context from message to message.
    """

    __slots__ = ("_context", "_level", "_takeover", "_window")

    def __init__(self, window: int, level: int, takeover: bool) -> None:
        self._window = window
        self._level = level
        self._takeover = takeover
        self._context: zlib._Compress | None = None

    def deflate(self, payload: bytes) -> bytes | None:
        """Compresses a message; None if that would not make it smaller."""
        context = self._context or zlib.compressobj(
            self._level, zlib.DEFLATED, -self._window, _memory_level(self._window)
        )
        data = context.compress(payload) + context.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - len(_TAIL) >= len(payload):
            # The peer will not see what the context has seen now, so it is of no use any more.
            self._context = None
            return None
        self._context = context if self._takeover else None
        return data[: -len(_TAIL)]


# Receiving, §7.2.2


class Inflater:
    """Inflates messages, as their bytes arrive and in steps of bounded size.

    Args:
        deflate: what was agreed on.
        window: of the inflater that went before, if there was one.

    Attributes:
        arrived: bytes of compressed payload of the current message, up to the end of its current
            frame: what a frame announces counts at once, so that nothing depends on how its bytes
            are cut.
        ending: the last bytes of the message have been fed.
    """

    __slots__ = ("_context", "_deflate", "_final_blocks", "_in_block", "_input", "arrived", "ending")

    def __init__(self, deflate: Deflate, window: bytes = b"") -> None:
        self._deflate = deflate
        self._context = self._new_context(window) if window else None
        self._input = b""
        self._final_blocks = 0  # in the current frame
        self._in_block = False  # in one that the tail of the message can belong to
        self.arrived = 0
        self.ending = False

    def begin_message(self) -> None:
        """A message begins."""
        self._in_block = False
        self.arrived = 0
        self.ending = False

    def begin_frame(self, size: int) -> None:
        """A frame of it begins, with so many bytes of payload."""
        self.arrived += size
        self._final_blocks = 0

    def feed(self, payload: bytes, last: bool) -> None:
        """Takes bytes of the message, when all that was fed before has been inflated."""
        self.ending = last
        self._in_block = self._in_block or bool(payload)
        if last and self._in_block:
            # §7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload"
            payload += _TAIL
        self._input = payload

    def inflate(self, most: int) -> bytes:
        """The next so many bytes of the message. Fewer are all that the bytes fed until now make.

        Raises:
            zlib.error: they are no DEFLATE blocks.
        """
        context = self._context or self._new_context()
        inflated = context.decompress(self._input, most)
        self._input = context.unconsumed_tail
        while context.eof:
            context = self._after_final_block(context)
            if self._input and len(inflated) < most:
                inflated += context.decompress(self._input, most - len(inflated))
                if not context.eof:
                    self._input = context.unconsumed_tail
        ended = self.ending and len(inflated) < most
        self._context = None if ended and not self._deflate.receive_takeover else context
        return inflated

    def _after_final_block(self, context: "zlib._Decompress") -> "zlib._Decompress":
        """Goes on behind a block with its "final" bit set, which others may follow (§7.2.3.5)."""
        self._final_blocks += 1
        if self._final_blocks > _MAX_FINAL_BLOCKS:
            raise zlib.error("too many final blocks")
        self._input = context.unused_data
        if self.ending and self._input == _TAIL:
            self._input = b""
        self._in_block = bool(self._input)
        return self._new_context()

    def window(self) -> bytes:
        """What the peer may refer back to, between two messages: at most its window's size.

        Raises:
            LocalError: the last message ended within a block, against §7.2.1.
        """
        if self._context is None:
            return b""
        if not _between_blocks(self._context):
            raise LocalError("a connection cannot be handed over in the middle of a DEFLATE block")
        return _window(self._context, self._deflate.receive_window)

    def _new_context(self, window: bytes = b"") -> "zlib._Decompress":
        # A peer that was told to use 8 bits and uses zlib may take 9, as zlib once did.
        return zlib.decompressobj(-max(self._deflate.receive_window, _SMALLEST), zdict=window)


def _between_blocks(context: "zlib._Decompress") -> bool:
    """Whether a block may begin here; nothing else ends at once when it meets the last block."""
    copy = context.copy()
    try:
        return not copy.decompress(_LAST_BLOCK) and copy.eof
    except zlib.error:
        return False


def _window(context: "zlib._Decompress", bits: int) -> bytes:
    """The last bytes that a context has put out; zlib knows them, but Python has no call for that.

    So a copy of it, which must be between two blocks, is asked to repeat them: RFC 1951 has a code
    for "the 258 bytes that came N bytes ago". N must not reach back beyond the first byte, so the
    largest that does not is looked for.
    """
    few, many = 0, 1 << max(bits, _SMALLEST)
    while few < many:
        middle = (few + many + 1) // 2
        try:
            context.copy().decompress(_repeat(middle, 1))
            few = middle
        except zlib.error:
            many = middle - 1
    return context.copy().decompress(_repeat(few, -(-few // 258)))[:few] if few else b""


def _repeat(distance: int, times: int) -> bytes:
    """A DEFLATE block that repeats, so many times, the 258 bytes that came so many bytes ago."""
    # RFC 1951 §3.2.5: a distance is a code and some extra bits.
    number = distance - 1
    extra = max(number.bit_length() - 2, 0)
    code = 2 * extra + (number >> extra)
    # §3.1.1: codes are packed starting with their highest bit, other numbers with their lowest.
    low = f"{number & (1 << extra) - 1:0{extra}b}"[::-1] if extra else ""
    # §3.2.6: fixed codes, of 8 bits for the length 258 and of 5 for distances
    bits = "010" + f"11000101{code:05b}{low}" * times + "0000000"
    return int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")
