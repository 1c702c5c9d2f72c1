"""Displays: their numbers against independent ones, and what they draw where."""

import sys
import time

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_curve
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skad import DN2, FeatureExtractor, KNNScorer
from skad.displays import (
    ContactSheetDisplay,
    EmbeddingDisplay,
    NearestImagesDisplay,
    ROCDisplay,
    ScoreHistogramDisplay,
)
from skad.displays._axes import ANOMALY, NORMAL
from skad.metrics import auroc_score

DISPLAYS = (
    ContactSheetDisplay,
    EmbeddingDisplay,
    NearestImagesDisplay,
    ROCDisplay,
    ScoreHistogramDisplay,
)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def train(tiles):
    return tiles[24:40]  # of the flower


@pytest.fixture(scope="module")
def test(tiles):
    return np.concatenate([tiles[40:], tiles[:24]])


@pytest.fixture(scope="module")
def y(test):
    return np.repeat([1, -1], [8, len(test) - 8])


@pytest.fixture(scope="module")
def detector(train):
    return DN2().fit(train)


@pytest.fixture(scope="module")
def scores(detector, test):
    return detector.decision_function(test)


@pytest.fixture
def ax():
    _, axes = plt.subplots(1, 2)
    return axes[1]


def drawn_by(display, detector, train, test, y, **style):
    """A display by `from_estimator`."""
    if display is NearestImagesDisplay:
        return display.from_estimator(detector, test, train, **style)
    if display is EmbeddingDisplay:
        return display.from_estimator(detector, train, test, y, **style)
    return display.from_estimator(detector, test, y, **style)


def noisy(n_normal, n_anomalies, seed=0, decimals=1):
    """Labels, and overlapping scores with ties."""
    rng = np.random.RandomState(seed)
    y = rng.permutation(np.repeat([1, -1], [n_normal, n_anomalies]))
    return y, (rng.normal(size=len(y)) + 0.6 * y).round(decimals)


def is_color(found, color):
    return to_rgba(found)[:3] == to_rgba(color)[:3]


# What all have in common


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_given_are_drawn_into_and_others_are_left_alone(display, detector, train, test, y, ax):
    drawn = drawn_by(display, detector, train, test, y, ax=ax)
    assert drawn.ax_ is ax
    assert drawn.figure_ is ax.figure
    assert len(ax.get_children()) > len(ax.figure.axes[0].get_children()) + 1
    assert plt.get_fignums() == [ax.figure.number]
    assert drawn.plot() is drawn
    assert drawn.ax_ is not ax
    assert len(plt.get_fignums()) == 2
    for figure in map(plt.figure, plt.get_fignums()):
        figure.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_missing_matplotlib_is_told_with_its_cure(display, detector, train, test, y, monkeypatch):
    drawn = drawn_by(display, detector, train, test, y)
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    install = r".* is not installed; install it: pip install \"skad\[plot\]\""
    with pytest.raises(ImportError, match=f"^{display.__name__}.from_estimator{install}"):
        drawn_by(display, None, None, None, None)  # before anything is computed
    with pytest.raises(ImportError, match=f"^{display.__name__}.plot{install}"):
        drawn.plot()


@pytest.mark.parametrize("display", DISPLAYS)
def test_several_axes_are_refused(display, detector, train, test, y):
    axes = plt.subplots(1, 2)[1]
    with pytest.raises(TypeError, match=f"{display.__name__}.plot: .* one .* ndarray.*axes\\[0\\]"):
        drawn_by(display, detector, train, test, y, ax=axes)


@pytest.mark.parametrize("display", DISPLAYS[:2] + DISPLAYS[3:])
def test_labels_are_checked(display, detector, train, test):
    with pytest.raises(ValueError, match=f"{display.__name__}: Unknown label type"):
        drawn_by(display, detector, train, test, np.arange(len(test)) % 2)
    with pytest.raises(ValueError, match=f"{display.__name__}: there are 32 samples, but 3 labels"):
        drawn_by(display, detector, train, test, [1, 1, -1])


