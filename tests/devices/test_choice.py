"""Which device is meant, what is said where it is missing, and float32 in full on it."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.backends import cuda, cudnn, mkldnn

import skad
from skad import (
    DN2,
    SPADE,
    CompactnessAdapter,
    DeviceWarning,
    FeatureExtractor,
    PatchCore,
)
from skad.networks._device import full_float32, resolve_device
from tests.instances import SMALL

from . import far

IMAGES = np.random.RandomState(0).randint(0, 256, (3, 40, 40, 3)).astype(np.uint8)


def test_names_of_devices():
    assert resolve_device("far") == torch.device("far")
    assert resolve_device(torch.device("far:0")) == torch.device("far:0")
    with pytest.raises(ValueError, match="'far:1' was asked for, .* no FAR device number 1"):
        resolve_device("far:1")
    with pytest.raises(ValueError, match="device 'near' is unknown"):
        resolve_device("near")


def test_a_missing_device_is_told_of(monkeypatch):
    fitted = FeatureExtractor(**SMALL, device="far").fit(IMAGES)
    pickled, expected = pickle.dumps(fitted), fitted.transform(IMAGES)
    monkeypatch.setattr(far.Far, "is_available", staticmethod(lambda: False))
    with pytest.warns(DeviceWarning, match="'far', which is missing.*on the CPU") as caught:
        loaded = pickle.loads(pickled)
    assert [one.filename for one in caught] == [__file__]
    np.testing.assert_allclose(loaded.transform(IMAGES), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="torch finds no FAR device"):
        loaded.fit(IMAGES)
    loaded.set_params(device="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(loaded))


def test_a_full_device_is_not_a_missing_one(monkeypatch):
    pickled = pickle.dumps(FeatureExtractor(**SMALL, device="far").fit(IMAGES))

    def no_room(near):
        raise torch.OutOfMemoryError("far is out of memory")

    monkeypatch.setattr(far, "FarTensor", no_room)
    with pytest.raises(torch.OutOfMemoryError):
        pickle.loads(pickled)


SETTINGS = {
    "cuda": [cudnn.conv, cudnn.rnn, cuda.matmul],
    "cpu": [mkldnn.conv, mkldnn.rnn, mkldnn.matmul],
}


@pytest.fixture(params=SETTINGS)
def reduced(request):
    """A kind of device, as precise as torch computes at the least."""
    settings = SETTINGS[request.param]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "tf32"
    yield request.param
    for setting, precision in zip(settings, before):
        setting.fp32_precision = precision


def precisions(kind):
    return [setting.fp32_precision for setting in SETTINGS[kind]]


def test_float32_in_full_and_as_it_was_afterwards(reduced):
    with full_float32(reduced):
        assert precisions(reduced) == ["ieee"] * 3
    assert precisions(reduced) == ["tf32"] * 3
    with pytest.raises(ZeroDivisionError), full_float32(reduced):
        raise ZeroDivisionError
    assert precisions(reduced) == ["tf32"] * 3


def test_threads_share_it(reduced):
    inside, leave = threading.Event(), threading.Event()

    def first():
        with full_float32(reduced):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with full_float32(reduced):
        leave.set()
        thread.join()
        assert precisions(reduced) == ["ieee"] * 3, "though the first one has left"
    assert precisions(reduced) == ["tf32"] * 3


def test_every_pass_computes_in_full_float32(reduced):
    if reduced == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    extractor = FeatureExtractor(**SMALL, device=reduced).fit(IMAGES)
    seen = []
    hook = extractor.network_.layer1.register_forward_pre_hook(
        lambda *_: seen.append(precisions(reduced))
    )
    extractor.transform(IMAGES)
    extractor.set_params(layers=["layer1"]).feature_maps(IMAGES)
    hook.remove()
    assert seen == [["ieee"] * 3] * 2
    assert precisions(reduced) == ["tf32"] * 3


SEVERAL = [["cpu", "cpu"], "far,cpu"]


@pytest.mark.parametrize("devices", SEVERAL, ids=str)
def test_several_devices_share_the_batches(devices):
    images = np.random.RandomState(0).randint(0, 256, (14, 40, 40, 3)).astype(np.uint8)
    settings = {**SMALL, "batch_size": 3}
    for kind, methods in (
        (FeatureExtractor(**settings), ["transform", "feature_maps"]),
        (DN2(**settings), ["score_samples"]),
        (SPADE(**settings, n_neighbors=3, n_threshold_images=2), ["score_maps"]),
        (PatchCore(**settings, coreset_share=0.2), ["score_samples", "score_maps"]),
    ):
        alone = clone(kind).set_params(device="cpu").fit(images)
        several = clone(kind).set_params(device=devices).fit(images)
        part = several.pipeline_[0] if hasattr(several, "pipeline_") else several
        fitted = part.fitted_network_
        assert [str(one.device.type) for one in fitted.replicas] == [
            name.split(":")[0] for name in np.ravel(str(fitted.device_name).split(","))
        ]
        for loaded in (several, pickle.loads(pickle.dumps(several))):
            for method in methods:
                expected, found = (getattr(one, method)(images) for one in (alone, loaded))
                if isinstance(expected, dict):
                    expected, found = (next(iter(maps.values())) for maps in (expected, found))
                if "far" in devices:
                    scale = np.abs(expected).max()
                    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)
                else:
                    np.testing.assert_array_equal(found, expected)


def test_training_is_on_the_first_and_replicas_follow(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (12, 40, 40, 3)).astype(np.uint8)
    found = {}
    for devices in ("cpu", ["cpu", "cpu"]):
        adapter = CompactnessAdapter(FeatureExtractor(**SMALL, device=devices), n_steps=3)
        adapter.set_params(extractor__batch_size=4, learning_rate=0.1).fit(images)
        found[str(devices)] = adapter.transform(images)
        skad.save(adapter, tmp_path / "model.skad")
        loaded = skad.load(tmp_path / "model.skad")
        np.testing.assert_array_equal(loaded.transform(images), found[str(devices)])
    np.testing.assert_array_equal(*found.values())


def test_devices_that_do_not_fit():
    with pytest.raises(ValueError, match="device is empty; name at least one"):
        FeatureExtractor(**SMALL, device=[]).fit(IMAGES)
    with pytest.raises(ValueError, match="'far:3' was asked for"):
        FeatureExtractor(**SMALL, device=["cpu", "far:3"]).fit(IMAGES)
