"""Large pictures are made small by whole boxes of pixels."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skad.images._door import check_images
from skad.images._reduce import choose_box


@pytest.mark.parametrize("size", [(3024, 4032), (487, 631), (600, 5000)])
def test_reduced_pictures_keep_their_proportions(size):
    box = choose_box(size, lambda *_: (60, 60))
    assert 1 < box <= min(size) / 60
    source = check_images(BaseEstimator(), np.zeros((1, *size), np.uint8))
    (reduced,) = source.read(0, 1, 1, lambda *_: (60, 60)).pixels
    assert reduced.shape[1:] == tuple(-(-length // box) for length in size)
