"""ConformalMapDetector: its p-values and regions against slow definitions, and what it takes."""

import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import skad
from skad import SPADE, ConformalDetector, ConformalMapDetector, PatchCore
from tests.instances import SMALLEST

from .common import OddPixels, calibrated, noise, of_many_sizes, slow_rows

SIZES = {"one size": noise, "many sizes": of_many_sizes}


def setting_and_ranked(n, seed):
    """Places of the calibration images that set the threshold of regions, and of the others."""
    order = np.random.RandomState(seed).permutation(n)
    return np.split(order, [min(20, max(1, n // 5))])


@pytest.mark.parametrize("images", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("decimals", [None, 1])
def test_p_values_are_those_of_a_slow_loop(decimals, images):
    rng = np.random.RandomState(0)
    calibration, new = images(39, rng), images(5, rng)
    new[0] *= 3
    detector = calibrated(calibration, decimals=decimals)
    (inner,) = detector.detectors_
    lowest = [one.min() for one in inner.score_maps(calibration)]
    found = detector.p_value_maps(new)
    assert type(found) is type(new)
    for p_values, scores in zip(found, inner.score_maps(new), strict=True):
        expected = [[(1 + sum(c <= s for c in lowest)) / 40 for s in row] for row in scores]
        np.testing.assert_array_equal(p_values, expected)
    np.testing.assert_array_equal(detector.p_values(new), [one.min() for one in found])
    scores, p_values = detector.decide(new)
    np.testing.assert_array_equal(scores, detector.decision_function(new))
    np.testing.assert_array_equal(p_values, detector.p_values(new))


@pytest.mark.parametrize("rate", [1 / 40, 0.05, 0.1, 0.3, 0.999])
def test_masks_are_where_the_p_value_is_at_most_the_rate(rate):
    """With many scores tied, and images beyond all."""
    rng = np.random.RandomState(1)
    new = noise(60, rng) * rng.uniform(0.1, 2, (60, 1, 1))
    detector = calibrated(noise(99, rng), decimals=1, false_alarm_rate=rate)
    masks = detector.predict_masks(new)
    assert masks.dtype == bool
    assert masks.any()
    np.testing.assert_array_equal(masks, detector.p_value_maps(new) <= rate)
    np.testing.assert_array_equal(masks.any(axis=(1, 2)), detector.predict(new) == -1)
    np.testing.assert_array_equal(detector.predict(new) == -1, detector.p_values(new) <= rate)
    assert detector.offset_ == detector.pixel_offset_
    np.testing.assert_array_equal(masks, detector.score_maps(new) < detector.pixel_offset_)


@pytest.mark.parametrize("images", SIZES.values(), ids=SIZES)
def test_regions_are_those_of_a_slow_search(images):
    rng = np.random.RandomState(2)
    calibration, new = images(60, rng), images(12, rng)
    new[3] += 0.8
    detector = calibrated(calibration, region_threshold=0.1, false_alarm_rate=0.1, random_state=5)
    (inner,), u = detector.detectors_, detector.region_offset_
    _, ranked = setting_and_ranked(60, seed=5)
    masses = [
        max((row[-1] for row in slow_rows(one, u)), default=0.0)
        for one in inner.score_maps([calibration[i] for i in ranked])
    ]
    np.testing.assert_allclose(detector.calibration_masses_, np.sort(masses), rtol=1e-9)
    rows = [
        (i, number, *row)
        for i, one in enumerate(inner.score_maps(new))
        for number, row in enumerate(slow_rows(one, u), 1)
    ]
    table = detector.predict_regions(new)
    assert len({row[0] for row in rows}) > 8, "of most images"
    columns = ["image", "region", "area", "top", "left", "bottom", "right"]
    columns += ["mean_score", "lowest_score", "mass"]
    assert list(table) == [*columns, "p_value", "defect"]
    for name, expected in zip(columns, zip(*rows), strict=True):
        np.testing.assert_allclose(table[name], expected, rtol=1e-9, err_msg=name)
    p_values = [(1 + sum(m >= row[-1] - 1e-9 for m in masses)) / (1 + len(masses)) for row in rows]
    np.testing.assert_array_equal(table["p_value"], p_values)
    np.testing.assert_array_equal(table["defect"], table["p_value"] <= 0.1)
    assert table["defect"].any()
    assert not table["defect"].all()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2])
def test_the_threshold_of_regions_is_set_by_images_that_are_not_ranked(share):
    rng = np.random.RandomState(3)
    calibration = noise(120, rng, (30, 30))
    detector = calibrated(calibration, region_threshold=share)
    setting, ranked = setting_and_ranked(120, seed=0)
    assert len(detector.calibration_masses_) == len(ranked) == 100
    scores = detector.detectors_[0].score_maps(calibration[setting])
    assert np.mean(scores < detector.region_offset_) == pytest.approx(share, rel=0.1, abs=3e-4)
    changed = calibration.copy()
    changed[ranked] *= 2
    again = calibrated(changed, region_threshold=share)
    assert again.region_offset_ == detector.region_offset_
    assert again.offset_ < detector.offset_
    changed = calibration.copy()
    changed[setting] *= 2
    assert calibrated(changed, region_threshold=share).region_offset_ < detector.region_offset_


def test_each_image_sets_the_threshold_alike_however_large():
    small = list(noise(30, np.random.RandomState(4)))
    large = [np.kron(one, np.ones((4, 4))) if i % 2 else one for i, one in enumerate(small)]
    assert calibrated(large, region_threshold=0.1).region_offset_ == pytest.approx(
        calibrated(small, region_threshold=0.1).region_offset_, rel=0.02
    )


def test_small_and_deep_is_found_by_pixels_large_and_faint_by_regions():
    rng = np.random.RandomState(6)
    detector = calibrated(noise(150, rng, (30, 30)))
    spot, stain = noise(2, rng, (30, 30))
    spot[7, 9] = 12
    stain[4:20, 8:26] = 2.9 + 0.1 * stain[4:20, 8:26]
    masks, table = detector.predict_masks([spot, stain]), detector.predict_regions([spot, stain])
    np.testing.assert_array_equal(np.argwhere(masks[0]), [[7, 9]])
    assert not masks[1].any()
    (found,) = np.flatnonzero(table["defect"] & (table["image"] == 1))
    box = [table[side][found] for side in ("top", "left", "bottom", "right")]
    np.testing.assert_allclose(box, [4, 8, 20, 26], atol=2)
    assert table["p_value"][found] == 1 / 131


def test_batches_are_decided_as_benjamini_and_hochberg_do_image_by_image():
    rng = np.random.RandomState(7)
    detector = calibrated(noise(150, rng))
    batch = noise(40, rng)
    batch[:6, 2:9, 2:9] += rng.uniform(1, 4, (6, 1, 1))
    for q in (0.05, 0.1, 0.3):
        table = detector.predict_regions(batch, false_discovery_rate=q)
        lowest = [min(table["p_value"][table["image"] == i], default=1.0) for i in range(40)]
        passed = [p for j, p in enumerate(np.sort(lowest), 1) if p <= j * q / 40 + 1e-12]
        np.testing.assert_array_equal(table["defect"], table["p_value"] <= max(passed, default=0))
        assert table["defect"].any() == bool(passed)
    for q in (0, 1, "0.1"):
        with pytest.raises(ValueError, match="ConformalMapDetector: false_discovery_rate must be"):
            detector.predict_regions(batch, false_discovery_rate=q)


def test_what_trains_does_not_calibrate():
    X = noise(101, np.random.RandomState(8))
    detector = ConformalMapDetector(OddPixels(), calibration_share=0.3).fit(X)
    (inner,) = detector.detectors_
    assert (len(inner.seen_), len(detector.calibration_scores_[0])) == (71, 30)
    known = {one.tobytes() for one in inner.seen_}
    others = [one for one in X if one.tobytes() not in known]
    lowest = np.sort([one.min() for one in inner.score_maps(others)])
    np.testing.assert_array_equal(detector.calibration_scores_, [lowest])
    split = ConformalDetector(WholeImages(), calibration_share=0.3).fit(X)
    np.testing.assert_array_equal(split.detectors_[0].seen_, inner.seen_)
    np.testing.assert_array_equal(split.calibration_scores_[0], lowest)


class WholeImages(OddPixels):
    def score_samples(self, X):
        return self.score_maps(X).min(axis=(1, 2))


def test_memory_does_not_grow_with_maps():
    class Counting(OddPixels):
        def score_maps(self, X):
            together.append(len(X))
            return super().score_maps(X)

    together = []
    X = noise(200, np.random.RandomState(9), (40, 40))
    detector = ConformalMapDetector(FrozenEstimator(Counting().fit(X)), calibration_share=1.0)
    detector.fit(X)
    assert sum(together) == 200
    assert max(together) <= 16
    kept = detector.calibration_scores_ + list(vars(detector).values())
    assert sum(one.size for one in kept if isinstance(one, np.ndarray)) == 200 + 180


class NeverTrained(OddPixels):
    def fit(self, X, y=None):
        raise AssertionError("trained before the number of images was looked at")


@pytest.mark.parametrize(
    ("given", "n", "message"),
    [
        (
            {},
            80,
            r"^ConformalMapDetector: false_alarm_rate=0.05 needs at least 23 calibration images, "
            r"19 to rank regions among and 4 to set their threshold, got 20, of n_samples = 80 "
            r"normal images. Give more images, a larger false_alarm_rate or a larger calibration_s",
        ),
        ({"false_alarm_rate": 0.01}, 400, "needs at least 119 calibration images.*got 100"),
        ({"calibration_share": 1.0}, 90, "calibration_share=1.0 leaves no image to train on.*Conf"),
    ],
)
def test_too_few_images_are_told_before_the_training(given, n, message):
    detector = ConformalMapDetector(NeverTrained(), **given)
    with pytest.raises(ValueError, match=message):
        detector.fit(noise(n, np.random.RandomState(0)))
    assert not hasattr(detector, "detectors_")


@pytest.mark.parametrize(("rate", "enough"), [(0.05, 23), (0.01, 119), (0.3, 4)])
def test_as_many_images_as_the_error_asks_for_are_enough(rate, enough):
    X = noise(enough, np.random.RandomState(0))
    with pytest.raises(ValueError, match=f"at least {enough} calibration images"):
        calibrated(X[:-1], false_alarm_rate=rate)
    detector = calibrated(X, false_alarm_rate=rate)
    spoilt = X[:1] + 100
    assert detector.predict(spoilt) == [-1]
    assert detector.predict_regions(spoilt)["defect"].all()


@pytest.mark.parametrize("inner", [skad.KNNScorer(), skad.DN2(), "PatchCore"])
def test_what_gives_no_maps_is_refused(inner):
    with pytest.raises(ValueError, match="'detector' parameter of ConformalMapDetector must be"):
        ConformalMapDetector(inner).fit(noise(100, np.random.RandomState(0)))


def test_nan_does_not_pass_for_normal():
    X = noise(100, np.random.RandomState(0))
    X[57, 0, 0] = np.nan
    detector = calibrated(X[58:])
    with pytest.raises(ValueError, match="the map of image 57 by FrozenEstimator holds NaN"):
        detector.p_value_maps(X[:58])


def test_parameters_given_after_a_fit_change_no_table():
    X = noise(60, np.random.RandomState(0))
    detector = calibrated(X[:40], region_threshold=0.1)
    expected = detector.predict_regions(X)
    detector.set_params(false_alarm_rate=0.5, region_threshold=0.3)
    for name, column in detector.predict_regions(X).items():
        np.testing.assert_array_equal(column, expected[name])


@pytest.fixture
def photographs(tiles, tmp_path):
    """Paths of pictures of three sizes."""
    paths = [tmp_path / f"{i:02}.png" for i in range(48)]
    for i, (path, tile) in enumerate(zip(paths, tiles)):
        Image.fromarray(zoom(tile, (1 + i % 3 / 2, 1, 1), order=0)).save(path)
    return list(map(str, paths))


def patch_core(**given):
    return PatchCore(**SMALLEST, n_threshold_images=2, **given)


def test_pictures_that_can_not_be_read(photographs, tmp_path):
    given = {"false_alarm_rate": 0.2, "calibration_share": 0.5}
    detector = ConformalMapDetector(patch_core(on_error="skip"), **given).fit(photographs)
    expected = detector.p_values(photographs)
    (tmp_path / "03.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 48 images could not be read"):
        p_values = detector.p_values(photographs)
    assert np.isnan(p_values[3])
    np.testing.assert_allclose(np.delete(p_values, 3), np.delete(expected, 3))
    with pytest.warns(UserWarning, match="1 of 48"):
        masks = detector.predict_masks(photographs)
    with pytest.warns(UserWarning, match="1 of 48"):
        assert np.isnan(detector.p_value_maps(photographs)[3]).all()
    with pytest.warns(UserWarning, match="1 of 48"):
        flagged = detector.predict(photographs) == -1
    assert masks[3].all()
    np.testing.assert_array_equal([mask.any() for mask in masks], flagged)
    for rate in (None, 0.1):
        with pytest.warns(UserWarning, match="1 of 48"):
            table = detector.predict_regions(photographs, false_discovery_rate=rate)
        (row,) = np.flatnonzero(table["image"] == 3)
        assert table["defect"][row]
        assert np.isnan([table[n][row] for n in ("p_value", "mass", "lowest_score")]).all()
        assert np.isfinite(np.delete(table["p_value"], row)).all()
    with pytest.raises(ValueError, match=r"03.png|image 3 .*NaN"):
        ConformalMapDetector(patch_core(on_error="skip"), **given).fit(photographs)


def test_clones_pickles_and_model_files(photographs, tmp_path):
    detector = ConformalMapDetector(
        patch_core(), false_alarm_rate=0.2, region_threshold=0.05, calibration_share=0.5
    )
    detector.fit(photographs)
    skad.save(detector, tmp_path / "model.skad")
    expected = detector.predict_regions(photographs[:9])
    copies = [clone(detector).fit(photographs), pickle.loads(pickle.dumps(detector))]
    copies.append(skad.load(tmp_path / "model.skad"))
    for copy in copies:
        assert copy.region_threshold == 0.05
        for name, column in copy.predict_regions(photographs[:9]).items():
            np.testing.assert_array_equal(column, expected[name])
        for one, other in zip(copy.predict_masks(photographs), detector.predict_masks(photographs)):
            np.testing.assert_array_equal(one, other)


def test_pickles_of_before_find_their_class():
    assert pickle.loads(b"cskad.conformal\nConformalDetector\n.") is ConformalDetector


@pytest.mark.parametrize("kind", [PatchCore, SPADE])
def test_regions_of_a_map_detector_are_those_of_its_masks(kind, photographs):
    detector = kind(**SMALLEST, n_threshold_images=5, pixel_contamination=0.2).fit(photographs[24:])
    new = photographs[20:28]
    table, maps = detector.predict_regions(new), detector.score_maps(new)
    columns = ["image", "area", "top", "left", "bottom", "right", "mean_score", "lowest_score"]
    assert list(table) == ["image", "region", *columns[1:]]
    rows = [
        (i, *row[:-1])
        for i, one in enumerate(maps)
        for row in slow_rows(one, np.float32(detector.pixel_offset_))
    ]
    for name, expected in zip(columns, zip(*rows), strict=True):
        np.testing.assert_allclose(table[name], expected, rtol=1e-6, err_msg=name)
    areas = np.bincount(table["image"], weights=table["area"], minlength=len(new))
    np.testing.assert_array_equal(areas, [mask.sum() for mask in detector.predict_masks(new)])
