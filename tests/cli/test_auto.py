"""``--detector auto``: AutoDetector, through all verbs that take it."""

import pytest

import skad
from skad import SPADE, AutoDetector

from .conftest import fitted, here, rows_of


@pytest.fixture(scope="module")
def chosen(place, tmp_path_factory):
    path = tmp_path_factory.mktemp("auto") / "auto.skad"
    candidates = [SPADE(image_size=32, n_neighbors=2, n_threshold_images=4)]
    skad.save(fitted(AutoDetector(candidates, n_splits=2), place), path)
    return path


def test_fit_chooses(place, capsys, monkeypatch, tmp_path):
    some = {"one": lambda: skad.DN2(image_size=32), "two": lambda: skad.DN2(layers=["layer3"])}
    monkeypatch.setitem(skad.detectors._auto.PRESETS, "fast", lambda owner: some)
    model = tmp_path / "m.skad"
    told = here(capsys, "fit", place / "normal", "-o", model, "--detector", "auto", "--seed", 1)
    assert "AutoDetector of 16 pictures" in told.err
    found = skad.load(model)
    assert found.random_state == 1
    assert {row["candidate"] for row in found.leaderboard_} == {"one", "two"}
    message = here(capsys, "calibrate", model, place / "normal", status=2).err
    assert "was fitted to 16 of these 16 pictures" in message
    message = here(capsys, "update", model, place / "more", status=2).err
    assert "AutoDetector, which pictures can't join" in message
    rate = ("--false-alarm-rate", 0.3)
    assert "by 20 pictures" in here(capsys, "calibrate", model, place / "more", *rate).err


def test_unreadable_pictures_and_masks(chosen, place, capsys, tmp_path):
    options = ("--masks", tmp_path / "masks", "--regions", tmp_path / "regions.csv")
    rows = rows_of(here(capsys, "score", chosen, place / "new", *options, status=3).out)
    assert [row["path"].endswith("broken.png") for row in rows].count(True) == 1
    assert (tmp_path / "masks" / "deep" / "ünî-0.png.png").exists()
    page = tmp_path / "page.html"
    here(capsys, "report", chosen, place / "new", "-o", page, status=3)
    assert page.exists()


def test_calibrated_maps(chosen, place, capsys, tmp_path):
    model = tmp_path / "m.skad"
    rate = ("--false-alarm-rate", 0.3, "--pixels", "-o", model)
    here(capsys, "calibrate", chosen, place / "more", *rate)
    options = ("--masks", tmp_path / "masks", "--regions", tmp_path / "regions.csv")
    here(capsys, "score", model, place / "new", *options, status=3)
    assert "p_value" in (tmp_path / "regions.csv").read_text().splitlines()[0]