@pytest.mark.parametrize("display", [ContactSheetDisplay, ROCDisplay, ScoreHistogramDisplay])
def test_an_estimator_without_scores_is_refused(display, train, test, y):
    with pytest.raises(TypeError, match=f"{display.__name__}: FeatureExtractor has no decision"):
        drawn_by(display, FeatureExtractor().fit(train), train, test, y)


@pytest.mark.parametrize("display", DISPLAYS)
def test_an_unfitted_detector_is_refused(display, train, test, y):
    with pytest.raises(NotFittedError):
        drawn_by(display, DN2(), train, test, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_must_be_finite(bad):
    with pytest.raises(ValueError, match="ScoreHistogramDisplay: .* finite; score 1 is (nan|inf)"):
        ScoreHistogramDisplay.from_predictions([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="ROCDisplay: .* finite; score 1 is (nan|inf)"):
        ROCDisplay.from_predictions([1, -1, 1], [0.0, bad, 1.0])


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="ScoreHistogramDisplay: there are no scores"):
        ScoreHistogramDisplay.from_predictions([])


# Histogram


def test_histogram_counts_each_kind_in_the_same_bins(detector, test, y, scores, ax):
    display = ScoreHistogramDisplay.from_estimator(detector, test, y, ax=ax, bins=7)
    assert np.array_equal(display.scores, scores)
    for row, kind, color in ((0, 1, NORMAL), (1, -1, ANOMALY)):
        expected, _ = np.histogram(scores[y == kind], np.linspace(scores.min(), scores.max(), 8))
        assert display.counts_[row].tolist() == expected.tolist()
        bars = display.bars_[row]
        assert [bar.get_height() for bar in bars] == expected.tolist()
        assert is_color(bars[0].get_facecolor(), color)
    assert display.counts_.sum() == len(test)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "normal (8)",
        "anomaly (24)",
        "threshold 0",
    ]


def test_histogram_without_labels_has_one_colour(scores):
    display = ScoreHistogramDisplay.from_predictions(scores)
    assert display.counts_.shape == (1, 30)
    assert display.counts_.sum() == len(scores)
    assert len(display.bars_) == 1


@pytest.mark.parametrize("threshold", [0.0, -0.25, 17.0])
def test_the_line_stands_at_the_threshold(scores, threshold):
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=threshold)
    assert display.line_.get_xdata() == [threshold, threshold]
    low, high = display.ax_.get_xlim()
    assert low <= threshold <= high


def test_without_threshold_there_is_no_line(scores):
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=None)
    assert display.line_ is None
    assert not display.ax_.lines


def test_histogram_takes_booleans_scorers_and_style(scores, y):
    features = np.random.RandomState(0).normal(size=(len(y), 3))
    forest = IsolationForest(random_state=0).fit(features)
    display = ScoreHistogramDisplay.from_estimator(forest, features, y == -1, alpha=0.25)
    assert display.counts_.sum(axis=1).tolist() == [8, 24]
    assert display.bars_[0][0].get_alpha() == 0.25


# ROC


def test_curve_and_area_are_those_of_scikit_learn(detector, test, y, scores):
    display = ROCDisplay.from_estimator(detector, test, y, n_bootstraps=20)
    fpr, tpr, _ = roc_curve(y == -1, -scores)
    assert np.array_equal(display.fpr, fpr)
    assert np.array_equal(display.tpr, tpr)
    assert display.auroc == auroc_score(y, scores)
    assert np.array_equal(display.line_.get_xdata(), fpr)
    assert np.array_equal(display.line_.get_ydata(), tpr)
    low, high = display.auroc_interval
    expected = f"DN2: AUROC {display.auroc:.3f} [{low:.3f}, {high:.3f}]"
    assert display.ax_.get_legend().get_texts()[0].get_text() == expected


