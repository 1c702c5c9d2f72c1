"""Tones of a batch: the histogram and the levels of each channel of each image, as PIL has them."""

from .._types import Tensor
from ._batch import _per_sample

# Greatest of the levels of a byte: what PIL works on.
_MAX_LEVEL = 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to the whole range of [0, 1].

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].

    Returns
    -------
    images : tensor of the same shape
        The stretched images. A channel with a single level is unchanged.
    """
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    spans = high - low
    # Less than a level apart, values differ by rounding: stretched, that would be noise.
    is_flat = spans < 0.5 / _MAX_LEVEL
    return images.sub(low.masked_fill_(is_flat, 0)).div_(spans.masked_fill_(is_flat, 1))


def equalize(images: Tensor) -> Tensor:
    """Give the levels of each channel of each image an even histogram.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].

    Returns
    -------
    images : tensor of the same shape
        Multiples of 1/255. A channel is unchanged if fewer than 255 of its pixels are below its
        brightest level.

    Notes
    -----
    Values are rounded to the 256 levels of bytes to compute the histogram.
    """
    import torch

    levels = _levels(images).long().flatten(2)
    counts = levels.new_zeros((*levels.shape[:2], _MAX_LEVEL + 1))
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    brightest = counts.gather(2, levels.amax(2, keepdim=True))
    steps = (levels.shape[2] - brightest) // _MAX_LEVEL
    darker = counts.cumsum(2) - counts
    table = (darker + steps // 2).div_(steps.clamp(min=1), rounding_mode="floor")
    table = table.clamp_(max=_MAX_LEVEL).to(images.dtype).div_(_MAX_LEVEL)
    return torch.where(steps[..., None] == 0, images, table.gather(2, levels).view_as(images))


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the first bits of the level of each pixel.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    bits : tensor of shape (n,)
        Number of bits for each image, from 1 to 8.

    Returns
    -------
    images : tensor of the same shape
        Multiples of 1/255.
    """
    levels = _levels(images)
    steps = 2 ** (8 - _per_sample(bits, images))
    return levels.div_(steps).floor_().mul_(steps).div_(_MAX_LEVEL)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the pixels at or above a threshold.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    thresholds : tensor of float32, shape (n,)
        Threshold of each image. 0 inverts all pixels; more than 1 inverts none.

    Returns
    -------
    images : tensor of the same shape
        The changed images.
    """
    inverted = images >= _per_sample(thresholds, images)
    return images.sub(inverted.to(images.dtype)).abs_()


def _levels(images):
    """Nearest levels of bytes, as floats."""
    return images.mul(_MAX_LEVEL).round_()
