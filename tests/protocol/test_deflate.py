"""What is agreed on about compression, and the contexts, by examples."""

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theater.errors import LocalError
from theater.limits import ConnectionLimits
from theater.protocol.deflate import (
    ContextBudget,
    Deflate,
    Deflater,
    Inflater,
    Parameters,
    accept,
    check,
    offer,
)

TAIL = b"\x00\x00\xff\xff"
LIMITS = ConnectionLimits()  # a window of 12 bits
ALL = ConnectionLimits(compression_window=15)
KEEPS = Deflate(15, True, 15, True)
RESETS = Deflate(15, False, 15, False)


def parameters(text: str) -> Parameters:
    """Parameters as they stand in the header field."""
    pairs = [part.strip().partition("=") for part in text.split(";") if part.strip()]
    return tuple((name, value if equals else None) for name, equals, value in pairs)


def agreed(text: str, limits: ConnectionLimits = LIMITS, memory: int = 1_000_000) -> Deflate:
    found = accept(parameters(text), limits, ContextBudget(memory))
    assert found is not None
    return found


# §7.1: what a server answers

# With a window of 12 bits: send window and takeover, receive window and takeover, answer.
ANSWERS = {
    "": (12, True, 15, False, "client_no_context_takeover; server_max_window_bits=12"),
    "client_max_window_bits": (12, True, 12, True, "server_max_window_bits=12; client_max_window_bits=12"),
    "client_max_window_bits=15": (12, True, 12, True, "server_max_window_bits=12; client_max_window_bits=12"),
    "client_max_window_bits=10": (12, True, 10, True, "server_max_window_bits=12; client_max_window_bits=10"),
    "client_max_window_bits=8": (12, True, 8, True, "server_max_window_bits=12; client_max_window_bits=8"),
    "server_max_window_bits=10; client_max_window_bits": (
        *(10, True, 12, True),
        "server_max_window_bits=10; client_max_window_bits=12",
    ),
    "server_max_window_bits=15; client_max_window_bits": (
        *(12, True, 12, True),
        "server_max_window_bits=12; client_max_window_bits=12",
    ),
    "server_no_context_takeover; client_max_window_bits": (
        *(12, False, 12, True),
        "server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
    ),
    "client_no_context_takeover; client_max_window_bits": (
        *(12, True, 12, False),
        "client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
    ),
    "client_no_context_takeover; server_no_context_takeover": (
        *(12, False, 15, False),
        "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
    ),
}


@pytest.mark.parametrize(("offered", "expected"), ANSWERS.items())
def test_what_a_server_answers(offered: str, expected: tuple[int, bool, int, bool, str]) -> None:
    assert agreed(offered) == Deflate(*expected[:4], parameters(expected[4]))


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ("", ""),
        ("client_max_window_bits", "client_max_window_bits=15"),
        # §7.1.2.1: accepted "by including the parameter with the same or smaller value"
        ("server_max_window_bits=15", "server_max_window_bits=15"),
        ("server_max_window_bits=9", "server_max_window_bits=9"),
    ],
)
def test_a_server_that_keeps_all_of_the_window_asks_for_nothing(offered: str, answer: str) -> None:
    found = agreed(offered, ALL)
    assert found.parameters == parameters(answer)
    assert found.receive_takeover


@pytest.mark.parametrize(
    "offered",
    [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=+9",
        "server_max_window_bits=x",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=012",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=8",  # which zlib cannot make
        "server_no_context_takeover; Client_No_Context_Takeover",
    ],
)
def test_what_a_server_declines(offered: str) -> None:  # §7.1
    budget = ContextBudget(1_000_000)
    assert accept(parameters(offered), LIMITS, budget) is None
    assert budget.taken == 0


def test_connections_that_agree_on_the_same_share_it() -> None:
    one, other = agreed("client_max_window_bits"), agreed("client_max_window_bits")
    assert one is other


# The budget


def test_the_memory_is_that_of_the_contexts_that_are_kept() -> None:
    sending, receiving = 32 * 1024, 11 * 1024
    assert Deflate(12, True, 12, True).memory == sending + receiving
    assert Deflate(12, True, 12, False).memory == sending
    assert Deflate(12, False, 12, True).memory == receiving
    assert Deflate(12, False, 12, False).memory == 0
    assert Deflate(15, True, 15, True).memory == 256 * 1024 + 39 * 1024