@pytest.fixture(scope="module")
def slow_bootstrap():
    """Curves and areas of resamples, by scikit-learn."""
    rng = np.random.default_rng(1)
    y, scores = noisy(70, 50)
    normal, anomalies = scores[y == 1], scores[y == -1]
    curves, areas = [], []
    for _ in range(800):
        drawn = [rng.choice(normal, len(normal)), rng.choice(anomalies, len(anomalies))]
        labels = np.repeat([1, -1], [len(normal), len(anomalies)])
        fpr, tpr, _ = roc_curve(labels == -1, -np.concatenate(drawn))
        # The curve by its definition: the most anomalies found at no more than so many false
        # alarms, on a straight line between two points of the curve.
        right = np.searchsorted(fpr, np.linspace(0, 1, 201), side="right")
        left = right - 1
        right = np.minimum(right, len(fpr) - 1)
        width = np.where(right > left, fpr[right] - fpr[left], 1.0)
        share = (np.linspace(0, 1, 201) - fpr[left]) / width
        curves.append(tpr[left] + share * (tpr[right] - tpr[left]))
        areas.append(auroc_score(labels, np.concatenate(drawn)))
    return np.array(curves), np.array(areas)


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_band_and_interval_are_near_those_of_a_slow_loop(confidence, slow_bootstrap):
    display = ROCDisplay.from_predictions(*noisy(70, 50), confidence=confidence)
    curves, areas = slow_bootstrap
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    assert display.auroc_interval == pytest.approx(np.quantile(areas, ends), abs=0.012)
    low, high = np.quantile(curves, ends, axis=0)
    assert np.abs(display.tpr_low - low).mean() < 0.02
    assert np.abs(display.tpr_high - high).mean() < 0.02
    assert display.tpr_low == pytest.approx(low, abs=0.06)
    assert display.tpr_high == pytest.approx(high, abs=0.06)


