"""Detectors: from pictures to scores.

Fit one on normal pictures; it then has `decision_function` (high = normal) and `predict`. A
detector consists of an extractor of features, sometimes an adapter that trains it, and a scorer.
"""

from .._lazy import lazy_names

_HOMES = {
    "AutoDetector": "_auto",
    "CLAD": "_clad",
    "DN2": "_dn2",
    "MSC": "_msc",
    "NSA": "_nsa",
    "PANDA": "_panda",
    "PANDAOE": "_panda_oe",
    "SPADE": "_spade",
    "DeepClustering": "_deep_clustering",
    "DeepSVDD": "_deep_svdd",
    "ImageDetector": "_image",
    "JointOptimization": "_joint_optimization",
    "MapDetector": "_map",
    "PaDiM": "_padim",
    "PatchCore": "_patch_core",
    "RotationPrediction": "_rotation_prediction",
    "SCANFeatures": "_scan_features",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
