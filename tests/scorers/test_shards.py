"""Galleries in parts: what one index finds, to the bit, whoever searches them."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skad
from skad import DN2, KNNScorer
from skad._rows import plain_rows, unit_rows
from skad.scorers import _neighbors, _shards
from skad.scorers._neighbors import NeighborIndex
from skad.scorers._shards import ShardedIndex
from tests.scorers.tables import KINDS, table

METRICS = ["euclidean", "cosine", "angle", "mahalanobis", "mahalanobis_cosine"]
AGGREGATIONS = ["sum_of_squares", "mean", "kth"]

# Random rows and those that tie: on a lattice, on a line, all but equal, with copies of rows.
GALLERIES = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "lattice": lambda rng, n, d: rng.randint(-1, 2, (n, d)) + 0.0,
    "line": lambda rng, n, d: np.outer(rng.rand(n), np.ones(d)) + 1.0,
    "collapsed": lambda rng, n, d: 1.0 + 1e-13 * rng.randint(0, 3, (n, d)),
    "copies": lambda rng, n, d: rng.normal(size=(3, d))[rng.randint(0, 3, n)],
}


def slowly(gallery, queries, prepare, n_neighbors):
    """All distances in float64; of equal ones the first row."""
    gallery, found = prepare(gallery), []
    for query in prepare(queries):
        apart = gallery - query
        squared = np.einsum("nd,nd->n", apart, apart)
        order = np.lexsort((np.arange(len(gallery)), squared))[:n_neighbors]
        found.append((squared[order], order))
    return tuple(map(np.stack, zip(*found)))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(GALLERIES)),
    shape=st.tuples(st.integers(2, 60), st.integers(1, 9)),
    n_shards=st.integers(1, 5),
    n_neighbors=st.integers(1, 8),
    prepare=st.sampled_from([plain_rows, unit_rows]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 9),
)
def test_the_nearest_are_those_of_a_slow_search(
    kind, shape, n_shards, n_neighbors, prepare, dtype, seed
):
    rng = np.random.RandomState(seed)
    rows = GALLERIES[kind](rng, *shape).astype(dtype)
    far = rows[:2] * 1e9 + 1e4
    queries = np.concatenate([rows[::3], GALLERIES[kind](rng, 5, shape[1]), far]).astype(dtype)
    n_neighbors = min(n_neighbors, len(rows))
    expected = slowly(rows, queries, prepare, n_neighbors)
    for index in (
        NeighborIndex(rows, prepare),
        ShardedIndex(rows, prepare, "exact", n_shards),
        ShardedIndex(np.asfortranarray(rows), prepare, "exact", n_shards),
    ):
        for found, wanted in zip(index.search(queries, n_neighbors), expected):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["high-dimensional", *KINDS[1:]])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_and_neighbours_are_those_of_one_index(metric, kind):
    if kind == "far clusters" and metric.startswith("mahalanobis"):
        pytest.skip("their covariance leaves nothing of the other directions")
    rows = table(kind)[:150, :30]
    gallery = np.concatenate([rows[::2], rows[:20:2]])  # some twice
    queries = np.concatenate([rows[1::2], gallery[:30]])
    for n_shards, aggregation in zip((2, 3, 5), AGGREGATIONS):
        one, shards = (
            KNNScorer(3, metric=metric, aggregation=aggregation, n_shards=n).fit(gallery)
            for n in (1, n_shards)
        )
        assert shards.offset_ == one.offset_
        np.testing.assert_array_equal(shards.score_samples(queries), one.score_samples(queries))
        np.testing.assert_array_equal(shards.holds(queries), one.holds(queries))
        for found, expected in zip(shards.kneighbors(queries, 7), one.kneighbors(queries, 7)):
            np.testing.assert_array_equal(found, expected)


def test_more_shards_than_rows_and_rows_that_come_later():
    rows = table("digits")
    one, shards = KNNScorer(3).fit(rows[:60]), KNNScorer(3, n_shards=50).fit(rows[:20])
    shards.partial_fit(rows[20:60])
    np.testing.assert_array_equal(shards.score_samples(rows), one.score_samples(rows))
    few = KNNScorer(3, n_shards=500).fit(rows[:60])
    np.testing.assert_array_equal(few.score_samples(rows), one.score_samples(rows))


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_approximate_shards_find_as_many_neighbours(index):
    rng = np.random.RandomState(0)
    rows = (rng.normal(size=(3500, 4)) @ rng.normal(size=(4, 32))).astype(np.float32)
    gallery, queries = rows[:3000], rows[3000:]
    _, expected = KNNScorer(metric="euclidean").fit(gallery).kneighbors(queries, 3)

    def recall(n_shards):
        scorer = KNNScorer(metric="euclidean", index=index, n_shards=n_shards).fit(gallery)
        pairs = zip(scorer.kneighbors(queries, 3)[1], expected)
        return np.mean([np.isin(found, wanted).mean() for found, wanted in pairs])

    assert recall(4) >= max(recall(1) - 1e-3, 0.97)


@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
def test_shards_are_kept_as_one_index_is(index, monkeypatch, tmp_path):
    rows = table("digits")
    scorer = KNNScorer(metric="mahalanobis", index=index, n_shards=3).fit(rows[::2])
    expected = scorer.score_samples(rows)
    if index != "exact":  # which must not be built again
        monkeypatch.setitem(_neighbors.BUILDERS, index, None)
    skad.save(scorer, tmp_path / "scorer.skad")
    joblib.dump(scorer, tmp_path / "scorer")
    for again in (
        pickle.loads(pickle.dumps(scorer)),
        copy.deepcopy(scorer),
        joblib.load(tmp_path / "scorer", mmap_mode="r"),
        skad.load(tmp_path / "scorer.skad"),
    ):
        np.testing.assert_array_equal(again.score_samples(rows), expected)
    if index == "exact":
        assert len(pickle.dumps(scorer)) < 1.2 * (rows[::2].nbytes + rows.shape[1] ** 2 * 16)


def test_shards_of_another_faiss_are_built_again_with_a_warning():
    rows = table("digits")
    scorer = KNNScorer(index="ivf", n_shards=2).fit(rows)
    state = scorer.__getstate__()
    state["_written"][1] = np.frombuffer(b"IxYZ" + state["_written"][1].tobytes()[4:], np.uint8)
    again = KNNScorer()
    with pytest.warns(UserWarning, match="KNNScorer: faiss .* can't read .* built again"):
        again.__setstate__(state)
    np.testing.assert_array_equal(again.score_samples(rows), scorer.score_samples(rows))


def test_pickles_from_before_there_were_shards_are_one():
    scorer = KNNScorer().fit(table("digits"))
    state = scorer.__getstate__()
    del state["_fitted"].n_shards, state["n_shards"]
    again = KNNScorer()
    again.__setstate__(state)
    np.testing.assert_array_equal(again.gallery_, scorer.gallery_)
    assert again.offset_ == scorer.offset_


@pytest.mark.parametrize("index", ["exact", "hnsw"])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_find_the_same(backend, index):
    rows = table("high-dimensional").astype(np.float32)
    queries = np.concatenate([rows[1::2], rows[::2]])
    expected = KNNScorer(index=index, n_shards=3).fit(rows[::2])
    with joblib.parallel_config(backend, n_jobs=2):
        scorer = KNNScorer(index=index, n_shards=3).fit(rows[::2])
        found = scorer.kneighbors(queries, 4)
    assert scorer.offset_ == expected.offset_
    for part, wanted in zip(found, expected.kneighbors(queries, 4)):
        np.testing.assert_array_equal(part, wanted)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(scorer)).score_samples(rows), expected.score_samples(rows)
    )


def test_processes_search_many_queries_and_keep_what_they_built():
    rows = np.random.RandomState(0).normal(size=(700, 20))
    index = ShardedIndex(rows, plain_rows, "exact", 3)
    with joblib.parallel_config("loky", n_jobs=2):
        found = index.search(rows, 2)
        assert index._indexes == [None] * 3, "nothing was built here"
        for part, again in zip(found, index.search(rows, 2)):
            np.testing.assert_array_equal(part, again)
        index.search(rows[:5], 2)
    assert all(index._indexes), "five queries are not worth sending the gallery"


def test_parts_are_sent_once(monkeypatch):
    """Processes that are this one, so that what goes to them can be counted."""
    rows, sent = np.random.RandomState(0).normal(size=(700, 20)), []
    search = _shards._search_sent
    monkeypatch.setattr(_shards, "has_processes", lambda: True)
    monkeypatch.setattr(_shards, "_KEPT", _shards._Kept(2))
    monkeypatch.setattr(_shards, "_search_sent", lambda *a: sent.append(len(a[1])) or search(*a))
    expected = NeighborIndex(rows, plain_rows).search(rows, 2)
    for n_shards in (2, 3):
        index = ShardedIndex(rows, plain_rows, "exact", n_shards)
        for _ in range(2):
            for part, wanted in zip(index.search(rows, 2), expected):
                np.testing.assert_array_equal(part, wanted)
    assert sent[:5] == [350, 350, 234, 233, 233]
    assert len(sent) > 5, "a worker that keeps two has not all three"


def test_workers_keep_the_last_few_indexes_that_they_built():
    kept, made = _shards._Kept(2), []
    for name in "abbacab":
        assert kept.get(name, lambda n=name: made.append(n) or n * 2) == name * 2
    assert made == ["a", "b", "c", "b"]
    assert kept.get("c") is None
    assert kept.get("a") == "aa"


def test_parts_are_known_by_what_they_hold():
    rows = np.arange(12.0).reshape(4, 3)
    one = _shards._digest(rows, plain_rows, "exact")
    assert one == _shards._digest(rows.copy(order="F"), plain_rows, "exact")
    others = [(rows + 1e-9, plain_rows, "exact"), (rows.reshape(3, 4), plain_rows, "exact")]
    others += [(rows, unit_rows, "exact"), (rows, plain_rows, "ivf")]
    assert len({one, *(_shards._digest(*other) for other in others)}) == 5


def test_detectors_have_shards():
    images = np.random.RandomState(0).randint(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    one, shards = (DN2(image_size=32, n_shards=n).fit(images) for n in (1, 3))
    np.testing.assert_array_equal(shards.score_samples(images), one.score_samples(images))
    with pytest.raises(ValueError, match="'n_shards' parameter of DN2 must be an int"):
        DN2(n_shards=0).fit(images)
