"""The one failure a benchmark knows."""


class BenchmarkError(Exception):
    """A server or its load client did not do its part; the server is left out, loudly."""
