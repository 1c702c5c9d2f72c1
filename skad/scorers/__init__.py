"""Scorers: scikit-learn outlier detectors on 2-D arrays of features; no torch."""

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
