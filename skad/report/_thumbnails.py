"""Small pictures for a page, bounded in pixels and in bytes."""

import base64
import io
from math import ceil

import numpy as np
from sklearn.base import BaseEstimator

from ..images._door import check_images
from ..images._reading import Reading

# Sides in pixels of a picture and of a neighbour, and most bytes of each.
SIDE, MOST = 320, 20_000
NEIGHBOR_SIDE, NEIGHBOR_MOST = 160, 6_000

# Of JPEG, tried one after another.
_QUALITIES = (85, 70, 55, 40, 25, 10, 1)


class Thumbnails:
    """Reads pictures small, as a detector sees them: upright, in its range of values.

    Parameters
    ----------
    detector : estimator
        Fitted.
    """

    def __init__(self, detector):
        door = detector[0] if hasattr(detector, "steps") else detector
        reading = getattr(door, "_reading", None) or Reading.of(door)
        told = vars(reading) | {"decode": "draft"}  # to be looked at, not to be measured
        self._door = type(type(detector).__name__, (BaseEstimator,), told)()

    def read(self, path, side=SIDE):
        """Read one picture.

        Parameters
        ----------
        path : str
        side : int
            The longer one of what is given, or about half of it where the picture is smaller.

        Returns
        -------
        pixels : ndarray of uint8, shape (height, width) or (height, width, 3)

        Raises
        ------
        OSError, ValueError
            If it can't be read.
        """

        def detail(height, width):
            scale = min(1, side / max(height, width))
            return ceil(height * scale), ceil(width * scale)

        batch = check_images(self._door, [path]).read(0, 1, detail=detail)
        pixels = batch.pixels[0].numpy()
        if pixels.dtype != np.uint8:
            pixels = (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        return resized(pixels, fitting(batch.sizes[0], side))


def fitting(shape, side):
    """Height and width of a picture of this shape as a thumbnail.

    Small pictures are enlarged by a whole number, so that each pixel is a square.
    """
    height, width = shape
    longest = max(height, width)
    if longest <= side:
        scale = max(1, side // (2 * longest))
        return height * scale, width * scale
    return max(1, round(height * side / longest)), max(1, round(width * side / longest))


def resized(plane, shape):
    """Pixels, a map or a mask at another height and width.

    Parameters
    ----------
    plane : ndarray of uint8, float32 or bool, shape (height, width) or (height, width, 3)
    shape : tuple of int

    Returns
    -------
    resized : ndarray of the same type
        Averages; of a mask, True where any pixel is.
    """
    from PIL import Image

    if plane.shape[:2] == tuple(shape):
        return plane
    image = Image.fromarray(plane.astype(np.float32) if plane.dtype == bool else plane)
    image = image.resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(image) > 0 if plane.dtype == bool else np.asarray(image)


def as_data(pixels, most=MOST):
    """A picture as an address that holds it.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, 3)
    most : int
        Bytes of the JPEG file, as far as any quality gets there.

    Returns
    -------
    address : str
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, subsampling=0)  # optimised, noise breaks it
        if file.tell() <= most:
            break
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
