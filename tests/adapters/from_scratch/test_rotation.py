"""RotationAdapter and RotationPrediction."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    RotationPrediction,
)
from skad.adapters._rotation import N_TRANSFORMS, transformed
from skad.training import _run as _run
from tests.adapters.from_scratch.common import NET, extractor, prepared, rotation


def turned_and_moved(image, turns, row, column):
    """An image (height, width, channels) in one of 36 ways, by NumPy alone."""
    side = len(image)
    image, move = np.rot90(image, turns), max(1, round(side / 4))
    padded = np.pad(image, ((move, move), (move, move), (0, 0)), mode="reflect")
    top, left = (move - np.array([0, -1, 1])[index] * move for index in (row, column))
    return padded[top : top + side, left : left + side]


WAYS = [(turns, row, column) for turns in range(4) for row in range(3) for column in range(3)]


@pytest.mark.parametrize("side", [5, 8, 16, 33])
def test_images_are_turned_and_moved_as_by_numpy(side):
    image = np.random.RandomState(0).rand(side, side, 3).astype(np.float32)
    batch = torch.from_numpy(image).permute(2, 0, 1).expand(36, -1, -1, -1)
    found = transformed(batch, *np.array(WAYS).T).permute(0, 2, 3, 1).numpy()
    for row, way in zip(found, WAYS):
        np.testing.assert_array_equal(row, turned_and_moved(image, *way))
    assert len({row.tobytes() for row in found}) == N_TRANSFORMS == 36


def slow_scores(adapter, images):
    """Sum of the probabilities of the true classes, image by image and way by way."""
    scores, network = [], copy.deepcopy(adapter.network_).cpu()
    for image in images:
        views = np.stack([turned_and_moved(image[..., None], *way)[..., 0] for way in WAYS])
        with torch.no_grad():
            seen = prepared(adapter.extractor_, views)
            features = network(seen).numpy().astype(np.float64)
        total = 0.0
        for row, way in zip(features, WAYS):
            logits = adapter.coef_.astype(np.float64) @ row + adapter.intercept_
            for part, true in zip(np.split(logits, [4, 7]), way):
                total += np.exp(part[true]) / np.exp(part).sum()
        scores.append(-total)
    return np.array(scores)


def test_the_score_is_the_sum_of_what_is_recognised(zeros, others):
    adapter = rotation(n_steps=10).fit(zeros)
    scores = adapter.transform(others[:5])
    assert scores.shape == (5, 1)
    np.testing.assert_allclose(scores[:, 0], slow_scores(adapter, others[:5]), rtol=1e-5)
    assert adapter.get_feature_names_out().tolist() == ["score"]
    assert (adapter.coef_.shape, adapter.intercept_.shape) == ((10, 32), (10,))
    features = clone(adapter).set_params(output="features").fit(zeros)
    np.testing.assert_array_equal(features.transform(others), adapter.extractor_.transform(others))
    assert len(features.get_feature_names_out()) == 32


@pytest.mark.bits
def test_rotation_prediction_is_the_pipeline_made_by_hand(zeros, others):
    detector = RotationPrediction(
        NET, n_steps=3, batch_size=10, learning_rate=0.05, contamination=0.2
    ).fit(zeros)
    adapter = rotation(n_steps=3, learning_rate=0.05).fit(zeros)
    expected = -adapter.transform(others)[:, 0].astype(np.float64)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-6)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(loaded.score_samples(others), expected, rtol=1e-6)
    assert detector.offset_ == pytest.approx(
        np.quantile(detector.score_samples(zeros), 0.2), rel=1e-6
    )


def test_rotations_are_learned(digits):
    images, labels = digits
    adapter = rotation(n_steps=150, batch_size=50, learning_rate=0.1).fit(images[labels == 3][:100])
    losses = adapter.training_curve_["loss"][1:]
    chance = (math.log(4) + 2 * math.log(3)) / 3
    assert losses[-1] < 0.85 * chance
    confident = -adapter.transform(images[labels == 3][100:120]).mean()
    assert confident > -adapter.transform(images[labels == 1][:20]).mean() > 36 * (1 / 4 + 2 / 3)


@pytest.mark.parametrize("size", [3, 7])
def test_images_too_small_to_be_moved(size, zeros):
    adapter = rotation(extractor=extractor(image_size=size))
    message = f"RotationAdapter: images must have at least 8 pixels .* got image_size={size}"
    with pytest.raises(ValueError, match=message):
        adapter.fit(zeros)
    assert rotation(extractor=extractor(image_size=9)).fit(zeros).stopped_at_ == 4
