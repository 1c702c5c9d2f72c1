"""SPADE: maps against a slow version, in every container."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.datasets import load_digits

from skad import (
    SPADE,
    FeatureExtractor,
    KNNScorer,
)
from skad.backbones import small_cnn
from skad.maps._nearest import Nearest
from skad.metrics import auroc_score
from skad.networks._preprocessing import preprocess

try:
    import resource
except ImportError:  # Windows
    resource = None

from tests.detectors.spade.common import LAYERS, SMALL

SMALLEST = {"backbone": partial(small_cnn, width=4, image_size=8), "weights": None}


EACH = {"n_centroids": 5, "centroids_of": "each"}


def slow_maps(train, test, *, n_neighbors, kappa=1, per_layer=False, sigma=4.0):
    """Equation by equation, image by image, pixel by pixel; the images are no training images."""
    network = {name: SMALL[name] for name in ("backbone", "weights", "image_size")}
    pooled = FeatureExtractor(**network, resize="whole").fit(train)
    layered = FeatureExtractor(**network, resize="whole", layers=LAYERS).fit(train)
    galleries, queries = layered.feature_maps(train), layered.feature_maps(test)
    found = []
    for i, feature in enumerate(pooled.transform(test)):
        apart = np.linalg.norm(pooled.transform(train).astype(float) - feature, axis=1)
        nearest = np.argsort(apart)[:n_neighbors]
        groups = [[name] for name in LAYERS] if per_layer else [LAYERS]
        maps = []
        for group in groups:
            size = queries[group[0]].shape[2:]
            enlarge = partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
            joined = [
                np.concatenate([enlarge(torch.from_numpy(m[n])).numpy() for n in group], axis=1)
                for m in (
                    {n: galleries[n][nearest] for n in group},
                    {n: queries[n][[i]] for n in group},
                )
            ]
            gallery, query = (np.moveaxis(m, 1, -1).reshape(-1, m.shape[1]) for m in joined)
            distances = [
                np.sort(np.linalg.norm(gallery.astype(float) - pixel, axis=1))[:kappa].mean()
                for pixel in query
            ]
            square = torch.tensor(np.reshape(distances, (1, 1, *size)))
            square = F.interpolate(square, (32, 32), mode="bilinear").numpy()[0, 0]
            width = sigma * 32 / 224
            radius = int(np.ceil(3 * width))
            maps.append(gaussian_filter(square, width, mode="mirror", radius=radius))
        height, width = test[i].shape[:2]
        square = torch.tensor(np.mean(maps, axis=0))[None, None]
        found.append(-F.interpolate(square, (height, width), mode="bilinear")[0, 0].numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"kappa": 3}, {"per_layer": True}, {"per_layer": True, "kappa": 2}],
    ids=str,
)
def test_maps_are_those_of_the_slow_version(temple, parameters):
    expected = slow_maps(temple[:16], temple[16:19], n_neighbors=4, **parameters)
    detector = SPADE(
        **SMALL,
        n_neighbors=4,
        n_neighbor_pixels=parameters.get("kappa", 1),
        fusion="per_layer" if "per_layer" in parameters else "joined",
    ).fit(temple[:16])
    assert detector.layers_ == LAYERS
    # Half precision of the gallery is all that is between them.
    np.testing.assert_allclose(detector.score_maps(temple[16:19]), expected, rtol=5e-3)


def test_images_are_scored_by_the_mean_distance_of_pooled_features(temple, detector):
    network = {name: SMALL[name] for name in ("backbone", "weights", "image_size")}
    features = FeatureExtractor(**network, resize="whole").fit(temple).transform(temple)
    scorer = KNNScorer(4, metric="euclidean", aggregation="mean").fit(features[:16])
    np.testing.assert_allclose(
        detector.score_samples(temple[16:]), scorer.score_samples(features[16:]), rtol=1e-5
    )
    assert detector.offset_ == pytest.approx(scorer.offset_)


def test_images_may_be_scored_by_their_maps(temple):
    detector = SPADE(
        **SMALL | {"n_threshold_images": 20}, n_neighbors=4, image_score="map", contamination=0.2
    ).fit(temple[:20])
    scores = detector.score_samples(temple)
    np.testing.assert_array_equal(scores, detector.score_maps(temple).min(axis=(1, 2)))
    assert scores.dtype == np.float64
    assert (detector.predict(temple[:20]) == -1).mean() == pytest.approx(0.2, abs=0.01)


def test_nearest_rows_of_a_gallery_that_comes_in_parts():
    rng = np.random.default_rng(0)
    # Far from the origin, where expanded squares lose their digits.
    queries, gallery = (rng.normal(100, 1, (n, 5)).astype(np.float32) for n in (40, 70))
    search = Nearest(torch.from_numpy(queries), 3)
    for part in torch.from_numpy(gallery).split([1, 30, 2, 37]):
        search.among(part)
    apart = np.linalg.norm(gallery.astype(float) - queries[:, None].astype(float), axis=2)
    expected = np.sort(apart, axis=1)[:, :3].mean(axis=1)
    np.testing.assert_allclose(search.mean().numpy(), expected, rtol=1e-3)


def test_fewer_pixels_than_neighbours_are_all_averaged():
    search = Nearest(torch.zeros((2, 3)), 5)
    search.among(torch.tensor([[3.0, 0, 0], [0, 5, 0]]))
    assert search.mean().tolist() == [4.0, 4.0]


def test_a_blot_is_where_the_map_is_lowest(temple):
    blotted = temple[16:].copy()
    blotted[:, 10:20, 25:35] = [255, 0, 255]
    detector = SPADE(n_neighbors=5, n_threshold_images=5).fit(temple[:16])
    inside = np.zeros(temple.shape[1:3], dtype=bool)
    inside[10:20, 25:35] = True
    # What else is odd about a tile is the same in both.
    changes = detector.score_maps(blotted) - detector.score_maps(temple[16:])
    found = [auroc_score(inside.ravel(), one.ravel()) for one in changes]
    assert min(found) > 0.85
    assert np.mean(found) > 0.93


def test_the_summary_in_the_first_pixel_of_tiny_is_left_out(tiles):
    extractor = FeatureExtractor(layers=LAYERS).fit(tiles)
    raw = extractor.feature_maps(tiles)
    images = preprocess(
        torch.from_numpy(tiles).permute(0, 3, 1, 2),
        extractor.preprocessing_,
        next(extractor.network_.parameters()).device,
    )
    plain = FeatureExtractor().fit(tiles)
    features, maps = plain.fitted_network_.features_and_maps(images, LAYERS)
    np.testing.assert_allclose(features.cpu(), plain.transform(tiles), rtol=1e-4, atol=1e-5)
    for name, one in zip(LAYERS, maps):
        one = one.cpu().numpy()
        lengths = [np.linalg.norm(m, axis=1) for m in (raw[name], one)]
        assert (lengths[0][:, 0, 0].mean() / np.median(lengths[0])) > 5
        assert (lengths[1][:, 0, 0].mean() / np.median(lengths[1])) < 4
        one[..., 0, 0] = raw[name][..., 0, 0]
        np.testing.assert_allclose(one, raw[name], rtol=1e-4, atol=1e-5)


def test_maps_of_training_images_leave_the_image_out(temple, detector):
    without = clone(detector).fit(temple[1:16])
    np.testing.assert_allclose(
        detector.score_maps(temple[:1]), without.score_maps(temple[:1]), rtol=1e-5
    )


def test_each_map_has_the_size_of_its_image(temple, detector):
    images = [
        temple[16],
        temple[17][:30],
        temple[18][:, :20],
        temple[19][:5, :3],
        temple[20][..., 0],
    ]
    maps = detector.score_maps(images)
    assert [one.shape for one in maps] == [image.shape[:2] for image in images]
    masks = detector.predict_masks(images)
    assert [mask.shape for mask in masks] == [one.shape for one in maps]
    for mask, one in zip(masks, maps):
        np.testing.assert_array_equal(mask, one < detector.pixel_offset_)


CONTAINERS = {
    "tensor": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
    "float": lambda x: x / 255,
    "list": list,
    "PIL": lambda x: [Image.fromarray(image) for image in x],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_maps_agree_in_every_container(container, temple, detector):
    maps = detector.score_maps(CONTAINERS[container](temple[16:20]))
    assert isinstance(maps, list) == (container in ("list", "PIL"))
    np.testing.assert_allclose(np.stack(maps), detector.score_maps(temple[16:20]), rtol=1e-5)


def test_paths_and_rows(temple, detector, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, temple[16:]):
        Image.fromarray(image).save(path)
    expected = detector.score_maps(temple[16:19])
    np.testing.assert_allclose(np.stack(detector.score_maps(paths)), expected, rtol=1e-5)
    digits = load_digits().data
    rows = SPADE(**SMALL, n_neighbors=3).fit(digits[:20])
    assert rows.score_maps(digits[20:22]).shape == (2, 8, 8)
    strips = SPADE(**SMALL, n_neighbors=3).fit(digits[:20, :10])
    assert strips.score_maps(digits[20:22, :10]).shape == (2, 1, 10)


@pytest.mark.parametrize("parameters", [{}, {"n_centroids": 7}, EACH], ids=str)
def test_company_and_order_do_not_matter(temple, parameters):
    detector = SPADE(**SMALL, n_neighbors=4, **parameters).fit(temple[:16])
    maps = detector.score_maps(temple)
    np.testing.assert_allclose(detector.score_maps(temple[::-1])[::-1], maps, rtol=1e-4)
    for i in (0, 17):
        np.testing.assert_allclose(detector.score_maps(temple[[i]])[0], maps[i], rtol=1e-4)
    one_by_one = detector.set_params(batch_size=1)
    one_by_one.pipeline_["extractor"].batch_size = 1
    np.testing.assert_allclose(one_by_one.score_maps(temple), maps, rtol=1e-4)


def test_order_of_training_images_does_not_matter(temple, detector):
    turned = clone(detector).fit(temple[15::-1])
    np.testing.assert_allclose(
        turned.score_maps(temple[16:]), detector.score_maps(temple[16:]), rtol=1e-5
    )


@pytest.mark.bits
@pytest.mark.parametrize(
    "parameters", [{}, {"n_centroids": 5}, EACH, {"n_centroids": 5, "fusion": "per_layer"}]
)
def test_same_seed_same_bits_and_no_global_state(temple, parameters):
    np.random.seed(3)
    torch.manual_seed(3)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    detector = SPADE(**SMALL, n_neighbors=4, **parameters)
    maps = [clone(detector).fit(temple[:16]).score_maps(temple[16:]) for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    np.testing.assert_array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])


@pytest.mark.bits
def test_disk_and_memory_give_the_same_bits(temple, detector):
    spilled = clone(detector).set_params(memory_limit=0).fit(temple[:16])
    assert spilled.gallery_.store_.on_disk
    assert not detector.gallery_.store_.on_disk
    np.testing.assert_array_equal(spilled.score_maps(temple), detector.score_maps(temple))
    assert spilled.pixel_offset_ == detector.pixel_offset_


@pytest.mark.parametrize("parameters", [{}, {"memory_limit": 0}, {"n_centroids": 5}, EACH], ids=str)
def test_pickles_and_copies_hold_the_gallery(temple, parameters):
    detector = SPADE(**SMALL, n_neighbors=4, **parameters).fit(temple[:16])
    maps = detector.score_maps(temple[16:])
    for same in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        np.testing.assert_array_equal(same.score_maps(temple[16:]), maps)
        np.testing.assert_array_equal(
            same.predict_masks(temple[16:]), maps < detector.pixel_offset_
        )


@pytest.mark.skipif(resource is None, reason="no limit on open files here")
def test_pickling_opens_few_files(temple):
    detector = SPADE(**SMALLEST, memory_limit=0).fit(np.repeat(temple, 20, axis=0))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        same = pickle.loads(pickle.dumps(detector))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    np.testing.assert_array_equal(same.score_maps(temple[:2]), detector.score_maps(temple[:2]))


@pytest.mark.bits
def test_threads_may_share_a_gallery_on_disk(temple):
    detector = SPADE(**SMALL, n_neighbors=4, memory_limit=0).fit(temple[:16])
    expected = [detector.score_maps(temple[i : i + 3]) for i in range(20)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: detector.score_maps(temple[i : i + 3]), range(20)))
    np.testing.assert_array_equal(found, expected)
