"""Pictures of anomaly maps."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from scipy.ndimage import uniform_filter

from skad.displays import AnomalyMapDisplay
from skad.displays._axes import ANOMALY
from tests.displays.maps import Counted, texts_of

THRESHOLD = -0.2


@pytest.fixture(scope="module")
def maps(images):
    """How unlike its image's mean each pixel is; the last image is far from any threshold."""
    grey = images.mean(axis=3) / 255
    grey = np.array([uniform_filter(image, 5) for image in grey])
    maps = -np.abs(grey - grey.mean(axis=(1, 2), keepdims=True))
    maps[3] *= THRESHOLD / maps[3].min() / 2
    return maps


def show(images, maps, **keywords):
    return AnomalyMapDisplay.from_predictions(images, maps, **keywords)


def brightness(colors):
    return colors[..., :3] @ (0.2126, 0.7152, 0.0722)


def lines_of(outline, image, shape):
    """Lines of an outline as a set of pairs of corners of pixels, (x, y)."""
    left, right, bottom, top = image.get_extent()
    ends = (outline.get_path().vertices - (left, top)) / (right - left, bottom - top)
    corners = ends * shape[::-1]
    assert corners == pytest.approx(corners.round(), abs=1e-6)
    pairs = corners.round().astype(int).reshape(-1, 2, 2).tolist()
    return [tuple(sorted(map(tuple, pair))) for pair in pairs]


def slow_lines(mask):
    """Sides of pixels of a mask that no other pixel of it shares."""
    sides = []
    for y, x in np.argwhere(mask).tolist():
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        sides += [tuple(sorted((corners[i], corners[i - 1]))) for i in range(4)]
    return sorted(side for side in sides if sides.count(side) == 1)


# What is drawn


