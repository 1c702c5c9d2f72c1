"""Clusterers of images: networks that learn what groups there are among normal images."""

from ._base import ClusterWarning
from ._dec import DEC
from ._scan import SCAN

__all__ = ["DEC", "SCAN", "ClusterWarning"]
