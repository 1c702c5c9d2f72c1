"""The real program, in processes of its own: every verb, every kind of error."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import skad
from skad import DN2, MSC, SPADE, ConformalDetector
from skad.cli import main
from tests.cli.conftest import fitted, here, rows_of, run, started


def test_help_is_quick_and_loads_nothing():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from skad.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "exit status:" in done.stdout
    assert float(done.stdout.splitlines()[-1]) < 0.3


def test_fit_then_score_in_processes(place, tmp_path):
    _, remark = run("fit", place / "normal", "-o", "a.skad", "--set", "n_neighbors=1", cwd=tmp_path)
    assert "a.skad: DN2 of 16 pictures, threshold -" in remark
    expected = fitted(DN2(n_neighbors=1), place)
    table, remark = run("score", tmp_path / "a.skad", "new", cwd=place, status=3)
    rows = rows_of(table)
    assert [row["path"] for row in rows] == [
        *(f"new/{name}" for name in ("0.png", "1.png", "2.png", "broken.png")),
        *(f"new/deep/ünî-{i}.png" for i in range(3)),
    ]
    readable = [row for row in rows if row["decision"] != "unreadable"]
    found = [float(row["score"]) for row in readable]
    paths = [str(place / row["path"]) for row in readable]
    np.testing.assert_allclose(found, expected.decision_function(paths), rtol=1e-5, atol=1e-6)
    assert all((row["decision"] == "anomaly") == (float(row["score"]) < 0) for row in readable)
    (broken,) = (row for row in rows if row["decision"] == "unreadable")
    assert "of no image format" in broken["reason"]
    assert broken["score"] == ""
    assert "1 unreadable" in remark


def test_rows_of_json_and_exit_status(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    found = here(capsys, "score", "model.skad", "new/0.png", "--jsonl", "-", "-q")
    (row,) = map(json.loads, found.out.splitlines())
    assert row.keys() == {"path", "score", "p_value", "decision"}
    assert found.err == ""
    strict = skad.load("model.skad")
    strict.offset_ = 1.0  # by which all are anomalies
    skad.save(strict, "strict.skad")
    here(capsys, "score", "strict.skad", "new/0.png")
    found = here(capsys, "score", "strict.skad", "new/0.png", "--fail-on-anomaly", status=1)
    assert rows_of(found.out)[0]["decision"] == "anomaly"


def test_tables_go_into_files(place, capsys, tmp_path):
    table = tmp_path / "t.csv"
    found = here(capsys, "score", place / "model.skad", place / "new", "--csv", table, status=3)
    assert found.out == ""
    assert len(rows_of(table.read_text(encoding="utf-8"))) == 7


def test_check_keeps_nothing(place, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ("--false-alarm-rate", 0.4, "--set", "image_size=32", "--seed", 3)
    found = here(capsys, "check", place / "normal", place / "new" / "deep", *options)
    detector = ConformalDetector(
        DN2(image_size=32, random_state=3), false_alarm_rate=0.4, random_state=3
    )
    paths = sorted(map(str, (place / "new" / "deep").iterdir()))
    expected = fitted(detector, place).p_values(paths)
    p_values = [float(row["p_value"]) for row in rows_of(found.out)]
    np.testing.assert_allclose(p_values, expected)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_calibrated_by_further_pictures(place, capsys, tmp_path):
    model = tmp_path / "calibrated.skad"
    rate = ("--false-alarm-rate", 0.3)
    found = here(capsys, "calibrate", place / "model.skad", place / "new/deep", *rate, "-o", model)
    assert "at most 0.3 of new normal pictures are called anomalies, by 3 pictures" in found.err
    calibrated, plain = skad.load(model), skad.load(place / "model.skad")
    paths = sorted(map(str, (place / "new" / "deep").iterdir()))
    assert calibrated.offset_ == plain.score_samples(paths).min()
    rows = rows_of(here(capsys, "score", model, place / "new" / "0.png").out)
    assert float(rows[0]["p_value"]) in (0.25, 0.5, 0.75, 1.0)
    rows = rows_of(here(capsys, "score", model, place / "new", status=3).out)
    assert [row["path"] for row in rows if row["decision"] == "unreadable"] == [
        str(place / "new" / "broken.png")
    ]
    here(capsys, "calibrate", model, place / "new/deep", "--false-alarm-rate", 0.5)
    assert skad.load(model).offset_ >= calibrated.offset_, "again, in its place"
    message = here(capsys, "calibrate", model, place / "new/deep", status=2).err
    assert "false_alarm_rate=0.05 needs at least 19 calibration images" in message


def test_maps_and_masks(place, capsys, tmp_path):
    detector = fitted(SPADE(n_neighbors=2, n_threshold_images=4), place)
    skad.save(detector, tmp_path / "spade.skad")
    options = ("--maps", tmp_path / "maps", "--masks", tmp_path / "masks")
    here(capsys, "score", tmp_path / "spade.skad", place / "new", *options, status=3)
    names = ["0.png", "1.png", "2.png", *(f"deep/ünî-{i}.png" for i in range(3))]
    for folder, ending in (("maps", ".tiff"), ("masks", ".png")):
        found = [p for p in (tmp_path / folder).rglob("*") if p.is_file()]
        assert {str(p.relative_to(tmp_path / folder)) for p in found} == {n + ending for n in names}
    expected = detector.score_maps([str(place / "new" / "1.png")])[0]
    with Image.open(tmp_path / "maps" / "1.png.tiff") as image:
        np.testing.assert_allclose(np.asarray(image), expected, rtol=1e-5)
    with Image.open(tmp_path / "masks" / "1.png.png") as image:
        np.testing.assert_array_equal(np.asarray(image) == 255, expected < detector.pixel_offset_)
    both = (place / "new", place / "new/deep")
    here(capsys, "score", tmp_path / "spade.skad", *both, *options, status=3)
    twice = (place / "normal", place / "more", "--csv", tmp_path / "t.csv")
    message = here(capsys, "score", tmp_path / "spade.skad", *twice, *options, status=2).err
    assert "normal/24.png and " in message
    assert "more/24.png would be the same file, 24.png; score their folders one by one" in message
    assert not (tmp_path / "masks" / "24.png.png").exists()
    assert not (tmp_path / "t.csv").exists()


def test_info_and_doctor(place, capsys):
    assert "DN2, written by skad" in here(capsys, "info", place / "model.skad").out
    told = json.loads(here(capsys, "info", place / "model.skad", "--json").out)
    assert told["parameters"]["image_size"] == 32
    found = here(capsys, "doctor").out
    assert "torch" in found
    assert 'device="auto" is ' in found


def test_published_weights_by_name(place, capsys, tmp_path):
    for name, more in (("a", []), ("b", ["--by-name"])):
        here(capsys, "fit", place / "normal", "-o", tmp_path / name, *more)
    assert (tmp_path / "b").stat().st_size < 0.05 * (tmp_path / "a").stat().st_size


ERRORS = {
    "no such folder": (["fit", "nowhere", "-o", "m"], "image 0 (nowhere) does not exist"),
    "no pictures": (["fit", "empty", "-o", "m"], "'empty' holds no images"),
    "no folder for the model": (["fit", "normal", "-o", "no/m"], "no folder, so no/m can't be"),
    "no such model": (["score", "none.skad", "new"], "No such file or directory: 'none.skad'"),
    "no model": (["score", "new/0.png", "new"], "new/0.png: is no model file of skad"),
    "unknown parameter": (
        ["fit", "normal", "-o", "m", "--set", "neighbors=3"],
        "dn2 has no parameter 'neighbors'; did you mean n_neighbors",
    ),
    "no value": (["fit", "normal", "-o", "m", "--set", "n_neighbors"], "give NAME=VALUE"),
    "bad value": (
        ["fit", "normal", "-o", "m", "--set", "n_neighbors=many"],
        "The 'n_neighbors' parameter of DN2 must be an int",
    ),
    "unknown network": (["fit", "normal", "-o", "m", "--backbone", "resnt18"], "'resnet18'"),
    "broken picture in a fit": (["fit", "new", "-o", "m"], "broken.png) could not be read"),
    "too few for the rate": (
        ["fit", "normal", "-o", "m", "--false-alarm-rate", "0.01"],
        "false_alarm_rate=0.01 needs at least 99 calibration images",
    ),
    "no maps": (["score", "model.skad", "new", "--maps", "maps"], "DN2 gives no maps; fit one"),
    "full disk": (["score", "model.skad", "new", "--csv", "/dev/full"], "No space left on device"),
    "table in no folder": (["score", "model.skad", "new", "--csv", "no/t.csv"], "no/t.csv"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(case, place, capsys, monkeypatch):
    arguments, message = ERRORS[case]
    if "/dev/full" in arguments and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    monkeypatch.chdir(place)
    (place / "empty").mkdir(exist_ok=True)
    found = here(capsys, *arguments, status=2)
    assert message in found.err
    assert found.err.startswith("skad: ")
    assert found.err.count("\n") == 1
    assert not (place / "m").exists()


def test_words_that_are_none(capsys):
    for arguments in ([], ["train"], ["fit"], ["fit", "a", "-o", "b", "--detector", "yolo"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        assert "usage: skad" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to(place, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    found = here(capsys, "fit", place / "normal", "-o", place / "m", status=2)
    assert "may not be written to; give another place for " in found.err


def test_errors_with_where_they_arose(place, capsys):
    with pytest.raises(FileNotFoundError):
        main(["score", "none.skad", "new", "--debug"])


def test_a_reader_that_goes_away(place, tmp_path):
    for i in range(600):
        shutil.copy(place / "new" / "0.png", tmp_path / f"{i:03}.png")
    process = started("score", place / "model.skad", tmp_path, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read().decode()
    assert process.wait(60) == 141
    process.stderr.close()
    assert told == ""


def test_an_interrupted_training_goes_on(place, tmp_path):
    options = ["fit", place / "normal", "-o", tmp_path / "m.skad", "--detector", "msc"]
    options += [
        "--checkpoint",
        tmp_path / "state",
        "--set",
        "n_epochs=40",
        "--set",
        "image_size=32",
    ]
    process = started(*options)
    ends = time.monotonic() + 100
    while not (tmp_path / "state").is_dir() or not any((tmp_path / "state").iterdir()):
        assert time.monotonic() < ends
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.stderr.read().decode()
    assert process.wait(60) == 130
    process.stderr.close()
    assert told.startswith("skad: interrupted; the same command goes on with the training in ")
    assert not (tmp_path / "m.skad").exists()
    run(*options, cwd=tmp_path)
    assert isinstance(skad.load(tmp_path / "m.skad"), MSC)
    assert not any((tmp_path / "state").iterdir())
