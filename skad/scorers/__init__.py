"""Scorers: scikit-learn outlier detectors on 2-D arrays of features; no torch."""

from ._centroid import CentroidScorer
from ._confidence import ConfidenceScorer
from ._ensemble import EnsembleScorer
from ._gaussian import GaussianScorer
from ._kde import KDEScorer
from ._knn import KNNScorer
from ._logit import LogitScorer
from ._sample_wise import SampleWiseScorer
from ._sklearn import SklearnScorer
from ._whitening import Whitening

__all__ = [
    "CentroidScorer",
    "ConfidenceScorer",
    "EnsembleScorer",
    "GaussianScorer",
    "KDEScorer",
    "KNNScorer",
    "LogitScorer",
    "SampleWiseScorer",
    "SklearnScorer",
    "Whitening",
]
