"""Clusterers: networks that learn the groups among normal pictures without labels."""

from .._lazy import lazy_names

_HOMES = {
    "DEC": "_dec",
    "SCAN": "_scan",
    "ClusterWarning": "_base",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
