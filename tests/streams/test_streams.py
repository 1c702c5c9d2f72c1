"""Scores and maps of streams: those of the methods, in constant memory, with threads that end."""

import gc
import os
import threading
import tracemalloc
from itertools import count

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skad import (
    DN2,
    ConformalDetector,
    ConformalMapDetector,
    FeatureExtractor,
    KNNScorer,
    PatchCore,
)


@pytest.fixture(scope="module")
def detector(tiles):
    return DN2(batch_size=4).fit(tiles[:24])


@pytest.fixture(scope="module")
def mapper(tiles):
    return PatchCore(image_size=32, n_threshold_images=4, batch_size=4).fit(tiles[:24])


@pytest.fixture(scope="module")
def folder(tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    for i, tile in enumerate(tiles[:22]):
        Image.fromarray(tile).save(folder / f"{i:02}.png")
    return folder


class Pictures:
    """A data set, whose images are made when they are asked for."""

    def __init__(self, tiles):
        self.tiles = tiles

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, i):
        return Image.fromarray(self.tiles[i]), "label"


class Numbers(torch.utils.data.IterableDataset):
    def __init__(self, tiles):
        self.tiles = tiles

    def __iter__(self):
        return iter(self.tiles)


def paths_of(folder):
    return sorted(map(str, folder.iterdir()))


CONTAINERS = {
    "array": lambda tiles, folder: tiles,
    "channels first": lambda tiles, folder: torch.from_numpy(tiles).permute(0, 3, 1, 2),
    "floats": lambda tiles, folder: tiles / 255,
    "paths": lambda tiles, folder: paths_of(folder),
    "array of paths": lambda tiles, folder: np.array(paths_of(folder)),
    "table": lambda tiles, folder: pd.DataFrame({"path": paths_of(folder), "size": 1}),
    "data set": lambda tiles, folder: Pictures(tiles),
    "iterator": lambda tiles, folder: iter(paths_of(folder)),
    "pictures": lambda tiles, folder: map(Image.fromarray, tiles),
    "folder": lambda tiles, folder: (folder / name for name in sorted(os.listdir(folder))),
    "iterable": lambda tiles, folder: Numbers(tiles),
}


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.bits
def test_scores_are_those_of_score_samples(make, detector, tiles, folder):
    expected = detector.score_samples(tiles[:22])
    found = list(detector.iter_scores(make(tiles[:22], folder), chunk=8))
    assert [one.shape for one in found] == [(8,), (8,), (6,)]
    assert found[0].dtype == np.float64
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("name", ["array", "paths", "pictures"])
@pytest.mark.bits
def test_maps_are_those_of_score_maps(name, mapper, tiles, folder):
    expected = mapper.score_maps(tiles[:22])
    found = mapper.iter_maps(CONTAINERS[name](tiles[:22], folder), chunk=8)
    assert iter(found) is found
    np.testing.assert_array_equal(np.stack(list(found)), expected)


def test_a_folder_in_the_order_of_the_disk(detector, folder):
    with os.scandir(folder) as entries:
        found = np.concatenate(list(detector.iter_scores(entries, chunk=8)))
    expected = detector.score_samples(paths_of(folder))
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-6)


def test_grey_images_few_at_a_time_are_no_image(detector, tiles):
    grey = torch.from_numpy(tiles[:6, :, :, 0])
    found = list(detector.iter_scores(grey, chunk=3))
    np.testing.assert_allclose(np.concatenate(found), detector.score_samples(grey), rtol=1e-5)
    with pytest.raises(ValueError, match="looks like one image"):
        detector.iter_scores(grey[:3])


def test_rows_of_numbers(tiles):
    rows = tiles[:40, ::8, ::8].reshape(40, -1)
    detector = DN2().fit(rows)
    for X in (rows, pd.DataFrame(rows), iter(rows), rows.tolist()):
        found = np.concatenate(list(detector.iter_scores(X, chunk=16)))
        np.testing.assert_allclose(found, detector.score_samples(rows), rtol=1e-5)


@pytest.mark.parametrize(
    "inner",
    [DN2(batch_size=4), make_pipeline(FeatureExtractor(batch_size=4), KNNScorer())],
    ids=["detector", "pipeline"],
)
def test_calibrated_streams(inner, tiles, folder):
    detector = ConformalDetector(inner, false_alarm_rate=0.2, method="cross", n_folds=2)
    detector.fit(tiles[:16])
    expected = detector.score_samples(paths_of(folder))
    found = list(detector.iter_scores(iter(paths_of(folder)), chunk=12))
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-6)


