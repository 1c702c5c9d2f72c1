"""KNNScorer against a slow numpy version, and what it promises at the edges."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from skad import KNNScorer
from skad.scorers import _neighbors


def slow_scores(gallery, queries, k, metric, aggregation):
    """All distances in float64, one query at a time; a query that is a gallery row skips it."""
    rounding = 128 * np.finfo(gallery.dtype).eps
    gallery, queries = gallery.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        gallery, queries = (
            x / np.where(np.linalg.norm(x, axis=1) == 0, 1, np.linalg.norm(x, axis=1))[:, None]
            for x in (gallery, queries)
        )
    scores = []
    for query in queries:
        squared = np.sort(((gallery - query) ** 2).sum(axis=1))
        nearest = (
            squared[1 : k + 1]
            if squared[0] <= (rounding * np.linalg.norm(query)) ** 2
            else squared[:k]
        )
        scores.append(
            -nearest.sum() if aggregation == "sum_of_squares" else -np.sqrt(nearest).mean()
        )
    return np.array(scores)


def data(kind):
    rng = np.random.RandomState(0)
    if kind == "digits":
        return load_digits().data[:400]
    if kind == "clustered":
        return np.repeat(rng.normal(size=(40, 5)), 10, axis=0) + rng.normal(size=(400, 5)) * 1e-4
    if kind == "duplicates":
        return rng.randint(0, 3, (400, 3)) + 1.0
    if kind == "constant columns":
        return np.hstack([rng.normal(size=(400, 4)), np.full((400, 6), 1e4)])
    if kind == "dense line":
        return np.hstack(
            [np.linspace(1, 2, 400)[:, None] + rng.rand(400, 1) * 1e-3, np.ones((400, 1))]
        )
    if kind == "far clusters":
        return rng.rand(400, 64) * 0.3 + rng.randint(0, 2, (400, 1)) * 1e6
    if kind == "tiny numbers":
        return rng.normal(size=(400, 8)) * 1e-20
    if kind == "large numbers":
        return rng.normal(size=(400, 8)) * 1e20
    return rng.normal(size=(400, 300))


KINDS = [
    "high-dimensional",
    "digits",
    "clustered",
    "duplicates",
    "constant columns",
    "dense line",
    "far clusters",
    "tiny numbers",
    "large numbers",
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k", "aggregation"), [(1, "mean"), (2, "sum_of_squares"), (7, "mean")])
def test_scores_equal_the_slow_version(k, aggregation, metric, kind, dtype):
    rows = data(kind).astype(dtype)
    gallery, queries = rows[::2], rows[1::2]
    scorer = KNNScorer(k, metric=metric, aggregation=aggregation).fit(gallery)
    expected = slow_scores(gallery, queries, k, metric, aggregation)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        scorer.score_samples(queries), expected, rtol=1e-6, atol=1e-13 * scale
    )


@pytest.mark.parametrize("kind", ["high-dimensional", "digits", "duplicates", "large numbers"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_training_rows_are_scored_leave_one_out(metric, kind):
    rows = data(kind)[:60]
    scorer = KNNScorer(3, metric=metric).fit(rows)
    alone = [
        slow_scores(np.delete(rows, i, axis=0), rows[i : i + 1] + 0, 3, metric, "sum_of_squares")
        for i in range(len(rows))
    ]
    if kind == "duplicates":  # the slow version skips the second copy too
        alone = slow_scores(rows, rows, 3, metric, "sum_of_squares")[:, None]
    found = scorer.score_samples(rows)
    np.testing.assert_allclose(found, np.ravel(alone), rtol=1e-6, atol=1e-13 * np.abs(found).max())
    assert scorer.offset_ == pytest.approx(np.percentile(found, 10))


def test_far_queries_are_scored_by_their_distance():
    gallery = np.random.RandomState(0).normal(size=(50, 4))
    queries = np.array([[1e12, 0, 0, 0], [1e25, 1e25, 0, 0]])
    scorer = KNNScorer(1, metric="euclidean", aggregation="mean").fit(gallery)
    expected = -np.linalg.norm(queries, axis=1)
    np.testing.assert_allclose(scorer.score_samples(queries), expected, rtol=1e-6)


def test_float32_alone_would_miss_neighbors(monkeypatch):
    rows = data("far clusters")
    monkeypatch.setattr(_neighbors, "_SPARE", 0)
    monkeypatch.setattr(_neighbors.NeighborIndex, "_search_error", lambda self, norms: -1e9)
    unchecked = KNNScorer(2, metric="euclidean").fit(rows[::2]).score_samples(rows[1::2])
    expected = slow_scores(rows[::2], rows[1::2], 2, "euclidean", "sum_of_squares")
    assert not np.allclose(unchecked, expected, rtol=1e-6, atol=0)


def test_a_zero_row_has_no_direction():
    gallery = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    scores = KNNScorer(1).fit(gallery).score_samples([[0.0, 0.0]])
    assert scores == pytest.approx([-1.0])  # to any unit vector


@pytest.mark.parametrize("n_queries", [1, 7, 400])
def test_scores_do_not_depend_on_the_number_or_order_of_queries(n_queries):
    rows = data("high-dimensional").astype(np.float32)
    scorer = KNNScorer().fit(rows[:100])
    expected = scorer.score_samples(rows)
    order = np.random.RandomState(1).permutation(400)[:n_queries]
    np.testing.assert_array_equal(scorer.score_samples(rows[order]), expected[order])


def test_scores_do_not_depend_on_the_order_of_the_gallery():
    rows = data("digits")
    expected = KNNScorer().fit(rows[:200]).score_samples(rows)
    np.testing.assert_array_equal(KNNScorer().fit(rows[:200][::-1]).score_samples(rows), expected)


def test_blocks_do_not_matter(monkeypatch):
    rows = data("digits")
    expected = KNNScorer().fit(rows[:200]).score_samples(rows)
    monkeypatch.setattr(_neighbors, "_BLOCK_VALUES", 1000)
    np.testing.assert_array_equal(KNNScorer().fit(rows[:200]).score_samples(rows), expected)


def test_pickles_hold_the_gallery_once():
    rows = np.random.RandomState(0).normal(size=(1000, 64)).astype(np.float32)
    scorer = KNNScorer().fit(rows)
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 1.05 * rows.nbytes
    np.testing.assert_array_equal(
        pickle.loads(pickled).score_samples(rows), scorer.score_samples(rows)
    )


@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.37, 0.5])
def test_contamination_is_the_share_of_training_rows_beyond_the_threshold(contamination):
    rows = data("high-dimensional")
    labels = KNNScorer(contamination=contamination).fit_predict(rows)
    assert (labels == -1).mean() == pytest.approx(contamination, abs=1 / 400)


def test_labelled_anomalies_are_left_out():
    rows = data("digits")
    y = np.where(np.arange(400) % 3 == 0, -1, 1)
    expected = KNNScorer().fit(rows[y == 1])
    as_series = pd.Series(y == -1, dtype="boolean")
    for labels in (y, y == -1, y.astype(float), y.tolist(), y.astype(object), as_series):
        found = KNNScorer().fit(rows, labels)
        np.testing.assert_array_equal(found.gallery_, expected.gallery_)
        assert found.offset_ == expected.offset_
    labels = KNNScorer().fit_predict(rows, y)
    np.testing.assert_array_equal(labels, expected.predict(rows))
