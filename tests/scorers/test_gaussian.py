"""Covariances, whitening and Gaussians against slow versions."""

import pickle

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from skad import (
    CentroidScorer,
    GaussianScorer,
    KNNScorer,
    Whitening,
)
from skad.scorers import _gaussian
from tests.scorers.common import assert_close, unit
from tests.scorers.tables import COVARIANCE_KINDS, inverse_root, slow_covariance, table


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


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("kind", "shrinkage"),
    [("digits", 0.0), ("clustered", 0.0), ("digits", 0.2), ("few rows", 0.2), ("two rows", 0.2)],
)
def test_training_scores_of_a_gaussian_leave_each_row_out(kind, shrinkage, normalize):
    unscaled = table(kind)[:: 1 if "rows" in kind else 4]
    if kind == "digits":
        unscaled = unscaled[:, [20, 27, 35, 36, 43]] + 1
    rows = unit(unscaled) if normalize else unscaled
    n, d = rows.shape
    spread = rows.var(axis=0).mean() * n / (n - 1)
    expected = []
    for i, row in enumerate(rows):
        others = np.delete(rows, i, axis=0)
        covariance = (1 - shrinkage) * slow_covariance(others, 0.0)
        covariance += shrinkage * spread * np.eye(d)
        expected.append(-slow_mahalanobis(row[None], others.mean(axis=0), covariance)[0])
    scorer = GaussianScorer(shrinkage=shrinkage, normalize=normalize).fit(unscaled)
    assert_close(scorer._training_scores(unscaled), np.array(expected))
    density = GaussianScorer(shrinkage=shrinkage, normalize=normalize, log_likelihood=True)
    volume = 2 * density.fit(unscaled).score_samples(unscaled) - scorer.score_samples(unscaled)
    assert_close(density._training_scores(unscaled), (np.array(expected) + volume) / 2)


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
        new = rows[1::2]  # of its own rows it leaves each out of the whitening too
        np.testing.assert_allclose(
            found.score_samples(new), expected.score_samples(whitened.transform(new)), rtol=1e-9
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
