"""Anomalies among the training rows are no neighbours, where they are taken for such."""

import pickle

import numpy as np
import pytest

from skad import KNNScorer
from skad.scorers._pollution import likely_anomalies

METRICS = ("cosine", "euclidean", "mahalanobis_cosine")


@pytest.fixture
def rows():
    """Ninety normal rows, and ten anomalies among them; which are which."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(100, 6)) + 6
    others = np.zeros(100, dtype=bool)
    others[rng.permutation(100)[:10]] = True
    rows[others] += 25 * rng.choice([-1, 1], size=(10, 6))
    return rows, others


def test_a_share_is_that_of_the_farthest():
    distances = np.array([1.0, 5.0, 2.0, 7.0, 3.0, 4.0, 6.0, 0.5, 0.1, 0.2])
    found = likely_anomalies(distances, 0.3)
    assert sorted(distances[found]) == [5.0, 6.0, 7.0]
    assert likely_anomalies(np.arange(100.0), 0.29).sum() == 29


def test_the_estimate_is_that_of_the_formula():
    rng = np.random.RandomState(0)
    distances = np.exp(rng.normal(size=400))
    distances[:20] *= 500
    logs = np.log(distances)
    low, middle = np.percentile(logs, [16, 50])
    expected = logs > middle + 2.5 * (middle - low) / 0.9945
    assert expected[:20].sum() > 15
    np.testing.assert_array_equal(likely_anomalies(distances, "estimate"), expected)


def test_copies_are_no_anomalies():
    assert not likely_anomalies(np.zeros(40), "estimate").any()
    scorer = KNNScorer(pollution="estimate").fit(np.ones((40, 3)))
    assert scorer.inlier_mask_.all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("pollution", [0.1, "estimate"])
def test_anomalies_are_found(rows, metric, pollution):
    X, others = rows
    found = ~KNNScorer(metric=metric, pollution=pollution).fit(X).inlier_mask_
    assert (found & others).sum() >= 8
    assert (found & ~others).sum() <= 4


@pytest.mark.parametrize("given", [{}, {"n_shards": 3}, {"n_centroids": 7}, {"index": "hnsw"}])
@pytest.mark.parametrize("metric", METRICS)
def test_it_is_a_fit_without_them(rows, metric, given):
    X, _ = rows
    scorer = KNNScorer(metric=metric, pollution=0.1, **given).fit(X)
    kept = np.flatnonzero(scorer.inlier_mask_)
    assert len(kept) == 90
    clean = KNNScorer(metric=metric, **given).fit(X[kept])
    queries = np.random.RandomState(1).normal(size=(30, 6)) + 6
    np.testing.assert_array_equal(scorer.score_samples(queries), clean.score_samples(queries))
    assert scorer.offset_ == clean.offset_
    if "n_centroids" not in given:
        found, expected = scorer.kneighbors(queries), clean.kneighbors(queries)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], kept[expected[1]])
        assert not scorer.holds(X[~scorer.inlier_mask_]).any()
        assert scorer.holds(X[kept]).all()
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_samples(queries), scorer.score_samples(queries))


def test_more_rows_join_as_if_they_had_been_there(rows):
    X, _ = rows
    whole = KNNScorer(pollution="estimate").fit(X)
    parts = KNNScorer(pollution="estimate").partial_fit(X[:60]).partial_fit(X[60:])
    np.testing.assert_array_equal(parts.inlier_mask_, whole.inlier_mask_)
    assert parts.offset_ == whole.offset_


def test_an_estimate_of_few_rows_is_that_there_are_none():
    rows = np.random.RandomState(0).normal(size=(29, 3))
    rows[0] = 1e3
    given = {"metric": "euclidean", "pollution": "estimate"}
    assert KNNScorer(**given).fit(rows).inlier_mask_.all()
    more = np.concatenate([rows, rows[1:] + 0.1])
    assert not KNNScorer(**given).fit(more).inlier_mask_[0]


def test_enough_rows_must_be_left(rows):
    X, _ = rows
    with pytest.raises(ValueError, match=r"pollution=0.4 leaves 2 of 3 .* needs at least 3\. Give"):
        KNNScorer(pollution=0.4).fit(X[:3])
    few = KNNScorer(1, pollution=0.4).fit(X[:6])
    assert few.n_searched == 4
    with pytest.raises(ValueError, match=r"n_neighbors must be a whole number in 1\.\.3, one less"):
        few.kneighbors(X, 4)


def test_earlier_pickles_search_all_rows(rows):
    X, _ = rows
    scorer = KNNScorer().fit(X)
    expected = scorer.score_samples(X)
    del scorer.inlier_mask_, scorer._fitted.pollution
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_samples(X), expected)
