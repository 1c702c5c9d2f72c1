"""Defects one by one, of models whose pixels are calibrated and of others."""

import csv

import numpy as np
import pytest
from PIL import Image

import skad
from skad import ConformalMapDetector, PatchCore
from skad.cli import main

from .conftest import fitted, here, rows_of

SIDES = ("top", "left", "bottom", "right")


@pytest.fixture(scope="module")
def patch_core(place, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "patch_core.skad"
    skad.save(fitted(PatchCore(image_size=32, n_threshold_images=4), place), path)
    return path


@pytest.fixture(scope="module")
def calibrated(patch_core, place):
    path = patch_core.parent / "calibrated.skad"
    rate = ("--false-alarm-rate", 0.3)
    options = ("--pixels", *rate, "-o", path)
    assert main(list(map(str, ("calibrate", patch_core, place / "more", *options)))) == 0
    return path


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["patch_core", "calibrated"])
def test_the_table_is_that_of_the_model(kind, request, place, capsys, tmp_path):
    model, table = request.getfixturevalue(kind), tmp_path / "regions.csv"
    here(capsys, "score", model, place / "new", "--regions", table, status=3)
    rows, detector = read(table), skad.load(model)
    paths = sorted({row["path"] for row in rows})
    assert paths
    assert not any("broken" in path for path in paths)
    new = sorted((place / "new").rglob("*.png"))
    readable = [str(path) for path in new if path.name != "broken.png"]
    expected = detector.predict_regions(readable)
    assert list(rows[0]) == ["path", *list(expected)[1:]]
    places = {path: i for i, path in enumerate(readable)}
    rows.sort(key=lambda row: (places[row["path"]], int(row["region"])))
    assert [places[row["path"]] for row in rows] == expected["image"].tolist()
    for name in ("area", *SIDES):
        assert [int(row[name]) for row in rows] == expected[name].tolist()
    found = [float(row["lowest_score"]) for row in rows]
    np.testing.assert_allclose(found, expected["lowest_score"], rtol=1e-4)
    assert ("p_value" in rows[0]) == (kind == "calibrated")


def test_masks_and_verdicts_of_calibrated_pixels_agree(calibrated, place, capsys, tmp_path):
    assert isinstance(skad.load(calibrated), ConformalMapDetector)
    found = here(capsys, "score", calibrated, place / "new", "--masks", tmp_path / "m", status=3)
    rows = [row for row in rows_of(found.out) if row["decision"] != "unreadable"]
    assert {row["decision"] for row in rows} == {"anomaly", "normal"}
    for row in rows:
        name = row["path"].removeprefix(str(place / "new") + "/")
        with Image.open(tmp_path / "m" / f"{name}.png") as mask:
            assert np.asarray(mask).any() == (row["decision"] == "anomaly")
        assert (float(row["p_value"]) <= 0.3) == (row["decision"] == "anomaly")


def test_calibrated_again_it_is_of_the_same_kind(calibrated, place, capsys, tmp_path):
    options = ("--false-alarm-rate", 0.5, "-o", tmp_path / "again.skad")
    here(capsys, "calibrate", calibrated, place / "more", *options)
    again = skad.load(tmp_path / "again.skad")
    assert isinstance(again, ConformalMapDetector)
    assert isinstance(again.detectors_[0].estimator, PatchCore)
    message = here(capsys, "update", calibrated, place / "normal", status=2).err
    assert "pictures can't join" in message or "no partial_fit" in message


def test_what_can_not_be(place, patch_core, capsys, tmp_path):
    model = place / "model.skad"
    message = here(capsys, "calibrate", model, place / "more", "--pixels", status=2).err
    assert f"--pixels: {model} gives no maps" in message
    table = tmp_path / "regions.csv"
    message = here(capsys, "score", model, place / "new", "--regions", table, status=2).err
    assert "DN2 gives no maps" in message
    options = ("--regions", table, "--watch", "--stop-after", 1)
    message = here(capsys, "score", patch_core, place / "new", *options, status=2).err
    assert "leave it out, or --watch" in message
    assert not table.exists()
