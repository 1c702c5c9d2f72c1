"""Scorers of features against slow numpy versions, and what all of them promise."""

import pickle

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope, ledoit_wolf
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
    Whitening,
)
from skad.scorers import _blocks, _gaussian

from .tables import COVARIANCE_KINDS, inverse_root, slow_angle, slow_covariance, table


def unit(rows):
    """Unit length, one row at a time; zero rows stay."""
    return np.array([row / (np.linalg.norm(row) or 1.0) for row in rows.astype(np.float64)])


def assert_close(found, expected, rounding=1e-13):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding * scale)


def slow_mahalanobis(rows, center, covariance):
    precision = np.linalg.inv(covariance)
    return np.array([(x - center) @ precision @ (x - center) for x in rows.astype(np.float64)])


def test_the_slow_covariance_is_that_of_scikit_learn():
    rows = table("few rows")
    np.testing.assert_allclose(slow_covariance(rows), ledoit_wolf(rows)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", COVARIANCE_KINDS)
def test_gaussian_equals_the_slow_version(kind, dtype):
    rows = table(kind)[:, :60].astype(dtype)
    train, queries = rows[::2], rows[1::2]
    scorer = GaussianScorer().fit(train)
    covariance = slow_covariance(train)
    expected = -slow_mahalanobis(queries, train.mean(axis=0, dtype=np.float64), covariance)
    assert_close(scorer.score_samples(queries), expected)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kind", COVARIANCE_KINDS)
def test_whitening_is_the_inverse_root_of_the_covariance(kind, center):
    rows = table(kind)[:, :60]
    train, queries = rows[::2], rows[1::2]
    whitening = Whitening(center=center).fit(train)
    root = inverse_root(slow_covariance(train))
    ours = [whitening.transform(part) for part in (train, queries)]
    slow = [(part - center * train.mean(axis=0)) @ root for part in (train, queries)]
    for mine, theirs in ((ours[0], slow[0]), (ours[1], slow[1])):
        apart = np.linalg.norm(mine[:, None] - ours[0], axis=2)
        expected = np.linalg.norm(theirs[:, None] - slow[0], axis=2)
        assert_close(apart, expected, 1e-7 if kind == "constant columns" else 1e-10)
        np.testing.assert_allclose(
            np.linalg.norm(mine, axis=1), np.linalg.norm(theirs, axis=1), rtol=1e-6
        )


@pytest.mark.parametrize("kind", ["digits", "few rows", "duplicates"])
def test_truncated_whitening_gives_the_identity(kind):
    rows = table(kind)
    whitened = Whitening(shrinkage=0.0, n_components=0.9).fit_transform(rows)
    identity = np.eye(whitened.shape[1])
    np.testing.assert_allclose(
        np.cov(whitened.T, bias=True).reshape(identity.shape), identity, atol=1e-9
    )
    centered = rows - rows.mean(axis=0)
    shares = np.linalg.svd(centered, compute_uv=False) ** 2
    held = np.cumsum(shares) / shares.sum()
    assert held[len(identity) - 1] >= 0.9 - 1e-12
    assert len(identity) == 1 or held[len(identity) - 2] < 0.9


def test_whitening_then_neighbors_is_the_mahalanobis_metric():
    rows = table("few rows")
    for metric, plain in (("mahalanobis", "euclidean"), ("mahalanobis_cosine", "angle")):
        whitened = Whitening(center=metric == "mahalanobis").fit(rows[::2])
        expected = KNNScorer(1, metric=plain).fit(whitened.transform(rows[::2]))
        found = KNNScorer(1, metric=metric).fit(rows[::2])
        np.testing.assert_allclose(
            found.score_samples(rows), expected.score_samples(whitened.transform(rows)), rtol=1e-9
        )


def test_flattened_maps_need_no_matrix_of_their_width():
    import tracemalloc

    rng = np.random.RandomState(0)
    rows = rng.normal(size=(40, 30_000)).astype(np.float32)
    scorers = [
        GaussianScorer(),
        CentroidScorer("mahalanobis_cosine"),
        KNNScorer(1, metric="mahalanobis_cosine"),
        GaussianScorer(normalize=True, log_likelihood=True),
    ]
    tracemalloc.start()
    try:
        for scorer in scorers:
            assert np.isfinite(scorer.fit(rows[:30]).score_samples(rows)).all()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50 * rows.nbytes  # a matrix of 30 000 x 30 000 would take 1 500 times as much


@pytest.mark.parametrize("kind", ["digits", "few rows", "clustered", "duplicates"])
@pytest.mark.parametrize("covariance_type", ["tied", "full"])
@pytest.mark.parametrize("log_likelihood", [False, True])
def test_class_conditional_gaussians_equal_the_slow_version(kind, covariance_type, log_likelihood):
    rows = table(kind)
    train, queries = rows[::2], rows[1::2]
    labels = np.arange(len(train)) % 3
    scorer = GaussianScorer(
        covariance_type=covariance_type, log_likelihood=log_likelihood, shrinkage=0.3
    ).fit(train, class_labels=labels)
    expected = np.full(len(queries), -np.inf)
    for label in range(3):
        group = train[labels == label]
        if covariance_type == "tied":
            covariance = slow_covariance(train, 0.3, labels)
        else:
            covariance = slow_covariance(group, 0.3)
        score = -slow_mahalanobis(queries, group.mean(axis=0), covariance)
        if log_likelihood:
            log_determinant = np.linalg.slogdet(2 * np.pi * covariance)[1]
            score = (score - log_determinant) / 2
        expected = np.maximum(expected, score)
    assert_close(scorer.score_samples(queries), expected)
    assert scorer.classes_.tolist() == [0, 1, 2]


def test_tied_ledoit_wolf_pools_the_classes():
    rows, labels = table("few rows"), np.arange(40) % 4
    scorer = GaussianScorer().fit(rows, class_labels=labels)
    covariance = slow_covariance(rows, "ledoit_wolf", labels)
    means = [rows[labels == label].mean(axis=0) for label in range(4)]
    expected = -np.min([slow_mahalanobis(rows, mean, covariance) for mean in means], axis=0)
    assert_close(scorer.score_samples(rows), expected)


def test_clusters_have_gaussians_of_their_own():
    rng = np.random.RandomState(0)
    near, wide = rng.normal(size=(100, 3)), rng.normal(size=(100, 3)) * 5 + 100
    rows, queries = np.concatenate([near, wide]), rng.normal(size=(50, 3)) * 60 + 50
    scorer = GaussianScorer(2, covariance_type="full", normalize=False).fit(rows)
    expected = -np.min(
        [slow_mahalanobis(queries, p.mean(axis=0), slow_covariance(p)) for p in (near, wide)],
        axis=0,
    )
    assert_close(scorer.score_samples(queries), expected)
    assert "classes_" not in vars(scorer)


def test_gde_is_one_gaussian_on_the_sphere():
    rows = table("digits")
    scorer = GaussianScorer(normalize=True, log_likelihood=True, shrinkage=0.1).fit(rows[::2])
    train = unit(rows[::2])
    covariance = slow_covariance(train, 0.1)
    squared = slow_mahalanobis(unit(rows[1::2]), train.mean(axis=0), covariance)
    expected = -(squared + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2
    assert_close(scorer.score_samples(rows[1::2]), expected)


@pytest.mark.parametrize("kind", ["digits", "few rows"])
def test_gaussian_does_not_depend_on_batches_or_their_order(kind):
    rows = table(kind)
    expected = GaussianScorer().fit(rows)
    for order, size in ((slice(None), 5), (slice(None, None, -1), 7), (slice(None), 33)):
        scorer = GaussianScorer()
        for start in range(0, len(rows), size):
            scorer.partial_fit(rows[order][start : start + size])
        np.testing.assert_allclose(
            scorer.score_samples(rows), expected.score_samples(rows), rtol=1e-8
        )
        assert scorer.offset_ == pytest.approx(expected.offset_, rel=1e-8)


def test_gaussian_after_partial_fits_keeps_no_more_than_it_needs(monkeypatch):
    monkeypatch.setattr(_gaussian, "_N_KEPT", 200)
    rows = np.random.RandomState(0).normal(size=(4000, 4))
    rows[::2] = [1.0, 2.0, 3.0, 4.0]  # copies count one by one
    expected = GaussianScorer().fit(rows)
    for size in (500, 77):
        scorer = GaussianScorer()
        for start in range(0, 4000, size):
            scorer.partial_fit(rows[start : start + size])
        assert len(pickle.dumps(scorer)) < 20_000 < rows.nbytes
        share = (scorer.predict(rows) == -1).mean()
        assert 0.05 < share < 0.15  # the threshold rests on 200 rows
        np.testing.assert_allclose(scorer.score_samples(rows), expected.score_samples(rows))
        if size == 500:
            offset = scorer.offset_
    assert scorer.offset_ == pytest.approx(offset, rel=1e-9)  # whatever the batches


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_gaussian_does_not_mind_an_odd_first_batch(far):
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.normal(size=(2, 5)), rng.normal(size=(3000, 5)) + far])
    expected = GaussianScorer(shrinkage=1e-9).fit(rows)
    scorer = GaussianScorer(shrinkage=1e-9)
    for part in np.split(rows, [2, 50, 1000]):
        scorer.partial_fit(part)
    np.testing.assert_allclose(scorer.score_samples(rows), expected.score_samples(rows), rtol=1e-6)


