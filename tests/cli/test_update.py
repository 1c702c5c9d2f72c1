"""``skad update``: pictures join a model, or the model stays as it is."""

import csv
import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import skad
from skad import DN2, SPADE, ConformalDetector, FeatureExtractor, ImageDetector, SampleWiseScorer
from skad.cli import main

SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32}


@pytest.fixture
def place(tiles, tmp_path, monkeypatch):
    """Normal pictures, three of a kind that is odd, a broken one; a model; all of them here."""
    for folder in ("normal", "odd", "other", "broken"):
        (tmp_path / folder).mkdir()
    for i in range(24, 44):
        Image.fromarray(tiles[i]).save(tmp_path / "normal" / f"{i}.png")
    for i in range(44, 48):
        Image.fromarray(tiles[i]).save(tmp_path / "other" / f"{i}.png")
    model = DN2(**SMALL).fit([str(p) for p in sorted((tmp_path / "normal").iterdir())])
    odd = tiles[np.argmin(model.score_samples(tiles[:24]))].astype(int)
    for i, noise in enumerate(np.random.RandomState(0).normal(0, 3, (3, *odd.shape))):
        picture = np.clip(odd + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "odd" / f"ö{i}.png")
    (tmp_path / "broken" / "x.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    skad.save(model, "model.skad")
    return tmp_path


def here(capsys, *arguments, status=0):
    assert main(list(map(str, arguments))) == status
    return capsys.readouterr()


def decisions(capsys, model, *pictures):
    table = here(capsys, "score", model, *pictures).out
    return [row["decision"] for row in csv.DictReader(io.StringIO(table))]


def files(folder):
    return sorted(str(path) for path in folder.iterdir())


def test_a_kind_of_false_alarms_becomes_normal(place, tmp_path, capsys):
    assert decisions(capsys, "model.skad", "odd") == ["anomaly"] * 3
    done = subprocess.run(
        [sys.executable, "-m", "skad", "update", "model.skad", "odd", "other/44.png"],
        capture_output=True,
        cwd=place,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C"},
    )
    told = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b""), told
    assert decisions(capsys, "model.skad", "odd") == ["normal"] * 3
    expected = DN2(**SMALL).fit(files(place / "normal"))
    before = expected.offset_
    expected.partial_fit([*files(place / "odd"), "other/44.png"])
    assert told == (
        f"model.skad: 4 pictures joined; threshold {before:.6g} before, now "
        f"{expected.offset_:.6g}\n"
    )
    found, new = skad.load("model.skad"), files(place / "other")
    np.testing.assert_array_equal(found.score_samples(new), expected.score_samples(new))
    assert sorted(path.name for path in place.iterdir()) == [
        *("broken", "model.skad", "normal", "odd", "other")
    ]


def test_one_alone_still_scores_as_odd_and_is_told_so(place, capsys):
    told = here(capsys, "update", "model.skad", "odd/ö0.png").err
    assert "1 of 1 still scores as odd: no picture is a neighbour of itself" in told
    assert "(n_neighbors=2)" in told
    assert decisions(capsys, "model.skad", "odd/ö0.png") == ["anomaly"]
    assert here(capsys, "update", "model.skad", "odd", "-q").err == ""
    assert decisions(capsys, "model.skad", "odd") == ["normal"] * 3


def test_copies_are_left_out(place, capsys):
    shutil.copy("odd/ö0.png", "odd/again.png")
    told = here(capsys, "update", "model.skad", "odd", "odd", "normal/24.png", "-o", "a.skad").err
    assert "a.skad: 3 pictures joined" in told
    assert "6 pictures left out, being in the model already" in told
    assert len(skad.load("a.skad").pipeline_["scorer"].gallery_) == 23
    content = (place / "a.skad").read_bytes()
    told = here(capsys, "update", "a.skad", "odd/again.png").err
    assert "a.skad: 0 pictures joined" in told
    assert "1 picture left out" in told
    assert (place / "a.skad").read_bytes() == content


def test_another_file_leaves_the_model(place, capsys):
    content = (place / "model.skad").read_bytes()
    here(capsys, "update", "model.skad", "odd", "-o", "more.skad")
    assert (place / "model.skad").read_bytes() == content
    assert len(skad.load("more.skad").pipeline_["scorer"].gallery_) == 23


