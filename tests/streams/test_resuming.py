"""Streams that are gone on with: no image twice, none left out, whoever is killed when."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.ensemble import IsolationForest

import skad
from skad import DN2, SPADE, ConformalDetector
from skad.streams._digest import digest_of
from skad.streams._kept import HEAD


@pytest.fixture(scope="module")
def detector(tiles):
    return DN2(batch_size=4).fit(tiles[:24])


@pytest.fixture(scope="module")
def paths(tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    for i, tile in enumerate(tiles[:20]):
        Image.fromarray(tile).save(folder / f"{i:02}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture
def index(tmp_path):
    return tmp_path / "scores.idx"


def kept(index):
    return np.fromfile(index, offset=HEAD)


def read_head(index):
    return json.loads(index.read_bytes()[:HEAD])


def begun(detector, X, index, n_chunks=2, chunk=4):
    """Scores of some chunks of a stream that is then left."""
    stream = detector.iter_scores(X, chunk=chunk, index=index)
    found = [next(stream) for _ in range(n_chunks)]
    stream.close()
    return np.concatenate(found)


@pytest.mark.parametrize("make", [list, iter, np.array], ids=["list", "iterator", "array"])
@pytest.mark.bits
def test_a_stream_goes_on_behind_what_is_done(make, detector, paths, index):
    expected = detector.score_samples(paths)
    first = begun(detector, make(paths), index)
    np.testing.assert_array_equal(kept(index), first)
    rest = list(detector.iter_scores(make(paths), chunk=8, index=str(index)))
    assert [len(one) for one in rest] == [8, 4]
    np.testing.assert_array_equal(np.concatenate([first, *rest]), expected)
    np.testing.assert_array_equal(kept(index), expected)
    assert list(detector.iter_scores(make(paths), index=index)) == []


def test_arrays_and_data_sets_go_on(detector, tiles, index, tmp_path):
    class Pictures:
        def __len__(self):
            return 12

        def __getitem__(self, i):
            assert i >= self.first, "what is done is not opened again"
            return Image.fromarray(tiles[i])

    for X, file in ((tiles[:12], index), (Pictures(), tmp_path / "others.idx")):
        Pictures.first = 0
        begun(detector, X, file)
        Pictures.first = 8
        (rest,) = detector.iter_scores(X, index=file)
        np.testing.assert_allclose(rest, detector.score_samples(tiles[8:12]), rtol=1e-6)
        with pytest.raises(ValueError, match="keeps scores of"):
            next(detector.iter_scores(tiles[:4] if X is tiles else [tiles[0]], index=file))


def test_a_list_may_grow_but_not_change(detector, paths, index):
    begun(detector, paths[:8], index)
    (more,) = detector.iter_scores(paths[:11], index=index)
    assert len(more) == 3
    before = index.read_bytes()
    changed = [paths[1], *paths[1:]]
    for X, said in (
        (changed, "the first 11 of X are not theirs"),
        (iter(changed), "the first 11 of X are not theirs"),
        (paths[:5], "of 11 images, and X has 5"),
        (iter(paths[:5]), "of 11 images, and X has 5"),
    ):
        with pytest.raises(ValueError, match=rf"^DN2: index='.*' keeps scores .*{said}.* another"):
            next(detector.iter_scores(X, index=index))
    assert index.read_bytes() == before


def test_the_detector_must_be_the_same(detector, paths, index, tiles, tmp_path):
    begun(detector, paths, index)
    other = DN2(batch_size=4).fit(tiles[:23])
    with pytest.raises(ValueError, match="keeps scores by another detector"):
        next(other.iter_scores(paths, index=index))
    skad.save(detector, tmp_path / "model.skad")
    again = skad.load(tmp_path / "model.skad").set_params(on_error="skip", n_jobs=1)
    assert len(np.concatenate(list(again.iter_scores(paths, index=index)))) == 12


def test_what_a_broken_picture_stopped_goes_on_without_it(detector, paths, index, tmp_path):
    paths = [*paths[:6], str(tmp_path / "missing.png"), *paths[7:]]
    detector = clone(detector).fit(paths[:6])
    with pytest.raises(FileNotFoundError, match="image 6 "):
        list(detector.iter_scores(paths, chunk=4, index=index))
    assert len(kept(index)) == 4
    detector.set_params(on_error="skip")
    with pytest.warns(UserWarning, match="1 of 4"):
        list(detector.iter_scores(paths, chunk=4, index=index))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(kept(index))), [6])


def test_what_was_broken_off_within_a_chunk_does_not_count(detector, paths, index):
    first = begun(detector, paths, index)
    with index.open("ab") as file:
        file.write(b"\0" * 11)
    rest = np.concatenate(list(detector.iter_scores(paths, chunk=4, index=index)))
    np.testing.assert_array_equal(kept(index), np.r_[first, rest])


def test_other_files_are_left_as_they_are(detector, paths, index):
    index.write_text("my diary")
    with pytest.raises(ValueError, match="is no file of kept scores"):
        next(detector.iter_scores(paths, index=index))
    assert index.read_text() == "my diary"
    with pytest.raises(FileNotFoundError, match="no folder"):
        next(detector.iter_scores(paths, index=index / "no" / "where"))


def test_one_process_at_a_time(detector, paths, index):
    stream = detector.iter_scores(paths, chunk=4, index=index)
    next(stream)
    with pytest.raises(OSError, match="another process adds to"):
        next(detector.iter_scores(paths, chunk=4, index=index))
    stream.close()
    assert len(begun(detector, paths, index, n_chunks=1)) == 4


KILLED = """
import skad
detector = skad.load("model.skad")
paths = [f"{i % 20:02}.png" for i in range(400)]
with open("given", "ab", buffering=0) as file:
    for scores in detector.iter_scores(iter(paths), chunk=4, index="scores.idx"):
        file.write(scores.tobytes())
