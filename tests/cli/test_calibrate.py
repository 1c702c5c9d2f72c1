"""A calibration keeps its promise, or is refused: by new pictures, shared out as asked for."""

import shutil

import pytest

import skad
from skad import (
    DN2,
    SPADE,
    ConformalDetector,
    FeatureExtractor,
    ImageDetector,
    KDEScorer,
    KNNScorer,
)

from .conftest import fitted, here

SMALL = ("--set", "image_size=32")
RATE = ("--false-alarm-rate", 0.3)


def refused(capsys, *arguments):
    told = here(capsys, *arguments, status=2).err
    assert told.startswith("skad: ")
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize("detector", ["patchcore", "padim", "dn2", "deep-svdd"])
def test_pictures_of_the_fit_are_refused(detector, place, capsys, tmp_path):
    model = tmp_path / "m.skad"
    options = ("--set", "n_epochs=1") if detector == "deep-svdd" else ()
    here(capsys, "fit", place / "normal", "-o", model, "--detector", detector, *SMALL, *options)
    before = model.read_bytes()
    told = refused(capsys, "calibrate", model, place / "normal", *RATE)
    assert f"m.skad was fitted to 16 of these 16 pictures, {place / 'normal' / '24.png'}" in told
    assert "Give normal pictures that were not in the fit" in told
    shutil.copy(place / "normal" / "30.png", tmp_path / "copy.png")
    told = refused(capsys, "calibrate", model, place / "more", tmp_path / "copy.png", *RATE)
    assert f"1 of these 21 pictures, {tmp_path / 'copy.png'} that is." in told
    assert model.read_bytes() == before
    told = here(capsys, "calibrate", model, place / "more", *RATE).err
    assert told.count("\n") == 1
    told = refused(capsys, "calibrate", model, place / "normal", *RATE)
    assert "16 of these 16" in told, "calibrated, it still knows"


def test_models_that_python_saved(place, capsys, tmp_path):
    told = refused(capsys, "calibrate", place / "model.skad", place / "normal", *RATE)
    assert "was fitted to 16 of these 16 pictures" in told
    for scorer in (KNNScorer(n_centroids=3), KDEScorer()):
        model = tmp_path / f"{type(scorer).__name__}.skad"
        detector = ImageDetector(FeatureExtractor(image_size=32), scorer=scorer)
        skad.save(fitted(detector, place), model)
        told = here(capsys, "calibrate", model, place / "more", *RATE).err
        assert f"{model} does not tell which pictures it was fitted to" in told


def test_pictures_that_joined_are_refused(place, capsys, tmp_path):
    model = tmp_path / "m.skad"
    here(capsys, "fit", place / "normal", "-o", model, "--detector", "padim", *SMALL)
    here(capsys, "update", model, place / "more" / "24.png")
    told = refused(capsys, "calibrate", model, place / "more", *RATE)
    assert "was fitted to 1 of these 20 pictures" in told


def test_pictures_are_shared_out_as_asked(place, capsys, tmp_path):
    model = tmp_path / "m.skad"
    fit = ("fit", place / "normal", "-o", model, *SMALL, "--false-alarm-rate", 0.12)
    told = refused(capsys, *fit)
    assert "needs at least 8 calibration images, got 4" in told
    assert "a larger --false-alarm-rate, a larger --calibration-share or --method cross." in told
    new = [str(place / "new" / f"{i}.png") for i in range(3)]
    for options, expected in (
        (("--calibration-share", 0.5), {"calibration_share": 0.5}),
        (("--method", "cross"), {"method": "cross"}),
    ):
        here(capsys, *fit, *options)
        detector = ConformalDetector(DN2(image_size=32), false_alarm_rate=0.12, **expected)
        p_values = fitted(detector, place).p_values(new)
        assert skad.load(model).p_values(new).tolist() == pytest.approx(p_values.tolist())


def test_options_of_no_calibration(place, capsys, tmp_path):
    for option in (("--method", "cross"), ("--calibration-share", 0.5)):
        told = refused(capsys, "fit", place / "normal", "-o", tmp_path / "m", *option)
        assert f"{option[0]} is for --false-alarm-rate; give both" in told


@pytest.mark.parametrize("pixels", [(), ("--pixels",)])
def test_too_few_are_told_of_no_options_that_there_are_not(pixels, place, capsys, tmp_path):
    model = tmp_path / "m.skad"
    skad.save(fitted(SPADE(image_size=32, n_neighbors=2), place), model)
    told = refused(capsys, "calibrate", model, place / "more" / "40.png", *pixels)
    assert told.endswith("Give more images, a larger --false-alarm-rate.\n")
