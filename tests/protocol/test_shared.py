import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.compressed import AGREEMENTS, KEEPS, RSV1, Unpacker
from tests.protocol.wire import BINARY, FIN, TEXT, opened, read_frames
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as WebsocketsFrame
from websockets.frames import Opcode

from theater.contract.messages import Binary, Ping
from theater.protocol.deflate import Deflate
from theater.protocol.shared import SharedMessage

every_agreement = pytest.mark.parametrize("deflate", AGREEMENTS, ids=repr)

STATE = json.dumps(
    [{"id": number, "name": f"player {number}", "x": number / 7} for number in range(40)]
).encode()
NOISE = random.Random(1).randbytes(2000)


def test_it_is_compressed_once_for_each_window() -> None:
    shared = SharedMessage(FIN | TEXT, STATE)
    frames = {window: shared.compressed(window, 3) for window in (9, 12, 15)}
    assert all(shared.compressed(window, 9) is frame for window, frame in frames.items())
    for window, wire in frames.items():
        assert wire is not None
        assert len(wire) < len(STATE) / 3
        (found,) = read_frames(wire)
        assert (found.opcode, found.fin, found.rsv, found.key) == (TEXT, True, RSV1, None)
        assert Unpacker(Deflate(window, False, 15, False)).unpack(found.payload) == STATE


def test_what_does_not_become_smaller_stays_plain() -> None:
    shared = SharedMessage(FIN | BINARY, NOISE)
    assert shared.compressed(12, 3) is None
    assert shared.compressed(12, 3) is None
    machine = opened(deflate=KEEPS)
    machine.send_shared(shared)
    assert machine.out == [shared.plain]


@pytest.mark.parametrize("size", [999, 1000])
def test_small_ones_stay_plain(size: int) -> None:
    shared = SharedMessage(FIN | BINARY, bytes(size))
    machine = opened(deflate=KEEPS, compression_min=1000)
    machine.send_shared(shared)
    assert machine.out == [shared.plain if size < 1000 else shared.compressed(15, 3)]


def test_it_stays_plain_where_that_is_wished_or_nothing_was_agreed_on() -> None:
    for shared, deflate in (
        (SharedMessage(FIN | TEXT, STATE, compress=False), KEEPS),
        (SharedMessage(FIN | TEXT, STATE), None),
        (SharedMessage(FIN | TEXT, STATE), Deflate(8, True, 15, True)),
    ):
        machine = opened(deflate=deflate)
        machine.send_shared(shared)
        assert machine.out == [shared.plain]


def test_all_get_the_same_bytes() -> None:
    shared = SharedMessage(FIN | TEXT, STATE)
    machines = [opened(deflate=KEEPS) for _ in range(3)]
    for machine in machines:
        machine.send_shared(shared)
    assert len({id(machine.out[0]) for machine in machines}) == 1


# Among other messages, on connections whose contexts are kept

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["private", "private", "shared", "shared, plain", "noise", "small", "chunks"]),
        st.integers(0, len(STATE) - 1),
    ),
    max_size=12,
)
_SHARED = [SharedMessage(FIN | BINARY, STATE[:-number] or STATE) for number in range(3)]


@every_agreement
@settings(deadline=None)
@given(STEPS)
def test_every_inflater_can_follow(deflate: Deflate, steps: list[tuple[str, int]]) -> None:
    machine = opened(deflate=deflate, compression_min=100)
    expected = []
    for kind, place in steps:
        payload = (STATE[place:] + STATE)[: len(STATE) - place % 7]
        match kind:
            case "private":
                machine.send(Binary(payload))
            case "shared":
                payload = _SHARED[place % 3].payload
                machine.send_shared(_SHARED[place % 3])
            case "shared, plain":
                machine.send_shared(SharedMessage(FIN | BINARY, payload, compress=False))
            case "noise":
                payload = NOISE
                machine.send(Binary(payload))
            case "small":
                payload = payload[:50]
                machine.send(Binary(payload))
            case _:
                machine.send_chunk(b"chunk", last=False)
                machine.send_shared(_SHARED[0])
                machine.send(Binary(payload))
                machine.send(Ping())
                machine.send_chunk(b"s", last=True)
                expected += [b"chunks", _SHARED[0].payload]
        expected.append(payload)
    wire = b"".join(machine.out)
    assert list(read_by_zlib(wire, deflate)) == expected
    assert list(read_by_websockets(wire, deflate)) == expected


def read_by_zlib(wire: bytes, deflate: Deflate) -> list[bytes]:
    unpacker = Unpacker(deflate)
    messages = []
    content = b""
    for found in read_frames(wire):
        if found.opcode < 8:
            content += unpacker.unpack(found.payload) if found.rsv else found.payload
            if found.fin:
                messages.append(content)
                content = b""
    return messages


def read_by_websockets(wire: bytes, deflate: Deflate) -> list[bytes]:
    extension = PerMessageDeflate(not deflate.send_takeover, True, deflate.send_window, 15)
    messages = []
    content = b""
    for found in read_frames(wire):
        if found.opcode < 8:
            theirs = WebsocketsFrame(Opcode(found.opcode), found.payload, found.fin, rsv1=bool(found.rsv))
            content += bytes(extension.decode(theirs, max_size=1_000_000).data)
            if found.fin:
                messages.append(content)
                content = b""
    return messages