@pytest.mark.parametrize("offered", ["", "client_max_window_bits", "server_max_window_bits=10"])
@pytest.mark.parametrize("limits", [LIMITS, ALL])
def test_connections_past_the_budget_keep_nothing(offered: str, limits: ConnectionLimits) -> None:
    first = agreed(offered, limits)
    budget = ContextBudget(2 * first.memory)
    found = [accept(parameters(offered), limits, budget) for _ in range(5)]
    assert found[:2] == [first, first]
    for later in found[2:]:
        assert later is not None
        assert later.memory == 0
        assert (later.send_window, later.receive_window) == (first.send_window, first.receive_window)
        assert parameters("server_no_context_takeover; client_no_context_takeover") == later.parameters[:2]
    assert budget.taken == budget.limit

    for ended in (found[3], found[0], None):
        budget.give_back(ended)
    assert accept(parameters(offered), limits, budget) == first
    for ended in (*found[1:3], found[4], first):
        budget.give_back(ended)
    assert budget.taken == 0


def test_without_a_budget_nothing_is_kept() -> None:
    assert agreed("client_max_window_bits", memory=0).memory == 0


# §7.1: what a client offers, and makes of the answer


def test_a_client_offers_all_it_can_do() -> None:
    assert offer(LIMITS) == parameters("client_max_window_bits")
    assert offer(ConnectionLimits(compression=False)) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", (12, True, 15, True)),
        ("client_max_window_bits=10", (10, True, 15, True)),
        ("client_max_window_bits=15", (12, True, 15, True)),
        ("server_max_window_bits=8", (12, True, 8, True)),
        ("server_max_window_bits=10", (12, True, 10, True)),
        ("server_no_context_takeover", (12, True, 15, False)),
        ("client_no_context_takeover", (12, False, 15, True)),
        (
            "client_no_context_takeover; server_no_context_takeover; server_max_window_bits=9",
            (12, False, 9, False),
        ),
    ],
)
def test_what_a_client_makes_of_the_answer(answer: str, expected: tuple[int, bool, int, bool]) -> None:
    assert check(parameters(answer), LIMITS) == Deflate(*expected, parameters(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "unknown",
        "client_max_window_bits",  # only an offer may leave the value out
        "server_max_window_bits",
        "server_max_window_bits=16",
        "server_no_context_takeover=true",
        "client_max_window_bits=10; client_max_window_bits=10",
    ],
)
def test_an_answer_that_a_client_cannot_accept(answer: str) -> None:  # §7.1
    assert isinstance(check(parameters(answer), LIMITS), str)


def test_a_window_that_zlib_cannot_make_is_not_used() -> None:
    small = check(parameters("client_max_window_bits=8"), LIMITS)
    assert isinstance(small, Deflate)
    assert not small.can_send
    assert KEEPS.can_send


@pytest.mark.parametrize("limits", [LIMITS, ALL, ConnectionLimits(compression_window=9)])
@pytest.mark.parametrize("memory", [0, 1_000_000])
def test_both_ends_understand_the_same(limits: ConnectionLimits, memory: int) -> None:
    server = agreed("client_max_window_bits", limits, memory)
    client = check(server.parameters, ALL)
    assert isinstance(client, Deflate)
    assert (client.send_window, client.send_takeover) == (server.receive_window, server.receive_takeover)
    assert (client.receive_window, client.receive_takeover) == (server.send_window, server.send_takeover)


# Compressing


def inflate(wire: bytes, bits: int = 15) -> bytes:
    return zlib.decompressobj(-bits).decompress(wire + TAIL)


@pytest.mark.parametrize("window", range(9, 16))
@pytest.mark.parametrize("level", [1, 3, 9])
def test_a_message_is_compressed_within_its_window(window: int, level: int) -> None:
    payload = b"".join(b"%d," % number for number in range(20_000))
    wire = Deflater(window, level, takeover=False).deflate(payload)
    assert wire is not None
    assert len(wire) < len(payload) / 1.5
    assert not wire.endswith(TAIL)
    assert inflate(wire, window) == payload


