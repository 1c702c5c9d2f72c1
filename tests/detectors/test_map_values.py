"""The threshold of pixels, and how it follows images that join."""

from types import SimpleNamespace

import numpy as np
import pytest

from skad import SPADE
from skad.detectors._map_values import lowest_values, n_to_draw, pixel_threshold

SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32}


def parameters(share=0.01, rate=None, n_images=20):
    return SimpleNamespace(
        pixel_contamination=share, mask_false_alarm_rate=rate, n_threshold_images=n_images
    )


@pytest.mark.parametrize("n_images", [1, 7, 20])
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.05, 0.3, 0.5])
def test_the_values_kept_give_the_quantile_of_all(share, n_images):
    rng = np.random.RandomState(0)
    # One image lies lowest by far, so that all of its values may be below the threshold.
    maps = [rng.normal(-9 * (i == 0), 1, (40, 50)).astype(np.float32) for i in range(n_images)]
    given = parameters(share)
    kept = np.stack([lowest_values(one, given) for one in maps])
    places = np.linspace(0, 1999, 2**16).round().astype(int)
    every = np.stack([np.sort(one, axis=None)[places] for one in maps])
    assert pixel_threshold(kept, given) == float(np.quantile(every, share))
    assert kept.shape[1] < every.shape[1] or share >= 0.05


@pytest.mark.parametrize("n_images", [1, 9, 10, 25, 100])
def test_no_more_images_are_below_it_than_the_rate_allows(n_images):
    given = parameters(rate=0.1, n_images=3)
    assert n_to_draw(given) == 10
    maps = np.random.RandomState(1).normal(size=(n_images, 6, 6))
    kept = np.stack([lowest_values(one, given) for one in maps])
    below = (maps.min(axis=(1, 2)) < pixel_threshold(kept, given)).sum()
    assert below == n_images // 10
    assert kept.shape == (n_images, 1)


@pytest.mark.parametrize("rate", [0.25, 0.05])
def test_the_rate_is_kept_as_images_join(rate, tiles):
    detector = SPADE(**SMALL, n_neighbors=4, mask_false_alarm_rate=rate).fit(tiles[:8])
    for end in (12, 13, 20):
        detector.partial_fit(tiles[detector.gallery_.n_images_ : end])
        kept = detector._threshold_rows
        assert len(kept) == end, "all are drawn as long as there are no more"
        assert (kept[:, 0] < detector.pixel_offset_).sum() == int(rate * end)
    # Those that joined last were compared with all others, as they are here.
    lowest = [one.min() for one in detector.score_maps(tiles[13:20])]
    np.testing.assert_allclose(np.sort(lowest), np.sort(kept[13:, 0]), rtol=1e-5)


def test_images_are_drawn_of_all_earlier_and_new_ones_alike(tiles):
    n_new = []
    for seed in range(16):
        detector = SPADE(**SMALL, n_neighbors=2, n_threshold_images=6, random_state=seed)
        before = detector.fit(tiles[:12])._threshold_rows
        after = detector.partial_fit(tiles[12:24])._threshold_rows
        assert len(after) == 6
        is_old = (after[:, None] == before).all(axis=2).any(axis=1)
        n_new.append(6 - is_old.sum())
    assert 2 < np.mean(n_new) < 4, "half of the images are new"
    assert len(set(n_new)) > 1


def test_a_threshold_of_which_no_new_image_is_drawn_stays(tiles):
    detector = SPADE(**SMALL, n_neighbors=2, n_threshold_images=1).fit(tiles[:12])
    known, offset = detector._threshold_rows, detector.pixel_offset_
    detector.partial_fit(tiles[12:13])
    if np.array_equal(detector._threshold_rows, known):
        assert detector.pixel_offset_ == offset
    else:
        assert detector.pixel_offset_ != offset


def test_scores_by_maps_follow(tiles):
    how = {"n_neighbors": 3, "image_score": "map", "n_threshold_images": 30}
    detector = SPADE(**SMALL, **how, contamination=0.25).fit(tiles[:8])
    detector.partial_fit(tiles[8:20])
    lowest = detector._threshold_rows[:, 0]
    assert detector.offset_ == pytest.approx(np.percentile(lowest, 25), rel=1e-6)
    # Those that joined last were compared with all others, as they are here.
    np.testing.assert_allclose(detector.score_samples(tiles[8:20]), lowest[8:], rtol=1e-5)
