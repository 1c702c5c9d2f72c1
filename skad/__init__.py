"""Deep image anomaly detection as scikit-learn estimators."""

import importlib

__version__ = "0.1.0"

# Public names and the modules that hold them; those load torch, so they are imported on first use.
_HOMES = {
    "CentroidScorer": "scorers",
    "ConfidenceScorer": "scorers",
    "ConformalDetector": "conformal",
    "DN2": "detectors",
    "EnsembleScorer": "scorers",
    "FeatureExtractor": "features",
    "GaussianScorer": "scorers",
    "KDEScorer": "scorers",
    "KNNScorer": "scorers",
    "OneClassKFold": "model_selection",
    "SklearnScorer": "scorers",
    "Whitening": "scorers",
    "auroc_scorer": "metrics",
    "conformal": None,
    "datasets": None,
    "detectors": None,
    "diagnostics": None,
    "displays": None,
    "features": None,
    "metrics": None,
    "model_selection": None,
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
