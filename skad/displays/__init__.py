"""Displays: pictures of what a detector does, built as scikit-learn's displays are."""

from ._anomaly_map import AnomalyMapDisplay
from ._contact_sheet import ContactSheetDisplay
from ._embedding import EmbeddingDisplay
from ._histogram import ScoreHistogramDisplay
from ._nearest import NearestImagesDisplay
from ._roc import ROCDisplay
from ._training_curve import TrainingCurveDisplay

__all__ = [
    "AnomalyMapDisplay",
    "ContactSheetDisplay",
    "EmbeddingDisplay",
    "NearestImagesDisplay",
    "ROCDisplay",
    "ScoreHistogramDisplay",
    "TrainingCurveDisplay",
]
