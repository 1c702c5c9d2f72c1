"""Decisions with a false-alarm rate that was asked for: conformal calibration of any detector."""

from ._detector import ConformalDetector
from ._maps import ConformalMapDetector

__all__ = ["ConformalDetector", "ConformalMapDetector"]
