"""Which device is meant, what is said where it is missing, and float32 in full on it."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from torch.backends import cuda, cudnn, mkldnn

from skad import DeviceWarning, FeatureExtractor
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
