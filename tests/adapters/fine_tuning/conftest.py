"""Images, networks and settings that the tests of this folder share."""

import pytest

from skad import PANDAOE, JointOptimization, JointOptimizationAdapter, OutlierExposureAdapter
from skad.adapters import _fisher
from skad.training import _run as _run
from tests.adapters.fine_tuning.common import CLASSES


@pytest.fixture(scope="module")
def normal(tiles):
    return tiles[24:44]


@pytest.fixture(scope="module")
def others(tiles):
    return tiles[:24]


@pytest.fixture(autouse=True)
def small_figures(monkeypatch):
    """Fisher information of two batches instead of a hundred; a look after every step."""
    monkeypatch.setattr(_fisher, "N_BATCHES", 2)
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture
def auxiliary(others):
    """What `fit` takes beside the normal images."""

    def of(estimator):
        if isinstance(estimator, (OutlierExposureAdapter, PANDAOE)):
            return {"X_outliers": others}
        if isinstance(estimator, (JointOptimizationAdapter, JointOptimization)):
            return {"X_source": others, "y_source": CLASSES}
        return {}

    return of
