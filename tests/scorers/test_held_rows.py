"""Which rows a k-NN scorer holds: those that are no neighbours of themselves."""

import numpy as np
import pytest

from skad import KNNScorer

METRICS = ["euclidean", "cosine", "angle", "mahalanobis", "mahalanobis_cosine"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_training_rows_are_held_and_others_are_not(metric, dtype):
    rng = np.random.RandomState(0)
    X, others = rng.normal(size=(40, 6)).astype(dtype), rng.normal(size=(9, 6)).astype(dtype)
    scorer = KNNScorer(metric=metric).fit(X)
    assert scorer.holds(X).all()
    assert scorer.holds(X * (1 + np.finfo(dtype).eps)).all(), "but for rounding"
    assert not scorer.holds(others).any()
    assert not scorer.holds(X * 1.01 + 0.01).any()
    assert scorer.partial_fit(others).holds(others).all()


def test_centroids_hold_no_rows():
    scorer = KNNScorer(n_centroids=2).fit(np.eye(5))
    with pytest.raises(ValueError, match="holds needs the training rows, but with n_centroids=2"):
        scorer.holds(np.eye(5))
