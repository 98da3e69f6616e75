"""The client's tests share the server's fixtures: both loops, and none may report an error."""

from tests.server.conftest import pytest_asyncio_loop_factories, quiet

__all__ = ["pytest_asyncio_loop_factories", "quiet"]
