"""What pixels become: brightness, contrast, saturation, hue, grey."""

from ._batch import per_sample, replace

# Weights of red, green and blue in grey, as torchvision has them.
_GRAY = (0.2989, 0.587, 0.114)


def adjust_brightness(images, factors):
    """Multiply each image by its factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 1.
    """
    return images.mul(per_sample(factors, images)).clamp_(0, 1)


def adjust_contrast(images, factors):
    """Multiply the distance of each image from its mean grey by its factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 0 and 1.
    """
    means = gray(images.mean(dim=(2, 3), keepdim=True))
    factors = per_sample(factors, images)
    return images.mul(factors).add_((1 - factors) * means).clamp_(0, 1)


def adjust_saturation(images, factors):
    """Multiply the distance of each pixel from its grey by its image's factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 0 and 1.
    """
    if images.shape[1] == 1:
        return images
    return gray(images).lerp(images, per_sample(factors, images)).clamp_(0, 1)


def adjust_hue(images, factors):
    """Turn the hue of each image by its share of the circle.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        In [-0.5, 0.5]; 0 changes nothing.

    Returns
    -------
    images : tensor of the same shape

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
    hue.add_(6 * per_sample(factors, images)[:, 0])
    own_hues = torch.tensor([0.0, 2.0, -2.0], device=images.device)[:, None, None]
    # Distances on the circle: hue is in [-3, 3], turned by up to 3, so differences are within 8.
    distances = (hue[:, None] - own_hues).abs_().sub_(3).abs_().sub_(3).abs_()
    fall = distances.sub_(1).clamp_(0, 1)
    return torch.addcmul(largest[:, None], chroma[:, None], fall, value=-1)


def to_gray(images, mask):
    """Take the colours from some of the images.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        One channel (nothing is done) or three.
    mask : tensor of bool, shape (n,)

    Returns
    -------
    images : tensor of the same shape
    """
    if images.shape[1] == 1:
        return images
    images = images.clone()
    replace(images, mask, gray)
    return images


def gray(images):
    """Grey of each pixel, with one channel."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return red.mul(_GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2])


def adjust_sharpness(images, factors):
    """Multiply the distance of each image from its smoothed copy by its factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing, 0 smooths by the 3 x 3 kernel of PIL but for the edge.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 0 and 1.
    """
    import torch

    if min(images.shape[-2:]) < 3:
        return images
    n_channels = images.shape[1]
    kernel = images.new_full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = torch.nn.functional.conv2d(
        images, kernel.expand(n_channels, 1, 3, 3), groups=n_channels
    )
    return smooth.lerp_(images, per_sample(factors, images)).clamp_(0, 1)


def autocontrast(images):
    """Stretch each channel of each image to [0, 1]; one of one value stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return images.sub(low.masked_fill(flat, 0)).div_((high - low).masked_fill(flat, 1))


def equalize(images):
    """Give each channel of each image a flat histogram, as PIL does, over its 256 values."""
    import torch

    n, channels, height, width = images.shape
    levels = images.mul(255).round_().long().view(n * channels, -1)
    counts = torch.zeros((n * channels, 256), dtype=torch.long, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    # Pixels up to the last value that is there, over as many steps as there are values.
    last = (counts > 0).int().mul_(torch.arange(256, device=images.device)).argmax(1, keepdim=True)
    step = (height * width - counts.gather(1, last)) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)
    same = torch.arange(256, device=images.device).expand_as(table)
    table = torch.where(step > 0, table.clamp_(max=255), same)
    return table.gather(1, levels).view_as(images).to(images.dtype).div_(255)


def solarize(images, thresholds):
    """Invert the pixels from a threshold of 0 to 256 on, for values of 0 to 255."""
    return images.where(images * 255 < per_sample(thresholds, images), 1 - images)


def posterize(images, bits):
    """Keep so many of the highest of 8 bits of each value."""
    steps = per_sample(2 ** (8 - bits.floor()), images)
    levels = images.mul(255).round_()
    return levels.sub_(levels.remainder(steps)).div_(255)
