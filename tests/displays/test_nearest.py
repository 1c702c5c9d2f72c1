"""Nearest images."""

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skad import DN2, FeatureExtractor, KNNScorer
from skad.displays import (
    NearestImagesDisplay,
)
from tests.displays.common import Counted


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
