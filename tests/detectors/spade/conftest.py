"""Images, networks and settings that the tests of this folder share."""

import pytest

from skad import (
    SPADE,
)
from tests.detectors.spade.common import SMALL

try:
    import resource
except ImportError:
    resource = None


@pytest.fixture(scope="module")
def temple(tiles):
    return tiles[:24]


@pytest.fixture(scope="module")
def detector(temple):
    return SPADE(**SMALL, n_neighbors=4).fit(temple[:16])
