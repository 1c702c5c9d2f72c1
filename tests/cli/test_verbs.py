"""Every verb works as the real program, in a process of its own. Errors are one line.

Those that other files here run so (fit, score, update, bench, export) are left out.
"""

import json

import pytest

import skad
from tests.cli.conftest import here, rows_of, run


def test_check(place):
    table, told = run("check", "normal", "new/deep", "--set", "image_size=32", cwd=place)
    assert [row["path"] for row in rows_of(table)] == [f"new/deep/ünî-{i}.png" for i in range(3)]
    assert "3 normal" in told or "anomal" in told


def test_calibrate(place, tmp_path):
    options = ("--false-alarm-rate", 0.3, "-o", tmp_path / "ü.skad")
    _, told = run("calibrate", "model.skad", "new/deep", *options, cwd=place)
    assert "ü.skad: at most 0.3 of new normal pictures are called anomalies, by 3 pict" in told
    assert isinstance(skad.load(tmp_path / "ü.skad"), skad.ConformalDetector)


def test_info(place):
    told, _ = run("info", "model.skad", "--json", cwd=place)
    assert json.loads(told)["class"] == "DN2"


def test_doctor(tmp_path):
    told, remarks = run("doctor", cwd=tmp_path)
    assert 'device="auto" is ' in told
    assert remarks == ""


def test_report(place, tmp_path):
    page = tmp_path / "ü.html"
    _, told = run("report", "model.skad", "new", "-o", page, cwd=place, status=3)
    assert "1 unreadable" in told
    assert page.read_text(encoding="utf-8").count("ünî-1.png") >= 1


FAILS = {
    "fit": (["fit", "nowhere", "-o", "m"], "image 0 (nowhere) does not exist"),
    "score": (["score", "nöne.skad", "new"], "No such file or directory: 'nöne.skad'"),
    "calibrate": (["calibrate", "model.skad", "new/deep", "-o", "no/m"], "is no folder, so no/m"),
    "info": (["info", "new/0.png"], "new/0.png: is no model file of skad"),
    "export": (["export", "model.skad", "-o", "a.tflite"], "there are .onnx, .pt2; got .tflite"),
    "bench": (["bench", "new"], "has the classes '', 'deep'; say by --normal"),
}


@pytest.mark.parametrize("verb", FAILS)
def test_errors(verb, place, capsys, monkeypatch):
    arguments, message = FAILS[verb]
    monkeypatch.chdir(place)
    output, told = here(capsys, *arguments, status=2)
    assert output == ""
    assert message in told
    assert told.startswith("skad: ")
    assert told.count("\n") == 1
