"""Theater beside other WebSocket servers, measured in one run: `python -m benchmarks --help`."""
