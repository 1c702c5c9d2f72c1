"""Regions of a mask: where they are, how large, and how their pixels score."""

import numpy as np
from scipy import ndimage

# Pixels that touch at a side or a corner are of one region.
_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_PIXEL = np.dtype([("score", np.float64), ("region", np.int64)])
_COLUMNS = {
    "image": np.int64,
    "region": np.int64,
    "area": np.int64,
    "top": np.int64,
    "left": np.int64,
    "bottom": np.int64,
    "right": np.int64,
    "mean_score": np.float64,
    "lowest_score": np.float64,
}


def pixels_and_regions(i, mask, scores):
    """The pixels of a mask, and the regions that they make.

    Parameters
    ----------
    i : int
        Number of the image.
    mask : ndarray of bool, shape (height, width)
    scores : ndarray of float, shape (height, width)
        NaN in a region is its mean, and its lowest.

    Returns
    -------
    pixels : structured ndarray, shape (n_pixels,)
        `score` and `region` of each, counted from 0.
    columns : tuple of ndarray of shape (n_regions,)
        A piece of a table, for `table_of`.
    """
    labels, n_regions = ndimage.label(mask, _NEIGHBOURS)
    pixels = np.empty(np.count_nonzero(mask), dtype=_PIXEL)
    pixels["score"], pixels["region"] = scores[mask], labels[mask] - 1
    indices, boxes = pixels["region"], ndimage.find_objects(labels)
    area = np.bincount(indices, minlength=n_regions)
    lowest = np.full(n_regions, np.inf)
    with np.errstate(invalid="ignore"):  # of NaN
        np.minimum.at(lowest, indices, pixels["score"])
    return pixels, (
        np.full(n_regions, i),
        np.arange(1, n_regions + 1),
        area,
        *np.array([[y.start, x.start, y.stop, x.stop] for y, x in boxes]).reshape(-1, 4).T,
        np.bincount(indices, weights=pixels["score"], minlength=n_regions) / area,
        lowest,
    )


def table_of(pieces):
    """One table of the regions of all images.

    Parameters
    ----------
    pieces : list of tuple of ndarray
        The columns of each image.

    Returns
    -------
    table : dict of str to ndarray of shape (n_regions,)
    """
    columns = map(np.concatenate, zip(*pieces))
    return {name: c.astype(dtype) for (name, dtype), c in zip(_COLUMNS.items(), columns)}


def regions_below(threshold, maps):
    """Regions of touching pixels of score maps that are below a threshold.

    Parameters
    ----------
    threshold : float
    maps : iterable of ndarray of float, shape (height, width)
        Those of NaN, which could not be read, are below any threshold.

    Returns
    -------
    table : dict of str to ndarray of shape (n_regions,)
    """
    found = (pixels_and_regions(i, ~(one >= threshold), one) for i, one in enumerate(maps))
    return table_of([columns for _, columns in found])
