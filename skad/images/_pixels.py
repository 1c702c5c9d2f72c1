"""Rules for pixel values, the same for every container."""

import threading

import numpy as np

from .._warnings import warn

# float arithmetic on [0, 1] may leave it by a few last bits
_TOLERANCE = 1e-5

CHANNELS = (1, 3, 4)

# White of unsigned integers.
_WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}

# Beyond this ratio of sides an array or a file is no picture, but a row of a table, say.
_LONGEST_STRIP = 1000

# Training images of 16 bits that leave so much of their range unused are of another range.
_DARK = 16


class PictureError(ValueError):
    """What is wrong with a picture, in our own words."""


def check_sides(height, width, name):
    """Refuse what is far too long and narrow for a picture."""
    if max(height, width) > _LONGEST_STRIP * min(height, width):
        raise PictureError(
            f"{name} is a strip of {width} x {height} pixels (width x height), which no network "
            f"sees as a picture; cut it into pieces at most {_LONGEST_STRIP} times as long as wide."
        )


def check_type(dtype, name, owner, value_range, values=None):
    """Refuse types of numbers whose black and white nobody knows.

    Parameters
    ----------
    dtype : dtype
    name : str
        What an error calls the images.
    owner : str
        Named in errors.
    value_range : tuple of float, optional
        Black and white, where they are known.
    values : ndarray, optional
        For better advice.
    """
    dtype = np.dtype(dtype)
    if dtype in _WHITE or dtype.kind in "fb" or (dtype.kind in "iu" and value_range is not None):
        return
    raise TypeError(
        f"{owner}: {name} has dtype {dtype}; images are uint8 in [0, 255], uint16 in [0, 65535] or "
        f"floats in [0, 1]. {_advice(dtype, values)}"
    )


def _advice(dtype, values):
    """How values of a refused type become images, by what they are."""
    if dtype.kind not in "iu" or values is None or not values.size:
        return "Convert them to one of these; a cast that does not scale may wrap or cut values."
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return (
            f"These span [{low}, {high}]: say by value_range=(black, white) what they mean, for "
            f"example value_range=({low}, {high})."
        )
    if high <= 255:
        return (
            "These lie in [0, 255]: .astype(np.uint8) keeps them as they are; for files say "
            "value_range=(0, 255)."
        )
    if high <= 65535:
        return (
            "These lie in [0, 65535]: .astype(np.uint16) keeps them as they are (np.uint8 would "
            "wrap them); say by value_range=12, for example, if they are of fewer bits."
        )
    return f"These go up to {high}: say by value_range=(black, white) what they mean."


def scale_pixels(images, name, owner, value_range=None, seen=None):
    """Give images of any allowed type as uint8, or as float32 in [0, 1].

    Parameters
    ----------
    images : ndarray of shape (n_images, ...)
    name : callable
        Maps an index in `images` to what an error calls it.
    owner : str
        Named in errors.
    value_range : tuple of float, optional
        Values that become black and white; by default 0 and the greatest of unsigned integers, 0
        and 1 of floats.
    seen : Brightest, optional
        Told how bright images of 16 bits are.
    """
    check_type(images.dtype, name(0), owner, value_range, images)
    if value_range is not None:
        if images.dtype == np.uint8 and value_range[1] > _WHITE[images.dtype]:
            raise ValueError(
                f"{owner}: {name(0)} is of 8 bits, whose white is 255, not that of value_range="
                f"({value_range[0]:g}, {value_range[1]:g}); leave value_range out, or this image."
            )
        return _scaled(images, name, owner, *value_range)
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        if seen is not None:
            seen.update(int(images.max(initial=0)))
        return images.astype(np.float32) / np.float32(_WHITE[images.dtype])
    return _check_floats(images, name, owner)


def _scaled(images, name, owner, black, white):
    for i, (low, high) in enumerate(zip(*_extremes(images))):
        _check_finite(low, high, name(i), owner)
        slack = _TOLERANCE * (white - black) if images.dtype.kind == "f" else 0
        if low < black - slack or high > white + slack:
            raise ValueError(
                f"{owner}: {name(i)} spans [{low:.6g}, {high:.6g}], beyond value_range="
                f"({black:g}, {white:g}); give a range that holds all images."
            )
    return ((images.astype(np.float64) - black) / (white - black)).astype(np.float32)


def _check_floats(images, name, owner):
    """Float images as float32, after a look that they are finite and in [0, 1]."""
    lows, highs = _extremes(images)
    for i in np.flatnonzero(~(np.isfinite(lows) & np.isfinite(highs)))[:1]:
        _check_finite(lows[i], highs[i], name(i), owner)
    for i in np.flatnonzero((lows < -_TOLERANCE) | (highs > 1 + _TOLERANCE))[:1]:
        raise ValueError(
            f"{owner}: floats of images must lie in [0, 1]; {name(i)} spans "
            f"[{lows[i]:.6g}, {highs[i]:.6g}]. Scale them, pass what was uint8 as uint8, or say by "
            "value_range=(black, white) what they mean."
        )
    return images.astype(np.float32, copy=False)


def _extremes(images):
    values = images.reshape(len(images), -1)
    return values.min(axis=1), values.max(axis=1)


def _check_finite(low, high, name, owner):
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{owner}: {name} contains NaN or infinity.")


class Brightest:
    """The greatest value among images of 16 bits that were read, in whatever thread."""

    def __init__(self):
        self.value, self._lock = None, threading.Lock()

    def update(self, value):
        """Take note of the greatest value of an image."""
        with self._lock:
            self.value = value if self.value is None else max(self.value, value)

    def __getstate__(self):
        return {"value": self.value}

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.Lock())

    def warn_if_dark(self, owner):
        """Warn where training images of 16 bits hardly use them."""
        if self.value is None or self.value >= 65536 // _DARK:
            return
        bits = max(1, self.value.bit_length())
        warn(
            f"{owner}: the brightest pixel of the training images, of 16 bits, is {self.value} of "
            f"65535, so the network sees them all but black. If the camera gives fewer bits, say "
            f"so: value_range={bits}, or value_range=(black, white)."
        )
