"""PaDiM: aligned pictures, what is out of its place, thresholds that leave one out."""

import numpy as np
import pytest

from skad import FeatureExtractor, KNNScorer, MapDetector, PaDiM, PatchCore
from skad.maps import GaussianPixels

SMALL = {"image_size": 32, "n_dimensions": 40}


def aligned(tile, n_images, seed=0):
    """Pictures of one thing, a little brighter or darker, shifted by up to a pixel, with noise."""
    rng, found = np.random.RandomState(seed), []
    for _ in range(n_images):
        moved = np.roll(tile, rng.randint(-1, 2, size=2), axis=(0, 1))
        found.append(moved * rng.uniform(0.9, 1.1) + rng.normal(0, 4, tile.shape))
    return np.clip(found, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def board(tiles):
    """A picture of different parts: four quarters of different tiles."""
    rows = [
        np.concatenate([tiles[i][:24, :24], tiles[j][:24, :24]], 1) for i, j in ((3, 30), (40, 9))
    ]
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def detector(board):
    return PaDiM(**SMALL).fit(aligned(board, 20))


def near(maps, row, column, by=5):
    lowest = [np.unravel_index(one.argmin(), one.shape) for one in maps]
    return np.mean([abs(i - row) <= by and abs(j - column) <= by for i, j in lowest])


def test_it_finds_defects_and_where_they_are(board, detector):
    normal, defects = aligned(board, 10, seed=1), aligned(board, 10, seed=2)
    defects[:, 31:36, 9:14] = [0, 200, 0]
    assert detector.score_samples(defects).max() < detector.score_samples(normal).min()
    maps = detector.score_maps(defects)
    assert near(maps, 33, 11) == 1
    np.testing.assert_array_equal(detector.score_samples(defects), maps.min((1, 2)))
    assert (detector.predict(normal) == 1).mean() >= 0.7
    assert (detector.predict(defects) == -1).all()


def test_it_finds_what_is_in_the_wrong_place(board, detector):
    normal, moved = aligned(board, 10, seed=1), aligned(board, 10, seed=2)
    moved[:, 30:42, 6:18] = aligned(board, 10, seed=3)[:, 6:18, 30:42]
    shares = {}
    for one in (detector, PatchCore(image_size=32).fit(aligned(board, 20))):
        maps = [one.score_maps(X)[:, 32:40, 8:16].mean((1, 2)) for X in (normal, moved)]
        shares[type(one).__name__] = maps[1].mean() / maps[0].mean()
    assert near(detector.score_maps(moved), 36, 12, by=9) == 1
    assert shares["PaDiM"] > 2 * shares["PatchCore"], "to which it is a normal patch"


def test_thresholds_leave_one_out(board):
    # Of fewer pictures than dimensions each is all but on the surface of its own Gaussian.
    few = aligned(board, 12)
    detector = PaDiM(**SMALL, n_threshold_images=12, contamination=0.25).fit(few)
    scores = detector.score_samples(few)
    assert detector.offset_ == pytest.approx(np.percentile(scores, 25), rel=1e-5)
    assert (scores < detector.offset_).sum() == 3
    new = detector.score_samples(aligned(board, 20, seed=1))
    assert (new < detector.offset_).mean() <= 0.5
    changed = few.copy()
    changed[:, 0, 0] ^= 16  # hardly another picture, but not itself
    assert (detector.score_samples(changed) > scores.max()).all(), "in its own Gaussian"


def test_further_pictures_join_as_if_they_had_been_there(board):
    pictures, new = aligned(board, 16), aligned(board, 4, seed=1)
    joined = PaDiM(**SMALL).fit(pictures[:7]).partial_fit(pictures[7:12])
    joined.partial_fit(pictures[12:])
    whole = PaDiM(**SMALL).fit(pictures)
    some = np.concatenate([new, pictures[5:9]])
    np.testing.assert_allclose(joined.score_maps(some), whole.score_maps(some), rtol=1e-3)
    assert joined.offset_ < whole.offset_, "of pictures that were compared with fewer"


def test_it_is_a_composition(board):
    pictures, new = aligned(board, 8), aligned(board, 4, seed=1)
    detector = PaDiM(**SMALL, image_score="features").fit(pictures)
    extractor, gallery = (
        FeatureExtractor(image_size=32, resize="whole"),
        GaussianPixels(n_dimensions=40),
    )
    parts = MapDetector(extractor, scorer=KNNScorer(), gallery=gallery).fit(pictures)
    for name in ("score_maps", "score_samples"):
        found, expected = (getattr(one, name)(new) for one in (parts, detector))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_does_not_fit(board):
    pictures = aligned(board, 4)
    with pytest.raises(ValueError, match=r"PaDiM: Gaussians of 256 places x 40\^2 dimensions take"):
        PaDiM(**SMALL, memory_limit=1).fit(pictures)
    with pytest.raises(ValueError, match="PaDiM: .* at least 2"):
        PaDiM(**SMALL).fit(pictures[:1])
    with pytest.raises(ValueError, match="'regularization' parameter of PaDiM must be"):
        PaDiM(regularization=0.0).fit(pictures)
    with pytest.raises(ValueError, match='"peak" is of a coreset; the gallery is a GaussianPixels'):
        PaDiM(**SMALL, image_score="peak").fit(pictures)