def test_a_row_has_image_heat_mask_and_truth(images, maps, masks):
    scores = [0.5, -0.125, 0.0, 1e-5]
    display = show(images, maps, threshold=THRESHOLD, masks=masks, scores=scores)
    assert texts_of(display)[::4] == [
        "image 0: +0.5",
        "image 1: -0.125",
        "image 2: +0",
        "image 3: +1e-05",
    ]
    assert texts_of(display)[1:4] == ["heat map", "mask", "truth"]
    assert [display.texts_[i].get_text() for i in (5, 6, 7, 9, 15)] == [""] * 5
    assert len(display.images_) == len(display.frames_) == 16
    for index, artist in enumerate(display.images_):
        assert np.asarray(artist.get_array()) == pytest.approx(images[index // 4] / 255)
    lefts, rights, bottoms, tops = np.array([i.get_extent() for i in display.images_]).T
    lefts, rights, bottoms, tops = (x.reshape(4, 4) for x in (lefts, rights, bottoms, tops))
    assert (lefts[:, 1:] > rights[:, :-1]).all()
    assert np.ptp(lefts, axis=0).max() == np.ptp(tops, axis=1).max() == 0
    assert (tops[1:] > bottoms[:-1]).all()  # the axis points down
    assert display.ax_.yaxis_inverted()
    assert len(display.heats_) == 4
    for row, heat in enumerate(display.heats_):
        assert np.array_equal(heat.get_array(), -maps[row])
        assert heat.get_extent() == display.images_[4 * row + 1].get_extent()
        assert heat.get_zorder() >= display.images_[0].get_zorder()
        assert 0 < heat.get_alpha() < 1


def test_the_numbers_are_kept(images, maps, masks):
    display = show(images, maps, threshold=THRESHOLD, masks=masks.astype(int), scores=np.arange(4))
    assert np.array_equal(display.images, (images / 255).astype(np.float32))
    assert np.array_equal(display.score_maps, maps)
    assert np.array_equal(display.predicted_masks, maps < THRESHOLD)
    assert np.array_equal(display.masks, masks)
    assert display.masks[0].dtype == bool
    assert display.scores.tolist() == [0, 1, 2, 3]
    assert display.threshold == THRESHOLD


@pytest.mark.parametrize(
    ("threshold", "with_masks", "names"),
    [
        (None, False, ["heat map"]),
        (THRESHOLD, False, ["heat map", "mask"]),
        (None, True, ["heat map", "truth"]),
        (0, True, ["heat map", "mask", "truth"]),
    ],
)
def test_columns_are_those_that_are_known(images, maps, masks, threshold, with_masks, names):
    display = show(images, maps, threshold=threshold, masks=masks if with_masks else None)
    assert texts_of(display)[: 1 + len(names)] == ["image 0", *names]
    assert len(display.images_) == 4 * (1 + len(names))
    assert len(display.outlines_) == (4 if "mask" in names else 0)
    assert len(display.true_outlines_) == (4 if "truth" in names else 0)
    assert (display.predicted_masks is None) == ("mask" not in names)
    assert (display.masks is None) == ("truth" not in names)
    assert len(display.colorbar_.ax.lines) == (0 if threshold is None else 1)


def test_outlines_run_about_the_pixels_of_the_masks(images, maps, masks):
    display = show(images, maps, threshold=THRESHOLD, masks=masks)
    predicted = maps < THRESHOLD
    assert [bool(mask.any()) for mask in predicted] == [False, True, True, False]
    for row in range(4):
        for outline, mask, column in (
            (display.outlines_[row], predicted[row], 2),
            (display.true_outlines_[row], masks[row], 3),
        ):
            found = lines_of(outline, display.images_[4 * row + column], mask.shape)
            assert sorted(found) == slow_lines(mask)
    assert to_rgba(display.outlines_[0].get_edgecolor()) == to_rgba(ANOMALY)
    assert display.outlines_[0].get_edgecolor() != display.true_outlines_[0].get_edgecolor()
    display.figure_.canvas.draw()  # those without a line too


def test_a_pixel_at_the_threshold_is_normal():
    score_map = np.array([[0.0, 0.5], [1.0, 0.5]])
    display = show(np.zeros((1, 2, 2)), [score_map], threshold=0.5)
    assert display.predicted_masks[0].tolist() == [[True, False], [False, False]]


def test_the_threshold_is_as_exact_as_the_maps():
    score_map = np.full((2, 2), -0.1, dtype=np.float32)  # which is below -0.1 in float64
    display = show(np.zeros((1, 2, 2)), [score_map], threshold=-0.1)
    assert not display.predicted_masks[0].any()


def test_an_image_that_is_all_defect_is_outlined_at_its_border():
    display = show(np.zeros((1, 3, 5)), -np.ones((1, 3, 5)), threshold=0)
    found = lines_of(display.outlines_[0], display.images_[2], (3, 5))
    assert len(found) == 2 * (3 + 5)
    assert {x for line in found for x, _ in line} == set(range(6))
    assert {y for line in found for _, y in line} == set(range(4))


# Colours


@pytest.mark.parametrize("threshold", [None, THRESHOLD, -3.0, 2.0])
def test_one_range_of_colours_for_all_rows(images, maps, threshold):
    display = show(images, maps * np.array([1, 0.5, 1, 0.2])[:, None, None], threshold=threshold)
    shown = [np.asarray(heat.get_array()) for heat in display.heats_]
    low, high = np.quantile(shown, (0.01, 0.995))
    if threshold is not None:
        low, high = min(low, -threshold), max(high, -threshold)
    for heat in display.heats_:
        assert heat.get_clim() == pytest.approx((low, high), abs=0.01)
        assert heat.get_clim() == display.heats_[0].get_clim()
    bar = display.colorbar_
    assert (bar.vmin, bar.vmax) == pytest.approx(display.heats_[0].get_clim())
    assert bar.cmap.name == display.heats_[0].get_cmap().name
    if threshold is not None:
        assert bar.ax.lines[0].get_ydata() == [-threshold, -threshold]


def test_a_few_wild_pixels_leave_the_others_their_colours(images, maps):
    wild = maps.copy()
    wild[0, 0, :2], wild[2, 5, 5] = -1e6, 1e6
    low, high = show(images, wild).heats_[0].get_clim()
    expected = show(images, maps).heats_[0].get_clim()
    assert (low, high) == pytest.approx(expected, abs=0.05)


def test_a_large_image_has_no_more_say_in_the_colours_than_a_small_one(images, maps):
    large = [np.kron(images[0], np.ones((6, 6, 1), np.uint8)), images[1]]
    low, high = show(large, [np.kron(maps[0], np.ones((6, 6))), maps[1]]).heats_[0].get_clim()
    assert (low, high) == pytest.approx(show(images[:2], maps[:2]).heats_[0].get_clim(), abs=0.01)
    assert high > -maps[0].min() + 0.1


def test_bright_is_anomalous(images, maps):
    display = show(images, maps)
    for heat, score_map in zip(display.heats_, maps):
        found = brightness(heat.cmap(heat.norm(heat.get_array())))
        assert found.ravel()[score_map.argmin()] == found.max() > found.min()
        assert (np.diff(found.ravel()[np.argsort(-score_map.ravel())]) >= -0.01).all()
    display = show(np.full((1, 8, 8), 0.5), [np.kron([[0, 0], [0, -1]], np.ones((4, 4)))])
    display.figure_.canvas.draw()
    picture = brightness(np.asarray(display.figure_.canvas.buffer_rgba()) / 255)
    corners = display.heats_[0].get_window_extent()
    x, y = (
        np.linspace(*ends, 5)[1::2].astype(int) for ends in (corners.intervalx, corners.intervaly)
    )
    seen = picture[len(picture) - y[::-1, None], x]
    assert np.ptp(seen.ravel()[:3]) < 0.01
    assert seen[1, 1] > seen[0, 0] + 0.3


def test_maps_of_one_value_have_a_range():
    display = show(np.zeros((2, 4, 4)), np.ones((2, 4, 4)))
    assert display.heats_[1].get_clim() == (-1, 0)
    display.figure_.canvas.draw()


# Sizes


def test_images_of_any_size_stand_together(tiles):
    images = [tiles[0], tiles[1][:20], tiles[2][:, :10, 0], tiles[3][:1]]
    maps = [-image.reshape(*image.shape[:2], -1)[..., 0] / 255 for image in images]
    display = show(images, maps, threshold=-0.5, masks=[m < -0.7 for m in maps])
    for row, image in enumerate(images):
        left, right, bottom, top = display.heats_[row].get_extent()
        assert max(right - left, bottom - top) == pytest.approx(1)
        assert (right - left) / (bottom - top) == pytest.approx(image.shape[1] / image.shape[0])
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("shape", "step"), [((1030, 20), (3, 3)), ((2, 1024), (2, 2)), ((1, 600), (1, 2))]
)
def test_maps_are_made_small_as_their_images(shape, step):
    rng = np.random.default_rng(0)
    image = rng.random(shape).astype(np.float32)
    mask = rng.random(shape) < 0.02
    score_map = rng.random(shape)
    display = show([image], [score_map], threshold=0.02, masks=[mask])
    starts = [np.arange(0, n, s) for n, s in zip(shape, step)]
    blocks = [np.s_[i : i + step[0], j : j + step[1]] for i in starts[0] for j in starts[1]]
    size = tuple(map(len, starts))
    for found, expected in (
        (display.images[0], [image[block].mean() for block in blocks]),
        (display.score_maps[0], [score_map[block].mean() for block in blocks]),
        (display.predicted_masks[0], [(score_map[block] < 0.02).any() for block in blocks]),
        (display.masks[0], [mask[block].any() for block in blocks]),
    ):
        assert found.shape == size
        assert found.ravel() == pytest.approx(np.array(expected), abs=1e-6)
    assert 0 < display.masks[0].mean() < 1
    assert display.heats_[0].get_array().shape == size


@pytest.mark.parametrize("n_images", [1, 2, 4])
@pytest.mark.parametrize("threshold", [None, THRESHOLD])
def test_what_is_written_fits(images, maps, n_images, threshold):
    scores = [-0.679, 0.125, -0.5, 0.25][:n_images]
    display = show(images[:n_images], maps[:n_images], threshold=threshold, scores=scores)
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.texts_ if text.get_text()]
    bar, label = display.colorbar_.ax, display.colorbar_.ax.yaxis.label.get_window_extent()
    assert not any(box.overlaps(other) for box in boxes for other in boxes if other is not box)
    ticks = [tick.get_window_extent() for tick in bar.get_yticklabels()]
    assert not any(label.overlaps(tick) for tick in ticks)
    for box in (*boxes, label):
        assert display.figure_.bbox.count_contains(box.corners()) == 4
    assert label.height <= bar.get_window_extent().height


