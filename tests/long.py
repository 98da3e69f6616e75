"""Tests that take long, and add little to those that are run every time."""

import os
from typing import Final

import pytest

IS_LONG: Final = os.environ.get("THEATER_LONG_TESTS") == "1"

long = pytest.mark.skipif(not IS_LONG, reason="takes long; THEATER_LONG_TESTS=1 runs it")