def test_thresholds_of_maps_are_told(place, capsys):
    skad.save(SPADE(**SMALL, n_threshold_images=50).fit(files(place / "normal")), "maps.skad")
    before = skad.load("maps.skad").pixel_offset_
    told = here(capsys, "update", "maps.skad", "odd").err
    found = skad.load("maps.skad")
    assert found.gallery_.n_images_ == 23
    now = f"{before:.6g} before, now {found.pixel_offset_:.6g}\n"
    assert f"; threshold of pixels {now}" in told
    assert found.pixel_offset_ != before


def test_weights_by_name_stay_by_name(place, capsys):
    here(capsys, "fit", "normal", "-o", "named.skad", "--by-name")
    here(capsys, "update", "named.skad", "other")
    assert (place / "named.skad").stat().st_size < 2e6
    assert skad.persistence.describe("named.skad")["networks"][0]["weights"] == "reference"


def test_a_promise_is_kept(place, capsys):
    here(capsys, "calibrate", "model.skad", "other", "--false-alarm-rate", 0.3)
    before, paths = skad.load("model.skad"), files(place / "other") + files(place / "normal")
    told = here(capsys, "update", "model.skad", "odd").err
    after = skad.load("model.skad")
    assert f"threshold kept at {after.offset_:.6g}, by the calibration pictures" in told
    assert after.offset_ == before.offset_
    assert len(after.detectors_[0].pipeline_["scorer"].gallery_) == 23
    assert (after.score_samples(paths) >= before.score_samples(paths)).all()
    assert (after.p_values(paths) >= before.p_values(paths)).all()
    assert decisions(capsys, "model.skad", "odd") == ["normal"] * 3


MODELS = {
    "cross-calibrated": (
        lambda: ConformalDetector(DN2(**SMALL), false_alarm_rate=0.1, method="cross"),
        "was cross-calibrated: each of its 5 detectors has pictures of its own. Fit anew",
    ),
    "calibrated, whitened": (
        lambda: ConformalDetector(
            DN2(**SMALL, metric="mahalanobis"), false_alarm_rate=0.3, calibration_share=0.5
        ),
        "DN2 may score further pictures lower than before, which would break the promise",
    ),
    "calibrated, with more neighbours to come": (
        lambda: ConformalDetector(SPADE(**SMALL), false_alarm_rate=0.3, calibration_share=0.5),
        "SPADE may score further pictures lower than before",
    ),
    "calibrated, scored by maps": (
        lambda: ConformalDetector(
            SPADE(**SMALL, n_neighbors=2, image_score="map"),
            false_alarm_rate=0.3,
            calibration_share=0.5,
        ),
        "SPADE may score further pictures lower than before",
    ),
    "of centroids": (
        lambda: SPADE(**SMALL, n_centroids=3),
        "SPADE: no partial_fit with CentroidPixels",
    ),
    "of another score": (
        lambda: ImageDetector(FeatureExtractor(**SMALL), scorer=SampleWiseScorer()),
        "its SampleWiseScorer takes all training images at once. Fit to all images anew.",
    ),
    "of no pictures": (
        lambda: FeatureExtractor(**SMALL),
        "holds FeatureExtractor, which pictures can't join",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_models_that_no_picture_can_join(case, place, capsys):
    make, message = MODELS[case]
    skad.save(make().fit(files(place / "normal")), "m.skad")
    assert_refused(capsys, place / "m.skad", ["update", "m.skad", "odd"], message)


ERRORS = {
    "broken": (["update", "model.skad", "odd", "broken"], "x.png) could not be read as an image"),
    "no such picture": (["update", "model.skad", "none.png"], "(none.png) does not exist"),
    "no pictures": (["update", "model.skad", "empty"], "'empty' holds no images"),
    "no such model": (["update", "none.skad", "odd"], "No such file or directory: 'none.skad'"),
    "no model": (["update", "odd/ö0.png", "odd"], "is no model file of skad"),
    "no place": (["update", "model.skad", "odd", "-o", "no/m"], "no folder, so no/m can't be"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_leave_the_model(case, place, capsys):
    (place / "empty").mkdir()
    assert_refused(capsys, place / "model.skad", *ERRORS[case])


def assert_refused(capsys, model, arguments, message):
    content, listed = model.read_bytes(), files(model.parent)
    told = here(capsys, *arguments, status=2).err
    assert message in told
    assert told.startswith("skad: ")
    assert told.count("\n") == 1
    assert model.read_bytes() == content
    assert files(model.parent) == listed
