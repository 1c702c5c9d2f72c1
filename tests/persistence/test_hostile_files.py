"""Files that are damaged, of another kind, or made to do harm: one clear error, nothing is run."""

import hashlib
import io
import json
import re
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.numpy import save as tensors

import skad
from skad import DN2, KNNScorer
from skad.persistence import _archive
from skad.persistence._archive import ModelFileError, write_archive

ROWS = np.random.RandomState(0).rand(30, 4)


@pytest.fixture
def scorer():
    return KNNScorer().fit(ROWS)


@pytest.fixture
def path(scorer, tmp_path):
    skad.save(scorer, tmp_path / "model.skad")
    return tmp_path / "model.skad"


def sign(content):
    """What an attacker can do as well: a digest that fits."""
    content = content[: -_archive._COMMENT]
    return content + _archive._SIGN + hashlib.sha256(content).hexdigest().encode()


def zipped(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.comment = _archive._SIGN + b"0" * 64
    return sign(buffer.getvalue())


def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def changed(path, change):
    """The entries of a file with another model.json, signed."""
    entries = dict(entries_of(path))
    told = json.loads(entries["model.json"])
    change(told)
    entries["model.json"] = json.dumps(told).encode()
    path.write_bytes(zipped(entries.items()))
    return path


def test_what_is_made_here_is_what_is_read(path, scorer):
    path.write_bytes(zipped(entries_of(path)))
    np.testing.assert_array_equal(skad.load(path).score_samples(ROWS), scorer.score_samples(ROWS))


def test_every_byte_that_was_changed_is_found(path):
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 400)):
        tampered = bytearray(content)
        tampered[place] ^= 0x20
        path.write_bytes(tampered)
        with pytest.raises(ModelFileError, match="was changed since it was|is no model"):
            skad.load(path)


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_files_that_were_cut_off(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match=r"model.skad: is no model file of skad, or was"):
        skad.load(path)


def test_files_of_another_kind(tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ModelFileError, match="is no model file of skad"):
        skad.load(other)
    with pytest.raises(FileNotFoundError):
        skad.load(tmp_path / "none.skad")
    with pytest.raises(IsADirectoryError):
        skad.load(tmp_path)


