"""Further images that join a fitted detector: as if they had been there, wholly or not at all."""

import copy
import pickle
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import SGDOneClassSVM

import skad
from skad import (
    DN2,
    MSC,
    NSA,
    PANDA,
    SPADE,
    DeepClustering,
    DeepSVDD,
    FeatureExtractor,
    GaussianScorer,
    ImageDetector,
    KNNScorer,
    MapDetector,
    MeanShiftedContrastive,
)
from skad.backbones import small_cnn
from skad.maps import CentroidPixels, RetrievedCentroids

SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32}
SCRATCH = {"backbone": partial(small_cnn, width=4, image_size=8), "weights": None}
EXTRACTOR = FeatureExtractor(**SMALL)
FILES = Path(__file__).parents[1] / "files"

# SPADE's 50 neighbours are all other images here, before and after.
DETECTORS = {
    "dn2": DN2(**SMALL),
    "dn2, whitened": DN2(**SMALL, metric="mahalanobis", shrinkage=0.5, contamination=0.2),
    "knn": ImageDetector(EXTRACTOR, scorer=KNNScorer(3, metric="euclidean", aggregation="kth")),
    "gaussian": ImageDetector(EXTRACTOR, scorer=GaussianScorer()),
    "spade": SPADE(**SMALL, n_threshold_images=3),
    "spade on disk": SPADE(**SMALL, n_neighbors=4, n_threshold_images=3, memory_limit=0),
    "spade, centroids": SPADE(**SMALL, n_centroids=5, centroids_of="each", n_threshold_images=3),
    "spade, coreset": SPADE(**SMALL, coreset_share=0.1, n_threshold_images=3),
    "maps": MapDetector(EXTRACTOR, gallery=RetrievedCentroids(n_centroids=4), layers=["layer2"]),
}
MAPS = [name for name, detector in DETECTORS.items() if hasattr(detector, "score_maps")]


def results(detector, images):
    found = {"offset": detector.offset_, "scores": detector.score_samples(images)}
    if hasattr(detector, "score_maps"):
        found |= {"maps": detector.score_maps(images), "pixel offset": detector.pixel_offset_}
    return found


def assert_same(found, expected, **how):
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name, **{"rtol": 0} | how)


@pytest.mark.parametrize("splits", [[12], [4, 5, 13]], ids=str)
@pytest.mark.parametrize("name", DETECTORS)
def test_it_is_as_if_they_had_been_in_the_fit(name, splits, tiles):
    images, new = tiles[:20], tiles[16:30]
    first, *further = np.split(images, splits)
    detector = clone(DETECTORS[name]).fit(first)
    for part in further:
        assert detector.partial_fit(part) is detector
    expected = results(clone(DETECTORS[name]).fit(images), new)
    expected.pop("pixel offset", None)  # of which earlier maps are not computed again
    assert_same(results(detector, new), expected, rtol=2e-5, atol=1e-6)


def test_the_first_call_is_a_fit(tiles):
    expected = results(DN2(**SMALL).fit(tiles[:9]), tiles)
    assert_same(results(DN2(**SMALL).partial_fit(tiles[:9]), tiles), expected)
    with pytest.raises(ValueError, match="'n_neighbors' parameter of DN2 must be an int"):
        DN2(n_neighbors=0).partial_fit(tiles)


def test_labelled_anomalies_do_not_join(tiles):
    expected = results(DN2(**SMALL).fit(tiles[:9]).partial_fit(tiles[9:12]), tiles)
    detector = DN2(**SMALL).fit(tiles[:9])
    before = results(detector, tiles)
    assert_same(results(detector.partial_fit(tiles[30:33], [-1, -1, -1]), tiles), before)
    y = [1, 1, 1, -1, -1]
    both = detector.partial_fit(np.concatenate([tiles[9:12], tiles[30:32]]), y)
    assert_same(results(both, tiles), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="X has 3 samples, but y has 2 labels"):
        detector.partial_fit(tiles[:3], [-1, -1])


def test_the_scale_of_flat_rows_stays_that_of_the_fit():
    digits, labels = load_digits(return_X_y=True)
    zeros, darker = digits[labels == 0][:30], digits[labels == 0][30:40] / 4
    detector = DN2(**SMALL).fit(zeros)
    known = detector.pixel_range_
    found = detector.score_samples(darker)
    detector.partial_fit(zeros[:1] * 2)
    assert detector.pixel_range_ == known == (0.0, 16.0)
    np.testing.assert_allclose(detector.score_samples(darker), found, rtol=1e-5)
    with pytest.raises(ValueError, match="X has 16 features, but DN2 is expecting 64"):
        detector.partial_fit(zeros[:, :16])


