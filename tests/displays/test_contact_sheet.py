"""Contact sheets."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skad import DN2
from skad.displays import (
    ContactSheetDisplay,
    NearestImagesDisplay,
)
from skad.displays._axes import ANOMALY, NORMAL
from tests.displays.common import Counted, is_color


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
