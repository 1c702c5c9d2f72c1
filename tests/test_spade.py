"""SPADE: maps against a slow version, galleries in bounded memory, masks that keep their rate."""

import copy
import pickle
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from skad import (
    SPADE,
    CompactnessAdapter,
    ConformalDetector,
    DeepSVDDAdapter,
    FeatureExtractor,
    KNNScorer,
    MeanShiftedContrastive,
    PseudoLabelAdapter,
    RotationAdapter,
    SelfSupervisedAdapter,
)
from skad.backbones import small_cnn, svdd_cifar
from skad.maps import RetrievedCentroids
from skad.maps._maps import lay_over
from skad.maps._nearest import Nearest
from skad.maps._store import MapStore
from skad.metrics import auroc_score
from skad.networks._preprocessing import Preprocessing, preprocess

try:
    import resource
except ImportError:  # Windows
    resource = None

SMALLEST = {"backbone": partial(small_cnn, width=4, image_size=8), "weights": None}
SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32, "n_threshold_images": 3}
LAYERS = ["layer1", "layer2", "layer3"]
EACH = {"n_centroids": 5, "centroids_of": "each"}


@pytest.fixture(scope="module")
def temple(tiles):
    return tiles[:24]


@pytest.fixture(scope="module")
def detector(temple):
    return SPADE(**SMALL, n_neighbors=4).fit(temple[:16])


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


def test_masks_keep_the_share_of_pixels_that_was_asked_for(temple):
    detector = SPADE(
        **SMALL | {"n_threshold_images": 24}, n_neighbors=4, pixel_contamination=0.2
    ).fit(temple)
    assert detector.predict_masks(temple).mean() == pytest.approx(0.2, abs=0.005)
    stricter = clone(detector).set_params(pixel_contamination=0.01).fit(temple)
    assert stricter.pixel_offset_ < detector.pixel_offset_


def test_masks_keep_the_share_of_images_that_was_asked_for(temple):
    detector = SPADE(
        **SMALL | {"n_threshold_images": 24}, n_neighbors=4, mask_false_alarm_rate=0.25
    ).fit(temple)
    assert detector.predict_masks(temple).any(axis=(1, 2)).mean() == 0.25
    # Fewer than one image in the rate: more are drawn, and none is above it.
    few = SPADE(**SMALL, n_neighbors=4, mask_false_alarm_rate=0.05).fit(temple)
    assert few.predict_masks(temple).any(axis=(1, 2)).sum() <= 1
    strict = SPADE(**SMALL, n_neighbors=4, mask_false_alarm_rate=0.001).fit(temple)
    assert not strict.predict_masks(temple).any()


def test_large_maps_count_as_much_as_small_ones_in_the_threshold(temple):
    large = [np.kron(image, np.ones((12, 12, 1), dtype=np.uint8)) for image in temple[:2]]
    assert large[0].shape[0] * large[0].shape[1] > 2**16
    large += list(temple[2:4])
    detector = SPADE(
        **SMALL | {"n_threshold_images": 4}, n_neighbors=2, pixel_contamination=0.1
    ).fit(large)
    found = np.mean([mask.mean() for mask in detector.predict_masks(large)])
    assert found == pytest.approx(0.1, abs=0.005)


def ramp(height, width):
    """An image whose pixels say where they are."""
    return torch.stack(
        [
            torch.linspace(0, 1, height)[:, None].expand(height, width),
            torch.linspace(0, 1, width)[None].expand(height, width),
            torch.zeros(height, width),
        ]
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (200, 50), (20, 200), (31, 33)])
@pytest.mark.parametrize("resize", ["whole", "crop"])
def test_maps_lie_where_their_pixels_were(size, resize):
    how = Preprocessing(56, resize, (0.0,) * 3, (1.0,) * 3, 3)
    image = ramp(*size)
    seen = preprocess(image[None], how, torch.device("cpu"))[0]
    for channel, side in enumerate(size):
        back = lay_over(seen[channel], size, how)
        assert back.shape == size
        if resize == "whole":
            np.testing.assert_allclose(back, image[channel], atol=1.5 / min(side, 56))
        else:
            low, high = seen[channel].min(), seen[channel].max()
            expected = image[channel].clamp(low, high)  # goes on with the values at the edge
            np.testing.assert_allclose(back, expected, atol=2.5 / min(side, 64))


