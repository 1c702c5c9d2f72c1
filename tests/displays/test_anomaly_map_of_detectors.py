"""Pictures of a detector's anomaly maps."""

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skad import DN2
from skad.displays import AnomalyMapDisplay
from tests.displays.maps import Counted, texts_of


@pytest.fixture(scope="module")
def spade(tiles):
    from skad import SPADE

    return SPADE(n_neighbors=5, image_size=64).fit(tiles[24:40])


# Of a detector


def test_maps_and_threshold_are_the_detectors(spade, tiles, masks):
    X = tiles[[26, 0, 41, 7]]
    display = AnomalyMapDisplay.from_estimator(spade, X, masks=masks)
    assert np.allclose(display.score_maps, spade.score_maps(X), atol=1e-5)
    assert display.threshold == spade.pixel_offset_
    assert display.scores == pytest.approx(spade.decision_function(X), abs=1e-5)
    assert np.array_equal(display.predicted_masks, spade.predict_masks(X))
    assert 0 < np.mean(display.predicted_masks) < 1
    assert np.array_equal(display.masks, masks)
    # A temple is odd to who knows flowers.
    assert display.score_maps[1].mean() < display.score_maps[0].mean()


def test_only_the_images_shown_are_scored(spade, tiles, masks, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_bytes(b"broken")
        if i < 2:
            Image.fromarray(tiles[i]).save(path)
    display = AnomalyMapDisplay.from_estimator(spade, paths, masks=masks, n_images=2)
    assert len(display.score_maps) == len(display.masks) == len(display.scores) == 2
    assert np.allclose(display.score_maps, spade.score_maps(tiles[:2]), atol=1e-5)
    with pytest.raises(ValueError, match="image 2 .*could not be read"):
        AnomalyMapDisplay.from_estimator(spade, paths, n_images=3)
    data = Counted(tiles)
    AnomalyMapDisplay.from_estimator(spade, data, n_images=1)
    assert set(data.asked) == {0}


class Wrapper(BaseEstimator):
    """A detector of others: no decision_function, and no image but what it was given."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        self.pixel_offset_ = self.detector.pixel_offset_
        return self

    def score_maps(self, X):
        assert isinstance(X, list)
        return self.detector.score_maps(X)


def test_a_detector_of_others_takes_what_it_knows(spade, tiles):
    X = list(tiles[:3])
    display = AnomalyMapDisplay.from_estimator(Wrapper(spade).fit(X), X, n_images=2)
    assert np.allclose(display.score_maps, spade.score_maps(tiles[:2]), atol=1e-5)
    assert display.scores is None
    assert texts_of(display)[0] == "image 0"


def test_flat_rows_are_shown_as_the_detector_sees_them(tiles):
    from skad import SPADE

    rows = tiles[:, :24].reshape(len(tiles), -1) * 2.0  # of no fixed range
    spade = SPADE(n_neighbors=3, image_size=64, image_shape=(24, 48, 3)).fit(rows[24:36])
    display = AnomalyMapDisplay.from_estimator(spade, rows[36:], n_images=1)
    low, high = rows[24:36].min(), rows[24:36].max()
    expected = ((2.0 * tiles[36, :24] - low) / (high - low)).clip(0, 1)
    assert display.images[0] == pytest.approx(expected, abs=1e-5)
    assert display.score_maps[0].shape == (24, 48)


def test_masks_are_as_many_as_all_images(spade, tiles, masks):
    with pytest.raises(ValueError, match="AnomalyMapDisplay: there are 6 images, but 4 masks"):
        AnomalyMapDisplay.from_estimator(spade, tiles[:6], masks=masks, n_images=2)


@pytest.mark.parametrize("n_images", [0, -1])
def test_an_image_at_least_is_shown(spade, tiles, n_images):
    with pytest.raises(ValueError, match=f"AnomalyMapDisplay: n_images == {n_images}"):
        AnomalyMapDisplay.from_estimator(spade, tiles, n_images=n_images)


def test_an_estimator_without_score_maps_is_refused(tiles):
    for estimator in (DN2(), DN2().fit(tiles[:8]), None):
        name = type(estimator).__name__
        with pytest.raises(TypeError, match=f"AnomalyMapDisplay: {name} has no score_maps; give"):
            AnomalyMapDisplay.from_estimator(estimator, tiles)


def test_an_unfitted_detector_is_refused(tiles):
    from skad import SPADE

    with pytest.raises(NotFittedError):
        AnomalyMapDisplay.from_estimator(SPADE(), tiles)


def test_a_detector_without_threshold_is_refused(spade, tiles):
    wrapper = Wrapper(spade).fit(tiles)
    wrapper.fitted_ = wrapper.__dict__.pop("pixel_offset_")
    with pytest.raises(TypeError, match="AnomalyMapDisplay: Wrapper has no pixel_offset_; give"):
        AnomalyMapDisplay.from_estimator(wrapper, list(tiles))