def test_a_context_that_is_kept_makes_the_next_message_smaller() -> None:
    payload = random.Random(1).randbytes(200) * 2
    for takeover in (True, False):
        deflater = Deflater(12, 3, takeover)
        first, second = deflater.deflate(payload), deflater.deflate(payload)
        assert first is not None
        assert second is not None
        assert len(second) < 20 if takeover else second == first


@pytest.mark.parametrize("takeover", [True, False])
def test_what_does_not_become_smaller_is_not_compressed(takeover: bool) -> None:
    deflater = Deflater(12, 3, takeover)
    noise = random.Random(1).randbytes(1000)
    payload = noise[:300] * 2
    before = deflater.deflate(payload)
    assert before is not None
    assert deflater.deflate(random.Random(2).randbytes(1000)) is None
    # and what comes after it does not depend on it
    assert deflater.deflate(payload) == before


# Inflating


def compressor(bits: int = 15) -> "zlib._Compress":
    return zlib.compressobj(6, zlib.DEFLATED, -bits)


def message(context: "zlib._Compress", payload: bytes) -> bytes:
    data = context.compress(payload) + context.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(TAIL)
    return data[:-4]


def inflated(inflater: Inflater, *pieces: bytes, most: int = 1000) -> bytes:
    """A message that comes in these pieces."""
    inflater.begin_message()
    inflater.begin_frame(sum(map(len, pieces)))
    data = b""
    for index, piece in enumerate(pieces):
        inflater.feed(piece, index == len(pieces) - 1)
        step = None
        while step is None or len(step) == most:
            step = inflater.inflate(most)
            assert len(step) <= most
            data += step
    return data


# §7.2.3: the examples of the RFC
EXAMPLES = {
    "§7.2.3.1 one block": ("f2 48 cd c9 c9 07 00", b"Hello"),
    "§7.2.3.3 no compression": ("00 05 00 fa ff 48 65 6c 6c 6f 00", b"Hello"),
    "§7.2.3.4 final block": ("f3 48 cd c9 c9 07 00 00", b"Hello"),
    "§7.2.3.5 two blocks": ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", b"Hello"),
    "§7.2.3.6 empty": ("00", b""),
    "final block, byte to come missing": ("f3 48 cd c9 c9 07 00", b"Hello"),
    "two final blocks": ("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", b"HelloHello"),
    "final block, then another": ("f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", b"HelloHello"),
    "no block at all": ("", b""),
    "an empty block in between": ("00 00 00 ff ff f2 48 cd c9 c9 07 00", b"Hello"),
    "four bytes like the end": ("00 00 00 ff ff 00 00 00 ff ff 00", b""),
}