def test_the_band_holds_the_curve_and_narrows_with_confidence():
    y, scores = noisy(200, 100, decimals=3)
    wide = ROCDisplay.from_predictions(y, scores)
    narrow = ROCDisplay.from_predictions(y, scores, confidence=0.5)
    curve = np.interp(wide.band_fpr, wide.fpr, wide.tpr)
    held = (wide.tpr_low <= curve) & (curve <= wide.tpr_high)
    assert held.mean() > 0.95
    assert (wide.tpr_low <= narrow.tpr_low).all()
    assert (wide.tpr_high >= narrow.tpr_high).all()
    low, high = wide.auroc_interval
    assert low < narrow.auroc_interval[0] < wide.auroc < narrow.auroc_interval[1] < high
    assert (np.diff(wide.tpr_low) >= 0).all()
    vertices = wide.band_.get_paths()[0].vertices
    assert {tuple(v) for v in vertices} >= set(zip(wide.band_fpr, wide.tpr_high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth, held = 0.8019, 0  # of two unit normal distributions 1.2 apart: Phi(1.2 / sqrt 2)
    for seed in range(60):
        y, scores = noisy(60, 60, seed, decimals=6)
        ax = Figure().subplots()
        drawn = ROCDisplay.from_predictions(y, scores, n_bootstraps=100, confidence=0.8, ax=ax)
        held += drawn.auroc_interval[0] <= truth <= drawn.auroc_interval[1]
    assert 39 <= held <= 57  # 48 are promised


def test_one_seed_one_band_and_the_global_state_is_left_alone():
    y, scores = noisy(40, 20)
    before = np.random.get_state()[1].copy()
    first, second, other = (
        ROCDisplay.from_predictions(y, scores, n_bootstraps=50, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(first.tpr_low, second.tpr_low)
    assert first.auroc_interval == second.auroc_interval
    assert first.auroc_interval != other.auroc_interval


def test_kinds_wholly_apart_give_a_band_without_width():
    display = ROCDisplay.from_predictions([1, 1, -1, -1], [3.0, 2.0, 1.0, 0.0])
    assert display.auroc_interval == (1.0, 1.0)
    assert (display.tpr_low == 1).all()


def test_a_thousand_bootstraps_of_two_thousand_scores_are_quick():
    y, scores = noisy(1000, 1000, decimals=9)
    start = time.perf_counter()
    ROCDisplay.from_predictions(y, scores)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("y", [[1, 1, 1], [True, True, True], None])
def test_a_roc_curve_needs_both_kinds(y):
    with pytest.raises(ValueError, match="ROCDisplay: .* needs (both kinds|labels)"):
        ROCDisplay.from_predictions(y, [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "parameter", [{"n_bootstraps": 0}, {"confidence": 0.0}, {"confidence": 1.0}]
)
def test_parameters_of_the_bootstrap_have_limits(parameter):
    with pytest.raises(ValueError, match=f"ROCDisplay: {next(iter(parameter))} == "):
        ROCDisplay.from_predictions([1, -1], [1.0, 0.0], **parameter)


# Nearest images


def brute_force(queries, gallery, n_neighbors):
    """Distances between unit rows, and indices of the nearest."""
    queries, gallery = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (queries.astype(float), gallery.astype(float))
    )
    distances = np.linalg.norm(queries[:, None] - gallery[None], axis=2)
    indices = np.argsort(distances, axis=1)[:, :n_neighbors]
    return np.take_along_axis(distances, indices, 1), indices


def test_nearest_images_are_those_of_a_search_by_hand(detector, train, test):
    display = NearestImagesDisplay.from_estimator(
        detector, test[6:], train, n_images=4, n_neighbors=3
    )
    extractor = detector.pipeline_[0]
    distances, indices = brute_force(
        extractor.transform(test[6:10]), extractor.transform(train), n_neighbors=3
    )
    assert np.array_equal(display.neighbor_indices, indices)
    assert display.distances == pytest.approx(distances, abs=1e-5)
    for row in range(4):
        assert display.images[row] == pytest.approx(test[6 + row] / 255)
        for found, index in zip(display.neighbor_images[row], indices[row]):
            assert found == pytest.approx(train[index] / 255)
    shown = [image.get_array() for image in display.images_]
    assert len(shown) == 4 * (1 + 3)
    assert np.array_equal(shown[5], display.neighbor_images[1][0])
    assert display.texts_[5].get_text() == f"{distances[1, 0]:.3g}"


def test_a_pipeline_of_our_steps_is_searched_as_the_detector(detector, train, test):
    pipeline = make_pipeline(FeatureExtractor(), KNNScorer()).fit(train)
    ours, theirs = (
        NearestImagesDisplay.from_estimator(estimator, test, train, n_images=3)
        for estimator in (pipeline, detector)
    )
    assert np.array_equal(ours.neighbor_indices, theirs.neighbor_indices)
    assert np.array_equal(ours.distances, theirs.distances)


def test_only_the_test_images_shown_are_searched(detector, train, test):
    pipeline = make_pipeline(FeatureExtractor(), KNNScorer()).fit(train)
    for estimator in (detector, pipeline):
        data = Counted(test)
        NearestImagesDisplay.from_estimator(estimator, data, train, n_images=2)
        assert set(data.asked) == {0, 1}


def test_a_pipeline_of_others_is_searched_too():
    digits, _ = load_digits(return_X_y=True)
    train, test = digits[:200], digits[200:230]
    pipeline = make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)).fit(train)
    display = NearestImagesDisplay.from_estimator(pipeline, test, train, n_images=3, n_neighbors=2)
    scaled = [pipeline[0].transform(rows) for rows in (test[:3], train)]
    apart = np.linalg.norm(scaled[0][:, None] - scaled[1][None], axis=2)
    assert np.array_equal(display.neighbor_indices, np.argsort(apart, axis=1)[:, :2])
    nearest = train[apart[1].argmin()].reshape(8, 8)
    assert display.neighbor_images[1][0] == pytest.approx(nearest / 16)


def test_labelled_anomalies_must_not_shift_the_neighbours(tiles, train, test):
    y_train = np.ones(len(tiles), dtype=int)
    y_train[:24] = -1
    detector = DN2().fit(tiles, y_train)
    with pytest.raises(ValueError, match="48 images, but KNNScorer was fitted to 24.*y_train == 1"):
        NearestImagesDisplay.from_estimator(detector, test, tiles)
    display = NearestImagesDisplay.from_estimator(
        detector, test[:1], tiles[y_train == 1], n_neighbors=1
    )
    assert display.neighbor_indices.shape == (1, 1)


def test_centroids_have_no_images(train, test):
    pipeline = make_pipeline(FeatureExtractor(), KNNScorer(n_centroids=4)).fit(train)
    with pytest.raises(ValueError, match="n_centroids"):
        NearestImagesDisplay.from_estimator(pipeline, test, train)


def test_a_last_step_without_neighbours_is_refused(train, test):
    pipeline = make_pipeline(FeatureExtractor(), IsolationForest()).fit(train)
    with pytest.raises(TypeError, match="NearestImagesDisplay: IsolationForest.* no kneighbors"):
        NearestImagesDisplay.from_estimator(pipeline, test, train)


def test_neighbours_found_elsewhere_are_drawn(test, train, ax):
    neighbors = [train[:2], [Image.fromarray(image) for image in train[2:4]]]
    display = NearestImagesDisplay.from_predictions(test[:2], neighbors, [[0.5, 1], [2, 4]], ax=ax)
    assert display.neighbor_indices is None
    assert display.neighbor_images[1][1] == pytest.approx(train[3] / 255)
    assert [text.get_text() for text in ax.texts] == ["test 0", "0.5", "1", "test 1", "2", "4"]


@pytest.mark.parametrize(
    ("n_neighbors", "distances"), [(2, [[1, 2]]), (2, [[1], [1]]), (3, [[1, 2], [1, 2]])]
)
def test_neighbours_and_distances_must_be_equally_many(test, train, n_neighbors, distances):
    with pytest.raises(ValueError, match="NearestImagesDisplay: distances of shape .* ask for"):
        NearestImagesDisplay.from_predictions(test[:2], [train[:n_neighbors]] * 2, distances)


# Embedding


def test_embedding_is_the_principal_plane_of_the_training_features(detector, train, test, y, ax):
    display = EmbeddingDisplay.from_estimator(detector, train, test, y, ax=ax)
    extractor = detector.pipeline_[0]
    pca = PCA(2, svd_solver="full").fit(extractor.transform(train))
    assert display.train_points == pytest.approx(
        pca.transform(extractor.transform(train)), abs=1e-4
    )
    assert display.test_points == pytest.approx(pca.transform(extractor.transform(test)), abs=1e-4)
    ratio = pca.explained_variance_ratio_
    assert display.explained_variance_ratio == pytest.approx(ratio, abs=1e-5)
    assert f"({ratio[0]:.1%}" in ax.get_xlabel()
    assert f"({ratio[1]:.1%}" in ax.get_ylabel()
    normal, anomalies = display.test_scatters_
    assert np.array_equal(normal.get_offsets(), display.test_points[y == 1])
    assert np.array_equal(anomalies.get_offsets(), display.test_points[y == -1])
    assert is_color(anomalies.get_facecolor()[0], ANOMALY)
    assert np.array_equal(display.train_scatter_.get_offsets(), display.train_points)


def test_embedding_of_a_pipeline_and_of_features_agree(detector, train, test):
    pipeline = make_pipeline(FeatureExtractor(), KNNScorer()).fit(train)
    extractor = pipeline[0]
    displays = [
        EmbeddingDisplay.from_estimator(detector, train, test),
        EmbeddingDisplay.from_estimator(pipeline, train, test),
        EmbeddingDisplay.from_features(extractor.transform(train), extractor.transform(test)),
    ]
    for display in displays[1:]:
        assert np.array_equal(display.test_points, displays[0].test_points)
        assert len(display.test_scatters_) == 1


def test_features_of_a_scorer_alone_are_its_input():
    rng = np.random.RandomState(0)
    train, test = rng.normal(size=(30, 5)), rng.normal(size=(9, 5))
    for scorer in (KNNScorer().fit(train), make_pipeline(KNNScorer()).fit(train)):
        display = EmbeddingDisplay.from_estimator(scorer, train, test)
        assert display.test_points == pytest.approx(PCA(2).fit(train).transform(test))


def test_a_large_embedding_is_the_same_each_time():
    features = np.random.RandomState(0).normal(size=(600, 520))  # for which PCA draws numbers
    first, second = (EmbeddingDisplay.from_features(features, features[:5]) for _ in range(2))
    assert np.array_equal(first.test_points, second.test_points)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.eye(3)[:1], np.eye(3), "training features need 2 rows at least; got 1"),
        (np.ones((4, 1)), np.ones((4, 1)), "training features are no table.* 1 feature"),
        (np.ones((4, 3)), np.eye(3), "all 4 training rows are the same"),
        (np.eye(3), np.eye(4), "training rows have 3 features, but test rows 4"),
        (np.eye(3), np.full((2, 3), np.nan), "test features are no table.* NaN"),
        (np.ones((2, 4, 4, 3)), np.eye(3), "training features are no table.* dim 4"),
    ],
)
def test_features_that_span_no_plane_are_refused(train, test, message):
    with pytest.raises(ValueError, match=f"(?s)EmbeddingDisplay: .*{message}"):
        EmbeddingDisplay.from_features(train, test)


