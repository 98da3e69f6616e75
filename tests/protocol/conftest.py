import pytest
from tests.protocol.wire import PONG, frame, opened

from theater.protocol.machine import Role


@pytest.fixture(scope="session")
def batch() -> int:
    """How many events one `receive` gives at most."""
    return len(opened().receive(frame(Role.SERVER, PONG) * 10_000))
