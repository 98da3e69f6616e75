"""Manifests and what they set, validated once, frozen."""

from theater.config.loading import Served, inspect_manifests, load_manifests, manifests_of
from theater.config.manifest import FILE_NAME, ComponentFile, Manifest, ServerSettings
from theater.config.resolving import Configuration, resolve

__all__ = [
    "FILE_NAME",
    "ComponentFile",
    "Configuration",
    "Manifest",
    "Served",
    "ServerSettings",
    "inspect_manifests",
    "load_manifests",
    "manifests_of",
    "resolve",
]
