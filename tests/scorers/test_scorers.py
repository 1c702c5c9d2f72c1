"""The other scorers against slow versions, and what all keep."""

import pickle

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skad import (
    CentroidScorer,
    ConfidenceScorer,
    EnsembleScorer,
    GaussianScorer,
    KDEScorer,
    KNNScorer,
    SklearnScorer,
)
from skad.scorers import _blocks
from tests.scorers.common import assert_close, unit
from tests.scorers.tables import COVARIANCE_KINDS, inverse_root, slow_angle, slow_covariance, table


@pytest.mark.parametrize("kind", COVARIANCE_KINDS)
@pytest.mark.parametrize("metric", ["cosine", "mahalanobis_cosine", "euclidean"])
def test_centroid_equals_the_slow_version(metric, kind):
    rows = table(kind)[:, :60] + (0.5 if kind == "high-dimensional" else 0.0)
    train, queries = rows[::2], rows[1::2]
    scorer = CentroidScorer(metric).fit(train)
    found = scorer.score_samples(queries)
    mean = train.mean(axis=0)
    if metric == "euclidean":
        expected = -np.array([np.linalg.norm(x - mean) for x in queries])
    else:
        root = np.eye(len(mean))
        if metric == "mahalanobis_cosine":
            root = inverse_root(slow_covariance(train))
        expected = -np.array([slow_angle(x @ root, mean @ root) for x in queries])
    # The whitened constant columns are 1e8 times as long as what differs.
    assert_close(found, expected, 1e-6 if kind == "constant columns" else 1e-9)