# Contact sheet


def test_the_sheet_shows_the_lowest_scores_first(detector, test, y, scores, ax):
    display = ContactSheetDisplay.from_estimator(detector, test, y, n_images=9, n_columns=4, ax=ax)
    order = np.argsort(scores)[:9]
    assert np.array_equal(display.indices, order)
    assert np.array_equal(display.scores, scores[order])
    assert len(display.images_) == 9
    for index, artist, text, frame in zip(order, display.images_, display.texts_, display.frames_):
        assert np.asarray(artist.get_array()) == pytest.approx(test[index] / 255)
        assert text.get_text() == f"{scores[index]:+.3g}"
        assert is_color(frame.get_edgecolor(), ANOMALY if y[index] == -1 else NORMAL)
    left, top = (np.array([f.get_xy()[axis] for f in display.frames_]) for axis in (0, 1))
    assert np.array_equal(left[:4], left[4:8])
    assert (np.diff(left[:4]) > 0).all()
    assert np.ptp(top[:4]) == 0
    assert top[0] < top[4] < top[8]  # the axis points down
    assert ax.yaxis_inverted()


def test_without_labels_frames_show_the_prediction(detector, test, scores):
    display = ContactSheetDisplay.from_estimator(detector, test, n_images=100)
    found = [is_color(frame.get_edgecolor(), ANOMALY) for frame in display.frames_]
    assert found == (detector.predict(test)[display.indices] == -1).tolist()
    assert 0 < sum(found) < len(found) == len(test)
    shifted = ContactSheetDisplay.from_predictions(test, scores, threshold=scores.max() + 1)
    assert all(is_color(frame.get_edgecolor(), ANOMALY) for frame in shifted.frames_)
    legend = [text.get_text() for text in shifted.ax_.get_legend().get_texts()]
    assert legend == ["predicted anomaly"]


