"""Images, networks and settings that the tests of this folder share."""

import pytest
from sklearn.datasets import load_digits

from skad.training import _run as _run


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Zeros, ones and twos of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    few = labels < 3
    return rows[few].reshape(-1, 8, 8)[:150] / 16, labels[few][:150]


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:30]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][100:112]
