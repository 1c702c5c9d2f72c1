"""KNNScorer against a slow numpy version, and what it promises at the edges."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skad import KNNScorer
from skad.scorers import _blocks, _indexes, _knn, _neighbors
from tests.scorers.tables import (
    COVARIANCE_KINDS,
    KINDS,
    inverse_root,
    slow_angle,
    slow_covariance,
    table,
)


def slow_scores(gallery, queries, k, metric, aggregation):
    """All distances in float64, one query at a time; a query that is a gallery row skips it."""
    tolerance = 128 * np.finfo(gallery.dtype).eps
    gallery, queries = gallery.astype(np.float64), queries.astype(np.float64)
    ours, theirs = gallery, queries
    if metric.startswith("mahalanobis"):
        root = inverse_root(slow_covariance(gallery))
        ours, theirs = gallery @ root, queries @ root
    if metric == "cosine":
        ours, theirs = (
            np.array([row / (np.linalg.norm(row) or 1.0) for row in x]) for x in (ours, theirs)
        )
    apart = slow_angle if metric in ("angle", "mahalanobis_cosine") else euclidean
    scores = []
    for raw, query in zip(queries, theirs):
        distances = np.array([apart(query, row) for row in ours])
        if metric in ("cosine", "angle"):
            same = np.array([slow_angle(raw, row) for row in gallery]) <= tolerance
        else:
            same = np.linalg.norm(gallery - raw, axis=1) <= tolerance * np.linalg.norm(raw)
        nearest = np.argsort(distances)
        if same.any():
            itself = np.where(same, distances, np.inf).argmin()
            nearest = nearest[nearest != itself]
            if metric.startswith("mahalanobis"):  # whitened without it
                root = inverse_root(slow_covariance(gallery, without=itself))
                distances = np.array([apart(raw @ root, row @ root) for row in gallery])
        nearest = np.sort(distances[nearest[:k]])
        scores.append(
            {"sum_of_squares": (nearest**2).sum(), "mean": nearest.mean(), "kth": nearest[-1]}[
                aggregation
            ]
        )
    return -np.array(scores)


def euclidean(a, b):
    return np.linalg.norm(a - b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k", "aggregation"), [(1, "mean"), (2, "sum_of_squares"), (7, "kth")])
def test_scores_equal_the_slow_version(k, aggregation, metric, kind, dtype):
    check_against_slow(table(kind).astype(dtype), k, metric, aggregation)


@pytest.mark.parametrize("kind", COVARIANCE_KINDS)
@pytest.mark.parametrize("metric", ["angle", "mahalanobis", "mahalanobis_cosine"])
def test_whitened_scores_and_angles_equal_the_slow_version(metric, kind):
    rows = table(kind)[:150, :60]  # the slow version takes a while
    check_against_slow(rows, 1, metric, "mean")
    check_against_slow(rows.astype(np.float32), 1, metric, "sum_of_squares")


def check_against_slow(rows, k, metric, aggregation):
    gallery, queries = rows[::2], rows[1::4]
    scorer = KNNScorer(k, metric=metric, aggregation=aggregation).fit(gallery)
    expected = slow_scores(gallery, queries, k, metric, aggregation)
    # Unit vectors in float64 tell no smaller angles apart.
    rounding = 1e-11 if metric == "mahalanobis_cosine" else 1e-13 * np.abs(expected).max()
    np.testing.assert_allclose(scorer.score_samples(queries), expected, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("kind", ["high-dimensional", "digits", "duplicates", "large numbers"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_training_rows_are_scored_leave_one_out(metric, kind):
    rows = table(kind)[:60]
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


@pytest.mark.parametrize("metric", ["euclidean", "mahalanobis", "mahalanobis_cosine"])
@pytest.mark.parametrize("n_rows", [20, 60, 300])
def test_thresholds_hold_for_new_rows_however_few_were_fitted(n_rows, metric):
    """Of rows whitened by a covariance that holds them, too few would be beyond the threshold."""
    rng = np.random.RandomState(0)
    rates = []
    for _ in range(20):
        rows = rng.normal(size=(n_rows + 200, 100)) * np.geomspace(1, 0.05, 100)
        scorer = KNNScorer(2, metric=metric, shrinkage=0.3).fit(rows[:n_rows])
        rates.append((scorer.decision_function(rows[n_rows:]) < 0).mean())
        assert (scorer.predict(rows[:n_rows]) < 0).sum() == n_rows // 10
    assert 0.08 < np.mean(rates) < 0.16


def test_far_queries_are_scored_by_their_distance():
    gallery = np.random.RandomState(0).normal(size=(50, 4))
    queries = np.array([[1e12, 0, 0, 0], [1e25, 1e25, 0, 0]])
    scorer = KNNScorer(1, metric="euclidean", aggregation="mean").fit(gallery)
    expected = -np.linalg.norm(queries, axis=1)
    np.testing.assert_allclose(scorer.score_samples(queries), expected, rtol=1e-6)


def test_float32_alone_would_miss_neighbors(monkeypatch):
    rows = table("far clusters")
    monkeypatch.setattr(_neighbors, "_SPARE", 0)
    monkeypatch.setattr(_neighbors.NeighborIndex, "_search_error", lambda *_: -1e9)
    unchecked = KNNScorer(2, metric="euclidean").fit(rows[::2]).score_samples(rows[1::2])
    expected = slow_scores(rows[::2], rows[1::2], 2, "euclidean", "sum_of_squares")
    assert not np.allclose(unchecked, expected, rtol=1e-6, atol=0)


def test_a_zero_row_has_no_direction():
    gallery = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    scores = KNNScorer(1).fit(gallery).score_samples([[0.0, 0.0]])
    assert scores == pytest.approx([-1.0])  # to any unit vector


@pytest.mark.parametrize("n_queries", [1, 7, 400])
def test_scores_do_not_depend_on_the_number_or_order_of_queries(n_queries):
    rows = table("high-dimensional").astype(np.float32)
    scorer = KNNScorer().fit(rows[:100])
    expected = scorer.score_samples(rows)
    order = np.random.RandomState(1).permutation(400)[:n_queries]
    np.testing.assert_array_equal(scorer.score_samples(rows[order]), expected[order])


def test_scores_do_not_depend_on_the_order_of_the_gallery():
    rows = table("digits")
    expected = KNNScorer().fit(rows[:200]).score_samples(rows)
    np.testing.assert_array_equal(KNNScorer().fit(rows[:200][::-1]).score_samples(rows), expected)


def test_blocks_do_not_matter(monkeypatch):
    rows = table("digits")
    expected = KNNScorer().fit(rows[:200]).score_samples(rows)
    monkeypatch.setattr(_blocks, "_BLOCK_VALUES", 1000)
    monkeypatch.setattr(_neighbors, "_AT_ONCE", 3)
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
    rows = table("high-dimensional")
    labels = KNNScorer(contamination=contamination).fit_predict(rows)
    assert (labels == -1).mean() == pytest.approx(contamination, abs=1 / 400)


def test_labelled_anomalies_are_left_out():
    rows = table("digits")
    y = np.where(np.arange(400) % 3 == 0, -1, 1)
    expected = KNNScorer().fit(rows[y == 1])
    as_series = pd.Series(y == -1, dtype="boolean")
    for labels in (y, y == -1, y.astype(float), y.tolist(), y.astype(object), as_series):
        found = KNNScorer().fit(rows, labels)
        np.testing.assert_array_equal(found.gallery_, expected.gallery_)
        assert found.offset_ == expected.offset_
    labels = KNNScorer().fit_predict(rows, y)
    np.testing.assert_array_equal(labels, expected.predict(rows))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "mahalanobis", "mahalanobis_cosine"])
def test_partial_fit_is_a_fit_to_all_rows(metric):
    rows = table("digits")
    whole = KNNScorer(metric=metric).fit(rows[:200])
    grown = KNNScorer(metric=metric)
    for start in range(0, 200, 50):
        y = np.where(np.arange(60) < 50, 1, -1)  # ten labelled anomalies in each batch
        grown.partial_fit(np.concatenate([rows[start : start + 50], rows[390:]]), y)
    np.testing.assert_array_equal(grown.score_samples(rows), whole.score_samples(rows))
    assert grown.offset_ == whole.offset_


def test_centroids_are_means_of_what_is_nearest():
    rng = np.random.RandomState(0)
    centers = rng.normal(size=(5, 20)) * 10
    rows = (centers[:, None] + rng.normal(size=(5, 30, 20)) * 0.1).reshape(-1, 20)
    scorer = KNNScorer(1, metric="euclidean", n_centroids=5).fit(rows)
    expected = rows.reshape(5, 30, 20).mean(axis=1)
    found = scorer.gallery_[np.lexsort(scorer.gallery_.T)]
    np.testing.assert_allclose(found, expected[np.lexsort(expected.T)], rtol=1e-12)
    queries = rng.normal(size=(50, 20)) * 10
    apart = np.linalg.norm(queries[:, None] - expected, axis=2).min(axis=1)
    np.testing.assert_allclose(scorer.score_samples(queries), -(apart**2), rtol=1e-9)


@pytest.mark.parametrize("metric", ["cosine", "angle", "mahalanobis_cosine"])
def test_centroids_of_directions_have_unit_length(metric):
    rows = table("digits")
    scorer = KNNScorer(metric=metric, n_centroids=7).fit(rows)
    np.testing.assert_allclose(np.linalg.norm(scorer.gallery_, axis=1), 1.0, rtol=1e-12)
    one = KNNScorer(metric="cosine", n_centroids=1).fit(rows)  # k is lowered to 1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = unit.mean(axis=0) / np.linalg.norm(unit.mean(axis=0))
    np.testing.assert_allclose(one.score_samples(rows), 2 * (unit @ mean - 1), rtol=1e-6)


def test_as_many_centroids_as_distinct_rows_are_the_rows():
    rows = np.repeat(table("digits")[:30], 3, axis=0)
    scorer = KNNScorer(1, metric="euclidean", n_centroids=60).fit(rows)
    assert len(scorer.gallery_) == 30
    assert np.isfinite(scorer.score_samples(table("digits"))).all()
    with pytest.raises(ValueError, match="91 clusters need at least as many.* n_samples = 90"):
        KNNScorer(n_centroids=91).fit(rows)


def test_centroids_depend_on_the_seed_alone():
    rows = table("high-dimensional")
    before = np.random.get_state()[1].copy()
    first, same, other = (KNNScorer(n_centroids=9, random_state=s).fit(rows) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.gallery_, same.gallery_)
    assert not np.array_equal(first.gallery_, other.gallery_)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_what_centroids_rule_out():
    scorer = KNNScorer(n_centroids=3).fit(table("digits"))
    with pytest.raises(AttributeError) as error:
        scorer.partial_fit(table("digits"))
    assert "no partial_fit with n_centroids=3" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="kneighbors needs the training rows"):
        scorer.kneighbors(table("digits"))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "mahalanobis"])
def test_kneighbors_names_training_rows(metric):
    rows = table("digits")
    scorer = KNNScorer(2, metric=metric, aggregation="mean").fit(rows[:100])
    distances, indices = scorer.kneighbors(rows, 5)
    assert distances.shape == indices.shape == (400, 5)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert not (indices[:100] == np.arange(100)[:, None]).any()  # not its own neighbour
    new = slice(100, None) if metric == "mahalanobis" else slice(None)  # else of five, by others
    expected = scorer.score_samples(rows)
    np.testing.assert_allclose(-distances[new, :2].mean(axis=1), expected[new])
    np.testing.assert_allclose(-scorer.kneighbors(rows)[0].mean(axis=1), expected)
    assert scorer.kneighbors(rows)[0].shape == (400, 2)
    for n_neighbors in (0, 100, 2.5):
        with pytest.raises(ValueError, match=r"must be a whole number in 1\.\.99"):
            scorer.kneighbors(rows, n_neighbors)


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_approximate_indexes_find_most_neighbors_and_measure_exactly(index):
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(6000, 4)) @ rng.normal(size=(4, 32))
    exact = KNNScorer(1, metric="euclidean").fit(rows[:5000])
    scorer = KNNScorer(1, metric="euclidean", index=index).fit(rows[:5000])
    assert (scorer.index_, exact.index_) == (index, "exact")
    found, expected = scorer.score_samples(rows), exact.score_samples(rows)
    assert np.isclose(found, expected, rtol=1e-9).mean() > 0.97
    assert (found <= expected + 1e-9 * np.abs(expected)).all()  # never nearer than the nearest
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_samples(rows), found)


def saved_and_loaded(scorer, folder):
    """Copies of a scorer by every way that there is."""
    joblib.dump(scorer, folder / "scorer")
    yield pickle.loads(pickle.dumps(scorer))
    yield copy.deepcopy(scorer)
    yield joblib.load(folder / "scorer")
    yield joblib.load(folder / "scorer", mmap_mode="r")


@pytest.mark.parametrize("n_centroids", [None, 50])
@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
def test_approximate_indexes_are_built_once(index, n_centroids, monkeypatch, tmp_path):
    built, build = [], _indexes.BUILDERS[index]
    monkeypatch.setitem(
        _indexes.BUILDERS, index, lambda rows: built.append(len(rows)) or build(rows)
    )
    rows, queries = table("digits"), table("digits")[::3] + 0.5
    scorer = KNNScorer(index=index, metric="mahalanobis", n_centroids=n_centroids).fit(rows)
    expected = scorer.score_samples(queries)
    for again in saved_and_loaded(scorer, tmp_path):
        np.testing.assert_array_equal(again.score_samples(queries), expected)
        again = pickle.loads(pickle.dumps(again))
        np.testing.assert_array_equal(again.score_samples(queries), expected)
    assert len(built) == (1 + 2 * 4 if index == "exact" else 1)
    np.testing.assert_array_equal(clone(scorer).fit(rows).score_samples(queries), expected)
    assert pickle.loads(pickle.dumps(clone(scorer))).index == index  # unfitted


def test_an_index_of_another_faiss_is_built_again_with_a_warning():
    rows = table("digits")
    scorer = KNNScorer(index="hnsw").fit(rows)
    state = scorer.__getstate__()
    state["_written"] = np.frombuffer(b"IxYZ" + state["_written"].tobytes()[4:], np.uint8)
    again = KNNScorer()
    with pytest.warns(UserWarning, match="KNNScorer: faiss .* can't read .* built again"):
        again.__setstate__(state)
    np.testing.assert_array_equal(again.score_samples(rows), scorer.score_samples(rows))


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_approximate_indexes_of_few_or_equal_rows(index):
    few = table("two rows")
    scorer = KNNScorer(1, metric="euclidean", index=index).fit(few)
    expected = KNNScorer(1, metric="euclidean").fit(few).score_samples(few)
    np.testing.assert_allclose(scorer.score_samples(few), expected)
    equal = np.ones((300, 4))
    assert (KNNScorer(index=index).fit(equal).score_samples(equal) == 0).all()


def test_the_automatic_index_says_when_it_is_not_exact(monkeypatch):
    monkeypatch.setattr(_knn, "LARGE", 300)
    rows = table("digits")
    assert KNNScorer().fit(rows[:300]).index_ == "exact"
    with pytest.warns(UserWarning, match="for 400 rows, more than 300.* takes 'hnsw'"):
        scorer = KNNScorer().fit(rows)
    assert scorer.index_ == "hnsw"
    assert KNNScorer(index="exact").fit(rows).index_ == "exact"


def test_numbers_of_numpy_are_numbers():
    rows = table("digits")
    expected = KNNScorer(3).fit(rows).score_samples(rows)
    found = KNNScorer(np.int64(3)).fit(rows)
    np.testing.assert_array_equal(found.score_samples(rows), expected)
    assert found.kneighbors(rows, np.int32(2))[0].shape == (400, 2)
    assert len(KNNScorer(n_centroids=np.int16(4)).fit(rows).gallery_) == 4


def test_one_far_row_does_not_make_the_search_slow(monkeypatch):
    rows = table("high-dimensional").astype(np.float32)
    rows[0] = 600
    again = []
    search = _neighbors.NeighborIndex._search_float64
    monkeypatch.setattr(
        _neighbors.NeighborIndex,
        "_search_float64",
        lambda self, queries, k: again.append(len(queries)) or search(self, queries, k),
    )
    check_against_slow(rows, 2, "euclidean", "mean")
    assert sum(again) < 10  # of 600 searches, those of the fit among them


def test_whitened_neighbors_are_told_apart_in_bounded_memory():
    import tracemalloc

    rows = np.random.RandomState(0).normal(size=(1000, 256)).astype(np.float32)
    scorer = KNNScorer(50, metric="mahalanobis")
    tracemalloc.start()
    try:
        scorer.fit(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25 * rows.nbytes  # all neighbours of all rows at once would take 100


def test_galleries_are_freed_at_once():
    import gc
    import weakref

    scorer = KNNScorer().fit(table("digits"))
    gone = weakref.ref(scorer)
    gc.disable()
    try:
        del scorer
        assert gone() is None
    finally:
        gc.enable()


def test_a_refit_forgets_the_whitening():
    scorer = KNNScorer(metric="mahalanobis").fit(table("digits"))
    assert "whitening_" not in vars(scorer.set_params(metric="cosine").fit(table("digits")))
