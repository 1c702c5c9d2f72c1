"""Deep image anomaly detection as scikit-learn estimators."""

import importlib

__version__ = "0.1.0"

# Public names and the modules that hold them; those load torch, so they are imported on first use.
_HOMES = {
    "AutoencoderAdapter": "adapters",
    "CLAD": "detectors",
    "CentroidScorer": "scorers",
    "ClusterWarning": "clusterers",
    "CollapseWarning": "adapters",
    "CompactnessAdapter": "adapters",
    "ConfidenceScorer": "scorers",
    "ConformalDetector": "conformal",
    "ConformalMapDetector": "conformal",
    "DEC": "clusterers",
    "DN2": "detectors",
    "DeepClustering": "detectors",
    "DeepSVDD": "detectors",
    "DeepSVDDAdapter": "adapters",
    "DeviceWarning": "networks",
    "EnsembleScorer": "scorers",
    "FeatureExtractor": "features",
    "FisherDiagonal": "adapters",
    "GaussianScorer": "scorers",
    "ImageDetector": "detectors",
    "JointOptimization": "detectors",
    "JointOptimizationAdapter": "adapters",
    "KDEScorer": "scorers",
    "KNNScorer": "scorers",
    "LogitScorer": "scorers",
    "MapDetector": "detectors",
    "MeanShiftedContrastive": "adapters",
    "MSC": "detectors",
    "NSA": "detectors",
    "OneClassKFold": "model_selection",
    "OutlierExposureAdapter": "adapters",
    "PANDA": "detectors",
    "PANDAOE": "detectors",
    "PaDiM": "detectors",
    "PatchCore": "detectors",
    "PseudoLabelAdapter": "adapters",
    "SCAN": "clusterers",
    "SCANFeatures": "detectors",
    "SPADE": "detectors",
    "SampleWiseScorer": "scorers",
    "RotationAdapter": "adapters",
    "RotationPrediction": "detectors",
    "SelfSupervisedAdapter": "adapters",
    "SklearnScorer": "scorers",
    "VICRegAdapter": "adapters",
    "Whitening": "scorers",
    "adapters": None,
    "augment": None,
    "auroc_scorer": "metrics",
    "backbones": None,
    "clusterers": None,
    "conformal": None,
    "datasets": None,
    "describe": "persistence",
    "detectors": None,
    "diagnostics": None,
    "displays": None,
    "export": None,
    "features": None,
    "load": "persistence",
    "losses": None,
    "maps": None,
    "metrics": None,
    "model_selection": None,
    "persistence": None,
    "report": None,
    "save": "persistence",
    "scorers": None,
}

__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return importlib.import_module(f".{name}", __name__)
    return getattr(importlib.import_module(f".{home}", __name__), name)


def __dir__():
    return sorted([*globals(), *_HOMES])
