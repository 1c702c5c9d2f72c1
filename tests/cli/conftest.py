"""Folders of normal and of new pictures, and a model, for tests of the command line."""

import csv
import io
import os
import subprocess
import sys

import pytest
from PIL import Image

import skad
from skad import DN2
from skad.cli import main


@pytest.fixture(scope="session")
def place(tiles, tmp_path_factory):
    """Folders of normal, of more normal and of new pictures, one of them broken; a model."""
    place = tmp_path_factory.mktemp("place")
    for folder in ("normal", "new/deep"):
        (place / folder).mkdir(parents=True)
    for i in range(24, 40):
        Image.fromarray(tiles[i]).save(place / "normal" / f"{i}.png")
    for i in range(3):
        Image.fromarray(tiles[45 + i]).save(place / "new" / "deep" / f"ünî-{i}.png")
        Image.fromarray(tiles[i]).save(place / "new" / f"{i}.png")
    (place / "new" / "broken.png").write_bytes(b"x")
    (place / "more").mkdir()
    for i in range(24, 44):
        Image.fromarray(tiles[i, :, ::-1]).save(place / "more" / f"{i}.png")
    skad.save(fitted(DN2(image_size=32), place), place / "model.skad")
    return place


def fitted(detector, place):
    return detector.fit(sorted(map(str, (place / "normal").iterdir())))


def started(*arguments, cwd=None, **how):
    """The real program, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "skad", *map(str, arguments)],
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C"},
        **how,
    )


def run(*arguments, cwd, status=0, **how):
    """Output and remarks of the real program."""
    process = started(*arguments, cwd=cwd, stdout=subprocess.PIPE, **how)
    output, remarks = process.communicate(timeout=120)
    assert process.returncode == status, remarks
    return output.decode(), remarks.decode()


def here(capsys, *arguments, status=0):
    """The same in this process, which is quicker; any status for None."""
    assert status in (main(list(map(str, arguments))), None)
    return capsys.readouterr()


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))