"""


def test_a_process_that_is_killed_loses_a_chunk_at_most(detector, paths, tmp_path, monkeypatch):
    skad.save(detector, tmp_path / "model.skad")
    for path in paths:
        os.link(path, tmp_path / os.path.basename(path))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment)
    given, until = tmp_path / "given", time.monotonic() + 60
    while not (given.exists() and given.stat().st_size >= 5 * 32) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before, done = np.fromfile(given), read_head(tmp_path / "scores.idx")["n_scores"]
    assert 20 <= len(before) < 400
    # Killed between the file and its reader, it leaves in the file what was not given.
    assert done - len(before) in (0, 4)
    monkeypatch.chdir(tmp_path)
    again = (os.path.basename(paths[i % 20]) for i in range(400))
    rest = np.concatenate(list(detector.iter_scores(again, chunk=4, index="scores.idx")))
    assert done + len(rest) == 400
    found = kept(tmp_path / "scores.idx")
    expected = np.resize(detector.score_samples(paths), 400)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(found, np.r_[before, found[len(before) : done], rest])


MAKERS = {
    "DN2": lambda tiles: DN2().fit(tiles),
    "another parameter": lambda tiles: DN2(n_neighbors=1).fit(tiles),
    "another size": lambda tiles: DN2(image_size=32).fit(tiles),
    "calibrated": lambda tiles: ConformalDetector(DN2(), false_alarm_rate=0.3).fit(tiles),
    "another reading": lambda tiles: DN2(value_range=(0, 255)).fit(tiles),
    "maps": lambda tiles: SPADE(n_neighbors=2, n_threshold_images=2).fit(tiles),
}


def test_digests_stay_and_tell_apart(tiles):
    digests = []
    for make in MAKERS.values():
        detector = make(tiles[:12])
        digests.append(digest_of(detector))
        detector.score_samples(tiles[:3])
        assert digest_of(pickle.loads(pickle.dumps(detector))) == digests[-1]
        assert digest_of(make(tiles[:12])) == digests[-1]
        digests.append(digest_of(make(tiles[:11])))
    assert len(set(digests)) == len(digests)


def test_digests_of_estimators_of_others():
    rows = np.random.RandomState(0).normal(size=(60, 4))

    def make(n_trees, rows=rows):
        forest = IsolationForest(n_estimators=n_trees, random_state=0)
        return ConformalDetector(forest, false_alarm_rate=0.3).fit(rows)

    assert digest_of(make(3)) == digest_of(make(3))
    assert len({digest_of(make(3)), digest_of(make(4)), digest_of(make(3, rows[1:]))}) == 3
