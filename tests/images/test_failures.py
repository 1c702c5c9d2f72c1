"""Images that can't be read: fitting raises, scoring may go on and says which ones."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from skad import DN2, SPADE, ConformalDetector, ImageDetector, RotationPrediction
from skad.backbones import small_cnn


@pytest.fixture
def paths(tiles, tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(12)]
    for path, tile in zip(paths, tiles):
        Image.fromarray(tile).save(path)
    return list(map(str, paths))


@pytest.fixture
def broken(paths, tmp_path):
    """The same, but two of them."""
    for name, content in (("03.png", b"no image"), ("07.png", b"")):
        (tmp_path / name).write_bytes(content)
    return paths


BROKEN = np.isin(np.arange(12), [3, 7])


def test_scores_of_what_can_be_read(paths, tiles, tmp_path):
    detector = DN2(on_error="skip").fit(tiles[:24])
    expected = detector.score_samples(paths)
    (tmp_path / "03.png").write_bytes(b"no image")
    (tmp_path / "07.png").unlink()
    message = (
        r"^DN2: 2 of 12 images could not be read, and have NaN for a score: image 3 \(.*03.png\) "
        r"could not be read as an image.*; image 7 \(.*07.png\) does not exist"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        found = detector.score_samples(paths)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(found), BROKEN)
    np.testing.assert_allclose(found[~BROKEN], expected[~BROKEN], rtol=1e-6)
    with pytest.warns(UserWarning, match="2 of 12"):
        assert np.isnan(detector.decision_function(paths)[BROKEN]).all()
    with pytest.warns(UserWarning, match="2 of 12"):
        labels = detector.predict(paths)
    assert (labels[BROKEN] == -1).all(), "not normal, before somebody has looked"
    by_threshold = np.where(expected < detector.offset_, -1, 1)
    np.testing.assert_array_equal(labels[~BROKEN], by_threshold[~BROKEN])


@pytest.mark.parametrize(
    "detector",
    [
        ImageDetector(),
        RotationPrediction(small_cnn, weights=None, image_size=32, n_epochs=1),
        SPADE(n_neighbors=2, image_score="map", n_threshold_images=4),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_detector_may_skip(detector, broken, tiles):
    detector = clone(detector).set_params(on_error="skip").fit(tiles[:12])
    with pytest.warns(UserWarning, match="2 of 12 images could not be read") as caught:
        scores = detector.score_samples(broken)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.isnan(scores), BROKEN)
    with pytest.raises(ValueError, match=r"03.png\) could not be read|07.png\) could not be read"):
        detector.set_params(on_error="raise").score_samples(broken)


def test_fitting_always_raises(broken, tiles):
    detector = DN2(on_error="skip")
    for fit in (detector.fit, detector.fit_predict):
        with pytest.raises(ValueError, match=r"03.png|07.png"):
            fit(broken)
    assert not hasattr(detector, "offset_")


def test_maps_of_what_can_not_be_read(broken, tiles):
    detector = SPADE(on_error="skip", n_neighbors=2, n_threshold_images=4).fit(tiles[:12])
    with pytest.warns(UserWarning, match="2 of 12") as caught:
        maps = detector.score_maps(broken)
    assert len(caught) == 1
    assert [one.shape for one in maps[2:5]] == [(48, 48), (1, 1), (48, 48)]
    assert [bool(np.isnan(one).all()) for one in maps] == BROKEN.tolist()
    assert not any(np.isnan(one).any() for one, skipped in zip(maps, BROKEN) if not skipped)
    with pytest.warns(UserWarning, match="2 of 12"):
        masks = detector.predict_masks(broken)
    assert all(masks[i].all() for i in (3, 7))


def test_images_of_an_array(tiles):
    images = tiles[:12] / 255
    expected = DN2().fit(tiles[:24]).score_samples(images)
    images[3, 5, 5, 0], images[7] = np.nan, 3.0
    for X in (images, list(images)):
        detector = DN2(on_error="skip").fit(tiles[:24])
        with pytest.warns(UserWarning, match="image 3 contains NaN.*image 7 spans"):
            found = detector.score_samples(X)
        np.testing.assert_array_equal(np.isnan(found), BROKEN)
        np.testing.assert_allclose(found[~BROKEN], expected[~BROKEN], rtol=1e-5)
    maps = SPADE(on_error="skip", n_neighbors=2, n_threshold_images=4).fit(tiles[:12])
    with pytest.warns(UserWarning, match="2 of 12"):
        found = maps.score_maps(images)
    np.testing.assert_array_equal(np.isnan(found).all(axis=(1, 2)), BROKEN)


def test_nothing_but_broken_ones(tiles, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(8)]
    with pytest.warns(UserWarning, match=r"8 of 8 images .*; and 3 more$"):
        found = DN2(on_error="skip").fit(tiles[:9]).score_samples(paths)
    assert np.isnan(found).all()


def test_missing_entries(tiles, paths):
    import pandas as pd

    detector = DN2(on_error="skip").fit(tiles[:24])
    expected = detector.score_samples(paths)
    for gap in (None, np.nan, pd.NA):
        with pytest.warns(UserWarning, match="1 of 13 images .* image 12 is missing: there is"):
            found = detector.score_samples([*paths, gap])
        np.testing.assert_allclose(found[:12], expected, rtol=1e-6)
        assert np.isnan(found[12])
        with pytest.raises(ValueError, match="DN2: image 0 is missing"):
            DN2().fit([gap, *paths])


def test_kinds_of_items_are_a_mistake_whatever_happens(tiles):
    detector = DN2(on_error="skip").fit(tiles[:9])
    with pytest.raises(TypeError, match="image 1 is a float"):
        detector.score_samples([tiles[0], 3.5])


@pytest.mark.parametrize("method", ["split", "cross"])
def test_p_values_of_what_can_not_be_read(method, broken, tiles):
    rate = {"false_alarm_rate": 0.2, "method": method, "calibration_share": 0.5}
    detector = ConformalDetector(DN2(on_error="skip"), **rate).fit(tiles)
    with pytest.warns(UserWarning, match="2 of 12"):
        p_values = detector.p_values(broken)
    np.testing.assert_array_equal(np.isnan(p_values), BROKEN)
    for predict in (detector.predict, detector.predict_fdr):
        with pytest.warns(UserWarning, match="2 of 12"):
            assert (predict(broken)[BROKEN] == -1).all()
    with pytest.raises(ValueError, match=r"0[37].png"):
        ConformalDetector(DN2(on_error="skip"), **rate).fit(broken * 3)


def test_what_is_allowed():
    with pytest.raises(ValueError, match="The .on_error. parameter of DN2 must be"):
        DN2(on_error="ignore").fit(np.zeros((3, 8, 8)))
