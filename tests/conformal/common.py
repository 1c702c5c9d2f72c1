"""Images of smooth noise, a detector of pixels that are odd, and regions by a slow search."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skad import ConformalMapDetector


class OddPixels(BaseEstimator):
    """How many standard deviations each pixel is from the mean of all pixels of the fit."""

    def __init__(self, *, decimals=None):
        self.decimals = decimals

    def fit(self, X, y=None):
        pixels = np.concatenate([np.ravel(one) for one in X])
        self.mean_, self.scale_, self.seen_ = pixels.mean(), pixels.std(), list(X)
        return self

    def score_maps(self, X):
        if isinstance(X, np.ndarray):
            return self._score(X)
        return [self._score(one) for one in X]

    def _score(self, pixels):
        scores = -np.abs(pixels - self.mean_) / self.scale_
        return (scores if self.decimals is None else scores.round(self.decimals)).astype(np.float32)


def noise(n, rng, shape=(12, 12)):
    """Smooth noise of unit variance, an array of images."""
    images = gaussian_filter(rng.normal(size=(n, *shape)), (0, 1, 1), mode="wrap")
    return images / images.std()


def of_many_sizes(n, rng):
    """Smooth noise, a list of images of differing sizes."""
    return [noise(1, rng, (int(h), int(w)))[0] for h, w in rng.randint(6, 15, (n, 2))]


def calibrated(calibration, *, decimals=None, **given):
    """Of a detector that was fitted to other noise, calibrated by all the images."""
    inner = OddPixels(decimals=decimals).fit(noise(50, np.random.RandomState(99)))
    detector = ConformalMapDetector(FrozenEstimator(inner), calibration_share=1.0, **given)
    return detector.fit(calibration)


def slow_regions(scores, threshold):
    """Sets of pixels below a threshold that touch, in the order of their first pixels."""
    below = {tuple(map(int, place)) for place in np.argwhere(~(scores >= threshold))}
    regions = []
    for start in sorted(below):
        if any(start in region for region in regions):
            continue
        region, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & below - region
            region |= near
            edge.extend(near)
        regions.append(region)
    return regions


def slow_rows(scores, threshold):
    """Area, box, mean, lowest score and mass of each region of one map."""
    rows = []
    for region in slow_regions(scores, threshold):
        ys, xs = zip(*region)
        values = [float(scores[place]) for place in sorted(region)]
        box = (min(ys), min(xs), max(ys) + 1, max(xs) + 1)
        mass = sum(threshold - value for value in values)
        rows.append((len(region), *box, np.mean(values), min(values), mass))
    return rows
