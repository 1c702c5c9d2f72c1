"""Embeddings of features."""

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skad import FeatureExtractor, KNNScorer
from skad.displays import (
    EmbeddingDisplay,
)
from skad.displays._axes import ANOMALY
from tests.displays.common import is_color


def test_embedding_is_the_principal_plane_of_the_training_features(detector, train, test, y, ax):
    display = EmbeddingDisplay.from_estimator(detector, train, test, y, ax=ax)
    extractor = detector.pipeline_[0]
    pca = PCA(2, svd_solver="full").fit(extractor.transform(train))
    assert display.train_points == pytest.approx(
        pca.transform(extractor.transform(train)), abs=1e-4
    )
    assert display.test_points == pytest.approx(pca.transform(extractor.transform(test)), abs=1e-4)
    ratio = pca.explained_variance_ratio_
    assert display.explained_variance_ratio == pytest.approx(ratio, abs=1e-5)
    assert f"({ratio[0]:.1%}" in ax.get_xlabel()
    assert f"({ratio[1]:.1%}" in ax.get_ylabel()
    normal, anomalies = display.test_scatters_
    assert np.array_equal(normal.get_offsets(), display.test_points[y == 1])
    assert np.array_equal(anomalies.get_offsets(), display.test_points[y == -1])
    assert is_color(anomalies.get_facecolor()[0], ANOMALY)
    assert np.array_equal(display.train_scatter_.get_offsets(), display.train_points)


def test_embedding_of_a_pipeline_and_of_features_agree(detector, train, test):
    pipeline = make_pipeline(FeatureExtractor(), KNNScorer()).fit(train)
    extractor = pipeline[0]
    displays = [
        EmbeddingDisplay.from_estimator(detector, train, test),
        EmbeddingDisplay.from_estimator(pipeline, train, test),
        EmbeddingDisplay.from_features(extractor.transform(train), extractor.transform(test)),
    ]
    for display in displays[1:]:
        assert np.array_equal(display.test_points, displays[0].test_points)
        assert len(display.test_scatters_) == 1


def test_features_of_a_scorer_alone_are_its_input():
    rng = np.random.RandomState(0)
    train, test = rng.normal(size=(30, 5)), rng.normal(size=(9, 5))
    for scorer in (KNNScorer().fit(train), make_pipeline(KNNScorer()).fit(train)):
        display = EmbeddingDisplay.from_estimator(scorer, train, test)
        assert display.test_points == pytest.approx(PCA(2).fit(train).transform(test))


def test_a_large_embedding_is_the_same_each_time():
    features = np.random.RandomState(0).normal(size=(600, 520))  # for which PCA draws numbers
    first, second = (EmbeddingDisplay.from_features(features, features[:5]) for _ in range(2))
    assert np.array_equal(first.test_points, second.test_points)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.eye(3)[:1], np.eye(3), "training features need 2 rows at least; got 1"),
        (np.ones((4, 1)), np.ones((4, 1)), "training features are no table.* 1 feature"),
        (np.ones((4, 3)), np.eye(3), "all 4 training rows are the same"),
        (np.eye(3), np.eye(4), "training rows have 3 features, but test rows 4"),
        (np.eye(3), np.full((2, 3), np.nan), "test features are no table.* NaN"),
        (np.ones((2, 4, 4, 3)), np.eye(3), "training features are no table.* dim 4"),
    ],
)
def test_features_that_span_no_plane_are_refused(train, test, message):
    with pytest.raises(ValueError, match=f"(?s)EmbeddingDisplay: .*{message}"):
        EmbeddingDisplay.from_features(train, test)
