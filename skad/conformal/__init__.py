"""Conformal calibration: any detector, with a false-alarm rate that is guaranteed."""

from .._lazy import lazy_names

_HOMES = {
    "ConformalDetector": "_detector",
    "ConformalMapDetector": "_maps",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
