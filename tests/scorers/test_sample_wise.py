"""PANDA's sample-wise early stopping against slow loops, and what it promises."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skad.scorers import CentroidScorer, EnsembleScorer, KNNScorer, SampleWiseScorer
from tests.scorers.tables import table

KINDS = ["digits", "few rows", "clustered", "duplicates", "constant columns", "large numbers"]
N_CHECKPOINTS = 3


def training_of(rows):
    """The same rows under three checkpoints: drawn to their mean, each coordinate its own way."""
    center = rows.mean(axis=0)
    pulls = np.random.RandomState(1).uniform(0.1, 1, (N_CHECKPOINTS, rows.shape[1]))
    pulls[0] = 1.0
    return np.hstack([center + (rows - center) * pull for pull in pulls])


def slow_center_distances(train, queries):
    """Squared distances to the first mean, shape (n_queries, n_checkpoints)."""
    blocks = np.split(train.astype(np.float64), N_CHECKPOINTS, axis=1)
    center = sum(blocks[0]) / len(train)
    return np.array(
        [
            [sum((part - center) ** 2) for part in np.split(row, N_CHECKPOINTS)]
            for row in queries.astype(np.float64)
        ]
    )


def slow_neighbor_distances(train, queries, n_neighbors):
    """The same to the nearest rows; a row that is there is not its own neighbour, once."""
    gallery = np.split(train.astype(np.float64), N_CHECKPOINTS, axis=1)
    result = []
    for row in queries.astype(np.float64):
        result.append([])
        for others, part in zip(gallery, np.split(row, N_CHECKPOINTS)):
            squared = sorted(sum((part - other) ** 2) for other in others)
            # Rounding of the pulls: rows that were equal may not be so to the last bit.
            first = 1 if np.sqrt(squared[0]) <= 1e-14 * np.linalg.norm(part) else 0
            result[-1].append(sum(squared[first : first + n_neighbors]))
    return np.array(result)


def slow_scores(distances, train_distances):
    scales = [sum(column) / len(column) for column in train_distances.T]
    return np.array([-max(d / s for d, s in zip(row, scales)) for row in distances])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_center_equals_the_slow_version(kind, dtype):
    rows = training_of(table(kind)).astype(dtype)
    train, queries = rows[::2], rows[1::2]
    scorer = SampleWiseScorer(N_CHECKPOINTS).fit(train)
    of_train = slow_center_distances(train, train)
    for part in (train, queries):
        expected = slow_scores(slow_center_distances(train, part), of_train)
        np.testing.assert_allclose(scorer.score_samples(part), expected, rtol=1e-6)
    np.testing.assert_allclose(scorer.scales_, of_train.mean(axis=0), rtol=1e-6)
    assert scorer.scales_.shape == (N_CHECKPOINTS,)
    first = train[:, : train.shape[1] // N_CHECKPOINTS]
    np.testing.assert_allclose(scorer.center_, first.mean(axis=0, dtype=np.float64))


@pytest.mark.parametrize("n_neighbors", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_knn_equals_the_slow_version(kind, n_neighbors):
    rows = training_of(table(kind))[:160]
    train, queries = rows[::2], rows[1::2]
    scorer = SampleWiseScorer(N_CHECKPOINTS, distance="knn", n_neighbors=n_neighbors).fit(train)
    of_train = slow_neighbor_distances(train, train, n_neighbors)
    for part in (train, queries):
        expected = slow_scores(slow_neighbor_distances(train, part, n_neighbors), of_train)
        np.testing.assert_allclose(
            scorer.score_samples(part), expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max()
        )
    np.testing.assert_allclose(scorer.scales_, of_train.mean(axis=0), rtol=1e-6)
    assert not hasattr(scorer, "center_")


def test_one_checkpoint_ranks_as_the_distance_alone():
    rows = table("digits")
    train, queries = rows[::2], rows[1::2]
    found = SampleWiseScorer().fit(train)
    centroid = CentroidScorer("squared_euclidean").fit(train)
    for part in (train, queries):
        ratio = centroid.score_samples(part) / found.score_samples(part)
        np.testing.assert_allclose(ratio, found.scales_[0])
        order = np.argsort(found.score_samples(part), kind="stable")
        assert np.array_equal(order, np.argsort(centroid.score_samples(part), kind="stable"))
    assert np.array_equal(found.predict(queries), centroid.predict(queries))
    squared = np.square(queries - train.mean(axis=0)).sum(axis=1)
    assert np.array_equal(np.argsort(found.score_samples(queries)), np.argsort(-squared))
    # A checkpoint that repeats another adds nothing.
    twice = SampleWiseScorer(2).fit(np.hstack([train, train]))
    both = twice.score_samples(np.hstack([queries, queries]))
    assert np.array_equal(both, found.score_samples(queries))

    neighbors = KNNScorer(3, metric="euclidean").fit(train)
    found = SampleWiseScorer(distance="knn", n_neighbors=3).fit(train)
    ratio = neighbors.score_samples(queries) / found.score_samples(queries)
    np.testing.assert_allclose(ratio, found.scales_[0])
    assert found.scales_[0] == pytest.approx(-neighbors.score_samples(train).mean())


def test_the_threshold_rests_on_training_scores():
    rows = training_of(table("few rows"))
    for distance in ("center", "knn"):
        scorer = SampleWiseScorer(N_CHECKPOINTS, distance=distance, contamination=0.25).fit(rows)
        scores = scorer.score_samples(rows)
        assert scorer.offset_ == np.percentile(scores, 25)
        assert np.array_equal(scorer._training_scores(rows), scores)
        assert (scorer.predict(rows) == -1).sum() == 10
        assert scores.max() < 0  # no row is its own neighbour
        # The ratio is 1 in the mean at every checkpoint, so its maximum is more.
        assert scores.mean() < -1


def test_a_copy_is_a_neighbor_and_oneself_is_not():
    train = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 6.0], [7.0, 6.0]])
    scorer = SampleWiseScorer(2, distance="knn", n_neighbors=1).fit(train)
    # Nearest other rows: 0, 0, 3, 4 at the first checkpoint, and 0, 0, 0, 0 at the second.
    assert scorer.scales_[0] == (9 + 16) / 4
    assert scorer.score_samples(train) == pytest.approx([0, 0, -9 / 6.25, -16 / 6.25])


@pytest.mark.parametrize("factor", [2.0**-20, 3.0, 1e6])
def test_the_unit_of_one_checkpoint_does_not_matter_to_neighbors(factor):
    rows = training_of(table("digits"))
    scaled = rows.copy()
    scaled[:, 64:128] *= factor
    plain, other = (
        SampleWiseScorer(N_CHECKPOINTS, distance="knn").fit(part[::2]) for part in (rows, scaled)
    )
    np.testing.assert_allclose(
        other.score_samples(scaled), plain.score_samples(rows), rtol=1e-9, atol=1e-12
    )
    assert other.offset_ == pytest.approx(plain.offset_)
    assert other.scales_[1] == pytest.approx(plain.scales_[1] * factor**2)


@pytest.mark.parametrize("distance", ["center", "knn"])
def test_each_sample_has_the_checkpoint_that_tells_most(distance):
    rng = np.random.RandomState(0)
    train = np.hstack([rng.normal(size=(50, 4)) * scale for scale in (1.0, 0.1, 0.01)])
    queries = np.repeat(train[:1], 4, axis=0)
    queries[1, 0] += 20  # far at the first checkpoint only, and so on
    queries[2, 4] += 3
    queries[3, 8] += 0.4
    scorer = SampleWiseScorer(3, distance=distance).fit(train)
    parts = [queries[:, at : at + 4] for at in (0, 4, 8)]
    if distance == "center":
        center = train[:, :4].mean(axis=0)
        distances = [np.square(part - center).sum(axis=1) for part in parts]
    else:
        galleries = [train[:, at : at + 4] for at in (0, 4, 8)]
        distances = [
            -KNNScorer(metric="euclidean").fit(gallery).score_samples(part)
            for gallery, part in zip(galleries, parts)
        ]
    ratios = np.array(distances) / scorer.scales_[:, None]
    assert ratios.argmax(axis=0)[1:].tolist() == [0, 1, 2]
    np.testing.assert_allclose(scorer.score_samples(queries), -ratios.max(axis=0))
    assert scorer.predict(queries).tolist() == [1, -1, -1, -1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("distance", ["center", "knn"])
def test_a_checkpoint_where_all_is_one_point_counts_for_what_lies_elsewhere(distance, dtype):
    rng = np.random.RandomState(0)
    first = rng.normal(size=(20, 3)) + 5
    center = first.astype(dtype).mean(axis=0, dtype=np.float64)
    dead = {"the centre": np.tile(center, (20, 1)), "zero": np.zeros((20, 3))}
    alive = SampleWiseScorer(distance=distance).fit(first.astype(dtype))
    for name, second in dead.items():
        rows = np.hstack([first, second]).astype(dtype)
        scorer = SampleWiseScorer(2, distance=distance).fit(rows)
        scores = scorer.score_samples(rows)
        if distance == "knn" or name == "the centre":
            expected = alive.score_samples(rows[:, :3])
        else:  # as far from the centre as every training row
            expected = np.minimum(alive.score_samples(rows[:, :3]), -1)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
        assert (scorer.scales_ > 0).all()
        if distance == "knn" or name == "the centre":
            far = rows[:1] + np.repeat([0, 1], 3).astype(dtype)
            assert scorer.score_samples(far)[0] < -1e8
            assert np.isfinite(scorer.score_samples(far)).all()


@pytest.mark.parametrize("distance", ["center", "knn"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e-150, 1e30])
def test_rows_that_are_all_the_same(distance, value):
    rows = np.full((5, 4), value)
    scorer = SampleWiseScorer(2, distance=distance).fit(rows)
    assert (scorer.scales_ > 0).all()
    assert scorer.score_samples(rows) == pytest.approx(np.zeros(5), abs=1e-3)
    assert scorer.predict(rows).tolist() == [1] * 5
    if value != 1e-150:
        far = scorer.score_samples(rows + max(value, 1.0))
        assert (far < -1e6).all()
        assert np.isfinite(far).all()


def test_labelled_anomalies_are_left_out():
    rows = training_of(table("digits"))[:60]
    y = np.where(np.arange(60) % 6 == 0, -1, 1)
    for distance in ("center", "knn"):
        scorer = SampleWiseScorer(N_CHECKPOINTS, distance=distance)
        expected = clone(scorer).fit(rows[y == 1]).score_samples(rows)
        assert np.array_equal(scorer.fit(rows, y).score_samples(rows), expected)


@pytest.mark.parametrize("distance", ["center", "knn"])
def test_pickle_clone_and_another_fit(distance):
    rows = training_of(table("digits")).astype(np.float32)
    scorer = SampleWiseScorer(N_CHECKPOINTS, distance=distance, n_neighbors=1).fit(rows[::2])
    expected = scorer.score_samples(rows)
    again = pickle.loads(pickle.dumps(scorer))
    assert np.array_equal(again.score_samples(rows), expected)
    assert again.offset_ == scorer.offset_
    fresh = clone(scorer)
    assert fresh.get_params() == scorer.get_params()
    with pytest.raises(NotFittedError):
        fresh.score_samples(rows)
    other = {"center": "knn", "knn": "center"}[distance]
    fresh.set_params(distance=other).fit(rows[::2])
    fresh.set_params(distance=distance).fit(rows[::2])
    assert np.array_equal(fresh.score_samples(rows), expected)
    assert hasattr(fresh, "center_") == (distance == "center")
    # Parameters that are set after the fit wait for the next.
    fresh.set_params(n_checkpoints=1, n_neighbors=5)
    assert np.array_equal(fresh.score_samples(rows), expected)


@pytest.mark.parametrize("distance", ["center", "knn"])
def test_scores_do_not_depend_on_what_is_scored_along_with_a_row(distance):
    rows = training_of(table("few rows"))
    scorer = SampleWiseScorer(N_CHECKPOINTS, distance=distance).fit(rows[::2])
    together = scorer.score_samples(rows)
    apart = [scorer.score_samples(rows[i : i + 1])[0] for i in range(len(rows))]
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_it_may_be_a_member_of_an_ensemble():
    rows = training_of(table("digits"))[:100]
    members = [SampleWiseScorer(N_CHECKPOINTS), SampleWiseScorer(N_CHECKPOINTS, distance="knn")]
    ensemble = EnsembleScorer(members).fit(rows)
    assert ensemble._training_scores(rows).max() <= 2


BAD = {
    "columns": (
        SampleWiseScorer(4),
        r"SampleWiseScorer: .* multiple of n_checkpoints=4, .* X has 6 features. Set n_checkpoints",
    ),
    "more checkpoints than columns": (
        SampleWiseScorer(7),
        r"SampleWiseScorer: .* multiple of n_checkpoints=7, .* X has 6 features",
    ),
    "no checkpoint": (SampleWiseScorer(0), "'n_checkpoints' parameter of SampleWiseScorer"),
    "half a checkpoint": (SampleWiseScorer(1.5), "'n_checkpoints' parameter of SampleWiseScorer"),
    "distance": (SampleWiseScorer(distance="mean"), "'distance' parameter of SampleWiseScorer"),
    "no neighbor": (SampleWiseScorer(n_neighbors=0), "'n_neighbors' parameter of SampleWiseScorer"),
    "few rows": (
        SampleWiseScorer(2, distance="knn", n_neighbors=10),
        r"SampleWiseScorer: .* n_neighbors=10 needs at least 11 training rows.* n_samples = 10",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_it_can_not_do_is_one_clear_error(case):
    scorer, message = BAD[case]
    rows = np.random.RandomState(0).normal(size=(10, 6))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        scorer.fit(rows)
    with pytest.raises(NotFittedError):
        scorer.score_samples(rows)


def test_a_failed_fit_leaves_the_scorer_as_it_was():
    rows = np.random.RandomState(0).normal(size=(10, 6))
    scorer = SampleWiseScorer(3).fit(rows)
    expected = scorer.score_samples(rows)
    with pytest.raises(ValueError, match="X has 5 features"):
        scorer.fit(rows[:, :5])
    assert np.array_equal(scorer.score_samples(rows), expected)
    with pytest.raises(ValueError, match="X has 4 features, but SampleWiseScorer is expecting 6"):
        scorer.score_samples(rows[:, :4])
