"""Scores in relation to those of the nearest training rows."""

import numpy as np
import pytest

from skad import EnsembleScorer, KNNScorer
from skad.metrics import auroc_score
from tests.scorers.tables import table

METRICS = ("cosine", "euclidean", "angle", "mahalanobis", "mahalanobis_cosine")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("k", "aggregation"), [(1, "mean"), (2, "sum_of_squares"), (13, "kth")])
@pytest.mark.parametrize("local_scaling", [0.5, 1.0])
def test_scores_are_those_of_the_formula(k, aggregation, metric, local_scaling):
    rows = table("digits")
    given = {"n_neighbors": k, "metric": metric, "aggregation": aggregation}
    plain = KNNScorer(**given).fit(rows[:200])
    scorer = KNNScorer(**given, local_scaling=local_scaling).fit(rows[:200])
    distances, nearest = plain.kneighbors(rows, max(k, 10))
    combine = {"mean": np.mean, "sum_of_squares": lambda d: np.dot(d, d), "kth": np.max}
    scores = np.array([combine[aggregation](found[:k]) for found in distances])
    np.testing.assert_allclose(-scores[200:], plain.score_samples(rows[200:]))
    np.testing.assert_allclose(scorer.local_scales_, scores[:200])
    expected = [
        -score / np.mean([scores[j] for j in some[:10]]) ** local_scaling
        for score, some in zip(scores, nearest)
    ]
    np.testing.assert_allclose(scorer.score_samples(rows), expected)
    assert scorer.offset_ == pytest.approx(np.percentile(expected[:200], 10))


def test_what_is_far_among_many_alike_is_near_among_few():
    rng = np.random.RandomState(0)
    dense, sparse = rng.normal(size=(2, 400, 5)) * np.array([0.05, 1])[:, None, None]
    sparse += 20
    beside = rng.normal(size=(100, 5)) * 0.05 + [0.3, 0.3, 0, 0, 0]
    X, queries = np.concatenate([dense[:300], sparse[:300]]), (dense[300:], sparse[300:], beside)
    y = np.repeat([1, 1, -1], 100)
    found = {
        share: auroc_score(
            y,
            KNNScorer(metric="euclidean", local_scaling=share)
            .fit(X)
            .score_samples(np.concatenate(queries)),
        )
        for share in (0, 0.5, 1)
    }
    assert found[0] < 0.7
    assert found[0] < found[0.5] < found[1]
    assert found[1] > 0.95


def test_wholly_in_relation_no_unit_is_left():
    rows = table("digits")
    scorer = KNNScorer(metric="euclidean", local_scaling=1)
    expected = scorer.fit(rows[:200]).score_samples(rows)
    np.testing.assert_allclose(scorer.fit(1000 * rows[:200]).score_samples(1000 * rows), expected)


@pytest.mark.parametrize("given", [{"n_shards": 3}, {"pollution": 0.2}, {"index": "hnsw"}])
def test_it_goes_with_other_ways_to_search(given):
    rows = table("digits")
    scorer = KNNScorer(local_scaling=0.5, **given).fit(rows[:200])
    searched = rows[:200][scorer.inlier_mask_]
    expected = KNNScorer(local_scaling=0.5).fit(searched)
    np.testing.assert_allclose(scorer.score_samples(rows[200:]), expected.score_samples(rows[200:]))
    assert scorer.offset_ == pytest.approx(expected.offset_)


def test_batches_are_one_fit():
    rows = table("digits")
    scorer = KNNScorer(local_scaling=0.5).fit(rows[:100]).partial_fit(rows[100:200])
    expected = KNNScorer(local_scaling=0.5).fit(rows[:200])
    np.testing.assert_array_equal(scorer.score_samples(rows), expected.score_samples(rows))
    again = scorer.set_params(local_scaling=0).fit(rows[:200])
    assert not hasattr(again, "local_scales_")


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "angle"])
@pytest.mark.parametrize("value", [0, 1])
def test_copies_of_one_row_put_others_at_a_finite_distance(value, metric):
    rows = np.full((30, 3), float(value))
    scorer = KNNScorer(metric=metric, local_scaling=1).fit(rows)
    here, there = scorer.score_samples([rows[0], [9.0, -4.0, 1.0]])
    assert np.isfinite([there, scorer.offset_]).all()
    assert there < here == 0


@pytest.mark.parametrize("metric", METRICS)
def test_few_rows_are_enough(metric):
    rows = np.random.RandomState(0).normal(size=(3, 4))
    scorer = KNNScorer(metric=metric, local_scaling=0.5).fit(rows)
    assert np.isfinite(scorer.score_samples(np.append(rows, -rows, axis=0))).all()


def test_thresholds_hold_for_new_rows():
    rng = np.random.RandomState(0)
    rates = []
    for _ in range(20):
        rows = rng.normal(size=(260, 10))
        scorer = KNNScorer(metric="euclidean", local_scaling=0.5).fit(rows[:60])
        rates.append((scorer.decision_function(rows[60:]) < 0).mean())
    assert 0.06 < np.mean(rates) < 0.14


def test_centroids_have_no_neighbors():
    rows = table("digits")
    with pytest.raises(
        ValueError, match=r"local_scaling=0.5 needs the training rows, but with n_c"
    ):
        KNNScorer(local_scaling=0.5, n_centroids=5).fit(rows)


def test_ensembles_take_it():
    rows = table("digits")
    ensemble = EnsembleScorer([KNNScorer(local_scaling=0.5)], scaling="none").fit(rows[:200])
    expected = KNNScorer(local_scaling=0.5).fit(rows[:200]).score_samples(rows)
    np.testing.assert_array_equal(ensemble.score_samples(rows), expected)
