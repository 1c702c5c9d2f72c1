"""What a map says of an image as a whole, and what the threshold of pixels is taken from."""

from math import ceil, floor

import numpy as np

# Values that the threshold is taken from, at the most: of one normal map, and of all.
_VALUES_OF_MAP, _VALUES = 2**16, 2**22


def score_of_map(one, given):
    """Score of an image by its map: the lowest value, or the mean of some.

    Parameters
    ----------
    one : ndarray of shape (height, width)
    given : namespace
        Parameters of a detector, here `image_score` and `top_share`.

    Returns
    -------
    score : float
    """
    if given.image_score != "top":
        return float(one.min())
    count = ceil(given.top_share * one.size)
    return float(np.partition(one, count - 1, axis=None)[:count].mean(dtype=np.float64))


def n_to_draw(given):
    """Number of training images whose maps count, if there are as many.

    Parameters
    ----------
    given : namespace
        Parameters of a detector, here `n_threshold_images` and `mask_false_alarm_rate`.
    """
    rate = given.mask_false_alarm_rate
    return (
        given.n_threshold_images if rate is None else max(given.n_threshold_images, ceil(1 / rate))
    )


def _n_values(given):
    """How many values stand for a map, large or small, and how many of these are needed.

    Of all images together the threshold is a low value, above which most values of any one image
    lie, even if all that is below it were of that image.
    """
    n_values = max(2, min(_VALUES // n_to_draw(given), _VALUES_OF_MAP))
    if given.mask_false_alarm_rate is not None:
        return n_values, 1
    needed = ceil(n_to_draw(given) * given.pixel_contamination * n_values) + 2
    return n_values, min(n_values, needed)


def lowest_values(one, given):
    """Those values of a map that the threshold may depend on, lowest first.

    Parameters
    ----------
    one : ndarray of shape (height, width)
    given : namespace
        Parameters of the detector.

    Returns
    -------
    values : ndarray of shape (n_values,)
        As many for every map of a detector.
    """
    n_values, needed = _n_values(given)
    values = np.sort(one, axis=None)
    indices = np.linspace(0, len(values) - 1, n_values)[:needed]
    return values[indices.round().astype(int)]


def pixel_threshold(values, given):
    """Threshold below which the share of pixels, or of images, lies that was asked for.

    Parameters
    ----------
    values : ndarray of shape (n_images, n_values)
        Of `lowest_values`.
    given : namespace
        Parameters of the detector.

    Returns
    -------
    threshold : float
    """
    rate = given.mask_false_alarm_rate
    if rate is not None:  # as many images below it as the rate allows, and no more
        return float(np.sort(values[:, 0])[floor(rate * len(values) + 1e-9)])
    n_values, needed = _n_values(given)
    higher = np.full((len(values), n_values - needed), np.inf, dtype=values.dtype)
    return float(np.quantile(np.hstack([values, higher]), given.pixel_contamination))
