"""What synthetic anomalies say of two networks."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skad.training import _acceptance
from skad.training._acceptance import auroc_values, margin_of, n_held_out, nearest
from skad.training._order import BatchSampler


def pictures(n_normal=9, n_kinds=3, missing=4, seed=0):
    """Scores with ties, kinds and sources; a few anomalies are missing."""
    rng = np.random.RandomState(seed)
    kinds, sources = ["normal"] * n_normal, list(range(n_normal))
    for i in range(n_normal):
        kinds += [f"kind {k}" for k in range(n_kinds)]
        sources += [i] * n_kinds
    kept = np.sort(np.r_[:n_normal, n_normal + rng.permutation(n_normal * n_kinds)[missing:]])
    kinds, sources = np.array(kinds)[kept], np.array(sources)[kept]
    scores = np.round(rng.normal(size=len(kinds)) + 0.7 * (kinds != "normal"), 1)
    return scores, kinds, sources


def test_the_mean_of_the_values_is_the_auroc_of_each_kind():
    scores, kinds, sources = pictures()
    values = auroc_values(scores, kinds, sources)
    assert values.shape == (3, 9)
    for k, of_kind in enumerate(values):
        chosen = np.isin(kinds, ["normal", f"kind {k}"])
        expected = roc_auc_score(kinds[chosen] != "normal", scores[chosen])
        assert of_kind.mean() == pytest.approx(expected, abs=1e-12)


def test_values_count_a_picture_with_what_was_made_of_it():
    scores, kinds, sources = pictures()
    values = auroc_values(scores, kinds, sources)
    normal = np.flatnonzero(kinds == "normal")

    def right(anomaly, picture):
        return (scores[anomaly] > scores[picture]) + (scores[anomaly] == scores[picture]) / 2

    for k in range(3):
        anomalies = np.flatnonzero(kinds == f"kind {k}")
        every = [right(a, p) for a in anomalies for p in normal]
        for p in normal:
            own = np.mean([right(a, p) for a in anomalies])
            made = sum(np.mean([right(a, q) for q in normal]) for a in anomalies if sources[a] == p)
            share = made * len(normal) / len(anomalies)
            assert values[k, p] == pytest.approx(own + share - np.mean(every), abs=1e-12)


def test_their_standard_error_is_that_of_pictures_drawn_anew():
    rng = np.random.RandomState(0)

    def drawn():
        """Pictures of which some are odd, and so are the anomalies made of them."""
        odd = np.repeat(rng.normal(size=40)[None], 3, axis=0) + rng.normal(size=(3, 40)) / 2
        odd[1:] += 1
        kinds = np.repeat(["normal", "a", "b"], 40)
        return auroc_values(odd.ravel(), kinds, np.tile(np.arange(40), 3)).mean(axis=0)

    values = [drawn() for _ in range(300)]
    spread = np.std([one.mean() for one in values])
    told = np.mean([one.std(ddof=1) / 40**0.5 for one in values])
    assert told == pytest.approx(spread, rel=0.12)


def test_a_margin_is_more_than_chance_and_no_margin_is_asked_of_the_same():
    gains = np.random.RandomState(0).normal(0.01, 0.1, 50)
    chance = 2.0096 * gains.std(ddof=1) / 50**0.5  # Student's t of 49 degrees at 0.975
    assert margin_of(gains) == pytest.approx(chance + _acceptance.LEAST_GAIN, rel=1e-4)
    assert margin_of(np.zeros(50)) == 0


def test_scores_are_distances_to_the_nearest_picture():
    rng = np.random.RandomState(0)
    queries, gallery = rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
    for metric, scale in (("euclidean", np.ones_like), ("cosine", np.linalg.norm)):
        for query, found in zip(queries, nearest(queries, gallery, metric)):
            gaps = [q / scale(q) - query / scale(query) for q in gallery]
            assert found == pytest.approx(min(gap @ gap for gap in gaps))


@pytest.mark.parametrize(("n_images", "expected"), [(10, 2), (100, 20), (5000, 200)])
def test_a_fifth_is_held_out_at_most_200(n_images, expected):
    assert n_held_out(n_images, "") == expected


def test_too_few_images_are_told():
    message = r"MSC: accept='if_better' .* at least 10 normal images; got 9\. .*accept='always'"
    with pytest.raises(ValueError, match=message):
        n_held_out(9, "MSC")


def test_no_batch_holds_a_picture_that_is_held_out():
    sampler = BatchSampler(20, 4, seed=0, held_out=[3, 19])
    for epoch in range(2):
        batches = [sampler(epoch * sampler.n_batches + i) for i in range(sampler.n_batches)]
        assert sorted(np.concatenate(batches)) == [i for i in range(20) if i not in (3, 19)]
