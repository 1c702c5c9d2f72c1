"""The far device is there for all tests of this folder."""

import pytest
from sklearn.datasets import load_digits

from . import far


@pytest.fixture(autouse=True)
def far_device():
    """Without float64, as the strictest devices are."""
    far.register()
    with far.without_float64():
        yield


@pytest.fixture(scope="session")
def digits():
    """Flat rows of 24 digits, and of 6 others."""
    X, _ = load_digits(return_X_y=True)
    return X[:24], X[24:30]
