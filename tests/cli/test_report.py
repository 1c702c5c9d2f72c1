"""``skad report``, as it is called from a shell."""

import shutil

import pytest
from PIL import Image

import skad
from skad.cli import main


@pytest.fixture(scope="module")
def place(tiles, tmp_path_factory):
    """Folders of normal and of new pictures, and a model."""
    place = tmp_path_factory.mktemp("place")
    for folder, numbers in (("normal", range(24, 40)), ("new/deep", (0, 1, 44, 45))):
        (place / folder).mkdir(parents=True)
        for i in numbers:
            Image.fromarray(tiles[i]).save(place / folder / f"{i}.png")
    detector = skad.DN2(image_size=32, contamination=0.4)
    skad.save(detector.fit(sorted(map(str, (place / "normal").iterdir()))), place / "model.skad")
    return place


def run(capsys, *arguments, status=0):
    assert main(["report", *map(str, arguments)]) == status
    return capsys.readouterr()


def test_a_report_of_folders(place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    page = tmp_path / "report.html"
    options = ("-o", page, "--normal", "normal", "--title", "Batch 7")
    found = run(capsys, "model.skad", "new", *options)
    assert found.out == ""
    assert found.err.startswith(f"{page}: ")
    assert " anomalies, " in found.err
    text = page.read_text(encoding="utf-8")
    assert "<h1>Batch 7</h1><p>Model <bdi>model.skad</bdi>, 4 pictures, " in text
    assert text.count('<tr class="') == 4
    assert "new/deep/44.png" in text
    assert "16 that the model was fitted on" in text
    run(capsys, "model.skad", "new", "-o", page, "--fail-on-anomaly", "-q", status=1)


def test_unreadable_pictures_are_told_by_the_status(place, capsys, tmp_path):
    shutil.copytree(place / "new", tmp_path / "new")
    (tmp_path / "new" / "x.png").write_bytes(b"x")
    page = tmp_path / "r.html"
    found = run(capsys, place / "model.skad", tmp_path / "new", "-o", page, status=3)
    assert "1 unreadable" in found.err
    run(capsys, place / "model.skad", tmp_path / "new", "--pattern", "deep/*", "-o", page, "-q")


ERRORS = {
    "no folder for the page": (["model.skad", "new", "-o", "no/r"], "no is no folder, so no/r"),
    "a folder in its place": (["model.skad", "new", "-o", "new"], "new is a folder; name a file"),
    "no model": (["none.skad", "new", "-o", "r"], "No such file or directory: 'none.skad'"),
    "no pictures": (["model.skad", "nowhere", "--normal", "no", "-o", "r"], "0 can be read"),
    "too many": (["model.skad", "new", "-o", "r", "--most", "-1"], "whole number in 0..1000"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(case, place, capsys, monkeypatch):
    arguments, message = ERRORS[case]
    monkeypatch.chdir(place)
    found = run(capsys, *arguments, status=2)
    assert message in found.err
    assert found.err.startswith("skad: ")
    assert found.err.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == ["model.skad", "new", "normal"]


def test_a_folder_that_may_not_be_written_to(place, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    found = run(capsys, place / "model.skad", place / "new", "-o", place / "r", status=2)
    assert "may not be written to; give another place for " in found.err