HOSTILE = {
    "path that climbs out": lambda e: zipped([*e, ("../../evil.py", b"x")]),
    "absolute path": lambda e: zipped([*e, ("/etc/passwd", b"x")]),
    "backslashes": lambda e: zipped([*e, ("..\\evil.py", b"x")]),
    "compressed bomb": lambda e: zipped([("model.json", b"0" * 10**7)], zipfile.ZIP_DEFLATED),
    "entries twice": lambda e: zipped([*e, e[0]]),
    "no model": lambda e: zipped(e[1:]),
    "no arrays": lambda e: zipped([one for one in e if one[0] == "model.json"]),
    "too many entries": lambda e: zipped([(f"a{i}.x", b"") for i in range(10_001)]),
    "deep JSON": lambda e: zipped([("model.json", b"[" * 200_000)]),
    "JSON that is no object": lambda e: zipped([("model.json", b"[1, 2]")]),
    "no JSON": lambda e: zipped([("model.json", b"\xff\xfe")]),
    "huge header of arrays": lambda e: zipped(
        [e[0], ("arrays.safetensors", struct.pack("<Q", 2**60) + b"{}")]
    ),
    "no zip": lambda e: sign(b"PK" + b"x" * 5000),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_zips_are_refused(case, path, tmp_path):
    path.write_bytes(HOSTILE[case](entries_of(path)))
    with pytest.raises(ModelFileError, match=r"model\.skad: "):
        skad.load(path)
    with pytest.raises(ModelFileError) if case not in SEEN_LATER else _nothing():
        skad.describe(path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.skad"], "nothing is unpacked"


SEEN_LATER = {"no arrays", "huge header of arrays"}  # describe reads no arrays


class _nothing:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def test_an_entry_that_lies_about_its_size(path):
    content = bytearray(path.read_bytes())
    where = content.index(b"PK\x01\x02")  # of the first entry, in the directory of the zip
    content[where + 20 : where + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(sign(bytes(content)))
    with pytest.raises(ModelFileError, match="goes beyond the file|no zip that can be read"):
        skad.load(path)


NAMES = {
    "a class of Python": "Popen",
    "a module": "metrics",
    "a function": "auroc_scorer",
    "a private one": "_evil",
    "a dotted one": "os.system",
}


@pytest.mark.parametrize("case", NAMES)
def test_classes_that_are_not_known_are_not_made(case, path):
    changed(path, lambda told: told["estimator"].update({"class": NAMES[case]}))
    with pytest.raises(ModelFileError, match=r"holds a '.*', which this skad does not know"):
        skad.load(path)


def test_factories_that_are_not_known_are_not_called(tiles, tmp_path):
    path = tmp_path / "model.skad"
    skad.save(DN2(image_size=32).fit(tiles), path)

    def evil(told):
        text = json.dumps(told["estimator"]).replace('"tiny"', '{"factory": "system"}')
        told["estimator"] = json.loads(text)

    changed(path, evil)
    with pytest.raises(ModelFileError, match="names a network 'system', unknown here"):
        skad.load(path)


def test_later_formats_are_told(path):
    changed(path, lambda told: told.update({"format": 2, "skad": "9.9"}))
    message = r"is of format 2, and skad .* reads format 1; it was written by skad 9\.9"
    for act in (skad.load, skad.describe):
        with pytest.raises(ModelFileError, match=message):
            act(path)


def test_kinds_of_values_that_are_not_known(path):
    changed(path, lambda told: told["estimator"]["state"].append(["x", {"eval": "1 + 1"}]))
    with pytest.raises(ModelFileError, match="holds 'eval', which this skad does not know"):
        skad.load(path)


def test_parts_of_scikit_learn_that_run_something(path):
    skops = pytest.importorskip("skops.io")
    evil = skops.dumps({"a": Evil()})
    entries = dict(entries_of(path))
    told = json.loads(entries["model.json"])
    told["estimator"]["state"].append(["x", {"scikit-learn": "sklearn/s99.skops"}])
    entries |= {"model.json": json.dumps(told).encode(), "sklearn/s99.skops": evil}
    path.write_bytes(zipped(entries.items()))
    with pytest.raises(ModelFileError, match="which is not run"):
        skad.load(path)


class Evil:
    def __init__(self):
        self.state = 1


@seed(1)
@settings(max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_trees_that_do_not_fit_together(path, data):
    """Any change of model.json, signed: a model, or one error that names the file."""
    entries = dict(entries_of(path))
    text = bytearray(entries["model.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=4))
    entries["model.json"] = bytes(text)
    fuzzed = path.with_name("fuzzed.skad")
    fuzzed.write_bytes(zipped(entries.items()))
    found = loaded_or_error(fuzzed)
    assert not isinstance(found, str) or "fuzzed.skad: " in found


def loaded_or_error(path):
    try:
        return skad.load(path)
    except ModelFileError as error:
        return str(error)


def test_nothing_is_written_where_there_is_no_room(scorer, tmp_path, monkeypatch):
    path = tmp_path / "model.skad"
    skad.save(scorer, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skad._whole.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        skad.save(KNNScorer().fit(ROWS[:9]), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["model.skad"]
    with pytest.raises(OSError, match=re.escape("no_such_folder")):
        skad.save(scorer, tmp_path / "no_such_folder" / "model.skad")


def test_parts_are_those_that_were_written(tmp_path):
    parts = {"model.json": b"{}", "arrays.safetensors": tensors({"a0": ROWS}), "n0.x": b""}
    write_archive(tmp_path / "a", parts)
    found = _archive.read_archive(tmp_path / "a")
    assert {name: bytes(part) for name, part in found.items()} == parts