def test_calibrated_rows():
    rows = np.random.RandomState(0).normal(size=(60, 4))
    detector = ConformalDetector(IsolationForest(n_estimators=5), false_alarm_rate=0.3).fit(rows)
    found = np.concatenate(list(detector.iter_scores(rows, chunk=7)))
    np.testing.assert_array_equal(found, detector.score_samples(rows))


def test_calibrated_maps(mapper, tiles):
    detector = ConformalMapDetector(mapper, false_alarm_rate=0.2, calibration_share=0.5)
    detector.fit(tiles[:24])
    maps = list(detector.iter_maps(iter(tiles[:5]), chunk=4))
    np.testing.assert_array_equal(np.stack(maps), detector.score_maps(tiles[:5]))
    (scores,) = detector.iter_scores(tiles[:5])
    np.testing.assert_array_equal(scores, detector.score_samples(tiles[:5]))


def test_an_endless_stream_is_taken_as_it_is_asked_for(detector, mapper, tiles):
    taken = []
    camera = (taken.append(i) or tiles[0] for i in count())
    threads = threading.active_count()
    scores = detector.iter_scores(camera, chunk=8)
    assert taken == []
    for n_chunks in (1, 2, 3):
        next(scores)
        assert len(taken) == 8 * n_chunks
        assert threading.active_count() == threads
    maps = mapper.iter_maps(camera, chunk=8)
    for n_maps in range(1, 18):
        next(maps)
        assert len(taken) == 24 + 8 * -(-n_maps // 8)
    maps.close()
    assert threading.active_count() == threads


def test_threads_end_with_a_stream_that_is_left(mapper, folder):
    threads = threading.active_count()
    maps = mapper.iter_maps(paths_of(folder), chunk=22)
    next(maps)
    assert threading.active_count() > threads
    del maps
    gc.collect()
    assert threading.active_count() == threads


def test_memory_and_threads_do_not_grow(detector, tiles):
    def growth(n_chunks):
        stream = detector.iter_scores((tiles[0].copy() for _ in count()), chunk=4)
        next(stream)
        tracemalloc.start()
        for _ in range(n_chunks):
            next(stream)
        gc.collect()
        grown, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return grown, peak, threading.active_count()

    few, many = growth(5), growth(50)
    # A picture has 7 kB, and 180 of them more were looked at.
    assert many[0] < few[0] + 200_000
    assert many[1] < few[1] + 300_000
    assert many[2] == few[2]


@pytest.mark.parametrize("listed", [True, False])
def test_a_broken_picture_is_told_by_its_place_in_the_stream(listed, tiles, folder, tmp_path):
    detector = DN2(batch_size=4).fit(tiles[:24])
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = paths_of(folder)
    paths[13] = str(tmp_path / "broken.png")
    stream = detector.iter_scores(paths if listed else iter(paths), chunk=4)
    for _ in range(3):
        next(stream)
    with pytest.raises(ValueError, match=r"^DN2: image 13 \(.*broken.png\) could not be read"):
        next(stream)
    assert list(stream) == []
    paths[14] = tmp_path / "missing.png"
    stream = detector.set_params(on_error="skip").iter_scores(paths, chunk=4)
    with pytest.warns(UserWarning, match=r"2 of 4 images .*: image 13 .*; image 14 ") as caught:
        scores = np.concatenate(list(stream))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [13, 14])


def test_a_broken_map_is_told_by_its_place(mapper, tiles, tmp_path):
    bad = tiles[:12] / 255
    bad[9, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image 9 contains NaN"):
        list(mapper.iter_maps(bad, chunk=4))


@pytest.mark.parametrize("chunk", [0, -1, 2.0, "8", True, None])
def test_chunks_are_counted(chunk, detector, mapper, tiles):
    message = rf"chunk={chunk!r}; it is the number of images .* at least 1\.$"
    for begin in (detector.iter_scores, mapper.iter_maps):
        with pytest.raises(ValueError, match=message):
            begin(tiles, chunk=chunk)


def test_what_is_no_stream(detector, tiles):
    with pytest.raises(NotFittedError):
        DN2().iter_scores(tiles)
    for X, said in ((set("ab"), "no fixed order"), ("a.png", "one path"), ([], "0 images")):
        with pytest.raises((TypeError, ValueError), match=said):
            detector.iter_scores(X)
    with pytest.raises(ValueError, match="0 images"):
        list(detector.iter_scores(tiles[:0]))
    with pytest.raises(ValueError, match="Expected 2D array"):
        list(detector.iter_scores(iter([1.5, 2.5])))
    assert list(detector.iter_scores(iter([]))) == []
