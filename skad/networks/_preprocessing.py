"""From images to what a network takes: its size, channels and values."""

from dataclasses import dataclass, replace
from numbers import Real

from ..images._batches import Batch
from ._input_size import metadata, own_size

# The papers' preprocessing: shorter side to 256, then the central 224.
CROP_RATIO = 8 / 7

# Beyond this ratio of sides an image is a strip, of which a central crop shows next to nothing.
STRIP = 4


# Large images are averaged over boxes until so many pixels or a few more are left for one that the
# network sees. Against resizing the whole image, which takes several times as long, that changes
# values by less than 0.02 in any picture, by less than 0.005 in the mean square of the worst (black
# and white noise), and by 0.001 in that of photographs; tests/images hold it to that.
PIXELS_TO_ONE = 5

# Most MiB that images take as floats while they are resized.
_MOST_RESIZED = 16

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

    def detail(self, height, width):
        """Least height and width of an image that does for what the network sees of it."""
        sides = (self.image_size, self.image_size)
        if self.resize == "crop":
            sides = resized_for_crop(*cropped_size(height, width), self.image_size)
            if cropped_size(height, width) != (height, width):  # a strip, whose centre is cut out
                return (height, width)
        return tuple(PIXELS_TO_ONE * side for side in sides)


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
    batch : Batch, tensor or list of tensors
        Tensors are images that were not reduced.
    preprocessing : Preprocessing
    device : torch.device

    Returns
    -------
    images : tensor of float32, shape (n, channels, image_size, image_size)
    """
    import torch

    batch = batch if isinstance(batch, Batch) else Batch(batch)
    size = preprocessing.image_size
    shape = (len(batch), preprocessing.n_channels, size, size)
    images = None
    for indices, pixels, origin in batch.groups():
        resized = [_resized(part, origin, preprocessing, device) for part in _parts(pixels)]
        resized = resized[0] if len(resized) == 1 else torch.cat(resized)
        if isinstance(indices, slice):
            return resized
        images = torch.empty(shape, device=device) if images is None else images
        images[indices] = resized
    return images


def _parts(pixels):
    """Images of one shape, as many at a time as may be floats at once."""
    return pixels.split(max(1, _MOST_RESIZED * 2**20 // (4 * pixels[0].numel())))


def _resized(pixels, origin, preprocessing, device):
    pixels = pixels.to(device, non_blocking=True)
    pixels = pixels.float().div_(255) if not pixels.is_floating_point() else pixels
    resized = resize_images(pixels, preprocessing.image_size, preprocessing.resize, origin)
    return normalize(resized, preprocessing)


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


def resize_images(images, image_size, resize, origin=None):
    """Resize by antialiased bicubic interpolation.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
    image_size : int
        Side of the result, in pixels.
    resize : {"crop", "whole"}
        "crop": the shorter side becomes 8/7 of `image_size`, then the centre is cut out; "whole":
        height and width both become `image_size`.
    origin : Origin, optional
        What the images were reduced from, by whose height and width they are resized.
    """
    height, width = images.shape[-2:] if origin is None else (origin.height, origin.width)
    target = (image_size, image_size)
    if resize == "crop":
        height, width = cropped_size(height, width)
        if origin is None:
            images = _center_crop(images, height, width)
        target = resized_for_crop(height, width, image_size)
    if target != (height, width):
        # Bicubic interpolation overshoots at edges: it may leave the range of pixels, but where
        # the image itself goes beyond (flat rows unlike the training rows), that is kept.
        low = images.amin((1, 2, 3), keepdim=True).clamp_(max=0)
        high = images.amax((1, 2, 3), keepdim=True).clamp_(min=1)
        images = _interpolated(images, target, origin).clamp_(low, high)
    return _center_crop(images, image_size, image_size) if resize == "crop" else images


def _interpolated(images, target, origin):
    import torch.nn.functional as F

    if origin is None:
        return F.interpolate(images, target, mode="bicubic", antialias=True)
    rows = _weights(origin.height, origin.box, target[0], images)
    columns = _weights(origin.width, origin.box, target[1], images)
    return rows @ images @ columns.T


def _weights(length, box, target, like):
    """What torch's bicubic interpolation is on a side, for pixels that are boxes, the last one cut.

    Returns
    -------
    weights : tensor of shape (target, number of boxes)
    """
    import torch

    edges = torch.arange(0, length + box, box, dtype=torch.float64).clamp_(max=length)
    centers, widths = (edges[:-1] + edges[1:]) / 2, edges.diff()
    seen = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * length / target
    far = (centers - seen).abs_() * target / length
    near = (1.5 * far - 2.5) * far**2 + 1  # Keys' cubic with -1/2, as torch and Pillow have it
    beyond = ((2.5 - 0.5 * far) * far - 4) * far + 2
    weights = widths * torch.where(far < 1, near, beyond * (far < 2))
    return (weights / weights.sum(1, keepdim=True)).to(like.device, like.dtype)


def cropped_size(height, width):
    """Height and width of what "crop" takes of an image: all, but of a strip its centre."""
    return min(height, STRIP * width), min(width, STRIP * height)


def resized_for_crop(height, width, image_size):
    """Height and width that "crop" resizes to, before it cuts the centre out."""
    shorter = round(image_size * CROP_RATIO)
    return tuple(int(shorter * side / min(height, width)) for side in (height, width))


def _center_crop(images, height, width):
    top = round((images.shape[-2] - height) / 2)
    left = round((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]
