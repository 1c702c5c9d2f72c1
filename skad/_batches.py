"""From a source of images to what a network takes: batches read ahead, resized on the device."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

# The papers' preprocessing: shorter side to 256, then the central 224.
CROP_RATIO = 8 / 7

# Beyond this ratio of sides an image is a strip, of which a central crop shows next to nothing.
_STRIP = 4


def iterate_batches(source, batch_size, n_threads):
    """Read batches one ahead, so that decoding overlaps with what is done with the last one.

    Parameters
    ----------
    source : ImageSource
        What :func:`skad._images.check_images` returns.
    batch_size : int
    n_threads : int
        Threads that decode within a batch.

    Yields
    ------
    start : int
        Place of the first image of the batch.
    batch : tensor (n, channels, height, width) or list of tensors (channels, height, width)
    """
    starts = range(0, len(source), batch_size)
    if len(starts) == 1:
        yield 0, source.read(0, batch_size, n_threads)
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = None
        for start in starts:
            batch = ahead.result() if ahead else source.read(0, batch_size, n_threads)
            following = start + batch_size
            if following < len(source):
                ahead = reader.submit(source.read, following, following + batch_size, n_threads)
            yield start, batch


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
        for places in _same_shape(batch):
            group = torch.stack([batch[i] for i in places])
            images[places] = preprocess(group, preprocessing, device)
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


def _same_shape(batch):
    """Places of the images of each shape."""
    groups = {}
    for place, image in enumerate(batch):
        groups.setdefault((image.shape, image.dtype), []).append(place)
    return groups.values()


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