def test_a_batch_of_anomalies_changes_nothing():
    rows = table("digits")
    for scorer in (GaussianScorer(), KNNScorer()):
        scorer.fit(rows)
        before, offset = scorer.score_samples(rows), scorer.offset_
        scorer.partial_fit(rows[:5] + 3, np.full(5, -1))
        np.testing.assert_array_equal(scorer.score_samples(rows), before)
        assert scorer.offset_ == offset


def test_many_rows_do_not_hide_small_variances():
    rows = np.random.RandomState(0).normal(size=(100_000, 2)) * [1, 3e-6]
    for shrinkage in (0.0, 1e-14):
        scorer = GaussianScorer(shrinkage=shrinkage).fit(rows)
        assert scorer.score_samples([[0.0, 3e-6]])[0] == pytest.approx(-1, rel=0.05)


def test_gaussian_classes_may_come_later():
    rows, labels = table("digits"), np.arange(400) // 100
    expected = GaussianScorer().fit(rows, class_labels=labels)
    scorer = GaussianScorer()
    for part in (slice(0, 150), slice(150, 400)):
        scorer.partial_fit(rows[part], class_labels=labels[part])
    np.testing.assert_allclose(scorer.score_samples(rows), expected.score_samples(rows), rtol=1e-8)
    with pytest.raises(ValueError, match="class_labels must come with every batch or with none"):
        scorer.partial_fit(rows)
    assert "classes_" not in vars(scorer.fit(rows))
    with pytest.raises(ValueError, match="this one is with them, unlike the first"):
        scorer.partial_fit(rows, class_labels=labels)


