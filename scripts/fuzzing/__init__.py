"""Parts of `scripts/fuzz`."""
