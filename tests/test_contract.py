"""What every estimator holds to beside scikit-learn's own contract."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.utils._param_validation import make_constraint

from skad import FeatureExtractor, GaussianScorer, KNNScorer, MapDetector, PseudoLabelAdapter
from skad._compat import StrOptions
from skad.maps import RetrievedPixels
from skad.model_selection import SyntheticAnomalies

from .instances import CODER_WITH_POOLS, INSTANCES, TWO

DIGITS, LABELS = load_digits(return_X_y=True)
NORMAL, NEW = DIGITS[LABELS == 0][:30], DIGITS[100:110]

# They say how something is computed, not what, and may be changed at any time.
FREE = {"batch_size", "n_jobs", "verbose", "memory", "device"}
# One or more of these is allowed for any parameter, beside its options.
OTHERS = [None, False, True, 3, 0.25, 1, 7, 0.4, "tiny", CODER_WITH_POOLS, (4, 16), ["layer2"]]
OTHERS += [
    [KNNScorer(1)],
    RetrievedPixels(n_neighbor_pixels=2),
    KNNScorer(1),
    MapDetector(),
    IsolationForest(),
    TWO,
    FeatureExtractor(image_shape=(4, 16)),
    SyntheticAnomalies(["tiles"]),
]
METHODS = ["score_samples", "predict", "predict_proba", "transform", "p_values"]
METHODS += ["score_maps", "p_value_maps", "predict_masks"]

# Noise, and few images, to be clustered.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The covariance matrix associated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*images ended in one of:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*clusters have no images:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*features of normal images collapsed:UserWarning"),
]


def same(first, second):
    try:
        return type(first) is type(second) and bool(np.all(first == second))
    except ValueError:
        return False


def other_values(estimator, name):
    """Values that a parameter may have, but has not."""
    limits = estimator._parameter_constraints[name]
    limits = [limits] if isinstance(limits, str) else list(limits)
    options = [
        o for limit in limits if isinstance(limit, StrOptions) for o in sorted(limit.options)
    ]
    allowed = [make_constraint(limit) for limit in limits]
    given = estimator.get_params(deep=False)[name]
    return [
        value
        for value in options + OTHERS
        if any(limit.is_satisfied_by(value) for limit in allowed) and not same(value, given)
    ]


def results(estimator):
    """What all its methods give."""
    found = {"offset_": getattr(estimator, "offset_", None)}
    found |= {name: getattr(estimator, name)(NEW) for name in METHODS if hasattr(estimator, name)}
    if hasattr(estimator, "get_feature_names_out"):
        found["names"] = estimator.get_feature_names_out()
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda e: type(e).__name__)
def test_parameters_given_after_a_fit_change_nothing_until_the_next(instance):
    estimator = clone(instance).fit(NORMAL)
    given, expected = estimator.get_params(deep=False), results(estimator)
    values = {name: other_values(estimator, name) for name in given.keys() - FREE}
    assert all(values.values()), "every parameter has another value"
    for turn in range(max(map(len, values.values()))):
        others = {name: found[turn % len(found)] for name, found in values.items()}
        assert_same(results(estimator.set_params(**others)), expected)
    assert_same(results(estimator.set_params(**given).fit(NORMAL)), expected)


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis_cosine"])
def test_neighbors_are_those_of_the_parameters_of_the_fit(metric):
    scorer = KNNScorer(3, metric=metric).fit(NORMAL)
    expected = scorer.kneighbors(NEW)
    scorer.set_params(n_neighbors=2, metric="euclidean", n_centroids=2)
    assert_same(dict(enumerate(scorer.kneighbors(NEW))), dict(enumerate(expected)))


@pytest.mark.parametrize(
    ("scorer", "others"),
    [
        (KNNScorer(), {"n_neighbors": 1, "metric": "mahalanobis", "n_centroids": 2}),
        (GaussianScorer(), {"n_clusters": 2, "normalize": True, "covariance_type": "full"}),
    ],
)
def test_partial_fit_goes_on_with_the_parameters_of_the_fit(scorer, others):
    expected = results(clone(scorer).fit(NORMAL[:20]).partial_fit(NORMAL[20:]))
    scorer = clone(scorer).fit(NORMAL[:20]).set_params(**others, contamination=0.4)
    assert_same(results(scorer.partial_fit(NORMAL[20:])), expected)
    assert not hasattr(clone(scorer), "partial_fit"), "which the new parameters rule out"


@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("instance", INSTANCES, ids=lambda e: type(e).__name__)
def test_the_form_of_outputs_is_no_business_of_a_fit(instance, output):
    """Least of all where the library of that form is not installed."""
    expected = results(clone(instance).fit(NORMAL))
    with config_context(transform_output=output):
        estimator = clone(instance).fit(NORMAL)
    assert_same(results(estimator), expected)


def test_the_form_of_outputs_is_no_business_of_the_default_clusterer():
    adapter = PseudoLabelAdapter(FeatureExtractor(), n_epochs=1, augmentation=None)
    expected = clone(adapter).fit(DIGITS[:40])
    with config_context(transform_output="polars"):
        adapter.fit(DIGITS[:40])
    np.testing.assert_array_equal(adapter.labels_, expected.labels_)
    np.testing.assert_array_equal(adapter.transform(NEW), expected.transform(NEW))


def test_a_gallery_may_be_changed_behind_a_fit():
    gallery = RetrievedPixels(fusion="per_layer")
    detector = MapDetector(gallery=gallery, n_threshold_images=2).fit(NORMAL)
    expected = detector.score_maps(NEW)
    gallery.set_params(fusion="joined", n_neighbor_pixels=3)
    np.testing.assert_array_equal(detector.score_maps(NEW), expected)
