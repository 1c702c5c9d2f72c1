"""Scorers: scikit-learn outlier detectors on 2-D arrays of features; no torch."""

from ._knn import KNNScorer

__all__ = ["KNNScorer"]
