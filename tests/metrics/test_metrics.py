"""AUROC with the direction made sure of, and the accuracy of clusters."""

import pickle
from itertools import permutations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import cross_val_score

from skad.metrics import AUROCScorer, auroc_score, auroc_scorer, clustering_accuracy
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


def slow_clustering_accuracy(y, labels):
    """The best of all ways to match clusters and classes, the fewer of them filled up."""
    classes, clusters = sorted(set(y)), sorted(set(labels))
    classes += [None] * (len(clusters) - len(classes))
    best = 0
    for matched in permutations(classes, len(clusters)):
        name = dict(zip(clusters, matched))
        best = max(best, sum(name[cluster] == label for cluster, label in zip(labels, y)))
    return best / len(y)


@pytest.mark.parametrize("n_classes", [1, 2, 4, 5])
@pytest.mark.parametrize("n_clusters", [1, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_clustering_accuracy_is_that_of_the_best_matching(n_classes, n_clusters, seed):
    rng = np.random.RandomState(seed)
    y, labels = rng.randint(0, n_classes, 23), rng.randint(0, n_clusters, 23)
    expected = pytest.approx(slow_clustering_accuracy(y.tolist(), labels.tolist()))
    assert clustering_accuracy(y, labels) == expected
    assert clustering_accuracy(labels, y) == expected
    assert clustering_accuracy(y.tolist(), labels.tolist()) == expected


@pytest.mark.parametrize("seed", range(3))
def test_names_of_clusters_do_not_matter(seed):
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 10, 200)
    noisy = np.where(rng.rand(200) < 0.3, rng.randint(0, 10, 200), y)
    expected = clustering_accuracy(y, noisy)
    assert 0.6 < expected < 1
    # So much noise leaves each class its own cluster.
    assert expected == np.mean(y == noisy)
    names = rng.permutation(10)
    assert clustering_accuracy(y, names[noisy]) == expected
    assert clustering_accuracy(names[y], noisy) == expected
    assert clustering_accuracy(y, names[y]) == 1
    words = np.array([f"cluster {name}" for name in names])
    assert clustering_accuracy(y, words[noisy]) == expected
    assert clustering_accuracy(words[y].astype(object), (noisy - 1).astype(float)) == expected
    assert type(clustering_accuracy(y, noisy)) is float


def test_a_cluster_stands_for_one_class_and_a_class_for_one_cluster():
    assert clustering_accuracy([0, 0, 1, 1], [0, 0, 0, 0]) == 0.5
    assert clustering_accuracy([0, 0, 0, 0], [0, 1, 2, 3]) == 0.25
    assert clustering_accuracy([0, 0, 0, 1, 1], [5, 5, 6, 7, 7]) == 0.8
    # By themselves both classes would take cluster 0.
    assert clustering_accuracy(list("aaaabbb"), [0, 0, 0, 1, 0, 0, 1]) == pytest.approx(4 / 7)
    # The largest count first, 3, would leave 0 for the other class.
    assert clustering_accuracy(list("aaaaabb"), [0, 0, 0, 1, 1, 0, 0]) == pytest.approx(4 / 7)


def test_clustering_accuracy_of_wrong_input():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clustering_accuracy([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="clustering_accuracy: y_true is empty"):
        clustering_accuracy([], [])
    with pytest.raises(ValueError, match="1d"):
        clustering_accuracy([0, 1], np.eye(2))
