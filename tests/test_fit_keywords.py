"""What `fit` takes beside X and y gets there by every way to `fit`."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skad import (
    PANDAOE,
    ConformalDetector,
    DeepClustering,
    GaussianScorer,
    JointOptimization,
    JointOptimizationAdapter,
    OutlierExposureAdapter,
)
from skad import FeatureExtractor as Extractor

from .instances import SMALL, SMALLEST

DIGITS, LABELS = load_digits(return_X_y=True)
NORMAL, CLASSES = DIGITS[LABELS < 2][:60], LABELS[LABELS < 2][:60]
OUTLIERS, Y = DIGITS[LABELS > 4][:24], np.where(np.arange(60) % 10, 1, -1)
SOURCE = {"X_source": OUTLIERS, "y_source": LABELS[LABELS > 4][:24] % 2}

# Estimators and keywords that they can't be fitted without, or are otherwise fitted differently.
NEEDY = {
    "outliers": (PANDAOE(**SMALL, n_steps=2), {"X_outliers": OUTLIERS}),
    "source": (JointOptimization(**SMALL, n_steps=2, source_head="new", metric="cosine"), SOURCE),
    "classes": (GaussianScorer(shrinkage=0.5), {"class_labels": CLASSES}),
    "pseudo-labels": (
        DeepClustering(**SMALLEST, n_epochs=1, augmentation=None),
        {"class_labels": CLASSES},
    ),
}
every = pytest.mark.parametrize("name", NEEDY)


@every
@pytest.mark.parametrize("y", [None, Y], ids=["no y", "y"])
def test_fit_predict_passes_keywords_on(name, y):
    estimator, keywords = NEEDY[name]
    expected = clone(estimator).fit(NORMAL, y, **keywords).predict(NORMAL)
    np.testing.assert_array_equal(clone(estimator).fit_predict(NORMAL, y, **keywords), expected)


ADAPTERS = {
    "outliers": (OutlierExposureAdapter(Extractor(**SMALL), n_steps=2), {"X_outliers": OUTLIERS}),
    "source": (
        JointOptimizationAdapter(Extractor(**SMALL), n_steps=2, source_head="new"),
        SOURCE,
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_fit_transform_passes_keywords_on(name):
    adapter, keywords = ADAPTERS[name]
    expected = clone(adapter).fit(NORMAL, Y, **keywords).transform(NORMAL)
    found = clone(adapter).fit_transform(NORMAL, Y, **keywords)
    np.testing.assert_array_equal(found, expected)


@every
def test_a_pipeline_passes_keywords_on(name):
    estimator, keywords = NEEDY[name]
    expected = clone(estimator).fit_predict(NORMAL, **keywords)
    step = type(estimator).__name__.lower()
    named = {f"{step}__{key}": value for key, value in keywords.items()}
    pipeline = make_pipeline("passthrough", clone(estimator))
    np.testing.assert_array_equal(pipeline.fit_predict(NORMAL, **named), expected)
    with config_context(enable_metadata_routing=True):
        asking = clone(estimator).set_fit_request(**dict.fromkeys(keywords, True))
        found = make_pipeline("passthrough", asking).fit_predict(NORMAL, **keywords)
    np.testing.assert_array_equal(found, expected)


@every
@pytest.mark.parametrize("method", ["split", "cross"])
def test_a_conformal_detector_passes_keywords_on(name, method):
    estimator, keywords = NEEDY[name]
    conformal = ConformalDetector(estimator, method=method, n_folds=2, false_alarm_rate=0.2)
    order = np.random.RandomState(0).permutation(54)
    folds = np.array_split(order, 2) if method == "cross" else [order[: round(0.25 * 54)]]
    conformal.fit(NORMAL, Y, **keywords)
    assert len(conformal.detectors_) == len(folds)
    for fold, detector in zip(folds, conformal.detectors_):
        rows = np.delete(np.flatnonzero(Y == 1), np.sort(fold))
        split = {k: v[rows] if len(v) == 60 else v for k, v in keywords.items()}
        expected = clone(estimator).fit(NORMAL[rows], **split)
        np.testing.assert_array_equal(
            detector.score_samples(NORMAL), expected.score_samples(NORMAL)
        )


def test_a_conformal_detector_routes_metadata():
    scorer, keywords = NEEDY["classes"]
    expected = ConformalDetector(scorer, false_alarm_rate=0.2).fit(NORMAL, **keywords)
    with config_context(enable_metadata_routing=True):
        asking = clone(scorer).set_fit_request(class_labels=True)
        conformal = ConformalDetector(asking, false_alarm_rate=0.2)
        assert conformal.get_metadata_routing().consumes("fit", ["class_labels"])
        for outer in (conformal, make_pipeline("passthrough", conformal)):
            np.testing.assert_array_equal(
                outer.fit(NORMAL, **keywords).score_samples(NORMAL),
                expected.score_samples(NORMAL),
            )
            labels = clone(outer).fit_predict(NORMAL, **keywords)
            np.testing.assert_array_equal(labels, expected.predict(NORMAL))
        inside = ConformalDetector(make_pipeline(PCA(5), clone(asking)), false_alarm_rate=0.2)
        assert len(inside.fit(NORMAL, **keywords).detectors_[0][-1].classes_) == 2
        with pytest.raises(TypeError, match="class_labels.*not requested|unexpected.*class_labels"):
            ConformalDetector(
                clone(scorer).set_fit_request(class_labels=False), false_alarm_rate=0.2
            ).fit(NORMAL, **keywords)
