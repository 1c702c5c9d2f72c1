"""Images, networks and settings that the tests of this folder share."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from skad import DN2

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def train(tiles):
    return tiles[24:40]  # of the flower


@pytest.fixture(scope="module")
def test(tiles):
    return np.concatenate([tiles[40:], tiles[:24]])


@pytest.fixture(scope="module")
def y(test):
    return np.repeat([1, -1], [8, len(test) - 8])


@pytest.fixture(scope="module")
def detector(train):
    return DN2(metric="cosine").fit(train)


@pytest.fixture(scope="module")
def scores(detector, test):
    return detector.decision_function(test)


@pytest.fixture
def ax():
    _, axes = plt.subplots(1, 2)
    return axes[1]


@pytest.fixture(scope="module")
def images(tiles):
    return tiles[[3, 20, 31, 40]]


@pytest.fixture(scope="module")
def masks(images):
    masks = np.zeros(images.shape[:3], dtype=bool)
    masks[1, 10:20, 30:] = True
    return masks
