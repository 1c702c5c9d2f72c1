"""A disk that is full, a small one of its own: one line, status 2, and nothing half written."""

import os
import shutil
import subprocess
import sys

import pytest

import skad
from tests.cli.conftest import rows_of

# Mounts a small disk that only this command sees, runs skad on it, lists what is there afterwards.
SCRIPT = """
mount -t tmpfs -o size=$1 none "$2" && cd "$2" && shift 2
printf x > earlier.skad
"$@"
status=$?
for name in $(ls -A); do echo "$name" $(stat -c %s "$name"); done > ../listed
cat t.csv > ../t.csv 2>/dev/null
exit $status
"""


def on_small_disk(size, folder, *arguments):
    disk = folder / "disk"
    disk.mkdir()
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", size, str(disk)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "skad", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    listed = (folder / "listed").read_text().splitlines() if (folder / "listed").exists() else []
    return done, dict(line.rsplit(" ", 1) for line in listed)


@pytest.fixture(autouse=True)
def may_mount(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, which gives a process a disk of its own")
    (tmp_path / "trial").mkdir()
    trial = f"mount -t tmpfs none {tmp_path / 'trial'}"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", trial]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk of its own")


VERBS = {
    "fit": ("fit", "NORMAL", "-o", "earlier.skad"),
    "export": ("export", "MODEL", "-o", "earlier.skad.pt2", "--pictures", "NEW"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_file_is_half_written(verb, place, tmp_path):
    known = {"NORMAL": place / "normal", "NEW": place / "new/deep", "MODEL": place / "model.skad"}
    arguments = [known.get(one, one) for one in VERBS[verb]]
    done, listed = on_small_disk("64k", tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("skad: ")
    assert done.stderr.count("\n") == 1
    assert listed == {"earlier.skad": "1"}


def test_a_folder_that_may_only_be_read(place, tmp_path):
    script = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    (tmp_path / "disk").mkdir()
    model = tmp_path / "disk" / "m.skad"
    unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path / "disk")]
    verb = [sys.executable, "-m", "skad", "fit", str(place / "normal"), "-o", str(model)]
    done = subprocess.run([*unshared, *verb], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"may not be written to; give another place for {model}." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_table_holds_whole_rows_and_is_gone_on_with(place, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for index in range(300):
        shutil.copy(place / "new" / "0.png", inbox / f"{index:03}-{'x' * 100}.png")
    watch = ("--csv", "t.csv", "--watch", "--stop-after", 0)
    done, listed = on_small_disk("24k", tmp_path, "score", place / "model.skad", inbox, *watch)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("No space left on device") == 1
    assert int(listed["t.csv"]) > 1000
    done = subprocess.run(
        [sys.executable, "-m", "skad", "score", place / "model.skad", inbox, *map(str, watch)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "going on: " in done.stderr
    rows = rows_of((tmp_path / "t.csv").read_text(encoding="utf-8"))
    assert sorted(row["path"] for row in rows) == sorted(map(str, inbox.iterdir()))
    (score,) = skad.load(place / "model.skad").decision_function([rows[0]["path"]])
    assert [float(row["score"]) for row in rows] == pytest.approx([score] * 300)
