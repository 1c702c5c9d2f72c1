"""Metrics of anomaly maps: against scikit-learn and a slow reference, in bounded memory."""

import tracemalloc
import weakref

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from skad.metrics import (
    _map_pairs,
    pixel_auroc_score,
    pixel_average_precision_score,
    pro_score,
    region_table,
)

METRICS = [pixel_auroc_score, pixel_average_precision_score, pro_score, region_table]
LIMITS = [1e-9, 0.01, 0.1, 0.3, 0.5, 1.0]


def random_pairs(seed, dtype=np.float64):
    """Masks and read-only maps of differing sizes; masks may be empty or full, scores tie a lot."""
    rng = np.random.RandomState(seed)
    masks, score_maps = [], []
    for share in (0.3, *rng.choice([0, 0.1, 0.4, 1], 4)):
        mask = rng.rand(*rng.randint(2, 9, 2)) < share
        levels = rng.choice([1, 2, 5, 1000])
        scores = (rng.randint(0, levels, mask.shape) - mask * rng.randint(-1, 3)).astype(dtype)
        scores.setflags(write=False)
        masks.append(mask)
        score_maps.append(scores)
    masks[0][0, :2] = True, False
    order = rng.permutation(5)
    return [masks[i] for i in order], [score_maps[i] for i in order]


def flat(masks, score_maps):
    """What scikit-learn takes: high = defect."""
    pixels = [np.concatenate([np.ravel(a) for a in arrays]) for arrays in (masks, score_maps)]
    return pixels[0], -pixels[1].astype(np.float64)