def test_default_layers_are_the_three_stages_before_the_last(temple):
    assert SPADE(n_neighbors=2, n_threshold_images=1).fit(temple[:4]).layers_ == LAYERS
    mobile = SPADE("mobilenetv2_035", weights=None, image_size=32, n_threshold_images=1)
    assert mobile.fit(temple[:3]).layers_ == ["blocks.1", "blocks.2", "blocks.4"]
    plain = SPADE("torchvision/mobilenet_v2", weights=None, image_size=64, n_threshold_images=1)
    sides = [shape[-1] for shape in plain.fit(temple[:3]).gallery_.store_.shapes]
    assert sides == [16, 8, 4], "the ends of three resolutions, whatever its parts are"
    assert plain.fit(temple[:3]).score_maps(temple[:1]).shape == (1, 48, 48)


@pytest.mark.parametrize("layers", [["layer2"], ["layer3", "layer1"], ["layer1", "layer1"]])
def test_layers_may_be_chosen(temple, layers):
    detector = SPADE(**SMALL, n_neighbors=4, layers=layers).fit(temple[:8])
    assert detector.layers_ == list(dict.fromkeys(layers))
    assert np.isfinite(detector.score_maps(temple[8:10])).all()


def test_transformers_give_maps(temple):
    detector = SPADE("test_vit", weights=None, n_neighbors=2, n_threshold_images=1).fit(temple[:4])
    assert len(detector.layers_) > 1, "all of one resolution"
    assert detector.score_maps(temple[4:6]).shape == (2, 48, 48)


def test_bfloat16_is_near(temple, detector):
    rough = clone(detector).set_params(precision="bfloat16").fit(temple[:16])
    maps = detector.score_maps(temple[16:])
    assert np.abs(rough.score_maps(temple[16:]) / maps - 1).mean() < 0.05


def test_an_adapter_trains_the_network_first(temple):
    adapter = MeanShiftedContrastive(n_steps=3, learning_rate=1e-3)
    detector = SPADE(**SMALL, adapter=adapter, n_neighbors=4).fit(temple[:16])
    frozen = SPADE(**SMALL, n_neighbors=4).fit(temple[:16])
    assert adapter.extractor is None, "the parameter is left as it was"
    assert not np.allclose(detector.score_maps(temple[16:]), frozen.score_maps(temple[16:]))
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.score_maps(temple[16:]), detector.score_maps(temple[16:]))
    assert len(detector.training_curve_["step"]) > 0
    assert not detector.adapter_.network_.training
    scratch = SPADE(
        partial(small_cnn, width=4, image_size=8),
        weights=None,
        n_neighbors=2,
        adapter=SelfSupervisedAdapter(n_steps=2, projector_widths=[8], predictor_widths=[4]),
    ).fit(temple[:6])
    assert scratch.score_maps(temple[:2]).shape == (2, 48, 48)


@pytest.mark.parametrize(
    "adapter",
    [
        CompactnessAdapter(stopping="sample_wise", n_steps=3),
        DeepSVDDAdapter(n_steps=2, collapse_limit=0),
        RotationAdapter(n_steps=2),
        PseudoLabelAdapter(clusterer=KMeans(2, n_init=1), n_epochs=1, output="logits"),
    ],
    ids=lambda adapter: type(adapter).__name__,
)
def test_adapters_whose_own_output_is_no_feature(temple, adapter):
    detector = SPADE(
        partial(svdd_cifar, image_size=32), weights=None, adapter=adapter, n_neighbors=2
    )
    detector.fit(temple[:12])
    features = adapter_features(detector, temple)
    assert features.shape[1] == detector.pipeline_["scorer"].n_features_in_
    assert (detector.predict(temple[:12]) == 1).mean() >= 0.8
    assert detector.score_maps(temple[:2]).shape == (2, 48, 48)


