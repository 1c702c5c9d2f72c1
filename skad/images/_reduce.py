"""Large images, averaged over boxes of whole pixels before they are resized."""

import threading
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

# Most MiB of images that are decoded at once, at four bytes a pixel: many threads may read, and a
# picture may have a hundred million pixels.
_MOST_DECODED = 512

# Bytes of images that need not be counted.
_SMALL = 2**20


class Origin(NamedTuple):
    """Where a reduced image comes from.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    box : int
        Side of the box of pixels that became one; the last of a row or a column may be cut.
    """

    height: int
    width: int
    box: int


def choose_box(size, detail):
    """Side of the largest box that leaves an image all the detail that is of use.

    Parameters
    ----------
    size : tuple of int
        Height and width of the image.
    detail : callable or None
        Maps height and width to the least ones that do; None keeps all.

    Returns
    -------
    box : int
        1 where the image is not reduced. Boxes are squares, so that proportions stay. One that
        divides both sides is preferred to one up to twice as large: reducing and turning commute
        then.
    """
    if detail is None:
        return 1
    largest = max(1, int(min(length // least for length, least in zip(size, detail(*size)))))
    dividing = (box for box in range(largest, largest // 2, -1) if not any(n % box for n in size))
    return next(dividing, largest)


def reduce_pixels(pixels, box):
    """Average an image over boxes.

    Parameters
    ----------
    pixels : ndarray of uint8 or float32, shape (channels, height, width)
    box : int
        Side of a box.

    Returns
    -------
    reduced : ndarray of the same type, shape (channels, height, width)
        Bytes are averaged to bytes, and floats that are bytes over 255 to such floats: the same
        pixels give the same, whatever their type.
    """
    from PIL import Image

    if box == 1:
        return pixels
    pixels, dtype = _as_bytes(pixels), pixels.dtype
    if pixels.dtype != dtype:
        return reduce_pixels(pixels, box).astype(dtype) / dtype.type(255)
    if pixels.dtype == np.uint8 and len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(image.reduce(box)).transpose(2, 0, 1)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in pixels)
    return np.stack([np.asarray(plane.reduce(box)) for plane in planes])


def _as_bytes(pixels):
    """Bytes, where floats are bytes over 255."""
    if pixels.dtype == np.uint8:
        return pixels
    scaled = pixels * np.float32(255)
    rounded = np.rint(scaled)
    if np.abs(scaled - rounded).max() > 1e-3:
        return pixels
    return rounded.astype(np.uint8)


class _Room:
    """So many bytes for images that are being decoded; one image may always be."""

    def __init__(self, n_bytes):
        self.n_bytes, self._used, self._free = n_bytes, 0, threading.Condition()

    @contextmanager
    def taken(self, n_bytes):
        """Context in which so many bytes are in use; waits for others."""
        if n_bytes < _SMALL and n_bytes < self.n_bytes:
            yield
            return
        with self._free:
            self._free.wait_for(lambda: not self._used or self._used + n_bytes <= self.n_bytes)
            self._used += n_bytes
        try:
            yield
        finally:
            with self._free:
                self._used -= n_bytes
                self._free.notify_all()


decoding_room = _Room(_MOST_DECODED * 2**20)
