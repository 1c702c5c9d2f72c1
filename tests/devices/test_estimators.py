"""Every estimator on a device gives what it gives on the CPU, and loads where the device is not."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skad import DN2, SPADE, CompactnessAdapter, ConformalDetector, FeatureExtractor
from tests.instances import INSTANCES, SMALL, SMALLEST, with_device
from tests.processors import needs_bfloat16

METHODS = ["transform", "decision_function", "predict_proba", "score_maps"]


def outputs(estimator, X):
    found = {name: getattr(estimator, name)(X) for name in METHODS if hasattr(estimator, name)}
    assert found, "nothing to compare"
    return {name: np.stack(list(values)) for name, values in found.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert np.isfinite(values).all()
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5 * scale)


WITH_NETWORKS = [instance for instance in INSTANCES if with_device(instance, "cpu") is not None]


@pytest.mark.filterwarnings("ignore::skad.CollapseWarning")
@pytest.mark.parametrize("instance", WITH_NETWORKS, ids=lambda one: type(one).__name__)
def test_fits_scores_and_loads_as_on_the_cpu(instance, digits):
    expected = outputs(with_device(instance, "cpu").fit(digits[0]), digits[1])
    fitted = with_device(instance, "far").fit(digits[0])
    assert_same(outputs(fitted, digits[1]), expected)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert set(devices_of(loaded)) == {"far"}
    assert_same(outputs(loaded, digits[1]), expected)


def devices_of(estimator):
    """Types of the devices of all extractors that were fitted inside an estimator."""
    if isinstance(estimator, FeatureExtractor):
        fitted = vars(estimator).get("fitted_network_")
        return [] if fitted is None else [fitted.device.type]
    inside = vars(estimator) if hasattr(estimator, "__dict__") else {}
    parts = [*inside.values(), *(step for _, step in inside.get("steps", []))]
    parts += inside.get("detectors_", [])
    return [kind for part in parts if hasattr(part, "get_params") for kind in devices_of(part)]


def test_only_scorers_have_no_network():
    for instance in INSTANCES:
        if not any(instance is other for other in WITH_NETWORKS):
            inner = getattr(instance, "detector", instance)
            module = type(inner).__module__
            assert module.startswith(("skad.scorers", "sklearn.")), f"{instance} has no device"


def test_a_conformal_detector(digits):
    detector = ConformalDetector(DN2(**SMALL), false_alarm_rate=0.3, method="cross")
    expected = with_device(detector, "cpu").fit(digits[0]).p_values(digits[1])
    found = with_device(detector, "far").fit(digits[0]).p_values(digits[1])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@needs_bfloat16
def test_bfloat16_and_the_cut_of_a_network(digits):
    half = FeatureExtractor(**SMALL, precision="bfloat16")
    adapter = CompactnessAdapter(half, n_steps=2, trainable="last")
    expected, found = (
        with_device(adapter, device).fit(digits[0]).transform(digits[1])
        for device in ("cpu", "far")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_features_are_kept_and_found_again(digits, tmp_path):
    plain = FeatureExtractor(**SMALL, device="far").fit_transform(digits[1])
    keeps = FeatureExtractor(**SMALL, device="far", memory=tmp_path).fit(digits[1])
    np.testing.assert_array_equal(keeps.transform(digits[1]), plain)
    kept = sorted(tmp_path.rglob("*"))
    assert kept
    on_cpu = FeatureExtractor(**SMALL, device="cpu", memory=tmp_path).fit(digits[1])
    np.testing.assert_array_equal(on_cpu.transform(digits[1]), plain)
    assert sorted(tmp_path.rglob("*")) == kept, "the device is no part of a feature's name"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_of_any_type_that_are_far_or_near(dtype, tiles):
    pixels = tiles[:4].transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(pixels if dtype == np.uint8 else (pixels / 255).astype(dtype))
    expected = FeatureExtractor(**SMALL, device="cpu").fit_transform(pixels)
    extractor = FeatureExtractor(**SMALL, device="far").fit(pixels)
    np.testing.assert_allclose(extractor.transform(pixels), expected, rtol=1e-5, atol=1e-6)
    if dtype != np.float64:  # which the device does not have
        found = extractor.transform(pixels.to("far"))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


LOAD = """
import pickle, warnings
from pathlib import Path
import numpy as np
import skad, torch
torch.set_num_threads(1)
estimators, X, expected = [], *pickle.loads(Path("data").read_bytes())
for i in range(len(expected)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimators.append(pickle.loads(Path(str(i)).read_bytes()))
    assert {w.category for w in caught} == {skad.DeviceWarning}, [str(w.message) for w in caught]
    print(caught[0].message)
for estimator, values in zip(estimators, expected):
    method = next(m for m in ("decision_function", "transform") if hasattr(estimator, m))
    np.testing.assert_allclose(getattr(estimator, method)(X), values, rtol=1e-4, atol=1e-4)
"""


def test_a_model_loads_where_its_device_is_missing(digits, tmp_path):
    kinds = [
        DN2(**SMALL),
        SPADE(**SMALLEST, n_threshold_images=2),
        CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2),
    ]
    expected = []
    for number, kind in enumerate(kinds):
        fitted = with_device(kind, "far").fit(digits[0])
        (tmp_path / str(number)).write_bytes(pickle.dumps(fitted))
        first = outputs(fitted, digits[1])
        expected.append(first.get("decision_function", first.get("transform")))
    (tmp_path / "data").write_bytes(pickle.dumps((digits[1], expected)))
    out = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert out.returncode == 0, out.stderr
    for line in out.stdout.splitlines():
        assert line.startswith("FeatureExtractor: it was fitted with device='far'")
        assert "computes on the CPU now" in line
    assert len(out.stdout.splitlines()) == len(kinds)
