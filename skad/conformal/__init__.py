"""Decisions with a false-alarm rate that was asked for: conformal calibration of any detector."""

from .._lazy import lazy_names

_HOMES = {
    "ConformalDetector": "_detector",
    "ConformalMapDetector": "_maps",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