def test_class_labels_are_routed():
    import sklearn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = table("digits")[:, 20:30], np.arange(400) % 2
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = GaussianScorer().set_fit_request(class_labels=True)
        pipeline = make_pipeline(StandardScaler(), scorer).fit(rows, class_labels=labels)
    assert len(pipeline[-1].means_) == 2


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
        root = inverse_root(slow_covariance(part))
        for whiten in (False, True):
            expected += slow_term(part, new, root if whiten else None, is_map)
    assert_close(scorer.score_samples(queries), expected)
    assert [columns.start for columns, _ in scorer.members_] == [0, 0, 12, 12, 13, 13]


def slow_term(train, queries, root, is_map):
    """Score of one metric of one tap, by the range of its leave-one-out training scores."""
    if root is not None:
        train, queries = train @ root, queries @ root

    def score(x, others):
        if is_map:
            return -min(slow_angle(x, other) for other in others)
        return -slow_angle(x, others.mean(axis=0))

    alone = [score(x, np.delete(train, i, axis=0)) for i, x in enumerate(train)]
    width = max(alone) - min(alone)
    return (np.array([score(x, train) for x in queries]) - min(alone)) / (width or 1.0)


def test_presets_and_scalings_of_the_ensemble():
    rows = table("digits")
    metrics = ("angle", "mahalanobis_cosine")
    members = [KNNScorer(1, metric=m, aggregation="mean") for m in metrics]
    plain = sum(m.fit(rows[::2]).score_samples(rows) for m in members)
    summed = EnsembleScorer("sum").fit(rows[::2])
    np.testing.assert_allclose(summed.score_samples(rows), plain)
    for scaling, quantiles in (("range", (0, 1)), ("quantile", (0.05, 0.95))):
        expected = 0
        for member in members:
            low, high = np.quantile(member.score_samples(rows[::2]), quantiles)
            expected = expected + (member.score_samples(rows) - low) / (high - low)
        found = EnsembleScorer(members, scaling=scaling).fit(rows[::2])
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