@pytest.mark.parametrize("agreed_on", [KEEPS, RESETS])
@pytest.mark.parametrize(("wire", "payload"), EXAMPLES.values(), ids=list(EXAMPLES))
@pytest.mark.parametrize("most", [1, 2, 4, 5, 6, 10, 100])
def test_the_examples_of_the_rfc(agreed_on: Deflate, wire: str, payload: bytes, most: int) -> None:
    data = bytes.fromhex(wire)
    inflater = Inflater(agreed_on)
    for _ in range(3):
        assert inflated(inflater, data, most=most) == payload
        assert inflated(inflater, *[bytes([byte]) for byte in data], b"", most=most) == payload
        assert inflated(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"


def test_the_first_bytes_of_a_message_may_look_like_its_end() -> None:
    data = bytes.fromhex("0000ffff")  # which is no block at all, and so an error with what follows
    with pytest.raises(zlib.error):
        inflated(Inflater(KEEPS), data, b"\x01\x01\x01")


def test_a_message_may_refer_to_the_one_before() -> None:  # §7.2.3.2
    inflater = Inflater(KEEPS)
    assert inflated(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    assert inflated(inflater, bytes.fromhex("f200110000")) == b"Hello"


def test_a_message_may_not_refer_to_what_nobody_kept() -> None:  # §7.1.1
    inflater = Inflater(RESETS)
    assert inflated(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    with pytest.raises(zlib.error):
        inflated(inflater, bytes.fromhex("f200110000"))


def test_nor_to_what_came_before_a_final_block() -> None:  # RFC 1951 §3.2.3: it ends the data set
    inflater = Inflater(KEEPS)
    with pytest.raises(zlib.error):
        inflated(inflater, bytes.fromhex("f348cdc9c90700 f200110000"))


@pytest.mark.parametrize("wire", ["07", "ff" * 9, "01 05 00 05 00", "f2 48 ff ff ff ff ff"])
def test_what_is_no_block_is_an_error(wire: str) -> None:
    with pytest.raises(zlib.error):
        inflated(Inflater(KEEPS), bytes.fromhex(wire))


def test_steps_are_never_larger_than_asked_for() -> None:
    payload = b"x" * 1_000_000
    wire = message(compressor(), payload)
    for most in (1000, 65536):
        assert inflated(Inflater(KEEPS), wire, most=most) == payload


def test_a_frame_may_have_some_final_blocks_but_not_thousands() -> None:
    # Each of them costs a context and a copy of what follows.
    empty = bytes.fromhex("0300")
    inflater = Inflater(KEEPS)
    assert inflated(inflater, empty * 16 + b"\x00") == b""
    with pytest.raises(zlib.error, match="final blocks"):
        inflated(inflater, empty * 17 + b"\x00")
    inflater = Inflater(KEEPS)
    inflater.begin_message()
    for last in (False, False, True):
        inflater.begin_frame(32)
        inflater.feed(empty * 16, last)
        assert inflater.inflate(100) == b""


def test_a_peer_that_uses_9_bits_for_8_is_understood() -> None:  # as zlib once did
    payload = random.Random(1).randbytes(400) * 3
    assert (
        inflated(Inflater(Deflate(12, True, 8, True)), message(compressor(9), payload), most=9999) == payload
    )


def test_nothing_is_kept_that_need_not_be() -> None:
    wire = message(compressor(), bytes(1000))
    inflaters = [Inflater(RESETS) for _ in range(200)]
    deflaters = [Deflater(15, 3, takeover=False) for _ in range(200)]
    for inflater, deflater in zip(inflaters, deflaters, strict=True):  # warm
        inflated(inflater, wire)
        deflater.deflate(bytes(1000))
    tracemalloc.start()
    try:
        for inflater, deflater in zip(inflaters, deflaters, strict=True):
            inflated(inflater, wire)
            deflater.deflate(bytes(1000))
        assert tracemalloc.get_traced_memory()[0] < 200 * 200
    finally:
        tracemalloc.stop()


# Handing over


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("size", [0, 1, 2, 3, 257, 258, 259, 1000, 70_000])
def test_the_window_is_what_was_inflated_last(bits: int, size: int) -> None:
    data = random.Random(size).randbytes(size)
    context = compressor(max(bits, 9))
    inflater = Inflater(Deflate(12, True, bits, True))
    half = size // 2
    for part in (data[:half], data[half:]):
        if part:
            inflated(inflater, message(context, part), most=100_000)
    window = inflater.window()
    assert len(window) == min(size, 1 << max(bits, 9))
    assert data.endswith(window)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 5000).map(bytes)), min_size=1, max_size=6),
    st.integers(9, 15),
)
def test_a_successor_goes_on(messages: list[bytes], bits: int) -> None:
    agreed_on = Deflate(12, True, bits, True)
    context = compressor(bits)
    inflater = Inflater(agreed_on)
    for payload in filter(None, messages):
        assert inflated(inflater, message(context, payload)) == payload
        inflater = Inflater(agreed_on, inflater.window())
    assert inflated(inflater, message(context, b"".join(messages)) if any(messages) else b"") == b"".join(
        messages
    )


def test_there_is_no_window_where_nothing_is_kept() -> None:
    inflater = Inflater(RESETS)
    assert inflated(inflater, message(compressor(), b"Hello")) == b"Hello"
    assert inflater.window() == b""
    assert Inflater(KEEPS).window() == b""


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param("00ff0000ff" + "61" * 100, id="stored"),
        pytest.param("f248cdc9", id="fixed codes"),
        pytest.param("0cc6410d00410c03312a", id="head of dynamic codes"),
    ],
)
def test_there_is_no_window_in_the_middle_of_a_block(wire: str) -> None:  # against §7.2.1
    inflater = Inflater(KEEPS)
    inflated(inflater, bytes.fromhex(wire))
    with pytest.raises(LocalError, match="in the middle of a DEFLATE block"):
        inflater.window()
