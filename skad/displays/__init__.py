"""Displays: plots of what a detector does, in the form of scikit-learn's displays.

They need matplotlib: ``pip install "skad[plot]"``.
"""

from .._lazy import lazy_names

_HOMES = {
    "AnomalyMapDisplay": "_anomaly_map",
    "ContactSheetDisplay": "_contact_sheet",
    "EmbeddingDisplay": "_embedding",
    "NearestImagesDisplay": "_nearest",
    "ROCDisplay": "_roc",
    "ScoreHistogramDisplay": "_histogram",
    "TrainingCurveDisplay": "_training_curve",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
