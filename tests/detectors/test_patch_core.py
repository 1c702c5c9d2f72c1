"""PatchCore: against slow numpy, on real pictures, and what it refuses."""

import numpy as np
import pytest
import torch

from skad import FeatureExtractor, MapDetector, PatchCore
from skad.maps import CentroidPixels, CoresetPixels
from skad.maps._maps import averaged_patches

SMALL = {"image_size": 32}


def slow_average(maps, size):
    found, reach = np.empty_like(maps), size // 2
    for i in range(maps.shape[2]):
        for j in range(maps.shape[3]):
            middles = (min(max(k, reach), n - 1 - reach) for k, n in zip((i, j), maps.shape[2:]))
            rows, columns = (slice(k - reach, k + reach + 1) for k in middles)
            found[:, :, i, j] = maps[:, :, rows, columns].mean((2, 3))
    return found


@pytest.mark.parametrize("size", [1, 3, 5])
def test_patches_are_averaged(size):
    maps = np.random.RandomState(0).normal(size=(2, 3, 6, 5)).astype(np.float32)
    found = averaged_patches(torch.from_numpy(maps), size).numpy()
    np.testing.assert_allclose(found, slow_average(maps, size), atol=1e-6)


def test_pixels_and_peaks_are_those_of_the_formulas():
    rng = np.random.RandomState(0)
    gallery = CoresetPixels(coreset_share=0.2).begin(4, "test")
    layers = [rng.normal(size=(4, 3, 4, 4)), rng.normal(size=(4, 2, 4, 4))]
    gallery.add(0, [torch.from_numpy(one.astype(np.float32)) for one in layers])
    gallery.complete()
    (kept,) = gallery.pixels_
    assert kept.shape == (round(0.2 * 64), 5)
    new = [rng.normal(size=(2, *one.shape[1:])).astype(np.float32) for one in layers]
    rows = np.concatenate([slow_average(one, 3) for one in new], axis=1)
    rows = rows.transpose(0, 2, 3, 1).reshape(2, 16, 5)
    apart = np.sqrt(np.square(rows[:, :, None] - kept).sum(3))
    tensors = list(map(torch.from_numpy, new))
    (found,) = gallery.distances(tensors, None)
    np.testing.assert_allclose(found.flatten(1).numpy(), apart.min(2), rtol=1e-4)
    peaks = []
    for one in apart:
        farthest = one.min(1).argmax()
        nearest = one[farthest].argmin()
        around = np.argsort(np.square(kept - kept[nearest]).sum(1))[:9]
        weight = 1 - np.exp(one[farthest, nearest]) / np.exp(one[farthest, around]).sum()
        peaks.append(weight * one[farthest, nearest])
    np.testing.assert_allclose(gallery.peaks(tensors).numpy(), peaks, rtol=1e-4)


def test_it_finds_defects_and_where_they_are(tiles):
    normal, defects = tiles[24:], tiles[40:].copy()
    defects[:, 20:27, 15:22] = [0, 255, 0]
    detector = PatchCore(image_size=64, coreset_share=0.1).fit(normal[:16])
    lower = detector.score_samples(defects) < detector.score_samples(normal[16:])
    assert lower.mean() >= 0.8
    maps = detector.score_maps(defects)
    lowest = [np.unravel_index(one.argmin(), one.shape) for one in maps]
    near = [abs(i - 23) <= 5 and abs(j - 18) <= 5 for i, j in lowest]
    assert np.mean(near) >= 0.9
    whole = PatchCore(image_size=64, coreset_share=0.1, image_score="map").fit(normal[:16])
    np.testing.assert_array_equal(whole.score_samples(defects), maps.min((1, 2)))


def test_memory_that_is_short_keeps_as_many(tiles):
    plain = PatchCore(**SMALL, coreset_share=0.05).fit(tiles[24:])
    short = PatchCore(**SMALL, coreset_share=0.05, memory_limit=0.3).fit(tiles[24:])
    (kept,), (fewer,) = plain.gallery_.pixels_, short.gallery_.pixels_
    assert len(fewer) == len(kept)
    assert not np.array_equal(fewer, kept)
    assert np.isin(fewer[:, 0], kept[:, 0]).mean() < 1
    scores = [one.score_samples(tiles) for one in (plain, short)]
    assert np.corrcoef(*scores)[0, 1] > 0.95


def test_the_threshold_is_a_share_of_training_images(tiles):
    options = {"n_threshold_images": 24, "contamination": 0.25}
    detector = PatchCore(**SMALL, **options).fit(tiles[24:])
    scores = detector.score_samples(tiles[24:])
    assert detector.offset_ == pytest.approx(np.percentile(scores, 25), rel=1e-5)
    assert (scores < detector.offset_).sum() == 6


def test_what_does_not_fit(tiles):
    with pytest.raises(ValueError, match="PatchCore: patch_size must be odd"):
        PatchCore(**SMALL, patch_size=4).fit(tiles[:9])
    peak = MapDetector(FeatureExtractor(**SMALL), gallery=CentroidPixels(), image_score="peak")
    with pytest.raises(ValueError, match='image_score="peak" is of a coreset; .* CentroidPixels'):
        peak.fit(tiles[:9])
    with pytest.raises(AttributeError, match="partial_fit"):
        PatchCore(**SMALL).fit(tiles[:9]).partial_fit(tiles[9:12])