def test_centroid_at_a_given_place():
    rows = table("digits")
    center = np.linspace(0, 16, 64)
    found = CentroidScorer("squared_euclidean", center=center).fit(rows).score_samples(rows)
    np.testing.assert_allclose(found, -np.square(rows - center).sum(axis=1))
    found = CentroidScorer("euclidean", center="origin").fit(rows).score_samples(rows)
    np.testing.assert_allclose(found, -np.linalg.norm(rows, axis=1))


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis_cosine", "euclidean"])
def test_centroid_ranges_leave_each_row_out(metric):
    rows = table("few rows")
    scorer = CentroidScorer(metric).fit(rows)
    root = np.eye(50)
    if metric == "mahalanobis_cosine":
        root = inverse_root(slow_covariance(rows))
    apart = slow_angle if metric.endswith("cosine") else lambda a, b: np.linalg.norm(a - b)
    expected = [
        -apart(rows[i] @ root, np.delete(rows, i, axis=0).mean(axis=0) @ root)
        for i in range(len(rows))
    ]
    np.testing.assert_allclose(scorer._training_scores(rows), expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", ["scale", 0.5, 300.0])
@pytest.mark.parametrize("kind", ["digits", "clustered", "duplicates", "few rows", "large numbers"])
def test_kde_equals_the_slow_version(kind, gamma):
    rows = table(kind)
    train, queries = unit(rows[::2]), unit(rows[1::2])
    scorer = KDEScorer(gamma).fit(rows[::2])
    width = 10 / (train.shape[1] * train.var()) if gamma == "scale" else gamma
    expected = []
    for query in queries:
        cosines = train @ query
        if np.linalg.norm(train - query, axis=1).min() <= 128 * np.finfo(float).eps:
            cosines = np.delete(cosines, cosines.argmax())
        expected.append(logsumexp(2 * width * cosines) / width)
    assert_close(scorer.score_samples(rows[1::2]), expected)
    alone = [
        logsumexp(2 * width * np.delete(train, i, axis=0) @ train[i]) / width
        for i in range(len(train))
    ]
    assert_close(scorer.score_samples(rows[::2]), alone)


def test_kde_leaves_out_the_row_itself_and_no_near_one():
    near = [[1, 2, 3], [1 + 1e-9, 2, 3], [1, 2 + 2e-9, 3]]
    rows = np.array([*near, [3, 2, 1], [1, 1, 5], [0, 0, 0]])
    scorer = KDEScorer(3.0).fit(rows)
    for index in range(6):
        others = KDEScorer(3.0).fit(np.delete(rows, index, axis=0))
        query = rows[index : index + 1]
        assert scorer.score_samples(query) == pytest.approx(others.score_samples(query), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_confidence_is_the_largest_probability(temperature):
    logits = np.random.RandomState(0).normal(size=(300, 7)) * 5
    scorer = ConfidenceScorer(temperature).fit(logits)
    scores = scorer.score_samples(logits)
    probability = softmax(logits / temperature, axis=1).max(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), probability, rtol=1e-9)
    sure = scorer.score_samples([[100.0, 0, 0, 0, 0, 0, 0], [101.0, 0, 0, 0, 0, 0, 0]])
    assert sure[0] < sure[1]  # both probabilities are 1 in float64 at temperature 1


def test_ensemble_is_the_sum_of_what_ranges_make_of_its_scores():
    rows = table("digits")[:, 10:40] + 1
    train, queries = rows[::2], rows[1::2]
    widths = [12, 1, 17]
    scorer = EnsembleScorer(tap_widths=widths, map_taps=[2]).fit(train)
    expected = np.zeros(len(queries))
    for start, width, is_map in ((0, 12, False), (12, 1, False), (13, 17, True)):
        part, new = train[:, start : start + width], queries[:, start : start + width]
        for whiten in (False, True):
            expected += slow_term(part, new, whiten, is_map)
    assert_close(scorer.score_samples(queries), expected)
    assert [columns.start for columns, _ in scorer.members_] == [0, 0, 12, 12, 13, 13]


def slow_term(raw, queries, whiten, is_map):
    """Score of one metric of one tap, by the range of its leave-one-out training scores."""
    root = inverse_root(slow_covariance(raw)) if whiten else np.eye(raw.shape[1])
    train, queries = raw @ root, queries @ root

    def score(x, others):
        if is_map:
            return -min(slow_angle(x, other) for other in others)
        return -slow_angle(x, others.mean(axis=0))

    alone = [score(x, np.delete(train, i, axis=0)) for i, x in enumerate(train)]
    if whiten and is_map:  # the same neighbour, whitened without the row
        for i, x in enumerate(train):
            apart = [np.inf if j == i else slow_angle(x, other) for j, other in enumerate(train)]
            root = inverse_root(slow_covariance(raw, without=i))
            alone[i] = -slow_angle(raw[i] @ root, raw[int(np.argmin(apart))] @ root)
    width = max(alone) - min(alone)
    return (np.array([score(x, train) for x in queries]) - min(alone)) / (width or 1.0)


def test_presets_and_scalings_of_the_ensemble():
    rows = table("digits")
    metrics = ("angle", "mahalanobis_cosine")
    members = [KNNScorer(1, metric=m, aggregation="mean") for m in metrics]
    plain = sum(m.fit(rows[::2]).score_samples(rows) for m in members)
    summed = EnsembleScorer("sum").fit(rows[::2])
    np.testing.assert_allclose(summed.score_samples(rows), plain)
    whitened = {"metric": "mahalanobis_cosine", "shrinkage": 0.7}
    mixed = [KNNScorer(10, local_scaling=0.5, **metric) for metric in ({}, whitened)]
    cases = [(members, "range", (0, 1)), (members, "quantile", (0.05, 0.95))]
    for members, scaling, quantiles in [*cases, (mixed, None, (0.05, 0.95))]:
        expected = 0
        for member in members:
            member.fit(rows[::2])
            low, high = np.quantile(member._training_scores(rows[::2]), quantiles)
            expected = expected + (member.score_samples(rows) - low) / (high - low)
        kind = {"scorers": members, "scaling": scaling} if scaling else {"scorers": "mixed"}
        found = EnsembleScorer(**kind).fit(rows[::2])
        np.testing.assert_allclose(found.score_samples(rows), expected)


@pytest.mark.parametrize(
    "estimator",
    [
        OneClassSVM(),
        IsolationForest(n_estimators=10, random_state=0),
        LocalOutlierFactor(n_neighbors=5, novelty=True),
        EllipticEnvelope(random_state=0),
        GaussianMixture(2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_of_scikit_learn_serve_as_scorers(estimator):
    rows = table("digits")[:, [20, 27, 35, 36]]
    y = np.where(np.arange(400) % 5 == 0, -1, 1)
    scorer = SklearnScorer(estimator, contamination=0.05).fit(rows, y)
    expected = clone(estimator).fit(rows[y == 1]).score_samples(rows)
    np.testing.assert_array_equal(scorer.score_samples(rows), expected)
    assert (scorer.decision_function(rows[y == 1]) < 0).mean() == pytest.approx(0.05, abs=0.01)
    ensemble = EnsembleScorer([scorer], scaling="none").fit(rows, y)
    again = SklearnScorer(estimator).fit(rows[y == 1]).score_samples(rows)
    np.testing.assert_allclose(ensemble.score_samples(rows), again)


def test_few_rows_do_not_make_a_gaussian_outweigh_the_neighbors():
    rows = np.random.RandomState(0).normal(size=(80, 200)) + 1
    members = [KNNScorer(), GaussianScorer(normalize=True)]
    scorer = EnsembleScorer(members, scaling="quantile").fit(rows[:30])
    spreads = [
        np.std(member.score_samples(rows[30:])) / width
        for (_, member), (_, width) in zip(scorer.members_, scorer.ranges_)
    ]
    # By its own rows, which are all as far from their mean, the Gaussian would count a hundredfold.
    assert 0.2 < spreads[1] / spreads[0] < 5


def test_a_member_without_a_range_does_not_outweigh_the_others():
    rows = np.random.RandomState(0).normal(size=(10, 50)) + 1
    # As many directions as the rows fill: all rows are equally far, but for rounding.
    flat = GaussianScorer(shrinkage=0.0, n_components=100)
    scorer = EnsembleScorer([flat, CentroidScorer()]).fit(rows)
    assert scorer.ranges_[0, 1] == 1.0
    assert np.ptp(scorer.score_samples(rows)) < 10


EVERY_SCORER = [
    KNNScorer(),
    KNNScorer(1, metric="mahalanobis_cosine"),
    KNNScorer(n_centroids=5),
    CentroidScorer(),
    CentroidScorer("mahalanobis_cosine"),
    GaussianScorer(),
    GaussianScorer(3, covariance_type="full"),
    GaussianScorer(normalize=True, log_likelihood=True),
    KDEScorer(),
    ConfidenceScorer(),
    EnsembleScorer(tap_widths=[30, 34]),
    EnsembleScorer("sum"),
    EnsembleScorer("mixed"),
    SklearnScorer(IsolationForest(n_estimators=5, random_state=0)),
]


@pytest.mark.parametrize("scorer", EVERY_SCORER, ids=str)
def test_order_batches_and_blocks_do_not_matter(scorer, monkeypatch):
    rows = table("digits")
    expected = scorer.fit(rows[:200]).score_samples(rows)
    order = np.random.RandomState(0).permutation(400)
    np.testing.assert_allclose(scorer.score_samples(rows[order]), expected[order], rtol=1e-9)
    alone = [scorer.score_samples(rows[i : i + 1])[0] for i in range(0, 400, 40)]
    np.testing.assert_allclose(alone, expected[::40], rtol=1e-9)
    monkeypatch.setattr(_blocks, "_BLOCK_VALUES", 1000)
    again = clone(scorer).fit(rows[:200])
    np.testing.assert_allclose(again.score_samples(rows), expected, rtol=1e-9)
    assert again.offset_ == pytest.approx(scorer.offset_, rel=1e-9)


@pytest.mark.parametrize("scorer", EVERY_SCORER, ids=str)
def test_bits_do_not_depend_on_the_other_rows(scorer):
    rows = table("digits")
    expected = scorer.fit(rows[:200]).score_samples(rows)
    parts = [rows[:1], rows[1:3], rows[3:40], rows[40:401]]
    found = np.concatenate([scorer.score_samples(part) for part in parts])
    if isinstance(scorer, KDEScorer):  # cosines with the whole gallery, by BLAS
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    else:
        np.testing.assert_array_equal(found, expected)


def starts_from_random_rows(scorer):
    clusters = getattr(scorer, "n_centroids", None) or getattr(scorer, "n_clusters", 1) > 1
    return bool(clusters) or isinstance(scorer, SklearnScorer)


@pytest.mark.parametrize(
    "scorer", [s for s in EVERY_SCORER if not starts_from_random_rows(s)], ids=str
)
def test_order_of_training_rows_does_not_matter(scorer):
    rows = table("digits")
    expected = scorer.fit(rows[:200]).score_samples(rows)
    found = clone(scorer).fit(rows[:200][::-1]).score_samples(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("scorer", EVERY_SCORER, ids=str)
def test_twice_the_same_query_scores_the_same(scorer):
    rows = table("digits")
    scorer.fit(rows[:200])
    twice = scorer.score_samples(np.repeat(rows, 2, axis=0))
    np.testing.assert_allclose(twice[::2], twice[1::2], rtol=1e-12)


@pytest.mark.parametrize("scorer", EVERY_SCORER, ids=str)
def test_pickles_and_refits_give_the_same_bits(scorer):
    rows = table("digits")
    expected = scorer.fit(rows[:200]).score_samples(rows)
    before = np.random.get_state()[1].copy()
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_samples(rows), expected)
    np.testing.assert_array_equal(clone(scorer).fit(rows[:200]).score_samples(rows), expected)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert again.offset_ == scorer.offset_


@pytest.mark.parametrize("scorer", EVERY_SCORER, ids=str)
def test_float32_scores_as_float64(scorer):
    rows = table("digits").astype(np.float32)  # whole numbers, so nothing is lost
    found = clone(scorer).fit(rows[:200]).score_samples(rows)
    expected = clone(scorer).fit(rows[:200].astype(np.float64)).score_samples(rows.astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