def slow_regions(mask):
    """Lists of the pixels of each region, by walking from pixel to pixel."""
    left = set(zip(*np.nonzero(mask)))
    while left:
        region, border = set(), [min(left)]
        while border:
            row, column = border.pop()
            if (row, column) in left:
                left.remove((row, column))
                region.add((row, column))
                border += [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        yield sorted(region)


def slow_overlap(region, normal, thresholds, max_fpr):
    """The curve at every threshold, cut at the limit, by the trapezoid rule."""
    fpr = [0.0, *(np.mean(normal <= threshold) for threshold in thresholds)]
    found = [0.0, *(np.mean(region <= threshold) for threshold in thresholds)]
    n_kept = sum(rate <= max_fpr for rate in fpr)
    if n_kept < len(fpr):
        step = (max_fpr - fpr[n_kept - 1]) / (fpr[n_kept] - fpr[n_kept - 1])
        last = found[n_kept - 1] + step * (found[n_kept] - found[n_kept - 1])
        fpr, found = [*fpr[:n_kept], max_fpr], [*found[:n_kept], last]
    return np.trapezoid(found, fpr) / max_fpr


def slow_table(masks, score_maps, max_fpr):
    normal = np.concatenate([scores[~mask] for mask, scores in zip(masks, score_maps)])
    thresholds = np.unique(np.concatenate([scores.ravel() for scores in score_maps]))
    for image, (mask, scores) in enumerate(zip(masks, score_maps)):
        for region in slow_regions(mask):
            rows, columns = np.transpose(region)
            found = scores[rows, columns]
            box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            overlap = slow_overlap(found, normal, thresholds, max_fpr)
            yield (image, len(region), *box, found.mean(), found.min(), overlap)


@pytest.mark.parametrize("seed", range(60))
def test_pixel_scores_are_those_of_scikit_learn(seed):
    masks, score_maps = random_pairs(seed)
    y, scores = flat(masks, score_maps)
    auroc = pixel_auroc_score(masks, score_maps)
    precision = pixel_average_precision_score(masks, score_maps)
    assert type(auroc) is type(precision) is float
    assert auroc == pytest.approx(roc_auc_score(y, scores), rel=1e-14)
    assert precision == pytest.approx(average_precision_score(y, scores), rel=1e-14)


@pytest.mark.parametrize("seed", range(60))
def test_regions_are_those_of_a_slow_reference(seed):
    masks, score_maps = random_pairs(seed)
    limit = LIMITS[seed % len(LIMITS)]
    table = region_table(masks, score_maps, max_fpr=limit)
    # Of one image, regions may come in any order.
    found = sorted(zip(*(column for name, column in table.items() if name != "region")))
    expected = sorted(slow_table(masks, score_maps, limit))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    pro = pro_score(masks, score_maps, max_fpr=limit)
    assert type(pro) is float
    assert pro == pytest.approx(np.mean([row[-1] for row in expected]), rel=1e-12, abs=1e-12)
    assert pro == table["overlap"].mean()


@pytest.mark.parametrize("limit", LIMITS)
def test_pro_never_leaves_its_range(limit):
    seen = []
    for seed in range(60):
        masks, score_maps = random_pairs(seed)
        seen.append(pro_score(masks, score_maps, max_fpr=limit))
        perfect = [np.where(mask, 0.1, 0.7) for mask in masks]
        assert pro_score(masks, perfect, max_fpr=limit) == 1
    assert 0 <= min(seen) < max(seen) <= 1


def test_values_by_hand():
    masks = [np.array([[True, True, False, True, False, False]]), np.array([[False, False]])]
    score_maps = [np.array([[1.0, 3.0, 9.0, 4.0, 2.0, 4.0]]), np.array([[7.0, 8.0]])]
    # Below 1, 3 and 4 there are 0, 1 and 1 of five normal pixels, and one more scores 4 itself.
    assert pixel_auroc_score(masks, score_maps) == (5 + 4 + 3.5) / 15
    precision = pixel_average_precision_score(masks, score_maps)
    assert precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, rel=1e-15)
    # Up to a rate of 0.3, the first region is found by half until 0.2, and as a whole from there;
    # of the second, half is found at 0.3, on a line that begins at 0.2.
    overlap = region_table(masks, score_maps)["overlap"]
    np.testing.assert_allclose(overlap, [(0.1 + 0.1) / 0.3, 0.5 * 0.1 * 0.5 / 0.3], rtol=1e-14)
    overlap = region_table(masks, score_maps, max_fpr=0.2)["overlap"]
    np.testing.assert_allclose(overlap, [0.5, 0], rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_pro_of_one_region_and_no_limit_is_the_pixel_auroc(seed):
    rng = np.random.RandomState(seed)
    mask = np.zeros((9, 7), dtype=bool)
    mask[2:5, 3:] = True
    masks, score_maps = [mask, ~mask & False], rng.randint(0, 9, (2, 9, 7)) - 2.0 * mask
    expected = pytest.approx(pixel_auroc_score(masks, score_maps), rel=1e-14)
    assert pro_score(masks, score_maps, max_fpr=1) == expected


def test_low_scores_mean_defects():
    masks, _ = random_pairs(0)
    right = [np.where(mask, -1.0, 1.0) for mask in masks]
    wrong = [-scores for scores in right]
    for metric in METRICS[:3]:
        assert metric(masks, right) == 1
    assert pixel_auroc_score(masks, wrong) == pro_score(masks, wrong) == 0
    y, scores = flat(masks, wrong)
    expected = pytest.approx(average_precision_score(y, scores), rel=1e-14)
    assert pixel_average_precision_score(masks, wrong) == expected


@pytest.mark.parametrize("limit", LIMITS)
def test_constant_maps_know_nothing(limit):
    masks, _ = random_pairs(1)
    constant = [np.full(mask.shape, 3.7) for mask in masks]
    assert pixel_auroc_score(masks, constant) == 0.5
    share = flat(masks, constant)[0].mean()
    assert pixel_average_precision_score(masks, constant) == pytest.approx(share, rel=1e-14)
    expected = pytest.approx(limit / 2, rel=1e-14)
    assert pro_score(masks, constant, max_fpr=limit) == expected
    assert set(region_table(masks, constant)["mean_score"].round(12)) == {3.7}


@pytest.mark.parametrize("seed", range(5))
def test_only_the_order_of_scores_matters(seed):
    masks, score_maps = random_pairs(seed)
    curves = [np.arcsinh, lambda x: x**3 / 7 + 1e6, lambda x: np.exp(x / 100)]
    for metric in METRICS[:3]:
        expected = pytest.approx(metric(masks, score_maps), rel=1e-13)
        for curve in curves:
            assert metric(masks, [curve(scores) for scores in score_maps]) == expected


@pytest.mark.parametrize("size", [1, 2, 7, 30])
@pytest.mark.parametrize("seed", range(4))
def test_chunks_do_not_matter(seed, size, monkeypatch):
    masks, score_maps = random_pairs(seed)
    expected = [metric(masks, score_maps) for metric in METRICS]
    monkeypatch.setattr(_map_pairs, "CHUNK_SIZE", size)
    assert pixel_auroc_score(masks, score_maps) == expected[0]
    for metric, value in zip(METRICS[1:3], expected[1:3]):
        assert metric(masks, score_maps) == pytest.approx(value, rel=1e-13)
    table = region_table(masks, score_maps)
    overlap = table.pop("overlap")
    np.testing.assert_allclose(overlap, expected[3].pop("overlap"), rtol=1e-13, atol=1e-15)
    for name, column in table.items():
        np.testing.assert_array_equal(column, expected[3][name])


class Opened:
    """Sequence that makes its items when asked, and knows how many of them are alive."""

    def __init__(self, items):
        self.items = items
        self.alive = self.most_alive = 0
        self.n_opened = np.zeros(len(items), dtype=int)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.n_opened[i] += 1
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        item = self.items[i].copy()
        weakref.finalize(item, self._closed)
        return item

    def _closed(self):
        self.alive -= 1


@pytest.mark.parametrize("metric", METRICS)
def test_images_are_opened_one_by_one(metric, monkeypatch):
    masks, score_maps = random_pairs(2)
    masks, score_maps = Opened(masks * 20), Opened(score_maps * 20)
    n_defect = sum(mask.sum() for mask in masks.items)
    monkeypatch.setattr(_map_pairs, "CHUNK_SIZE", n_defect // 2)
    metric(masks, score_maps)
    n_passes = 5 if metric is pixel_average_precision_score else 3
    for opened in (masks, score_maps):
        # One before, one after, and one whose pixels were cut by the end of a chunk.
        assert opened.most_alive <= 3
        assert opened.alive == 0
        assert set(opened.n_opened) == {n_passes}


@pytest.mark.parametrize("metric", METRICS)
def test_memory_does_not_grow_with_the_number_of_images(metric, monkeypatch):
    monkeypatch.setattr(_map_pairs, "CHUNK_SIZE", 2**14)
    rng = np.random.RandomState(0)
    mask = np.zeros((64, 64), dtype=bool)
    mask[:32, :32] = True
    scores = rng.normal(size=mask.shape) - mask
    peaks = []
    for n_images in (50, 150):
        masks, score_maps = Opened([mask] * n_images), Opened([scores] * n_images)
        tracemalloc.start()
        metric(masks, score_maps)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 0.6 * 150 * scores.nbytes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width(dtype):
    masks, score_maps = random_pairs(3, dtype)
    wide = [scores.astype(np.float64) for scores in score_maps]
    y, scores = flat(masks, score_maps)
    assert pixel_auroc_score(masks, score_maps) == pytest.approx(roc_auc_score(y, scores))
    for metric in METRICS[:3]:
        assert metric(masks, score_maps) == metric(masks, wide)
    assert region_table(masks, score_maps)["mean_score"].dtype == np.float64
    # Neighbouring floats are told apart.
    near = np.array([[1.0, 1.0]], dtype=dtype)
    near[0, 1] = np.nextafter(near[0, 1], dtype(2))
    assert pixel_auroc_score([near == 1], [near]) == 1


@pytest.mark.parametrize("metric", METRICS[:3])
def test_every_way_to_give_masks_and_maps(metric, tmp_path):
    rng = np.random.RandomState(0)
    masks, score_maps = rng.rand(4, 6, 5) < 0.3, rng.randint(0, 6, (4, 6, 5)).astype(np.float32)
    masks[0], masks[1] = True, False
    expected = metric(list(masks), list(score_maps))
    assert 0 < expected < 1
    for name, array in [("masks", masks), ("score_maps", score_maps)]:
        np.save(tmp_path / f"{name}.npy", array)
    on_disk = [np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("masks", "score_maps")]
    images = [Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks]
    for given in (
        (masks, score_maps),
        on_disk,
        (masks.astype(np.uint8), tuple(score_maps)),
        (masks * np.uint8(255), score_maps),
        (masks.astype(np.float32), score_maps),
        ([masks[0], *(255 * masks[1:].astype(int))], score_maps),
        (images, score_maps),
        (masks.tolist(), score_maps.tolist()),
        (masks.swapaxes(1, 2), score_maps.swapaxes(1, 2)),
        (Opened(masks), Opened(score_maps)),
    ):
        assert metric(*given) == pytest.approx(expected, rel=1e-14)


def test_table_of_regions():
    masks = [
        np.zeros((6, 8), dtype=bool),
        np.zeros((3, 3), dtype=bool),
        np.ones((2, 2), dtype=bool),
    ]
    masks[0][1:3, 2:5] = True
    # They touch at a corner.
    masks[0][5, 0] = masks[0][4, 1] = True
    score_maps = [np.ones(mask.shape) for mask in masks]
    score_maps[0][1:3, 2:5] = [[0.5, 0.0, 0.5], [0.5, 0.5, 0.4]]
    table = region_table(masks, score_maps)
    assert list(table) == [
        *("image", "region", "area", "top", "left", "bottom", "right"),
        *("mean_score", "lowest_score", "overlap"),
    ]
    frame = pd.DataFrame(table)
    assert frame["image"].tolist() == [0, 0, 2]
    assert frame["region"].tolist() == [1, 2, 1]
    assert frame["area"].tolist() == [6, 2, 4]
    box = frame[["top", "left", "bottom", "right"]]
    assert box.to_numpy().tolist() == [[1, 2, 3, 5], [4, 0, 6, 2], [0, 0, 2, 2]]
    np.testing.assert_allclose(frame["mean_score"], [0.4, 1, 1], rtol=1e-14)
    assert frame["lowest_score"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(frame["overlap"], [1, 0.15, 0.15], rtol=1e-14)
    assert {str(dtype) for dtype in frame.dtypes} == {"int64", "float64"}


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_regions_are_those_of_label(seed):
    masks, score_maps = random_pairs(seed)
    table = region_table(masks, score_maps)
    columns = ("image", "region", "area", "lowest_score")
    for image, region, area, lowest in zip(*(table[name] for name in columns)):
        here = ndimage.label(masks[image], np.ones((3, 3)))[0] == region
        assert here.sum() == area
        assert score_maps[image][here].min() == lowest
    n_regions = sum(ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks)
    assert len(table["area"]) == n_regions


MASK = np.array([[True, False, False]])
MAP = np.array([[0.1, 0.2, 0.3]])


def nan_map(value):
    return np.array([[0.1, value, 0.3]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("masks", "score_maps", "error", "message"),
    [
        ([MASK] * 2, [MAP], ValueError, "2 masks and 1 score maps.*all False"),
        ([], [], ValueError, "empty; at least one is needed"),
        (np.zeros((0, 3, 3), bool), np.zeros((0, 3, 3)), ValueError, "empty"),
        (MASK, [MAP], ValueError, r"masks must be .* array of shape \(1, 3\).*\[array\]"),
        ([MASK], MAP, ValueError, r"score_maps must be .* array of shape \(1, 3\).*\[array\]"),
        (iter([MASK]), [MAP], TypeError, "masks must be a sequence .* list_iterator.* list"),
        ([MASK], (m for m in [MAP]), TypeError, "score_maps must be a sequence .* generator"),
        (np.array(1.0), [MAP], ValueError, r"masks must be .* array of shape \(\)"),
        (None, [MAP], TypeError, "masks must be a sequence .* NoneType"),
        (MASK.tolist(), MAP.tolist(), ValueError, r"mask of image 0 must be 2-D.* \(3,\)"),
        ([MASK], [MAP[None]], ValueError, r"score map of image 0 must be 2-D.* \(1, 1, 3\)"),
        ([MASK] * 2, [MAP, MAP.T], ValueError, r"for image 1 got \(1, 3\) and \(3, 1\)"),
        ([MASK] * 2, [MAP, nan_map(np.nan)], ValueError, "map of image 1 contains NaN"),
        ([MASK] * 2, [nan_map(np.inf), MAP], ValueError, "map of image 0 contains NaN or inf"),
        ([~MASK & MASK], [nan_map(-np.inf)], ValueError, "map of image 0 contains NaN or inf"),
        ([MASK], [np.array([[1, 2, 3]])], ValueError, r"image 0 has dtype int64.*astype\(float\)"),
        ([MASK], [MASK], ValueError, "image 0 has dtype bool"),
        ([MASK, np.array([[0, 1, 2]])], [MAP] * 2, ValueError, "image 1 .*int64.* 0, 1, 2. Comp"),
        ([MASK * np.uint8(7)], [MAP], ValueError, r"image 0 \(dtype uint8\) has 0, 7\. .*> 127"),
        ([np.array([[0, 1, 255]])], [MAP], ValueError, "image 0 .* has 0, 1, 255"),
        ([np.array([[1, -1, 1]])], [MAP], ValueError, "image 0 .* has -1, 1"),
        ([np.arange(5.0)[None]], [np.zeros((1, 5))], ValueError, "0.0, 1.0, 2.0, 3.0, ..."),
        ([np.array([[0, np.nan, 1]])], [MAP], ValueError, "has 0.0, 1.0, nan"),
        ([MASK.astype(str)], [MAP], ValueError, "image 0 .* has False, True"),
        ([MASK.astype(object)], [MAP], ValueError, r"image 0 \(dtype object\)"),
        ([MASK & False] * 3, [MAP] * 3, ValueError, "all pixels of the 3 masks are normal.*both"),
        ([MASK | True] * 3, [MAP] * 3, ValueError, "all pixels of the 3 masks are defects.*both"),
    ],
)
def test_what_cannot_be_measured_is_named(metric, masks, score_maps, error, message):
    with pytest.raises(error, match=rf"(?s)^{metric.__name__}: .*{message}"):
        metric(masks, score_maps)


@pytest.mark.parametrize("metric", [pro_score, region_table])
@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.01, 30, np.nan, "0.3", None, True])
def test_limits_out_of_range(metric, max_fpr):
    with pytest.raises(ValueError, match=rf"^{metric.__name__}: max_fpr must .* got .*0\.3"):
        metric([MASK], [MAP], max_fpr=max_fpr)
