"""Workers of joblib's own backends give what one process gives, whatever becomes of them."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skad import ConformalDetector, OneClassKFold, auroc_scorer
from skad.images._door import check_images
from skad.parallel import _parcel
from skad.parallel._backend import n_workers
from skad.parallel._blocks import block_size
from skad.parallel._parcel import Parcel, unpacked
from tests.parallel.common import (
    IMAGES,
    check_all,
    dn2,
    expected_of,
    files_of,
    spade,
    with_one_deadly,
)

# A process that was small before it had a network is replaced by loky, as if it had a leak.
pytestmark = pytest.mark.filterwarnings("ignore:A worker stopped")


@pytest.fixture(scope="module")
def fitted():
    return [expected_of(dn2()), expected_of(spade())]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_the_same_bits(backend, fitted):
    with joblib.parallel_config(backend, n_jobs=2):
        check_all(fitted)


def test_workers_are_those_that_were_chosen():
    assert n_workers() == 1
    with joblib.parallel_config("loky"):
        assert n_workers() == 1, "as joblib has it without n_jobs"
    with joblib.parallel_config("threading", n_jobs=3):
        assert n_workers() == 3
        inside = joblib.Parallel(n_jobs=2)(joblib.delayed(n_workers)() for _ in range(2))
    assert inside == [1, 1]


def test_features_and_files_and_what_is_left_out(fitted, tmp_path):
    extractor, paths = fitted[0][0].pipeline_[0], files_of(tmp_path)
    expected = extractor.transform(paths)
    labels = np.where(np.arange(60) % 7, 1, -1)
    offset = dn2().fit(paths, labels).offset_
    with joblib.parallel_config("loky", n_jobs=2):
        np.testing.assert_array_equal(extractor.transform(paths), expected)
        assert dn2().fit(paths, labels).offset_ == offset


def test_mapped_arrays_are_sent_by_name(fitted, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    detector, (scores, _) = fitted[0]
    labels = np.where(np.arange(90) % 7, 1, -1)
    for y in (None, labels):
        part = check_images(detector, mapped, y).part(10, 40)
        written = pickle.dumps(part)
        assert len(written) < 3000, "no pixels"
        again = pickle.loads(written)
        expected = (IMAGES if y is None else IMAGES[labels == 1])[10:40]
        np.testing.assert_array_equal(
            again.read(0, 30).pixels.numpy(), expected.transpose(0, 3, 1, 2)
        )
    with joblib.parallel_config("loky", n_jobs=2):
        np.testing.assert_array_equal(detector.score_samples(mapped), scores)


def test_a_block_holds_its_images_alone(fitted):
    detector, _ = fitted[0]
    whole = check_images(detector, [f"https://host/{i}.png" for i in range(1000)])
    assert len(pickle.dumps(whole.part(8, 16))) < len(pickle.dumps(whole)) / 5
    array = check_images(detector, IMAGES)
    assert len(pickle.dumps(array.part(8, 16))) < 8 * IMAGES[0].nbytes + 3000


@pytest.mark.parametrize("n_images", [1, 15, 16, 17, 1000, 10**6])
def test_blocks_are_whole_batches(n_images):
    source = check_images(dn2(), np.broadcast_to(IMAGES[0], (n_images, *IMAGES[0].shape)))
    size = block_size(source, 16, 4)
    assert size % 16 == 0
    assert size // 16 <= max(1, -(-n_images // 256)), "four for each worker"
    assert size * IMAGES[0].nbytes <= 64 * 2**20


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_broken_picture_is_named_as_in_one_process(backend, fitted, tmp_path):
    paths = files_of(tmp_path)
    (tmp_path / "043.png").write_bytes(b"no picture")
    detector, (scores, _) = fitted[0]
    with pytest.raises(ValueError, match="DN2: image 43 .*043.png.* could not be read") as alone:
        detector.score_samples(paths)
    detector.on_error = "skip"
    try:
        with joblib.parallel_config(backend, n_jobs=2):
            with pytest.warns(UserWarning, match="1 of 60 images could not be read.*image 43"):
                found = detector.score_samples(paths)
            detector.on_error = "raise"
            with pytest.raises(ValueError, match="image 43") as together:
                detector.score_samples(paths)
    finally:
        detector.on_error = "raise"
    assert str(together.value) == str(alone.value)
    assert type(together.value) is ValueError
    assert np.isnan(found[43])
    np.testing.assert_array_equal(np.delete(found, 43), np.delete(scores[:60], 43))


def test_a_lost_worker_costs_its_blocks_alone(fitted, tmp_path):
    detector, (scores, _) = fitted[0]
    told = pytest.warns(UserWarning, match="DN2: workers were lost .*given out again")
    with joblib.parallel_config("loky", n_jobs=2), told:
        found = detector.score_samples(with_one_deadly(tmp_path / "mark"))
    np.testing.assert_array_equal(found, scores)
    assert (tmp_path / "mark").exists()


def test_a_parcel_is_unpacked_once():
    arrays = {"large": np.arange(300_000.0), "small": "x"}
    parcel = Parcel(arrays)
    assert sum(map(len, parcel.arrays[1:])) == arrays["large"].nbytes, "apart from the rest"
    one = unpacked(parcel.digest, parcel.arrays)
    assert one is unpacked(parcel.digest, parcel.arrays)
    assert np.shares_memory(one["large"], arrays["large"])
    for i in range(10):
        unpacked(Parcel(i).digest, Parcel(i).arrays)
    assert len(_parcel._kept) <= 4


def test_folds_of_conformal_detectors_and_searches():
    detector = ConformalDetector(dn2(), method="cross", n_folds=3, false_alarm_rate=0.1)
    expected = detector.fit(IMAGES).p_values(IMAGES)
    X, y = np.concatenate([IMAGES[:40], 255 - IMAGES[:6]]), np.r_[np.ones(40), -np.ones(6)]
    search = GridSearchCV(dn2(), {"n_neighbors": [1, 2]}, cv=OneClassKFold(2), scoring=auroc_scorer)
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("loky", n_jobs=2), warnings.catch_warnings():
        np.testing.assert_array_equal(detector.fit(IMAGES).p_values(IMAGES), expected)
        again = search.fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(again, scores)
