"""skad bench: detectors on labelled folders."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from skad import DN2
from skad.metrics import auroc_interval, auroc_score
from tests.cli.conftest import here, run


@pytest.fixture(scope="module")
def folders(tiles, tmp_path_factory):
    """Flowers are good, temples are not: as classes, and as MVTec has them."""
    place = tmp_path_factory.mktemp("bench")
    for i, tile in enumerate(tiles):
        kind, part = ("good", "train" if i % 2 else "test") if i >= 24 else ("temple", "test")
        for folder in (place / "classes" / kind, place / "mvtec" / part / kind):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(tile).save(folder / f"{i:02}.png")
    return place


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_folders_of_mvtec(folders, tiles):
    layers = "layers=['layer2','layer4'],image_size=32"
    detectors = ("dn2:image_size=32", f"dn2:n_neighbors=1,{layers}")
    text, told = run("bench", "mvtec", "--detectors", *detectors, cwd=folders)
    assert "fitted to 12 normal pictures; scored: 12 normal, 24 others" in told
    rows = table(text)
    assert [row["detector"] for row in rows] == list(detectors)
    y = np.repeat([1, -1], [12, 24])
    for row, own in zip(rows, ({}, {"n_neighbors": 1, "layers": ["layer2", "layer4"]})):
        detector = DN2(image_size=32, **own).fit(tiles[25::2])
        scores = detector.decision_function(np.concatenate([tiles[24::2], tiles[:24]]))
        expected = [auroc_score(y, scores), *auroc_interval(y, scores)]
        found = [float(row[name]) for name in ("auroc", "low", "high")]
        np.testing.assert_allclose(found, expected, atol=2e-4)
        assert float(row["fit_seconds"]) > 0


def test_folders_of_classes_are_split(folders, capsys):
    options = ("--detectors", "dn2:image_size=32", "--train-share", 0.75)
    found = here(capsys, "bench", folders / "classes", *options)
    assert "fitted to 18 normal pictures; scored: 6 normal, 24 others" in found.err
    again = here(capsys, "bench", folders / "classes", *options, "-q")
    assert again.err == ""
    assert table(again.out)[0]["auroc"] == table(found.out)[0]["auroc"]
    swapped = here(capsys, "bench", folders / "classes", *options, "--normal", "temple")
    assert "fitted to 18 normal pictures; scored: 6 normal, 24 others" in swapped.err


def test_unreadable_pictures_are_told(folders, capsys):
    broken = folders / "classes" / "temple" / "broken.png"
    broken.write_bytes(b"x")
    found = here(capsys, "bench", folders / "classes", "--detectors", "dn2:image_size=32")
    broken.unlink()
    assert "dn2:image_size=32: 1 pictures could not be read" in found.err


ERRORS = {
    "no such detector": (["classes", "--detectors", "yolo"], "there are dn2, panda"),
    "no such setting": (["classes", "--detectors", "dn2:k=1"], "dn2 has no parameter 'k'"),
    "no value": (["classes", "--detectors", "dn2:k"], "give NAME=VALUE"),
    "no such class": (["classes", "--normal", "fine"], "; 'fine' is none of them"),
    "nothing that is called normal": (["mvtec/test/temple"], "has the classes ''; say by"),
    "one kind": (["mvtec/test", "--normal", "good", "temple"], "both kinds are needed"),
    "no share": (["classes", "--train-share", "1"], "must lie between 0 and 1; got 1"),
    "no folder": (["nowhere"], "'nowhere' does not exist"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(case, folders, capsys, monkeypatch):
    arguments, message = ERRORS[case]
    monkeypatch.chdir(folders)
    found = here(capsys, "bench", *arguments, status=2)
    assert message in found.err
    assert found.err.count("\n") == 1
