"""Fits that joblib's workers take part in: the bits of one process; and sums of parts."""

import os
from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from threadpoolctl import threadpool_limits

from skad import GaussianScorer, KNNScorer, Whitening
from skad._rows import plain_rows
from skad.scorers import _moments, _workers
from skad.scorers._kmeans import kmeans, kmeans_of_shards
from skad.scorers._moments import Moments
from tests.scorers.tables import table


def inertia(rows, centers):
    return np.square(rows[:, None] - centers).sum(axis=2).min(axis=1).sum()


def test_moments_are_those_of_one_process_to_the_bit():
    rows = np.random.RandomState(0).normal(size=(80_000, 64)).astype(np.float32)
    expected = Moments.of(rows)
    ways = [partial(joblib.parallel_config, name, n_jobs=2) for name in ("threading", "loky")]
    for way in (*ways, partial(threadpool_limits, 2)):
        with way():
            found = Moments.of(rows)
        for name in ("mean", "cubic", "quartic", "scatter"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_workers_take_blocks_of_a_covariance(monkeypatch):
    monkeypatch.setattr("skad.scorers._blocks._BLOCK_VALUES", 300)
    monkeypatch.setattr(_moments, "_BLOCKS_TOGETHER", 4)
    rows, sent = table("digits")[:, 20:40], []
    expected = [one.fit(rows) for one in (GaussianScorer(), Whitening())]
    of_blocks = Moments._of_blocks
    monkeypatch.setattr(Moments, "_of_blocks", lambda X: sent.append(len(X)) or of_blocks(X))
    with joblib.parallel_config("threading", n_jobs=2):
        scorer, whitening = GaussianScorer().fit(rows), Whitening().fit(rows)
    np.testing.assert_array_equal(scorer.score_samples(rows), expected[0].score_samples(rows))
    np.testing.assert_array_equal(whitening.transform(rows), expected[1].transform(rows))
    assert sent == [80] * 10


def test_moments_of_blocks_are_those_of_all_rows(monkeypatch):
    rows = table("digits") * 1e-3 + 7.0
    whole = Moments._of_block(rows)
    monkeypatch.setattr("skad.scorers._blocks._BLOCK_VALUES", 1)
    monkeypatch.setattr(_moments, "_BLOCKS_TOGETHER", 2)
    found = Moments.of(rows)
    assert found.count == whole.count
    for name in ("mean", "cubic", "quartic", "scatter"):
        wanted = getattr(whole, name)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_centroids_of_shards_are_those_of_one_process_to_the_bit(backend):
    rows = table("digits").astype(np.float32)
    scorer = KNNScorer(n_centroids=9, n_shards=3)
    expected = scorer.fit(rows).gallery_
    with joblib.parallel_config(backend, n_jobs=2):
        found = scorer.fit(rows).gallery_
    np.testing.assert_array_equal(found, expected)
    other = KNNScorer(n_centroids=9, n_shards=3, random_state=1).fit(rows).gallery_
    assert not np.array_equal(other, expected)


BLOBS, _ = make_blobs(3000, 12, centers=40, cluster_std=2.0, random_state=0)


@pytest.mark.parametrize("n_clusters", [10, 40])
@pytest.mark.parametrize("rows", [BLOBS, load_digits().data], ids=["blobs", "digits"])
def test_centroids_of_shards_are_as_good_as_those_of_all(rows, n_clusters):
    one, shards = [], []
    for seed in range(2):
        how = {"random_state": seed, "owner": "test"}
        one.append(inertia(rows, kmeans(rows, n_clusters, **how)[0]))
        parts = np.array_split(rows, 4)
        shards.append(inertia(rows, kmeans_of_shards(parts, n_clusters, prepare=plain_rows, **how)))
    assert np.mean(shards) <= 1.02 * np.mean(one)


def test_shards_that_hold_one_cluster_each_keep_it():
    centers = np.arange(4.0)[:, None] * np.full((1, 3), 100.0)
    rows = np.repeat(centers, [500, 5, 20, 200], axis=0)
    rows += np.random.RandomState(0).normal(size=rows.shape)
    shards = np.split(rows, [500, 505, 525])
    found = kmeans_of_shards(shards, 4, random_state=0, owner="test", prepare=plain_rows)
    expected = np.stack([shard.mean(axis=0) for shard in shards])
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], expected, rtol=1e-12)


def test_weights_count_as_often_as_rows_would():
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 50])
    weights = rng.randint(1, 6, 40)
    found, _ = kmeans(rows, 2, random_state=0, owner="test", weights=weights)
    often, _ = kmeans(np.repeat(rows, weights, axis=0), 2, random_state=0, owner="test")
    found, often = (centers[np.argsort(centers[:, 0])] for centers in (found, often))
    np.testing.assert_allclose(found, often, rtol=1e-12)


def test_few_distinct_rows_in_shards():
    rows = np.repeat(table("digits")[:7], 30, axis=0)
    scorer = KNNScorer(1, n_centroids=20, n_shards=4).fit(rows)
    assert 1 <= len(scorer.gallery_) <= 7
    assert np.isfinite(scorer.score_samples(rows)).all()
    with pytest.raises(ValueError, match="211 clusters need at least as many.* n_samples = 210"):
        KNNScorer(n_centroids=211, n_shards=4).fit(rows)


def test_work_is_taken_as_needed_and_given_back_in_order():
    taken = []

    def numbers():
        for i in range(6):
            taken.append(i)
            yield (i,)

    found = _workers.each(float, numbers())
    assert next(found) == 0.0
    assert taken == [0], "in turn, one at a time"
    with joblib.parallel_config("threading", n_jobs=2):
        assert _workers.has_workers()
        assert not _workers.has_processes()
        assert list(_workers.each(float, numbers())) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with joblib.parallel_config("loky", n_jobs=2):
        assert _workers.has_processes()
        assert list(_workers.each(lambda i: i, numbers(), by_processes=False)) == list(range(6))
    assert not _workers.has_workers()


def squared(number, mark):
    """Its square; the end of the process that is the first to do it."""
    if number == 3 and not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(1)
    return number**2


@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_the_work_of_a_lost_worker_is_done_by_another(tmp_path):
    arguments = [(number, str(tmp_path / "mark")) for number in range(40)]
    with (
        joblib.parallel_config("loky", n_jobs=2),
        pytest.warns(UserWarning, match="scorer: workers were lost"),
    ):
        found = list(_workers.each(squared, arguments))
    assert found == [number**2 for number in range(40)]
    assert (tmp_path / "mark").exists()
