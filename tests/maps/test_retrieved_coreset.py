"""A coreset of each image: as by a slow search; in bounded memory; each image left out."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import SPADE, MapDetector
from skad.detectors import _map
from skad.maps import RetrievedCoreset, RetrievedPixels
from tests.instances import SMALLEST

RNG = np.random.RandomState(0)
MAPS = [torch.from_numpy(RNG.normal(size=shape)).float() for shape in [(5, 4, 6, 6), (5, 3, 3, 3)]]
QUERIES = [
    torch.from_numpy(RNG.normal(size=shape)).float() for shape in [(2, 4, 6, 6), (2, 3, 3, 3)]
]
RETRIEVED = np.array([[0, 3, 4], [2, 1, 3]])
IMAGES = RNG.randint(256, size=(12, 16, 16, 3)).astype(np.uint8)


def filled(gallery, maps=MAPS):
    """A gallery of images that came in two parts."""
    gallery.begin(len(maps[0]), "test")
    gallery.add(0, [one[:2] for one in maps])
    gallery.add(2, [one[2:] for one in maps])
    gallery.complete()
    return gallery


def slowly_chosen(rows, n_centers):
    """One row after another, each the farthest from those before."""
    chosen = [0]
    while len(chosen) < n_centers:
        apart = [min(np.linalg.norm(row - rows[c]) for c in chosen) for row in rows]
        chosen.append(int(np.argmax(apart)))
    return rows[chosen]


def slow_distances(layer, queries, retrieved, share, kappa):
    """Of layer-wise galleries, pixel by pixel."""
    rows, asked = (
        one.permute(0, 2, 3, 1).flatten(1, 2).double().numpy() for one in (layer, queries)
    )
    n_kept = max(1, round(share * rows.shape[1]))
    found = []
    for pixels, indices in zip(asked, retrieved):
        gallery = np.concatenate([slowly_chosen(rows[i], n_kept) for i in indices])
        apart = np.linalg.norm(pixels[:, None] - gallery[None], axis=2)
        found.append(np.sort(apart, axis=1)[:, :kappa].mean(1))
    return np.reshape(found, (len(queries), *queries.shape[2:]))


@pytest.mark.parametrize(("share", "kappa"), [(0.3, 1), (0.3, 2), (0.01, 1)])
def test_distances_are_those_of_a_slow_search(share, kappa):
    gallery = RetrievedCoreset(coreset_share=share, n_neighbor_pixels=kappa, fusion="per_layer")
    found = filled(gallery).distances(QUERIES, RETRIEVED)
    for one, layer, queries in zip(found, MAPS, QUERIES):
        expected = slow_distances(layer, queries, RETRIEVED, share, kappa)
        np.testing.assert_allclose(one, expected, rtol=2e-3)


@pytest.mark.parametrize("fusion", ["joined", "per_layer"])
def test_all_pixels_are_the_whole_gallery(fusion):
    some, whole = (
        filled(kind(fusion=fusion, **parameters)).distances(QUERIES, RETRIEVED)
        for kind, parameters in ((RetrievedCoreset, {"coreset_share": 1.0}), (RetrievedPixels, {}))
    )
    for one, other in zip(some, whole):
        np.testing.assert_allclose(one, other, rtol=2e-3)


def test_fewer_pixels_are_never_nearer():
    few, more = (
        filled(RetrievedCoreset(coreset_share=share)).distances(QUERIES, RETRIEVED)[0]
        for share in (0.2, 0.5)
    )
    assert (few >= more - 5e-3).all()  # kept in half precision, relative to the largest
    assert (few > more + 0.1).any()


def test_pixels_that_are_too_much_alike_come_again():
    maps = torch.ones((2, 4, 5, 5))
    maps[1, :, :, 2:] = 8  # of two colours
    gallery = RetrievedCoreset(coreset_share=0.2).begin(2, "test")
    gallery.add(0, [maps])
    assert gallery.store_.shapes == [(4, 5, 1)]
    kept = [gallery.store_.read(i)[0].unique().tolist() for i in (0, 1)]
    assert kept == [[1.0], [1.0, 8.0]]


def test_what_is_kept_goes_with_the_share_and_to_disk_beyond_the_limit():
    whole, some = filled(RetrievedPixels()), filled(RetrievedCoreset(coreset_share=0.25))
    assert some.store_.n_bytes == 5 * 7 * 9 * 2  # images, channels, pixels, bytes
    assert whole.store_.n_bytes == 5 * (4 * 36 + 3 * 9) * 2
    on_disk = filled(RetrievedCoreset(coreset_share=0.25, memory_limit=0))
    assert on_disk.store_.on_disk
    expected = some.distances(QUERIES, RETRIEVED)[0]
    for gallery in (on_disk, pickle.loads(pickle.dumps(on_disk))):
        np.testing.assert_array_equal(gallery.distances(QUERIES, RETRIEVED)[0], expected)


def test_the_same_bits_again_image_by_image():
    gallery = RetrievedCoreset().begin(5, "test")
    for i in reversed(range(5)):
        gallery.add(i, [one[[i]] for one in MAPS])
    found = gallery.distances(QUERIES, RETRIEVED)[0]
    np.testing.assert_array_equal(
        found, filled(RetrievedCoreset()).distances(QUERIES, RETRIEVED)[0]
    )


def test_spade_is_a_composition_and_leaves_each_image_out(monkeypatch):
    parameters = {"coreset_share": 0.3, "n_neighbors": 3, "n_threshold_images": 12}
    taken = []
    lowest = _map.lowest_values
    monkeypatch.setattr(_map, "lowest_values", lambda one, p: taken.append(one) or lowest(one, p))
    detector = SPADE(**SMALLEST, **parameters).fit(IMAGES)
    assert type(detector.gallery_) is RetrievedCoreset
    for i in (0, 7):
        others = clone(detector).fit(np.delete(IMAGES, i, axis=0))
        taken_alone = others.score_maps(IMAGES[[i]])[0]
        np.testing.assert_allclose(taken[i], taken_alone, rtol=1e-3)
    composed = MapDetector(
        detector.pipeline_["extractor"],
        None,
        detector.pipeline_["scorer"],
        RetrievedCoreset(coreset_share=0.3),
    ).fit(IMAGES)
    np.testing.assert_array_equal(composed.score_maps(IMAGES), detector.score_maps(IMAGES))


def test_not_both_centroids_and_a_coreset():
    detector = SPADE(**SMALLEST, n_centroids=3, coreset_share=0.1)
    with pytest.raises(
        ValueError, match="SPADE: .* got n_centroids=3 and coreset_share=0.1. Leave"
    ):
        detector.fit(IMAGES)
    assert hasattr(detector, "partial_fit")
    with pytest.raises(ValueError, match="'coreset_share' parameter of SPADE must be"):
        clone(detector).set_params(n_centroids=None, coreset_share=0.0).fit(IMAGES)