def adapter_features(detector, images):
    return detector.adapter_.extractor_.transform(images)


def test_an_adapter_with_an_extractor_of_its_own_is_refused(temple):
    adapter = MeanShiftedContrastive(FeatureExtractor())
    with pytest.raises(ValueError, match="adapter has an extractor of its own, FeatureExtractor"):
        SPADE(adapter=adapter).fit(temple)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": ["layer9"]}, "has no layer 'layer9'"),
        ({"layers": ["fc"]}, "layers: no image passed through 'fc'"),
        ({"layers": ["global_pool"]}, "layers: 'global_pool'"),
        ({"layers": []}, "layers is empty"),
        ({"n_neighbor_pixels": 0}, "n_neighbor_pixels"),
        ({"fusion": "summed"}, "fusion"),
        ({"pixel_contamination": 0.7}, "pixel_contamination"),
        ({"pixel_contamination": 0}, "pixel_contamination"),
        ({"mask_false_alarm_rate": 1.0}, "mask_false_alarm_rate"),
        ({"memory_limit": -1}, "memory_limit"),
        ({"smoothing": -1}, "smoothing"),
        ({"resize": None}, "resize"),
        ({"adapter": "msc"}, "adapter"),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit(temple, parameters, message):
    detector = SPADE(**SMALL | parameters)
    with pytest.raises(ValueError, match=message):
        detector.fit(temple[:4])
    assert not hasattr(detector, "pipeline_")
    assert not hasattr(detector, "gallery_")


def test_a_fit_that_fails_leaves_the_last_one(temple, detector):
    detector = copy.deepcopy(detector)
    maps = detector.score_maps(temple[16:18])
    with pytest.raises(ValueError, match="has no layer"):
        detector.set_params(layers=["nowhere"]).fit(temple[:4])
    np.testing.assert_array_equal(detector.score_maps(temple[16:18]), maps)
    with pytest.raises(ValueError, match="n_samples = 1"):
        SPADE(**SMALL).fit(temple[:1])


def test_labelled_anomalies_are_left_out(temple, detector, tiles):
    y = np.repeat([1, -1], [16, 4])
    both = clone(detector).fit(np.concatenate([temple[:16], tiles[24:28]]), y)
    np.testing.assert_allclose(
        both.score_maps(temple[16:]), detector.score_maps(temple[16:]), rtol=1e-5
    )


def test_not_fitted():
    from sklearn.exceptions import NotFittedError

    for method in ("score_maps", "predict_masks", "score_samples"):
        with pytest.raises(NotFittedError):
            getattr(SPADE(), method)(np.zeros((1, 8, 8), dtype=np.uint8))


@pytest.mark.shared
def test_magnetic_tiles(shared):
    """Blowholes on tiles of which 60 without a defect were seen."""
    import runpy

    loader = runpy.run_path(str(shared / "data" / "load.py"))
    labels = loader["labels_of"]("magnetic_tile")[0]
    free = np.flatnonzero(labels == 0)[::15]
    defects = np.flatnonzero(labels == 1)[::10]
    images, masks = (loader[name]("magnetic_tile", defects) for name in ("load", "load_masks"))
    detector = SPADE(image_size=128, n_centroids=50, n_threshold_images=5)
    maps = detector.fit(loader["load"]("magnetic_tile", free)[0]).score_maps(images[0])
    values = np.concatenate([one.ravel() for one in maps])
    assert auroc_score(np.concatenate([mask.ravel() for mask in masks]), values) > 0.9
