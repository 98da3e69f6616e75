"""Manifests and what they set, validated once, frozen."""

from theater.config.loading import Served, load_manifests, manifests_of
from theater.config.manifest import FILE_NAME, Manifest, ServerSettings
from theater.config.resolving import Configuration, resolve

__all__ = [
    "FILE_NAME",
    "Configuration",
    "Manifest",
    "Served",
    "ServerSettings",
    "load_manifests",
    "manifests_of",
    "resolve",
]
