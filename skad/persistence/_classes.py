"""What may be in a model file, by name: nothing else is made of one."""

import importlib

import skad

# Classes that are no estimators, by the names that files know them by: those stay, wherever the
# classes move.
_INNER = {
    "CentroidPixels": "maps",
    "ContrastiveAugmentation": "augment",
    "CoresetPixels": "maps",
    "Covariance": "scorers._covariance",
    "FittedNetwork": "networks._fitted",
    "Foreground": "maps._foreground",
    "GaussianPixels": "maps",
    "Leaderboard": "model_selection._leaderboard",
    "MapStore": "maps._store",
    "Moments": "scorers._moments",
    "PlaceMoments": "maps._place_moments",
    "Preprocessing": "networks._preprocessing",
    "Reading": "images._reading",
    "Reservoir": "scorers._reservoir",
    "RetrievedCentroids": "maps",
    "RetrievedCoreset": "maps",
    "RetrievedPixels": "maps",
    "StrongAugmentation": "augment",
    "SyntheticAnomalies": "model_selection",
}

# scikit-learn's own that are made of skad's parts.
_OTHERS = {"Pipeline": "sklearn.pipeline", "FrozenEstimator": "sklearn.frozen"}

# Layers of heads, and what their constructors take.
LAYERS = {
    "Linear": ("in_features", "out_features"),
    "BatchNorm1d": ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    "ReLU": ("inplace",),
}


def class_named(name):
    """A class of those that files may hold; None for any other name."""
    if name in _OTHERS:
        return getattr(importlib.import_module(_OTHERS[name]), name)
    if name in _INNER:
        return getattr(importlib.import_module(f"skad.{_INNER[name]}"), name)
    if name in skad.__all__ and isinstance(getattr(skad, name), type):
        return getattr(skad, name)
    return None


def name_of_class(kind):
    """The name that files know a class by; None for one that they do not know."""
    return kind.__name__ if class_named(kind.__name__) is kind else None


def factory_named(name):
    """A function of ``skad.backbones``; None for any other name."""
    from skad import backbones

    return getattr(backbones, name) if name in backbones.__all__ else None


def name_of_factory(function):
    """The name that files know a factory of networks by; None for one that they do not know."""
    name = getattr(function, "__name__", "")
    return name if factory_named(name) is function else None
