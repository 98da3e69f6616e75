"""What streams are fed to."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from theater.limits import ConnectionLimits
from theater.protocol.deflate import Deflate
from theater.protocol.machine import Machine, Role

ROLES = {"server": Role.SERVER, "client": Role.CLIENT}
MODES = {"whole": False, "stream": True}
OWNERS = ("listens", "echoes", "leaves")  # who leaves sends its close frame before all else
DEFLATES = {
    "plain": None,
    "keep15": Deflate(15, True, 15, True),
    "keep9": Deflate(9, True, 9, True),
    "keep8": Deflate(8, True, 8, True),  # too small for zlib to send
    "reset12": Deflate(12, False, 12, False),
    "mixed": Deflate(9, False, 15, True),
}
LIMITS = {
    "roomy": ConnectionLimits(compression_min=16),
    "frames": ConnectionLimits(max_message=1000, max_frame=300, max_stream=500, compression_min=0),
    "small": ConnectionLimits(max_message=64, max_fragments=4, max_stream=64, compression_min=0),
    "tiny": ConnectionLimits(max_message=1, max_fragments=1, max_stream=1),
    "bombs": ConnectionLimits(max_message=4 << 20, max_stream=4 << 20, max_inflation=10),
}
HUGE = ConnectionLimits(max_message=1 << 40, max_fragments=1 << 40, max_inflation=1 << 40)
TABLES: tuple[Sequence[str], ...] = tuple(ROLES), tuple(MODES), OWNERS, tuple(DEFLATES), tuple(LIMITS)
HEADS = ("request", "response")
CHOICES = "-".join("{" + ",".join(table) + "}" for table in TABLES) + ", or one of " + ", ".join(HEADS)
MASKING_KEY = bytes.fromhex("37fa213d")


class Setup(NamedTuple):
    """The machine that a stream is fed to and its owner, by the names above."""

    role: str
    mode: str
    owner: str
    deflate: str
    limits: str

    def machine(self) -> Machine:
        """The machine that the stream is for."""
        role, limits, deflate = ROLES[self.role], LIMITS[self.limits], DEFLATES[self.deflate]
        return Machine(
            role, limits, stream=MODES[self.mode], deflate=deflate, masking_key=lambda: MASKING_KEY
        )

    def peer(self) -> Machine:
        """The other end, which takes everything."""
        role = Role.CLIENT if self.role == "server" else Role.SERVER
        own = DEFLATES[self.deflate]
        if own is None:
            return Machine(role, HUGE)
        window, takeover = own.receive_window, own.receive_takeover
        return Machine(role, HUGE, deflate=Deflate(window, takeover, own.send_window, own.send_takeover))


def setup_name(text: str) -> str:
    """Checks the name of a set-up.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    words = text.split("-")
    known = len(words) == len(TABLES) and all(map(lambda word, table: word in table, words, TABLES))
    if text not in HEADS and not known:
        raise argparse.ArgumentTypeError(f"expected {CHOICES}")
    return text


class Broken(Exception):
    """A promise that was not kept."""


def promise(kept: bool, problem: str, *found: object) -> None:
    """Raises `Broken`, with what was found, unless the promise was kept."""
    if not kept:
        raise Broken(": ".join([problem, *map(repr, found)]))
