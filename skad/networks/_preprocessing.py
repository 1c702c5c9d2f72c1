"""From images to what a network takes: its size, channels and values."""

from dataclasses import dataclass, replace
from numbers import Real

from ..images._batches import same_shape
from ._input_size import metadata, own_size

# The papers' preprocessing: shorter side to 256, then the central 224.
CROP_RATIO = 8 / 7

# Beyond this ratio of sides an image is a strip, of which a central crop shows next to nothing.
_STRIP = 4


# What networks without metadata get: the statistics and the size of nearly all ImageNet networks.
IMAGENET_MEAN, IMAGENET_STD, IMAGENET_SIZE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224


@dataclass(frozen=True)
class Preprocessing:
    """How images are made ready for a network."""

    image_size: int
    resize: str
    mean: tuple
    std: tuple
    n_channels: int
    contrast_range: tuple | None = None


def resolve_preprocessing(network, *, image_size=None, resize=None, mean=None, std=None):
    """Fill in what the user left open from the metadata of the network."""
    config = metadata(network)
    input_size = config.get("input_size") or (
        _first_channels(network),
        IMAGENET_SIZE,
        IMAGENET_SIZE,
    )
    n_channels, own = input_size[0], own_size(network) or input_size[1:]
    mean = _per_channel("mean", mean, config.get("mean") or IMAGENET_MEAN, n_channels)
    std = _per_channel("std", std, config.get("std") or IMAGENET_STD, n_channels)
    if min(std) <= 0:
        raise ValueError(f"std must be positive, got {std}.")
    if resize is None:
        resize = "whole" if config.get("crop_pct") == 1.0 else "crop"
    return Preprocessing(image_size or own[-1], resize, mean, std, n_channels)


def _first_channels(network):
    """Channels that a network without metadata takes: those of its first convolution."""
    for module in network.modules():
        if hasattr(module, "in_channels") and hasattr(module, "kernel_size"):
            return module.in_channels
    return 3


def _per_channel(name, given, default, n_channels):
    values = default if given is None else given
    values = tuple(float(v) for v in ([values] if isinstance(values, Real) else values))
    if len(values) == 1 or (given is None and len(values) != n_channels):
        values = (sum(values) / len(values),) * n_channels
    if len(values) != n_channels:
        raise ValueError(
            f"{name} has {len(values)} values; the network takes {n_channels} channels."
        )
    return values


def preprocess(batch, preprocessing, device):
    """Resize and normalise a batch as its network wants it.

    Parameters
    ----------
    batch : tensor or list of tensors
        uint8, or float32 in [0, 1] (a little beyond for scaled flat rows).
    preprocessing : Preprocessing
    device : torch.device

    Returns
    -------
    images : tensor of float32, shape (n, channels, image_size, image_size)
    """
    import torch

    if isinstance(batch, list):
        size = preprocessing.image_size
        images = torch.empty((len(batch), preprocessing.n_channels, size, size), device=device)
        for indices in same_shape(batch):
            group = torch.stack([batch[i] for i in indices])
            images[indices] = preprocess(group, preprocessing, device)
        return images
    batch = batch.to(device, non_blocking=True)
    batch = batch.float().div_(255) if batch.dtype == torch.uint8 else batch
    return normalize(
        resize_images(batch, preprocessing.image_size, preprocessing.resize), preprocessing
    )


def normalize(images, preprocessing):
    """Give images in [0, 1], (n, channels, height, width), the channels and values of a network."""
    import torch

    if images.shape[1] == 1:
        images = images.expand(-1, preprocessing.n_channels, -1, -1)
    elif images.shape[1] != preprocessing.n_channels:
        raise ValueError(
            f"the backbone takes {preprocessing.n_channels} channel(s), but images have "
            f"{images.shape[1]}; convert them, or choose another backbone."
        )
    if preprocessing.contrast_range is not None:
        low, high = preprocessing.contrast_range
        return contrast_normalized(images).sub_(low).div_(high - low)
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    return images.sub(mean).div_(std)


def contrast_normalized(images):
    """Images less their mean, over their mean absolute value; those of one colour become zero."""
    images = images - images.mean((1, 2, 3), keepdim=True)
    scale = images.abs().mean((1, 2, 3), keepdim=True)
    # What is left of an image of one colour is rounding.
    return images.div_(scale.masked_fill_(scale < 1e-6, 1))


def contrast_range(batches, preprocessing):
    """Least and greatest value of images after contrast normalisation."""
    lows, highs = [], []
    plain = replace(preprocessing, contrast_range=(0.0, 1.0))
    for _, batch in batches:
        images = preprocess(batch, plain, "cpu")
        lows.append(float(images.amin()))
        highs.append(float(images.amax()))
    low, high = min(lows), max(highs)
    return (low, high) if high > low else (low, low + 1)


def resize_images(images, image_size, resize):
    """Resize by antialiased bicubic interpolation.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
    image_size : int
        Side of the result, in pixels.
    resize : {"crop", "whole"}
        "crop": the shorter side becomes 8/7 of `image_size`, then the centre is cut out; "whole":
        height and width both become `image_size`.
    """
    import torch.nn.functional as F

    height, width = images.shape[-2:]
    target = (image_size, image_size)
    if resize == "crop":
        height, width = cropped_size(height, width)
        images = _center_crop(images, height, width)
        target = resized_for_crop(height, width, image_size)
    if target != (height, width):
        # Bicubic interpolation overshoots at edges: it may leave the range of pixels, but where
        # the image itself goes beyond (flat rows unlike the training rows), that is kept.
        low = images.amin((1, 2, 3), keepdim=True).clamp_(max=0)
        high = images.amax((1, 2, 3), keepdim=True).clamp_(min=1)
        images = F.interpolate(images, target, mode="bicubic", antialias=True)
        images = images.clamp_(low, high)
    return _center_crop(images, image_size, image_size) if resize == "crop" else images


def cropped_size(height, width):
    """Height and width of what "crop" takes of an image: all, but of a strip its centre."""
    return min(height, _STRIP * width), min(width, _STRIP * height)


def resized_for_crop(height, width, image_size):
    """Height and width that "crop" resizes to, before it cuts the centre out."""
    shorter = round(image_size * CROP_RATIO)
    return tuple(int(shorter * side / min(height, width)) for side in (height, width))


def _center_crop(images, height, width):
    top = round((images.shape[-2] - height) / 2)
    left = round((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]
