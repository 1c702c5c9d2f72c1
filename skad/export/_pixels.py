"""From pixels of any size to what a network takes, as operations of a graph.

What :mod:`skad.images` and :mod:`skad.networks` do to an image, once more, where height and width
are not known until the graph runs. Everything is a product with two matrices, one for rows and one
for columns; sizes are tensors.
"""

import torch
from torch import nn

from ..networks._preprocessing import (
    CROP_RATIO,
    PIXELS_TO_ONE,
    STRIP,
    contrast_normalized,
)

# Boxes beyond this side are not looked through for one that divides both sides of an image: no
# image has so many pixels that they would come up.
_LARGEST_BOX = 1024


class Pixels(nn.Module):
    """Pixels, as bytes of any height and width, to the images that a network sees.

    Parameters
    ----------
    preprocessing : Preprocessing
    """

    def __init__(self, preprocessing):
        super().__init__()
        self.preprocessing = preprocessing

    def forward(self, pixels):
        """Prepare a batch.

        Parameters
        ----------
        pixels : tensor of uint8, shape (n, height, width, channels)

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
        """
        given = self.preprocessing
        height, width = size_of(pixels.shape[1:3])
        box = self._box(height, width)
        rows, columns = (_lengths(length, box) for length in (height, width))
        images = _averaged(pixels, box, rows, columns).float() / 255
        along, across = (
            self._weights(*sides, box)
            for sides in ((rows, height, width), (columns, width, height))
        )
        images = (along @ images @ across.T).clamp(0, 1)
        if given.contrast_range is not None:
            low, high = given.contrast_range
            return (contrast_normalized(images) - low) / (high - low)
        mean, std = (torch.tensor(values)[:, None, None] for values in (given.mean, given.std))
        return (images - mean) / std

    def _box(self, height, width):
        """Side of the box of pixels that becomes one, see ``skad.images._reduce.choose_box``."""
        size, strip = self.preprocessing.image_size, torch.zeros((), dtype=torch.bool)
        least = (size, size)
        if self.preprocessing.resize == "crop":
            shorter = torch.minimum(height, width)
            strip = torch.maximum(height, width) > STRIP * shorter
            least = [round(size * CROP_RATIO) * side // shorter for side in (height, width)]
        rows, columns = (s // (PIXELS_TO_ONE * n) for s, n in zip((height, width), least))
        largest = torch.minimum(rows, columns).clamp(min=1)
        largest = torch.where(strip, torch.ones_like(largest), largest)
        boxes = torch.arange(1, _LARGEST_BOX)
        divides = (height % boxes == 0) & (width % boxes == 0)
        fits = divides & (boxes <= largest) & (boxes > largest // 2)
        best = torch.where(fits, boxes, torch.zeros_like(boxes)).max()
        return torch.where(best > 0, best, largest)

    def _weights(self, widths, length, other, box):
        """Antialiased bicubic interpolation of one side, cut as the network sees it.

        Parameters
        ----------
        widths : tensor of shape (n_boxes,)
            Of the boxes, in pixels of the image.
        length, other : tensors of shape ()
            Of this side and of the other one.
        box : tensor of shape ()

        Returns
        -------
        weights : tensor of float32, shape (image_size, n_boxes)
        """
        size = self.preprocessing.image_size
        inner, target = inner_and_target(self.preprocessing, length, other)
        starts = torch.arange(widths.shape[0]) * box - half(length - inner)
        centers = starts.double() + widths.double() / 2
        scale = inner.double() / target.double()
        seen = (torch.arange(size) + half(target - size) + 0.5)[:, None] * scale
        far = (centers - seen).abs() / scale.clamp(min=1)
        near = (1.5 * far - 2.5) * far**2 + 1  # Keys' cubic with -1/2, as torch and Pillow have it
        beyond = ((2.5 - 0.5 * far) * far - 4) * far + 2
        cubic = torch.where(far < 1, near, beyond * (far < 2))
        weights = widths * ((centers > 0) & (centers < inner)) * cubic
        return (weights / weights.sum(1, keepdim=True)).float()


def inner_and_target(preprocessing, length, other):
    """Pixels of a side that a network is shown, and what it is resized to before the cut.

    Parameters
    ----------
    preprocessing : Preprocessing
    length, other : tensors of int64, shape ()
        Of this side of an image and of the other one.

    Returns
    -------
    inner, target : tensors of int64, shape ()
    """
    size = preprocessing.image_size
    if preprocessing.resize != "crop":
        return length, torch.full_like(length, size)
    inner = torch.minimum(length, STRIP * other)
    shorter = torch.minimum(inner, torch.minimum(other, STRIP * length))
    return inner, round(size * CROP_RATIO) * inner // shorter


def size_of(shape):
    """Sides as tensors of int64, which a graph may count with."""
    return [torch.scalar_tensor(side, dtype=torch.int64) for side in shape]


def half(length):
    """Half of a length as Python's ``round(length / 2)`` gives it: to the even of two."""
    down = length // 2
    return down + (length % 2) * (down % 2)


def as_size(tensor):
    """A whole number of a tensor, at least 1, as a length that a graph may have."""
    number = tensor.item()
    torch._check(number >= 1)
    return number


def _lengths(length, box):
    """Sides of the boxes along a side: all alike, but for the last, which is cut."""
    starts = torch.arange(as_size((length + box - 1) // box)) * box
    return torch.minimum(box, length - starts)


def _averaged(pixels, box, rows, columns):
    """Means of boxes, rounded to bytes as Pillow rounds them.

    Parameters
    ----------
    pixels : tensor of uint8, shape (n, height, width, channels)
    box : tensor of shape ()
    rows, columns : tensors of int64
        Sides of the boxes.

    Returns
    -------
    means : tensor of int64, shape (n, channels, n_rows, n_columns)
    """
    n_images, height, width, n_channels = pixels.shape
    n_rows, n_columns, side = rows.shape[0], columns.shape[0], as_size(box)
    below, right = n_rows * side - height, n_columns * side - width
    torch._check(below >= 0)
    torch._check(right >= 0)
    planes = pixels.permute(0, 3, 1, 2).to(torch.int32)
    whole = nn.functional.pad(planes, (0, right, 0, below))
    boxes = whole.view(n_images, n_channels, n_rows, side, n_columns, side)
    sums, counts = boxes.sum((3, 5)).to(torch.int64), rows[:, None] * columns
    return (sums + counts // 2) * (torch.full_like(counts, 2**24) // counts) // 2**24