def test_the_figure_grows_with_its_cells(images, maps, masks):
    width, height = show(images, maps).figure_.get_size_inches()
    assert 3 < width < 6
    assert 5 < height < 9
    wider = show(images[:2], maps[:2], threshold=0, masks=masks[:2]).figure_.get_size_inches()
    assert wider[0] - width == pytest.approx(2 * (width / (2 + 0.6)), rel=0.15)
    assert wider[1] < 0.6 * height


@pytest.mark.parametrize("size", [(3, 3), (6, 2), (12, 12)])
def test_nothing_overlaps_however_small_the_axes(images, maps, masks, size):
    figure = plt.figure(figsize=size, layout="constrained")
    scores = [-0.000123] * 4
    keywords = {"threshold": THRESHOLD, "masks": masks, "scores": scores}
    display = show(images, maps, ax=figure.add_subplot(), **keywords)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in display.texts_ if text.get_text()]
    assert len(boxes) == 4 + 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    cells = [image.get_window_extent() for image in display.images_]
    assert not any(box.overlaps(cell) for box in boxes for cell in cells)
    bar = display.colorbar_.ax
    assert bar.get_window_extent().x0 > max(cell.x1 for cell in cells)
    inside = display.ax_.get_window_extent()
    assert bar.get_tightbbox().x1 <= inside.x1 + 1
    assert bar.get_window_extent().y0 == pytest.approx(cells[-1].y0, abs=1.5)
    assert bar.get_window_extent().y1 == pytest.approx(cells[0].y1, abs=1.5)