class Counted:
    """A data set that notes which images were asked for."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.images[index], "label"


def test_only_the_images_shown_are_read(test, scores, tmp_path):
    data = Counted(test)
    display = ContactSheetDisplay.from_predictions(data, scores, n_images=5)
    assert data.asked == display.indices.tolist()
    paths = [tmp_path / f"{i}.png" for i in range(len(test))]
    for i, path in enumerate(paths):
        path.write_bytes(b"broken")
        if i in display.indices:
            Image.fromarray(test[i]).save(path)
    again = ContactSheetDisplay.from_predictions(paths, scores, n_images=5)
    assert np.array_equal(again.images, display.images)
    with pytest.raises(ValueError, match=r"ContactSheetDisplay: image \d+ .* could not be read"):
        ContactSheetDisplay.from_predictions(paths, scores, n_images=6)


CONTAINERS = {
    "float": lambda images: images / 255,
    "channels first": lambda images: images.transpose(0, 3, 1, 2),
    "PIL": lambda images: [Image.fromarray(image) for image in images],
    "list": lambda images: list(images),
    "rows": lambda images: images.reshape(len(images), -1),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_shows_the_same(container, test, scores):
    images = CONTAINERS[container](test)
    display = ContactSheetDisplay.from_predictions(images, scores, n_images=3)
    for image, index in zip(display.images, display.indices):
        assert image == pytest.approx(test[index] / 255, abs=1e-6)


def test_grey_images_are_shown_in_grey(train, test):
    detector = DN2().fit(train[..., 1])
    display = ContactSheetDisplay.from_estimator(detector, test[..., 1], n_images=2)
    assert display.images[0] == pytest.approx(test[display.indices[0], ..., 1] / 255)
    artist = display.images_[0]
    assert artist.get_cmap().name == "gray"
    assert artist.get_clim() == (0, 1)  # not each image by its own range


def test_paths_are_scored_and_shown(detector, test, scores, tmp_path):
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(test))]
    for image, path in zip(test, paths):
        Image.fromarray(image).save(path)
    display = ContactSheetDisplay.from_estimator(detector, np.array(paths), n_images=4)
    assert np.array_equal(display.indices, np.argsort(scores)[:4])
    assert display.images[3] == pytest.approx(test[display.indices[3]] / 255)
    nearest = NearestImagesDisplay.from_estimator(detector, paths[:2], test[8:24])
    assert nearest.images[1] == pytest.approx(test[1] / 255)


def test_flat_rows_take_shape_and_range_from_the_estimator():
    digits, labels = load_digits(return_X_y=True)
    wide = np.tile(digits.reshape(-1, 8, 8), (1, 1, 2)).reshape(-1, 128)
    detector = DN2(image_shape=(8, 16)).fit(wide[labels == 0][:60])
    display = ContactSheetDisplay.from_estimator(detector, wide[:40], n_images=3)
    assert display.images[0] == pytest.approx(wide[display.indices[0]].reshape(8, 16) / 16)
    dark = ContactSheetDisplay.from_estimator(detector, wide[:40] / 2, n_images=1)
    assert dark.images[0] == pytest.approx(wide[dark.indices[0]].reshape(8, 16) / 32)
    given = ContactSheetDisplay.from_predictions(wide[:40], np.arange(40.0), image_shape=(8, 16))
    assert given.images[5] == pytest.approx(wide[5].reshape(8, 16) / 16)
    with pytest.raises(ValueError, match="ContactSheetDisplay: image_shape=.* 128"):
        ContactSheetDisplay.from_predictions(wide[:40], np.arange(40.0), image_shape=(8, 8))


def test_images_of_an_estimator_of_others_are_shown():
    digits, _ = load_digits(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), IsolationForest(random_state=0)).fit(digits[:300])
    display = ContactSheetDisplay.from_estimator(pipeline, digits[:50], n_images=2)
    worst = pipeline.decision_function(digits[:50]).argmin()
    assert display.images[0] == pytest.approx(digits[worst].reshape(8, 8) / 16)


def test_large_and_long_images_are_made_small_and_keep_their_sides():
    ramp = np.linspace(0, 1, 2048, dtype=np.float32)
    photo = np.broadcast_to(ramp, (1024, 2048))
    display = ContactSheetDisplay.from_predictions([photo, photo[:3]], [0.0, 1.0])
    assert display.images[0].shape == (256, 512)
    assert display.images[0][7] == pytest.approx(ramp.reshape(512, 4).mean(axis=1), abs=1e-6)
    assert display.images[1].shape == (1, 512)
    frame = display.frames_[0]
    assert frame.get_width() == pytest.approx(2 * frame.get_height())


@pytest.mark.parametrize("parameter", [{"n_images": 0}, {"n_columns": 0}])
def test_the_sheet_has_images_and_columns(test, scores, parameter):
    with pytest.raises(ValueError, match=f"ContactSheetDisplay: {next(iter(parameter))} == 0"):
        ContactSheetDisplay.from_predictions(test, scores, **parameter)


def test_images_and_scores_must_be_equally_many(test, scores):
    with pytest.raises(ValueError, match="there are 31 images, but 32 scores"):
        ContactSheetDisplay.from_predictions(test[1:], scores)


def test_text_stays_inside_its_cell_however_small_the_axes(test, scores):
    for size in (2, 6, 12):
        figure = plt.figure(figsize=(size, size))
        display = ContactSheetDisplay.from_predictions(test, scores, ax=figure.add_subplot())
        figure.canvas.draw()
        pitch = np.diff([f.get_window_extent().x0 for f in display.frames_[:2]])[0]
        assert max(text.get_window_extent().width for text in display.texts_) < pitch
