"""Images, networks and settings that the tests of this folder share."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skad.adapters import _self_supervised
from skad.training import _run as _run


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Images of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    return rows.reshape(-1, 8, 8) / 16, labels


@pytest.fixture(scope="module")
def zeros(digits):
    return digits[0][digits[1] == 0][:20]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][digits[1] != 0][:12]


@pytest.fixture(scope="module")
def colored():
    return np.random.RandomState(0).randint(0, 256, (12, 16, 16, 3), dtype=np.uint8)


# Rotations as negatives


@pytest.fixture
def losses(monkeypatch):
    """Arguments of the contrastive loss."""
    seen, plain = [], _self_supervised.nt_xent_loss

    def spy(first, second, temperature):
        seen.append((first.detach(), second.detach(), temperature))
        return plain(first, second, temperature)

    monkeypatch.setattr(_self_supervised, "nt_xent_loss", spy)
    return seen