# Axes


def test_axes_given_are_drawn_into_and_others_are_left_alone(images, maps, masks):
    figure, axes = plt.subplots(1, 2)
    before = axes[0].get_position().bounds
    drawn = show(images, maps, threshold=THRESHOLD, masks=masks, ax=axes[1])
    figure.canvas.draw()
    assert drawn.ax_ is axes[1]
    assert drawn.figure_ is figure
    assert figure.axes[:2] == list(axes)
    assert drawn.colorbar_.ax in axes[1].child_axes
    assert len(axes[0].images) == 0
    assert axes[0].get_position().bounds == before
    assert plt.get_fignums() == [figure.number]
    first = drawn.outlines_[0].get_path().vertices
    assert drawn.plot() is drawn
    assert drawn.ax_ is not axes[1]
    assert len(plt.get_fignums()) == 2
    assert np.array_equal(drawn.outlines_[0].get_path().vertices, first)


def test_several_axes_are_refused(images, maps):
    axes = plt.subplots(1, 2)[1]
    with pytest.raises(TypeError, match=r"AnomalyMapDisplay.plot: .* one .* ndarray.*axes\[0\]"):
        show(images, maps, ax=axes)


def test_missing_matplotlib_is_told_with_its_cure(images, maps, monkeypatch):
    drawn = show(images, maps)
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    install = r".* is not installed; install it: pip install \"skad\[plot\]\""
    with pytest.raises(ImportError, match=f"^AnomalyMapDisplay.from_estimator{install}"):
        AnomalyMapDisplay.from_estimator(None, None)  # before anything is computed
    with pytest.raises(ImportError, match=f"^AnomalyMapDisplay.plot{install}"):
        drawn.plot()


# Containers


