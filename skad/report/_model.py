"""What a model is and what it was fitted on."""

import hashlib
import os
from inspect import signature
from pathlib import Path

from sklearn import config_context

from .. import __version__
from .._verdicts import detectors_within
from ..displays._inputs import split_steps
from ..networks._cache import weights_digest
from ..persistence import describe
from ..persistence._files import library_versions
from ..persistence._networks import describe_backbone, licence_of
from ..scorers import KNNScorer


def facts(detector, model=None):
    """What is known of a fitted detector.

    Parameters
    ----------
    detector : estimator
    model : path, optional
        The file that it came from.

    Returns
    -------
    facts : list of (str, str)
        A term and what is said of it.
    """
    inner = detectors_within(detector)
    within = type(inner[0]).__name__
    told = [("Detector", within)]
    if hasattr(detector, "calibration_scores_"):
        number = f"{len(inner)} of " if len(inner) > 1 else ""
        told = [("Detector", f"{number}{within}, calibrated by {type(detector).__name__}")]
    told += _pictures(detector, inner)
    networks = describe(model)["networks"] if model is not None else _networks(inner)
    for one in networks:
        terms = one.get("licence") or "not known"
        told.append(("Network", f"{one['backbone']}; terms of its published weights: {terms}"))
        told.append(("Digest of its weights", one["digest"]))
    if model is not None:
        content = Path(model).read_bytes()
        told.append(("Model file", f"{os.path.basename(model)}, {len(content) / 1e6:.1f} MB"))
        told.append(("SHA-256 of the file", hashlib.sha256(content).hexdigest()))
    return told


def parameters(detector):
    """Parameters of a fitted detector, and of what it calibrates.

    Parameters
    ----------
    detector : estimator

    Returns
    -------
    parameters : list of (str, str, bool)
        Name, value, and whether it is not the default.
    """
    inner = detectors_within(detector)[0]
    return [row for one in dict.fromkeys((detector, inner)) for row in _parameters_of(one)]


def versions(model=None):
    """Versions, of now and of when the model was written.

    Parameters
    ----------
    model : path, optional

    Returns
    -------
    versions : list of (str, str, str)
        Name, version that scored, version that wrote the model ("" if not known).
    """
    now = {"skad": __version__} | library_versions()
    told = {} if model is None else describe(model)
    before = {"skad": told["skad"]} | told["libraries"] if told else {}
    return [(name, now.get(name, ""), before.get(name, "")) for name in now | before]


def _pictures(detector, inner):
    """How many pictures there were, where the fitted parts know."""
    told = []
    _, scorer = split_steps(inner[0])
    if isinstance(scorer, KNNScorer) and scorer.n_centroids is None:
        several = ", the first of the detectors" if len(inner) > 1 else ""
        told.append(("Pictures of the fit", f"{len(scorer.gallery_)}{several}"))
    else:
        told.append(("Pictures of the fit", "not kept in the model"))
    if hasattr(detector, "calibration_scores_"):
        number = sum(map(len, detector.calibration_scores_))
        told.append(("Pictures of the calibration", str(number)))
    return told


def _networks(inner):
    found = {}
    for one in inner:
        steps, _ = split_steps(one)
        first = None if steps is None else steps[0]
        fitted = getattr(getattr(first, "extractor_", first), "fitted_network_", None)
        if fitted is not None:
            network = fitted.network
            if type(network).__name__ == "ProjectedNetwork":  # as in the model file
                network = network.encoder
            backbone = describe_backbone(fitted.backbone)
            digest, licence = weights_digest(network), licence_of(fitted.backbone)
            found[digest] = {"backbone": backbone, "digest": digest, "licence": licence}
    return list(found.values())


def _parameters_of(estimator):
    defaults = signature(type(estimator)).parameters
    with config_context(print_changed_only=True):
        for name, value in sorted(estimator.get_params(deep=False).items()):
            default = defaults[name].default if name in defaults else None
            yield f"{type(estimator).__name__}.{name}", repr(value), repr(value) != repr(default)
