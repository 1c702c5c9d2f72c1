"""Detectors: the papers' methods, each a composition of extractor, adapter and scorer."""

from ._dn2 import DN2

__all__ = ["DN2"]
