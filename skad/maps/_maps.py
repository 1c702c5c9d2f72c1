"""Maps of a network: joined pixel by pixel, smoothed, laid back over the images they came from."""

from ..augment import gaussian_blur
from ..networks._preprocessing import cropped_size, resized_for_crop


def join(maps):
    """Join maps of differing resolution pixel by pixel, at the highest.

    Parameters
    ----------
    maps : list of tensors of shape (n, channels, height, width)

    Returns
    -------
    joined : tensor of shape (n, sum of channels, height, width)
        The coarser ones by bilinear interpolation.
    """
    import torch

    size = max((tuple(one.shape[-2:]) for one in maps), key=lambda s: s[0] * s[1])
    return torch.cat([_stretch(one, size) for one in maps], dim=1)


def averaged_patches(maps, patch_size):
    """Means of the patches around each pixel, (n, channels, height, width).

    Pixels at an edge have the patch that is nearest: means of fewer pixels would vary more, and
    every edge and corner seem abnormal.

    Parameters
    ----------
    maps : tensor of shape (n, channels, height, width)
    patch_size : int
        Odd.
    """
    import torch.nn.functional as F

    if patch_size == 1:
        return maps
    sides = [min(patch_size, side - 1 + side % 2) for side in maps.shape[-2:]]  # odd
    margins = [side // 2 for side in sides for _ in range(2)]
    return F.pad(F.avg_pool2d(maps, sides, 1), margins[::-1], mode="replicate")


def unit_pixels(maps):
    """Pixels of maps brought to unit length."""
    import torch.nn.functional as F

    return F.normalize(maps, dim=1)


def pixels_of(maps):
    """Pixels of maps as rows (n, height * width, channels)."""
    return maps.flatten(2).transpose(1, 2)


def smooth(maps, size, sigma):
    """Enlarge maps to what the network saw, and blur them by a Gaussian.

    Parameters
    ----------
    maps : tensor of shape (n, height, width)
    size : int
        Side in pixels.
    sigma : float
        Standard deviation in pixels of `size`; 0 does not blur.

    Returns
    -------
    maps : tensor of shape (n, size, size)
    """
    import torch

    maps = _stretch(maps[None], (size, size))  # as the channels of one image, blurred alike
    return (gaussian_blur(maps, torch.tensor([float(sigma)])) if sigma else maps)[0]


def lay_over(square, size, preprocessing):
    """Undo :func:`skad.networks._preprocessing.resize_images` for the map of one image.

    Parameters
    ----------
    square : tensor of shape (image_size, image_size)
        Over what the network saw.
    size : tuple of int
        Height and width of the image.
    preprocessing : Preprocessing
        How the image was made ready. Beyond what "crop" has cut off, the map goes on with the
        values at its edge.

    Returns
    -------
    whole : tensor of shape (height, width)
    """
    square = square[None, None]
    if preprocessing.resize == "crop":
        inner = cropped_size(*size)
        square = _pad(square, resized_for_crop(*inner, preprocessing.image_size))
        return _pad(_stretch(square, inner), size)[0, 0]
    return _stretch(square, size)[0, 0]


def _stretch(maps, size):
    import torch.nn.functional as F

    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    # Antialiased where it shrinks: no defect may fall between two pixels.
    shrinks = maps.shape[-2] > size[0] or maps.shape[-1] > size[1]
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=shrinks)


def _pad(maps, size):
    """Go on with the values at the edge, where the centre was cut out."""
    import torch.nn.functional as F

    rows, columns = (size[i] - maps.shape[i - 2] for i in (0, 1))
    top, left = round(rows / 2), round(columns / 2)
    return F.pad(maps, (left, columns - left, top, rows - top), mode="replicate")
