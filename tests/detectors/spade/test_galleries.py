"""SPADE: galleries in bounded memory."""

import copy
import shutil
from collections import namedtuple
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    SPADE,
    ConformalDetector,
    FeatureExtractor,
)
from skad.backbones import small_cnn
from skad.maps import RetrievedCentroids
from skad.maps._store import MapStore
from skad.networks._preprocessing import preprocess

try:
    import resource
except ImportError:  # Windows
    resource = None

from tests.detectors.spade.common import LAYERS, SMALL


def test_a_false_alarm_rate_for_images(temple):
    detector = ConformalDetector(SPADE(**SMALL, n_neighbors=2), false_alarm_rate=0.2)
    assert (detector.fit(temple).predict(temple) == -1).mean() <= 0.5


def test_parameters_set_after_fit_wait_for_the_next(temple, detector):
    later = copy.deepcopy(detector).set_params(image_score="map", smoothing=20, fusion="per_layer")
    np.testing.assert_array_equal(later.score_maps(temple[:3]), detector.score_maps(temple[:3]))
    np.testing.assert_array_equal(later.predict(temple), detector.predict(temple))


def test_store_keeps_maps_to_half_precision():
    rng = np.random.default_rng(0)
    shapes = [(3, 4, 5), (7, 2, 2)]
    # Beyond what float16 can hold, and far below what it resolves; one map of zeros.
    sizes = np.array([1e-9, 1.0, 1e6, 0.0])[:, None, None, None]
    maps = [torch.from_numpy(sizes * rng.normal(size=(4, *shape))).float() for shape in shapes]
    for limit in (0, 1e9):
        store = MapStore(shapes, 4, limit, "SPADE")
        store.write(2, [one[2:] for one in maps])
        store.write(0, [one[:2] for one in maps])
        for i in range(4):
            for found, one in zip(store.read(i), maps):
                tolerance = 5e-4 * float(one[i].abs().max())
                np.testing.assert_allclose(found[0], one[i], rtol=0, atol=tolerance)


def test_memory_of_a_store_on_disk_does_not_grow():
    import tracemalloc

    peaks = []
    for n_images in (10, 100):
        tracemalloc.start()
        store = MapStore([(64, 32, 32)], n_images, 1000, "SPADE")
        for i in range(n_images):
            store.write(i, [torch.full((1, 64, 32, 32), float(i))])
        for i in range(n_images):
            assert float(store.read(i)[0].max()) == i
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0]


def test_a_full_disk_is_seen_before_it_is_full(temple, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 3 << 20))
    detector = SPADE(**SMALL, n_neighbors=4, memory_limit=0)
    few = clone(detector).fit(temple[:3])
    assert few.gallery_.store_.on_disk
    with pytest.raises(OSError, match="SPADE: the maps of 24000 images take .* MiB, beyond memory"):
        MapStore(few.gallery_.store_.shapes, 24_000, 0, "SPADE")


@pytest.mark.skipif(resource is None, reason="no limit on the size of files here")
def test_a_file_that_cannot_be_written_is_said_to_be_so(temple):
    detector = SPADE(**SMALL, n_neighbors=4, memory_limit=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be written to: .* Set TMPDIR to another folder"):
            detector.fit(temple)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not hasattr(detector, "pipeline_")


@pytest.mark.parametrize("fusion", ["joined", "per_layer"])
def test_centroids_stand_for_the_pixels_of_all_training_images(temple, fusion):
    detector = SPADE(**SMALL, n_centroids=6, fusion=fusion, smoothing=0).fit(temple[:16])
    centroids = detector.gallery_.centroids_
    assert [len(rows) for rows in centroids] == [6] * (1 if fusion == "joined" else 3)
    extractor = detector.pipeline_["extractor"]
    images = preprocess(
        torch.from_numpy(temple[16:18]).permute(0, 3, 1, 2),
        extractor.preprocessing_,
        next(extractor.network_.parameters()).device,
    )
    _, maps = extractor.fitted_network_.features_and_maps(images, LAYERS)
    if fusion == "per_layer":  # the first layer alone
        rows = maps[0].permute(0, 2, 3, 1).cpu().double().numpy()
        apart = np.linalg.norm(rows[..., None, :] - centroids[0], axis=-1).min(axis=-1)
        found = detector.gallery_.distances(maps, None)[0]
        np.testing.assert_allclose(found.cpu(), apart, rtol=1e-4)
    else:
        assert detector.gallery_.distances(maps, None)[0].shape == (2, *maps[0].shape[2:])


def test_centroids_of_each_image_are_those_of_the_images_retrieved(temple):
    parameters = SMALL | {"layers": ["layer2"], "smoothing": 0, "n_neighbors": 4}
    full = SPADE(**parameters).fit(temple[:16])
    n_pixels = np.prod(full.gallery_.store_.shapes[0][1:])
    each = SPADE(**parameters, n_centroids=int(n_pixels), centroids_of="each").fit(temple[:16])
    # As many centroids as pixels are the pixels, but for those that k-means puts together.
    maps = full.score_maps(temple[16:])
    np.testing.assert_allclose(each.score_maps(temple[16:]), maps, rtol=0.1)
    one = SPADE(**parameters, n_centroids=1, centroids_of="each").fit(temple[:16])
    assert one.gallery_.store_.n_bytes * n_pixels == full.gallery_.store_.n_bytes
    means = np.stack([full.gallery_.store_.read(i)[0].mean((2, 3))[0] for i in range(16)])
    found = np.stack([one.gallery_.store_.read(i)[0][0, :, 0, 0] for i in range(16)])
    np.testing.assert_allclose(found, means, atol=2e-3 * np.abs(means).max())


def test_an_image_of_one_colour_has_fewer_centroids():
    gallery = RetrievedCentroids(n_centroids=3).begin(2, "SPADE")
    maps = torch.ones((2, 4, 5, 5))
    maps[1, :, :, 2:] = 8  # of two colours
    gallery.add(0, [maps])
    assert [set(gallery.store_.read(i)[0].unique().tolist()) for i in (0, 1)] == [{1.0}, {1.0, 8.0}]
    (found,) = gallery.distances([maps], np.array([[0], [1]]))
    assert found.abs().max() == 0
    (found,) = gallery.distances([maps], np.array([[0], [0]]))
    assert found[1].unique().tolist() == [0.0, 14.0]


def test_centroids_as_many_as_pixels_are_the_pixels(temple):
    """Then an image is held against itself, and all distances are zero."""
    detector = SPADE(partial(small_cnn, width=4, image_size=8), weights=None, n_centroids=10**6)
    with pytest.raises(ValueError, match="SPADE: n_centroids=1000000 is more than"):
        detector.fit(temple[:5])
    detector.set_params(n_centroids=5 * 16, layers=[detector_layer(temple)]).fit(temple[:5])
    assert len(detector.gallery_.centroids_[0]) <= 80
    trained, new = detector.score_maps(temple[:5]), detector.score_maps(temple[5:])
    assert np.abs(trained).max() < 1e-3 * np.abs(new).max()


def detector_layer(temple):
    """A layer of the small network whose maps have 4 x 4 pixels."""
    backbone = partial(small_cnn, width=4, image_size=8)
    from skad.networks._recipe import build_network

    for name, _ in build_network(backbone, None).named_modules():
        if not name:
            continue
        try:
            maps = (
                FeatureExtractor(backbone, weights=None, layers=[name])
                .fit(temple)
                .feature_maps(temple[:1])
            )
        except ValueError:
            continue
        if maps[name].shape[2:] == (4, 4):
            return name
    raise AssertionError("no layer of 4 x 4 pixels")
