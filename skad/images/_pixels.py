"""Rules for pixel values, the same for every container."""

import numpy as np

# float arithmetic on [0, 1] may leave it by a few last bits
_TOLERANCE = 1e-5

CHANNELS = (1, 3, 4)


def check_float_pixels(images, name, owner):
    """Give float images as float32, after a look that they are finite and in [0, 1].

    Parameters
    ----------
    images : ndarray of float or bool, shape (n_images, ...)
    name : callable
        Maps an index in `images` to what an error calls it.
    owner : str
        Named in errors.
    """
    values = images.reshape(len(images), -1)
    low, high = values.min(axis=1), values.max(axis=1)
    for i in np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))[:1]:
        raise ValueError(f"{owner}: {name(i)} contains NaN or infinity.")
    for i in np.flatnonzero((low < -_TOLERANCE) | (high > 1 + _TOLERANCE))[:1]:
        raise ValueError(
            f"{owner}: floats of images must lie in [0, 1]; {name(i)} spans "
            f"[{low[i]:.6g}, {high[i]:.6g}]. Scale them, or pass uint8 in [0, 255]."
        )
    return images.astype(np.float32, copy=False)
