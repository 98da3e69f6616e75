"""Builds components from the sources of actors."""

from theater.build.errors import BuildError

__all__ = ["BuildError"]
