"""Images, networks and settings that the tests of this folder share."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import extractor, pseudo


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Images of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    return rows.reshape(-1, 8, 8) / 16, labels


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][digits[1] < 3][:30]


@pytest.fixture(scope="module")
def classes(digits):
    """Classes of the images."""
    return digits[1][digits[1] < 3][:30]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][digits[1] > 2][:12]


@pytest.fixture(scope="module")
def colored():
    return np.random.RandomState(0).randint(0, 256, (14, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def odin(colored):
    made = extractor(mean=(0.4, 0.5, 0.6), std=(0.1, 0.3, 0.6))
    labels = np.arange(len(colored)) % 3
    adapter = pseudo(extractor=made, output="odin", learning_rate=3e-2, n_epochs=5)
    return adapter.fit(colored, class_labels=labels)
