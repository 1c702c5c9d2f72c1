"""Pictures that arrive while the program watches: each has one row, whatever happens."""

import json
import shutil
import signal
import threading
import time
from collections import Counter

import pytest
from PIL import Image

import skad
from skad import SPADE
from skad.cli._watch import arrivals
from tests.cli.conftest import fitted, here, rows_of, run, started

WATCH = ("--watch", "--stop-after", 1)


def test_a_thousand_files_arrive_and_the_program_is_killed(place, tiles, tmp_path):
    inbox, table = tmp_path / "inbox", tmp_path / "t.csv"
    inbox.mkdir()
    whole = []
    for index in range(2):
        Image.fromarray(tiles[index]).save(tmp_path / f"{index}.png")
        whole.append((tmp_path / f"{index}.png").read_bytes())

    def arrive():
        """Files in two parts each, as a slow camera writes them."""
        for number in range(1000):
            path, content = inbox / f"deep{number % 3}" / f"ü {number}.png", whole[number % 2]
            path.parent.mkdir(exist_ok=True)
            with open(path, "wb", buffering=0) as file:
                file.write(content[:50])
                time.sleep(0.004)
                file.write(content[50:])

    camera = threading.Thread(target=arrive)
    camera.start()
    arguments = ("score", place / "model.skad", "inbox", "--csv", "t.csv", *WATCH)
    for kill in (signal.SIGKILL, signal.SIGINT):
        process = started(*arguments, cwd=tmp_path)
        before, ends = table.stat().st_size if table.exists() else 0, time.monotonic() + 60
        while not table.exists() or table.stat().st_size < before + 2000:
            assert time.monotonic() < ends, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(kill)
        told = process.stderr.read().decode()
        assert process.wait(60) == (-9 if kill == signal.SIGKILL else 130)
        process.stderr.close()
    assert told.endswith("; the same command goes on with the pictures that have no row yet\n")
    with open(table, "a") as file:  # as if it had been killed within a row
        file.write('"inbox/ü 1')
    camera.join()
    _, told = run(*arguments, cwd=tmp_path)
    assert "going on: " in told
    counts = Counter(row["path"] for row in rows_of(table.read_text(encoding="utf-8")))
    assert counts == {f"inbox/deep{n % 3}/ü {n}.png": 1 for n in range(1000)}
    assert all(row["score"] for row in rows_of(table.read_text(encoding="utf-8")))


def test_a_picture_is_taken_when_it_is_whole(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12")
    looks = arrivals([str(tmp_path)], None, set(), interval=0.05, stop_after=0.3)
    grown = threading.Event()

    def grow():
        for _ in range(12):
            with open(tmp_path / "a.png", "ab") as file:
                file.write(b"3")
            time.sleep(0.02)
        grown.set()

    threading.Thread(target=grow).start()
    ((paths, below),) = list(looks)
    assert grown.is_set()
    assert (paths, below) == ([str(tmp_path / "a.png")], ["a.png"])


def test_objects_of_json_and_names_with_line_breaks(place, tmp_path, capsys):
    inbox = tmp_path / "in"
    inbox.mkdir()
    for form, name in (("--csv", "t.csv"), ("--jsonl", "t.jsonl")):
        for _ in range(2):
            for path in ('a"b.png', "line\nbreak.png", "broken.png"):
                shutil.copy(place / "new" / ("0.png" if path[0] != "b" else path), inbox / path)
            options = (form, tmp_path / name, "--watch", "--stop-after", 0)
            here(capsys, "score", place / "model.skad", inbox, *options, status=None)
        text = (tmp_path / name).read_text(encoding="utf-8")
        rows = rows_of(text) if form == "--csv" else list(map(json.loads, text.splitlines()))
        assert sorted(row["path"] for row in rows) == sorted(map(str, inbox.iterdir()))


def test_an_anomaly_ends_it(place, tmp_path, capsys):
    strict = skad.load(place / "model.skad")
    strict.offset_ = 1.0  # by which all are anomalies
    skad.save(strict, tmp_path / "strict.skad")
    shutil.copy(place / "new" / "0.png", tmp_path)
    options = ("--watch", "--stop-after", 60, "--fail-on-anomaly", "--csv", tmp_path / "t.csv")
    began = time.monotonic()
    found = here(capsys, "score", tmp_path / "strict.skad", tmp_path, *options, status=1)
    assert time.monotonic() < began + 60
    assert "1 anomaly" in found.err


def test_a_folder_may_be_empty_at_first(place, tmp_path, capsys):
    found = here(capsys, "score", place / "model.skad", tmp_path, "--watch", "--stop-after", 0)
    assert rows_of(found.out) == []


def test_what_can_not_be_watched(place, tmp_path, capsys):
    model, inbox = place / "model.skad", tmp_path / "in"
    inbox.mkdir()
    (tmp_path / "other.csv").write_text("name,size\n1,2\n")
    for more, message in (
        ([place / "new" / "0.png"], "--watch waits for pictures in a folder; got "),
        ([inbox, "--csv", tmp_path / "other.csv"], "other.csv is no table of skad score, so that"),
        ([inbox, "--masks", inbox / "masks"], "masks lies in "),
        ([inbox, "--csv", inbox], "in is no file, whose rows could be gone on with"),
    ):
        found = here(capsys, "score", model, *more, "--watch", "--stop-after", 0, status=2)
        assert message in found.err
        assert found.err.count("\n") == 1
    assert (tmp_path / "other.csv").read_text() == "name,size\n1,2\n"


def test_two_that_write_to_one_table(place, tmp_path, capsys):
    fcntl = pytest.importorskip("fcntl")
    table = tmp_path / "t.csv"
    with open(table, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        options = ("--csv", table, "--watch", "--stop-after", 0)
        found = here(capsys, "score", place / "model.skad", tmp_path, *options, status=2)
    assert "another skad score --watch writes to" in found.err


def test_the_mask_of_another_picture_is_not_written_over(place, tiles, tmp_path, capsys):
    detector = fitted(SPADE(image_size=32, n_neighbors=2, n_threshold_images=4), place)
    skad.save(detector, tmp_path / "m.skad")
    for index, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        Image.fromarray(tiles[index]).save(tmp_path / folder / "same.png")
    watch = ("--watch", "--stop-after", 0, "--csv", tmp_path / "t.csv", "--maps", tmp_path / "maps")
    here(capsys, "score", tmp_path / "m.skad", tmp_path / "a", *watch)
    before = (tmp_path / "maps" / "same.png.tiff").read_bytes()
    both = (tmp_path / "a", tmp_path / "b")
    told = here(capsys, "score", tmp_path / "m.skad", *both, *watch).err
    assert f"no map or mask of {tmp_path / 'b/same.png'}: it would be the file of " in told
    assert (tmp_path / "maps" / "same.png.tiff").read_bytes() == before
    rows = rows_of((tmp_path / "t.csv").read_text())
    assert [row["path"] for row in rows] == [str(one / "same.png") for one in both]