CONTAINERS = {
    "float": lambda images: images / 255,
    "channels first": lambda images: images.transpose(0, 3, 1, 2),
    "PIL": lambda images: [Image.fromarray(image) for image in images],
    "list": list,
    "rows": lambda images: images.reshape(len(images), -1),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_shows_the_same(container, images, maps):
    display = show(CONTAINERS[container](images), list(maps), threshold=THRESHOLD)
    for found, image in zip(display.images, images):
        assert found == pytest.approx(image / 255, abs=1e-6)
    assert np.array_equal(display.predicted_masks, maps < THRESHOLD)


def test_flat_rows_take_their_shape(images, maps):
    rows = images[:, :24].reshape(len(images), -1)
    display = show(rows, maps[:, :24], image_shape=(24, 48, 3))
    assert np.array_equal(display.images, (images[:, :24] / 255).astype(np.float32))
    with pytest.raises(ValueError, match="AnomalyMapDisplay: image_shape=.* 3456"):
        show(rows, maps[:, :24], image_shape=(8, 8))


def test_each_image_is_read_once(images, maps):
    data = Counted(images)
    show(data, maps, threshold=THRESHOLD)
    assert data.asked == [0, 1, 2, 3]


# What is refused


def changed(arrays, index, value):
    arrays = list(arrays)
    arrays[index] = value
    return arrays


REFUSED = {
    "fewer maps": (lambda maps, masks: {"score_maps": maps[:3]}, "4 images, but 3 score maps"),
    "one map": (lambda maps, masks: {"score_maps": maps[0]}, "4 images, but 48 score maps"),
    "no sequence": (
        lambda maps, masks: {"score_maps": iter(maps)},
        "score maps must be a sequence.* got generator|score maps must be a sequence.*iterator",
    ),
    "more masks": (
        lambda maps, masks: {"masks": [*masks, masks[0]]},
        "4 images, but 5 masks; give one for each",
    ),
    "fewer scores": (lambda maps, masks: {"scores": [1.0, 2.0]}, "4 images, but 2 scores"),
    "score": (lambda maps, masks: {"scores": [1, 2, np.nan, 4]}, "score 2 is nan"),
    "size of a map": (
        lambda maps, masks: {"score_maps": changed(maps, 2, maps[2][:, :40])},
        r"score map 2 has shape \(48, 40\), but image 2 .* \(48, 48\)",
    ),
    "size of a mask": (
        lambda maps, masks: {"masks": changed(masks, 1, masks[1].repeat(2, axis=0))},
        r"mask 1 has shape \(96, 48\), but image 1 .* \(48, 48\)",
    ),
    "axes of a map": (
        lambda maps, masks: {"score_maps": changed(maps, 3, maps[3][..., None])},
        r"score map 3 has shape \(48, 48, 1\)",
    ),
    "NaN": (
        lambda maps, masks: {"score_maps": np.where(np.eye(48)[0] > 0, np.nan, maps)},
        "score map of image 0 contains NaN",
    ),
    "infinity": (
        lambda maps, masks: {"score_maps": changed(maps, 1, maps[1] - np.inf)},
        "score map of image 1 contains NaN",
    ),
    "words": (
        lambda maps, masks: {"score_maps": changed(maps, 1, maps[1].astype(str))},
        "score maps must be floats .* image 1 has dtype <U",
    ),
    "mask for map": (
        lambda maps, masks: {"score_maps": masks},
        "score maps must be floats .* image 0 has dtype bool",
    ),
    "grey mask": (
        lambda maps, masks: {"masks": changed(masks, 2, 127 * np.eye(48))},
        "masks must be bool.*mask.* 2.*mask > 127",
    ),
    "mask of NaN": (
        lambda maps, masks: {"masks": changed(masks, 0, masks[0] * np.nan)},
        "masks must be bool.*mask.* 0.*mask > 127",
    ),
    "threshold": (lambda maps, masks: {"threshold": np.nan}, "threshold must be .* got nan"),
    "thresholds": (lambda maps, masks: {"threshold": [0.0]}, r"threshold must be .* got \[0.0\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, images, maps, masks):
    change, message = REFUSED[case]
    keywords = {"score_maps": maps, "masks": masks, "threshold": THRESHOLD} | change(maps, masks)
    with pytest.raises((ValueError, TypeError), match=f"^AnomalyMapDisplay: .*{message}"):
        AnomalyMapDisplay.from_predictions(images, **keywords)
    assert not plt.get_fignums()


def test_masks_of_files_are_taken(images, maps, masks):
    display = show(images, maps, masks=masks * np.uint8(255))
    assert np.array_equal(display.masks, masks)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match=r"AnomalyMapDisplay: .* 0 images"):
        show([], [])
