"""Colours and tones of a batch, with one strength per image."""

from .._types import Tensor
from ._batch import _per_sample, _replace

# Weights of red, green and blue in grey, as torchvision has them.
_GRAY = (0.2989, 0.587, 0.114)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply each image by a factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Clipped at 1.
    """
    return images.mul(_per_sample(factors, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the difference of each image from its mean grey by a factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Clipped to [0, 1].
    """
    means = _gray(images.mean(dim=(2, 3), keepdim=True))
    factors = _per_sample(factors, images)
    return images.mul(factors).add_((1 - factors) * means).clamp_(0, 1)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the difference of each pixel from its grey by a factor for each image.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Clipped to [0, 1].
    """
    if images.shape[1] == 1:
        return images
    return _gray(images).lerp(images, _per_sample(factors, images)).clamp_(0, 1)


def adjust_hue(images: Tensor, factors: Tensor) -> Tensor:
    """Rotate the hue of each image by a share of the colour circle.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        In [-0.5, 0.5]; 0 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        The changed images.

    Notes
    -----
    The HSV model, without computing its saturation: largest and smallest channel stay, and with hue
    on a circle of six a channel is the largest up to 1 away from its own hue, the smallest from 2.
    """
    import torch

    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    largest = red.maximum(green).maximum(blue)
    smallest = red.minimum(green).minimum(blue)
    chroma = largest - smallest
    # The distance of the hue from red is linear in the channels wherever it is: no cases.
    hue = (green + blue).sub_(red).add_(largest).sub_(smallest, alpha=2)
    # Grey pixels, of no chroma, have a hue of 0, which changes nothing.
    hue.div_(chroma.clamp(min=1e-30)).copysign_(green - blue)
    hue.add_(6 * _per_sample(factors, images)[:, 0])
    own_hues = torch.tensor([0.0, 2.0, -2.0], device=images.device)[:, None, None]
    # Distances on the circle: hue is in [-3, 3], turned by up to 3, so differences are within 8.
    distances = (hue[:, None] - own_hues).abs_().sub_(3).abs_().sub_(3).abs_()
    fall = distances.sub_(1).clamp_(0, 1)
    return torch.addcmul(largest[:, None], chroma[:, None], fall, value=-1)


def to_gray(images: Tensor, mask: Tensor) -> Tensor:
    """Take the colours from some of the images.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        One channel (nothing is done) or three.
    mask : tensor of bool, shape (n,)
        True for images to change.

    Returns
    -------
    images : tensor of the same shape
        The changed images.
    """
    if images.shape[1] == 1:
        return images
    images = images.clone()
    _replace(images, mask, _gray)
    return images


def _gray(images):
    """Grey of each pixel, with one channel."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return red.mul(_GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2])
