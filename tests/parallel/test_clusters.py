"""Dask and Ray on this machine: the same bits, lost workers, lazy collections."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skad import FeatureExtractor, OneClassKFold, auroc_scorer
from skad.parallel._tasks import answers
from tests.parallel.common import (
    IMAGES,
    check_all,
    dn2,
    expected_of,
    files_of,
    spade,
    with_one_deadly,
)


@pytest.fixture(scope="module")
def fitted():
    return [expected_of(dn2()), expected_of(spade())]


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_can_not_be_sent_to_dask_is_sent_again(dask_client, fitted, monkeypatch):
    detector, (scores, _) = fitted[0]
    scatter, failures = dask_client.scatter, [OSError("the worker is gone")]

    def failing(*args, **options):
        if failures:
            raise failures.pop()
        return scatter(*args, **options)

    monkeypatch.setattr(dask_client, "scatter", failing)
    told = pytest.warns(UserWarning, match=r"DN2: workers were lost \(OSError: the worker is gone")
    with joblib.parallel_config("dask"), told:
        found = detector.score_samples(IMAGES)
    np.testing.assert_array_equal(found, scores)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_search_by_dask_keeps_each_fit_in_its_worker(dask_client):
    X, y = np.concatenate([IMAGES[:40], 255 - IMAGES[:6]]), np.r_[np.ones(40), -np.ones(6)]
    search = GridSearchCV(dn2(), {"n_neighbors": [1, 2]}, cv=OneClassKFold(2), scoring=auroc_scorer)
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        found = search.fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found, expected)


def test_what_dask_needs_for_a_while_is_given_back(dask_client):
    import dask

    name = "distributed.admin.large-graph-warning-threshold"
    before, once, shared = dask.config.get(name), np.ones(2**21), np.ones(2**21)
    with joblib.parallel_config("dask"):
        found = answers(total, [(once, 1), (shared, 2), (shared, 3)], "test")
        assert found == [2**21 + 1, 2**21 + 2, 2**21 + 3]
        with pytest.raises(RuntimeError, match=r"^UnsendableError: here and there$"):
            answers(fail, [(1,), (2,)], "test")
    assert dask.config.get(name) == before


def total(array, number):
    return array.sum() + number


def test_threads_raise_the_error_itself():
    told = pytest.raises(UnsendableError, match="here and there")
    with joblib.parallel_config("threading", n_jobs=2), told:
        answers(fail, [(1,), (2,)], "test")


class UnsendableError(Exception):
    """What a pickle of it calls is its class with one argument."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail(_):
    raise UnsendableError("here", "there")


# A lost worker's work is given to others by Dask itself, or by skad, which tells of it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:DN2. workers were lost")
def test_dask(dask_client, fitted, tmp_path):
    detector, (scores, _) = fitted[0]
    with joblib.parallel_config("dask"):
        check_all(fitted)
        found = detector.score_samples(with_one_deadly(tmp_path / "mark"))
        np.testing.assert_array_equal(found, scores)
        assert (tmp_path / "mark").exists()
        paths = files_of(tmp_path)
        (tmp_path / "043.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match="DN2: image 43 .*043.png.* could not be read"):
            detector.score_samples(paths)


class Counting:
    """An array that counts its slices and remembers the longest."""

    def __init__(self, array):
        self.array, self.longest = array, 0
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, where):
        found = self.array[where]
        self.longest = max(self.longest, len(found))
        return found


def test_dask_arrays_and_bags_are_lazy(fitted, tmp_path):
    da, db = (pytest.importorskip(f"dask.{name}") for name in ("array", "bag"))
    detector, (scores, _) = fitted[0]
    counting = Counting(IMAGES)
    array = da.from_array(counting, chunks=(16, 40, 40, 3), asarray=True)
    lazy = detector.score_samples(array)
    assert counting.longest == 0, "nothing is read yet"
    assert (lazy.chunks[0], lazy.dtype) == (array.chunks[0], np.float64)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), scores)
    labels = detector.predict(array)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), detector.predict(IMAGES))
    features = detector.pipeline_[0].transform(array)
    assert features.shape == (90, 96)
    np.testing.assert_array_equal(
        features.compute(scheduler="sync"), detector.pipeline_[0].transform(IMAGES)
    )
    fresh = dn2().fit(array[:40])
    assert fresh.offset_ == detector.offset_
    assert counting.longest <= 16, "never the whole"
    bag = db.from_sequence(files_of(tmp_path), partition_size=16)
    decisions = detector.decision_function(bag).compute(scheduler="sync")
    np.testing.assert_array_equal(decisions, scores[:60] - detector.offset_)
    assert FeatureExtractor(**detector.pipeline_[0].get_params()).fit(bag).transform(bag).ndim == 2


RAY = """
import joblib, numpy as np, ray, torch
torch.set_num_threads(1)  # as Ray has it in its workers
from ray.util.joblib import register_ray
from tests.parallel.common import IMAGES, dn2
detector = dn2().fit(IMAGES[:40])
expected = detector.score_samples(IMAGES)
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
register_ray()
with joblib.parallel_config("ray", n_jobs=2):
    found = detector.score_samples(IMAGES)
ray.shutdown()
print("the same bits" if np.array_equal(found, expected) else "other bits")
"""


def test_ray():
    """In a process of its own, as Ray goes on to write to the one that it was started in."""
    if find_spec("ray") is None:  # importing it here would have it tell of signals later
        pytest.skip("Ray is not installed")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", RAY], capture_output=True, text=True, cwd=root, timeout=200
    )
    assert "the same bits" in done.stdout, done.stderr[-2000:]
