"""Gaussians of places: against numpy and scikit-learn's Ledoit-Wolf, in batches, of few images."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from skad.maps import GaussianPixels
from skad.maps._maps import join

ALL = {"n_dimensions": None}


def drawn(n_images, seed=0, at=0.0):
    """Maps of two layers, the spread of whose channels differs from place to place."""
    rng, found = np.random.RandomState(seed), []
    for n_channels, side in ((5, 4), (3, 2)):
        scales = np.exp(np.random.RandomState(7).normal(size=(n_channels, side, side)))
        mixed = np.random.RandomState(8).normal(size=(n_channels, n_channels)) + np.eye(n_channels)
        one = np.einsum(
            "ncij,dc->ndij", rng.standard_t(5, (n_images, n_channels, side, side)), mixed
        )
        found.append(torch.from_numpy((at + scales * one).astype(np.float32)))
    return found


def filled(maps, splits=(), **parameters):
    gallery = GaussianPixels(**(ALL | parameters)).begin(len(maps[0]), "PaDiM")
    return taken(gallery, maps, splits)


def taken(gallery, maps, splits=(), start=0):
    for batch in zip(*(one.tensor_split(list(splits)) for one in maps)):
        gallery.add(start, batch)
        start += len(batch[0])
    gallery.complete()
    return gallery


def rows_of(maps):
    """Rows of each place, float64, (n_places, n_images, n_channels)."""
    return join(maps).flatten(2).permute(2, 0, 1).double().numpy()


def lengths(rows, means, covariances):
    """Mahalanobis distances, (n_images, n_places), place by place."""
    found = [
        np.sqrt(np.einsum("nd,de,ne->n", x - m, np.linalg.inv(c), x - m))
        for x, m, c in zip(rows, means, covariances)
    ]
    return np.stack(found, axis=1)


def distances(gallery, maps):
    return gallery.distances(maps, None)[0].flatten(1).numpy()


@pytest.mark.parametrize("n_images", [40, 8, 5])
@pytest.mark.parametrize("at", [0.0, 300.0])
def test_covariances_are_those_of_ledoit_and_wolf(n_images, at):
    maps, new = drawn(n_images, at=at), drawn(6, seed=1, at=at)
    rows = rows_of(maps)
    shrunken = [ledoit_wolf(x) for x in rows]
    gallery = filled(maps, [n_images // 2])
    (one,) = gallery.gaussians_on(torch.device("cpu"))
    np.testing.assert_allclose(1 - one.kept, [share for _, share in shrunken], rtol=2e-3, atol=1e-6)
    expected = lengths(rows_of(new), rows.mean(1), [covariance for covariance, _ in shrunken])
    np.testing.assert_allclose(distances(gallery, new), expected, rtol=1e-3)


@pytest.mark.parametrize("n_images", [40, 3])
def test_a_number_is_added_to_variances(n_images):
    maps, new = drawn(n_images), drawn(6, seed=1)
    rows = rows_of(maps)
    covariances = [np.cov(x.T, bias=True) + 0.3 * np.eye(8) for x in rows]
    expected = lengths(rows_of(new), rows.mean(1), covariances)
    found = distances(filled(maps, regularization=0.3), new)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("n_images", [40, 6, 2])
@pytest.mark.parametrize("regularization", ["ledoit_wolf", 0.3])
def test_a_training_image_is_compared_with_the_others(n_images, regularization):
    maps = drawn(n_images)
    rows, gallery = rows_of(maps), filled(maps, regularization=regularization)
    (one,) = gallery.gaussians_on(torch.device("cpu"))
    kept = one.kept.double().numpy()
    full = np.linalg.inv(one.whitening.double().numpy())
    full = full @ full.transpose(0, 2, 1)
    added = [c - k * np.cov(x.T, bias=True) for c, k, x in zip(full, kept, rows)]
    expected = []
    for left_out in range(n_images):
        others = np.delete(rows, left_out, axis=1)
        covariances = [
            (k * (x - x.mean(0)).T @ (x - x.mean(0)) + n_images * r) / (n_images - 1)
            for k, x, r in zip(kept, others, added)
        ]
        expected.append(lengths(rows[:, [left_out]], others.mean(1), covariances)[0])
    # Of all but one direction of two pictures the floor is what is left: digits go.
    np.testing.assert_allclose(
        distances(gallery, maps), expected, rtol=1e-3 if n_images > 2 else 0.05
    )


def test_what_is_nearly_a_training_image_is_another():
    maps = drawn(9)
    gallery = filled(maps)
    near = [one + 1e-3 for one in maps]
    assert (distances(gallery, near) < 0.9 * distances(gallery, maps)).mean() > 0.9
    rounded = [one * (1 + 1e-6) for one in maps]
    np.testing.assert_allclose(distances(gallery, rounded), distances(gallery, maps), rtol=1e-3)


@pytest.mark.parametrize("fusion", ["joined", "per_layer"])
@pytest.mark.parametrize("splits", [[*range(1, 30)], [7], [1, 9, 28]], ids=len)
def test_batches_add_up(fusion, splits):
    maps, new = drawn(30, at=20.0), drawn(4, seed=1, at=20.0)
    whole, parts = (filled(maps, some, fusion=fusion) for some in ([], splits))
    for one, other in zip(whole.moments_, parts.moments_):
        for name in ("mean", "scatter", "cubic", "quartic"):
            expected = getattr(one, name)
            apart = (getattr(other, name) - expected).abs().max() / expected.abs().max()
            assert apart < 1e-5, name
    found = [gallery.distances(new, None) for gallery in (parts, whole)]
    assert [one.shape for one in found[0]] == [(4, 4, 4), (4, 2, 2)][: len(found[0])]
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "far"])
def test_further_images_join(device):
    maps, new = drawn(30), drawn(4, seed=1)
    first = filled([one[:20].to(device) for one in maps])
    before = distances(first, new)
    more = taken(first.extended(10), [one[20:].to(device) for one in maps], start=20)
    assert (more.n_images_, more.moments_[0].count) == (30, 30)
    np.testing.assert_array_equal(distances(first, new), before)
    for some in (new, maps):  # of which the first are known, too
        np.testing.assert_allclose(distances(more, some), distances(filled(maps), some), rtol=1e-4)


def test_memory_does_not_grow_with_the_number_of_images():
    sizes = [len(pickle.dumps(filled(drawn(n)))) for n in (100, 400)]
    assert sizes[1] - sizes[0] <= 300 * 8 * 4 + 100, "but for eight numbers of each image"


@pytest.mark.bits
@pytest.mark.parametrize("n_dimensions", [3, 6, 8])
def test_company_does_not_matter(n_dimensions):
    gallery, new = filled(drawn(20), n_dimensions=n_dimensions), drawn(19, seed=1)
    expected = distances(gallery, new)
    for some in ([4], [18, 2], range(18, -1, -1)):
        found = distances(gallery, [one[list(some)] for one in new])
        np.testing.assert_array_equal(found, expected[list(some)])


def test_a_pickle_gives_the_same_bits():
    gallery, new = filled(drawn(20)), drawn(4, seed=1)
    (whitening,) = (one.whitening for one in gallery.gaussians_on(torch.device("cpu")))
    content = pickle.dumps(gallery)
    assert len(content) < 2 * 4 * whitening.numel(), "the matrices are made again"
    np.testing.assert_array_equal(distances(pickle.loads(content), new), distances(gallery, new))


def columns_of(gallery):
    """Of all layers joined."""
    first, second = gallery.dimensions_
    return [*first, *(5 + second)]


def test_dimensions_are_drawn_by_the_seed():
    maps = drawn(9)
    found = [columns_of(filled(maps, n_dimensions=4, random_state=seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) == 4
    per_layer = filled(maps, n_dimensions=4, fusion="per_layer").dimensions_
    assert [len(one) for one in per_layer] == [4, 3]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_dimensions", [4, 1])
def test_gaussians_are_of_the_dimensions_drawn(n_dimensions, seed):
    maps, new = drawn(9), drawn(3, seed=1)
    gallery = filled(maps, n_dimensions=n_dimensions, random_state=seed, regularization=0.3)
    columns = columns_of(gallery)
    rows = rows_of(maps)[..., columns]
    covariances = [np.cov(x.T, bias=True) + 0.3 * np.eye(n_dimensions) for x in rows]
    expected = lengths(rows_of(new)[..., columns], rows.mean(1), covariances)
    np.testing.assert_allclose(distances(gallery, new), expected, rtol=1e-3)


def test_a_place_that_never_changes_has_the_least_variance():
    maps, new = drawn(30)[:1], drawn(4, seed=1)[:1]
    maps[0][:, :, 0, 0] = new[0][:, :, 0, 0] = 0.25
    new[0][0, 1, 0, 0] += 0.01  # dust
    found = distances(filled(maps), new)
    variance = 0.01 * np.var(rows_of(maps), axis=1).mean()
    np.testing.assert_allclose(found[:, 0], [0.01 / np.sqrt(variance), 0, 0, 0], rtol=1e-3)
    assert found[:, 1:].min() > found[0, 0]


def test_what_is_refused():
    maps = drawn(4)
    with pytest.raises(ValueError, match=r"PaDiM: Gaussians of 16 places x 8\^2 dimensions take 0"):
        filled(maps, memory_limit=0.005)
    filled(maps, memory_limit=0.005, n_dimensions=4)
    with pytest.raises(
        ValueError, match=r"16 places x 5\^2, 4 places x 3\^2 .* Lower n_dimensions"
    ):
        filled(maps, memory_limit=0.003, fusion="per_layer")
    with pytest.raises(ValueError, match="PaDiM: a covariance takes at least 2 training images"):
        filled([one[:1] for one in maps])
    alike = [one[:1].expand(5, -1, -1, -1) for one in maps]
    with pytest.raises(ValueError, match="no two of the 5 training images differ"):
        filled(alike)
    found = distances(filled(alike, regularization=0.25), [one[:1] + 1 for one in alike])
    np.testing.assert_allclose(found, np.sqrt(8 / 0.25), rtol=1e-4)
