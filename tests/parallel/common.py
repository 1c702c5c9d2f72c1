"""Detectors, images, and pictures that are the end of a worker."""

import os

import numpy as np
from PIL import Image

from skad import DN2, SPADE
from tests.instances import SMALL

IMAGES = np.random.RandomState(0).randint(0, 256, (90, 40, 40, 3)).astype(np.uint8)
TOGETHER = {**SMALL, "batch_size": 8}


def dn2(**others):
    return DN2(**TOGETHER, **others)


def spade():
    return SPADE(**TOGETHER, n_neighbors=3, n_threshold_images=3)


class Deadly:
    """An image that ends the process that reads it, once, unless that is where it was made."""

    ndim, shape, dtype = 3, (40, 40, 3), np.dtype(np.uint8)

    def __init__(self, pixels, mark):
        self.pixels, self.mark, self.home = pixels, str(mark), os.getpid()

    def __array__(self, dtype=None, copy=None):
        if os.getpid() != self.home and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            os._exit(1)
        return self.pixels


def with_one_deadly(mark, where=50):
    images = list(IMAGES)
    images[where] = Deadly(images[where], mark)
    return images


def files_of(folder, n_images=60):
    paths = [str(folder / f"{i:03}.png") for i in range(n_images)]
    for path, image in zip(paths, IMAGES):
        Image.fromarray(image).save(path)
    return paths


def check_all(detectors):
    """All that is dealt out gives the bits of one process; called where workers are chosen."""
    for detector, (scores, maps) in detectors:
        np.testing.assert_array_equal(detector.score_samples(IMAGES), scores)
        if maps is not None:
            np.testing.assert_array_equal(detector.score_maps(IMAGES), maps)
        again = type(detector)(**detector.get_params()).fit(IMAGES[:40])
        np.testing.assert_array_equal(again.score_samples(IMAGES), scores)
        assert again.offset_ == detector.offset_


def expected_of(detector):
    fitted = detector.fit(IMAGES[:40])
    maps = fitted.score_maps(IMAGES) if hasattr(fitted, "score_maps") else None
    return fitted, (fitted.score_samples(IMAGES), maps)
