"""What is fitted stays as it was fitted: parameters that are given later are for the next fit."""

from numbers import Integral, Real

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest

from skad import FeatureExtractor, KNNScorer, MapDetector, MeanShiftedContrastive
from skad._compat import Interval, StrOptions
from skad.maps import RetrievedPixels

from .instances import INSTANCES, SMALLEST

DIGITS, LABELS = load_digits(return_X_y=True)
ZEROS, NEW = DIGITS[LABELS == 0][:30], DIGITS[100:110]
METHODS = ["score_samples", "predict", "transform", "predict_proba", "score_maps", "kneighbors"]

# How images are computed, not what comes of them: the present value holds.
COMPUTATION = {"batch_size", "n_jobs", "verbose", "memory", "device"}

# Another part in the place of a part.
OTHER_PARTS = {
    "extractor": FeatureExtractor(**SMALLEST),
    "adapter": MeanShiftedContrastive(),
    "scorer": KNNScorer(1),
    "gallery": RetrievedPixels(n_neighbor_pixels=2),
    "clusterer": KMeans(3),
    "estimator": IsolationForest(),
    "detector": IsolationForest(),
    "image_shape": (4, 16),
    "layers": ["layer2"],
}


def other_value(name, limits, value):
    """Another value of a parameter than the one that it has."""
    if name in OTHER_PARTS:
        return OTHER_PARTS[name]
    if limits == "no_validation":
        limits = []
    for limit in limits:
        options = sorted(limit.options) if isinstance(limit, StrOptions) else []
        if limit == "boolean":
            options = [True, False]
        elif isinstance(limit, Interval) and limit.type is Integral:
            options = [3, 4]
        elif isinstance(limit, Interval) and limit.type is Real:
            low, high = limit.left or 0, limit.right
            options = [low + 0.25 * ((high or low + 4) - low), low + 0.5]
        elif limit == "random_state":
            options = [7, 8]
        for option in options:
            if isinstance(value, np.ndarray) or option != value:
                return option
    return None


def methods_of(estimator):
    """Methods that tell of new images, as far as the parameters of an estimator go with them."""
    found = [name for name in METHODS if hasattr(estimator, name)]
    if getattr(estimator, "n_centroids", None) is not None and "kneighbors" in found:
        found.remove("kneighbors")
    return found


def results(estimator, methods):
    """What a fitted estimator says of new images."""
    found = {}
    for name in methods:
        values = getattr(estimator, name)(NEW)
        parts = values if isinstance(values, tuple) else (values,)
        found[name] = np.concatenate([np.ravel(part) for part in parts])
    return found


@pytest.mark.bits
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("instance", INSTANCES, ids=lambda one: type(one).__name__)
def test_parameters_given_after_a_fit_change_nothing(instance):
    estimator = clone(instance).fit(ZEROS)
    methods = methods_of(estimator)
    before = results(estimator, methods)
    assert before
    limits = estimator._parameter_constraints
    for name, value in estimator.get_params(deep=False).items():
        if name in COMPUTATION:
            continue
        estimator.set_params(**{name: other_value(name, limits[name], value)})
        for method, found in results(estimator, methods).items():
            np.testing.assert_array_equal(found, before[method], err_msg=f"{name}: {method}")
        estimator.set_params(**{name: value})


@pytest.mark.parametrize("name", ["n_neighbors", "metric", "aggregation"])
def test_they_hold_from_the_next_fit_on(name):
    other = {"n_neighbors": 5, "metric": "euclidean", "aggregation": "mean"}[name]
    scorer = KNNScorer().fit(ZEROS).set_params(**{name: other})
    expected = KNNScorer(**{name: other}).fit(ZEROS).score_samples(NEW)
    assert not np.array_equal(scorer.score_samples(NEW), expected)
    np.testing.assert_array_equal(scorer.fit(ZEROS).score_samples(NEW), expected)


def test_partial_fit_goes_on_as_it_began():
    scorer = KNNScorer(metric="euclidean").fit(ZEROS[:20])
    scorer.set_params(metric="cosine", n_neighbors=7).partial_fit(ZEROS[20:])
    expected = KNNScorer(metric="euclidean").fit(ZEROS).score_samples(NEW)
    np.testing.assert_array_equal(scorer.score_samples(NEW), expected)


def test_a_gallery_may_be_changed_behind_a_fit():
    gallery = RetrievedPixels(fusion="per_layer")
    detector = MapDetector(FeatureExtractor(**SMALLEST), gallery=gallery).fit(ZEROS)
    before = detector.score_maps(NEW)
    gallery.set_params(fusion="joined", n_neighbor_pixels=3)
    np.testing.assert_array_equal(detector.score_maps(NEW), before)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("instance", INSTANCES, ids=lambda one: type(one).__name__)
def test_tables_as_output_change_no_result(instance):
    pytest.importorskip("pandas")
    methods = methods_of(instance)
    expected = results(clone(instance).fit(ZEROS), methods)
    with config_context(transform_output="pandas"):
        found = results(clone(instance).fit(ZEROS), methods)
    for method, values in expected.items():
        np.testing.assert_array_equal(found[method], values, err_msg=method)
