"""AUROC with the direction made sure of."""

import pickle

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import cross_val_score

from skad.metrics import AUROCScorer, auroc_score, auroc_scorer
from skad.model_selection import OneClassKFold


def slow_auroc(outlier, scores):
    """Share of pairs in the right order; ties count half."""
    pairs = [(a, n) for a in scores[outlier] for n in scores[~outlier]]
    return np.mean([(a < n) + 0.5 * (a == n) for a, n in pairs])


@pytest.mark.parametrize("seed", range(5))
def test_every_way_to_label_gives_the_share_of_pairs_in_order(seed):
    rng = np.random.RandomState(seed)
    outlier, scores = rng.rand(60) < 0.3, rng.randint(0, 10, 60).astype(float)
    expected = pytest.approx(slow_auroc(outlier, scores))
    assert auroc_score(np.where(outlier, -1, 1), scores) == expected
    assert auroc_score(np.where(outlier, -1.0, 1.0), scores) == expected
    assert auroc_score(outlier, scores) == expected
    assert auroc_score(np.where(outlier, "bad", "good"), scores, outlier_label="bad") == expected
    assert auroc_score(outlier.astype(int), scores, outlier_label=1) == expected
    assert auroc_score((~outlier).astype(int), scores, outlier_label=0) == expected


@pytest.mark.parametrize("y", [[0, 1, 0, 1], ["a", "b", "a", "b"], [1, -1, 0, 1], [1, 2, 1, 1]])
def test_ambiguous_labels_are_refused(y):
    with pytest.raises(ValueError, match="Unknown label type"):
        auroc_score(y, np.arange(4.0))


@pytest.mark.parametrize("y", [[1, 1, 1], [-1, -1, -1], [True, True, True]])
def test_one_kind_alone_is_refused(y):
    with pytest.raises(ValueError, match="both kinds are needed"):
        auroc_score(y, np.arange(3.0))


def test_an_outlier_label_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="outlier_label='bda'"):
        auroc_score(["bad", "good"], [0.0, 1.0], outlier_label="bda")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        auroc_score([1, -1], [0.1, 0.2, 0.3])


def test_the_scorer_gives_what_roc_auc_gets_wrong():
    rng = np.random.RandomState(0)
    X = np.vstack([rng.normal(size=(100, 3)), rng.normal(6, 1, (50, 3))])
    is_anomaly = np.repeat([0, 1], [100, 50])
    forest = IsolationForest(random_state=0)
    cv = OneClassKFold(3, outlier_label=1)
    wrong = cross_val_score(forest, X, is_anomaly, cv=cv, scoring="roc_auc")
    right = cross_val_score(forest, X, is_anomaly, cv=cv, scoring=AUROCScorer(outlier_label=1))
    assert wrong.max() < 0.01
    assert right.min() > 0.99
    as_mask = cross_val_score(forest, X, is_anomaly == 1, cv=OneClassKFold(3), scoring=auroc_scorer)
    np.testing.assert_array_equal(as_mask, right)
    assert repr(pickle.loads(pickle.dumps(auroc_scorer))) == "AUROCScorer(outlier_label=None)"
