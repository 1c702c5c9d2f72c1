"""Scorers: rows of features in, scores out.

They are scikit-learn outlier detectors, work on any two-dimensional array and need no torch.
"""

from .._lazy import lazy_names

_HOMES = {
    "CentroidScorer": "_centroid",
    "ConfidenceScorer": "_confidence",
    "EnsembleScorer": "_ensemble",
    "GaussianScorer": "_gaussian",
    "KDEScorer": "_kde",
    "KNNScorer": "_knn",
    "LogitScorer": "_logit",
    "SampleWiseScorer": "_sample_wise",
    "SklearnScorer": "_sklearn",
    "Whitening": "_whitening",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