@pytest.mark.parametrize("name", ["dn2", "spade"])
def test_parameters_are_those_of_the_fit(name, tiles):
    detector = clone(DETECTORS[name])
    expected = results(clone(detector).fit(tiles[:9]).partial_fit(tiles[9:12]), tiles)
    detector.fit(tiles[:9]).set_params(n_neighbors=1, image_size=64, contamination=0.4)
    if name == "spade":
        detector.set_params(image_score="map", smoothing=0, n_threshold_images=1, n_centroids=3)
    assert_same(results(detector.partial_fit(tiles[9:12]), tiles), expected)


@pytest.mark.parametrize(
    "detector",
    [
        MSC(**SMALL, n_steps=2, learning_rate=1e-3),
        NSA(**SCRATCH, n_steps=2, projector_widths=[8], predictor_widths=[4]),
        SPADE(**SMALL, adapter=MeanShiftedContrastive(n_steps=2), n_threshold_images=3),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_a_trained_network_is_not_trained_again(detector, tiles):
    detector.fit(tiles[:12])
    first, features = detector.pipeline_[0], detector.pipeline_[0].transform(tiles)
    detector.partial_fit(tiles[12:15])
    assert detector.pipeline_[0] is first
    np.testing.assert_array_equal(first.transform(tiles), features)
    gallery = detector.pipeline_["scorer"].gallery_
    np.testing.assert_allclose(gallery, features[:15], rtol=1e-4, atol=1e-5)


def test_a_kind_becomes_normal_by_as_many_as_neighbours_count(tiles):
    # Whitening would move with the images that join.
    detector = DN2(n_neighbors=2, metric="cosine").fit(tiles[24:])
    odd = tiles[np.argmin(detector.score_samples(tiles))]
    noise = np.random.RandomState(0).normal(0, 3, (5, *odd.shape))
    alike = np.clip(odd + noise, 0, 255).astype(np.uint8)
    assert set(detector.predict(alike)) == {-1}
    before = detector.score_samples(alike)
    alone = detector.partial_fit(alike[:1]).score_samples(alike)
    assert alone[0] == pytest.approx(before[0], rel=1e-5), "no image is its own neighbour"
    np.testing.assert_allclose(alone[1:] / before[1:], 0.5, atol=0.1)
    assert set(detector.partial_fit(alike[1:3]).predict(alike)) == {1}


@pytest.mark.bits
@pytest.mark.parametrize("name", ["dn2", "spade on disk"])
def test_where_no_new_image_is_near_nothing_changes(name, tiles):
    detector = clone(DETECTORS[name]).set_params(n_neighbors=2).fit(tiles[:20])
    before = results(detector, tiles)
    detector.partial_fit(tiles[30:33])
    first, scorer = detector.pipeline_[0], detector.pipeline_["scorer"]
    far = scorer.kneighbors(first.transform(tiles))[1].max(axis=1) < 20
    assert 20 < far.sum() < len(tiles)
    after = results(detector, tiles)
    for what in set(before) - {"offset", "pixel offset"}:
        np.testing.assert_array_equal(after[what][far], before[what][far])
        assert (after[what][~far] != before[what][~far]).any()


OBSTACLES = [
    (PANDA(stopping="sample_wise"), "its SampleWiseScorer takes all training images at once"),
    (DeepSVDD(), "its CentroidScorer takes all training images at once"),
    (ImageDetector(scorer=IsolationForest()), "its IsolationForest takes all"),
    (ImageDetector(scorer=KNNScorer(n_centroids=3)), "no partial_fit with n_centroids=3"),
    (ImageDetector(scorer=GaussianScorer(n_clusters=2)), "no partial_fit with n_clusters=2"),
    (SPADE(n_centroids=3), "no partial_fit with CentroidPixels"),
    (MapDetector(gallery=CentroidPixels()), 'n_centroids=None or centroids_of="each"'),
    (DeepClustering(scorer="mahalanobis"), "of which cluster"),
]


@pytest.mark.parametrize(("detector", "reason"), OBSTACLES, ids=lambda o: type(o).__name__)
def test_what_cannot_be_extended_says_why(detector, reason):
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as error:
        detector.partial_fit(None)
    assert str(error.value.__cause__).startswith(f"{type(detector).__name__}: ")
    assert reason in str(error.value.__cause__)
    assert not hasattr(detector, "partial_fit")


def test_what_was_fitted_counts_and_not_what_was_set_since(tiles):
    detector = SPADE(**SMALL, n_centroids=3, n_threshold_images=2).fit(tiles[:4])
    assert not hasattr(detector.set_params(n_centroids=None), "partial_fit")
    detector = DN2(**SMALL).fit(tiles[:4])
    before = results(detector, tiles)
    assert_same(results(copy.copy(detector), tiles), before)


def test_scorers_of_others_are_copied_before_they_learn(tiles):
    detector = ImageDetector(EXTRACTOR, scorer=SGDOneClassSVM(random_state=0)).fit(tiles[:9])
    other, before = copy.copy(detector), results(detector, tiles)
    other.partial_fit(tiles[9:20])
    assert_same(results(detector, tiles), before)
    assert not np.array_equal(other.score_samples(tiles), before["scores"])


def broken(images):
    return [*images, b"no picture"]


@pytest.mark.parametrize("name", DETECTORS)
def test_images_that_are_broken_change_nothing(name, tiles):
    detector = clone(DETECTORS[name]).fit(tiles[:9])
    before, state = results(detector, tiles[:12]), dict(vars(detector))
    with pytest.raises(ValueError, match=r"image 3 .*could not be read"):
        detector.partial_fit(broken(tiles[9:12]))
    assert vars(detector) == state
    assert_same(results(detector, tiles[:12]), before)


@pytest.mark.parametrize(
    ("name", "where"),
    [("dn2", "_fit"), ("spade", "_fit"), ("spade", "kneighbors"), ("spade on disk", "kneighbors")],
)
def test_an_interruption_changes_nothing(name, where, tiles, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    detector = clone(DETECTORS[name]).set_params(n_neighbors=2).fit(tiles[:9])
    before, state = results(detector, tiles[:12]), dict(vars(detector))
    with monkeypatch.context() as patch:
        patch.setattr(KNNScorer, where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            detector.partial_fit(tiles[9:20])
    assert vars(detector) == state
    assert_same(results(detector, tiles[:12]), before)


def test_a_full_disk_changes_nothing(tiles, monkeypatch):
    detector = clone(DETECTORS["spade on disk"]).fit(tiles[:9])
    before = results(detector, tiles[:12])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1 << 10))
        with pytest.raises(OSError, match="Set TMPDIR to another"):
            detector.partial_fit(tiles[9:12])
    assert_same(results(detector, tiles[:12]), before)
    assert detector.partial_fit(tiles[9:12]).gallery_.n_images_ == 12


def test_a_store_goes_to_the_disk_as_it_grows_beyond_its_limit(tiles):
    bytes_of_one = SPADE(**SMALL).fit(tiles[:2]).gallery_.store_.n_bytes // 2
    limit = 6 * bytes_of_one / 2**20
    detector = SPADE(**SMALL, n_threshold_images=3, memory_limit=limit).fit(tiles[:5])
    store = detector.gallery_.store_
    assert not store.on_disk
    detector.partial_fit(tiles[5:9])
    assert detector.gallery_.store_.on_disk
    for index in range(5):
        pairs = zip(detector.gallery_.store_.read(index), store.read(index))
        assert all(np.array_equal(new, old) for new, old in pairs)


@pytest.mark.parametrize("name", DETECTORS)
def test_copies_and_files_go_on_by_themselves(name, tiles, tmp_path):
    detector = clone(DETECTORS[name]).fit(tiles[:9]).partial_fit(tiles[9:12])
    before = results(detector, tiles)
    skad.save(detector, tmp_path / "a.skad")
    copies = [copy.copy(detector), pickle.loads(pickle.dumps(detector))]
    copies.append(skad.load(tmp_path / "a.skad"))
    found = [results(one.partial_fit(tiles[12:15]), tiles) for one in copies]
    assert_same(results(detector, tiles), before)
    expected = results(detector.partial_fit(tiles[12:15]), tiles)
    for one in found:
        assert_same(one, expected)
    assert not hasattr(clone(detector), "pipeline_")


def test_files_of_earlier_versions():
    digits, labels = load_digits(return_X_y=True)
    detector = skad.load(FILES / "format-1" / "dn2.skad")
    n_before = len(detector.pipeline_["scorer"].gallery_)
    detector.partial_fit(digits[labels == 0][60:70])
    assert len(detector.pipeline_["scorer"].gallery_) == n_before + 10
    assert not hasattr(skad.load(FILES / "format-1" / "spade.skad"), "partial_fit")


def test_maps_fitted_by_an_earlier_version(tiles):
    detector = clone(DETECTORS["spade"]).fit(tiles[:9])
    del detector._threshold_rows  # which its files do not have
    with pytest.raises(AttributeError) as error:
        detector.partial_fit(tiles[:3])
    assert "an earlier skad fitted it" in str(error.value.__cause__)
    assert detector.score_maps(tiles[:1]).shape == (1, 48, 48)
