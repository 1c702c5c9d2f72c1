"""Where the pixels of a batch go: crops, mirror images, affine maps, holes."""

from math import ceil, cos, radians, sin, sqrt

from .._types import Tensor
from ._batch import _as_floats


def resized_crop(
    images: Tensor,
    tops: Tensor,
    lefts: Tensor,
    heights: Tensor,
    widths: Tensor,
    image_size: int,
    flips: "Tensor | None" = None,
) -> Tensor:
    """Crop a box of each image and resize it by antialiased bilinear interpolation.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        A batch of images: float32, or uint8, which is scaled to [0, 1].
    tops, lefts, heights, widths : tensor of int64, shape (n,)
        A box within each image, in pixels.
    image_size : int
        Side of the result.
    flips : tensor of bool, shape (n,), default=None
        True for results to mirror; this takes no extra time.

    Returns
    -------
    crops : tensor of float32, shape (n, channels, image_size, image_size)
        The resized boxes.

    Notes
    -----
    Interpolation is linear in rows and in columns, so a box is a matrix on either side of its
    image. All boxes take two batched matrix products, instead of one call for each.
    """
    top, left = int(tops.min()), int(lefts.min())
    bottom, right = int((tops + heights).max()), int((lefts + widths).max())
    inside = min(top, left) >= 0 and bottom <= images.shape[-2] and right <= images.shape[-1]
    if not inside or min(heights.min(), widths.min()) < 1:
        raise ValueError(
            f"boxes must lie within their images of {images.shape[-2]} x {images.shape[-1]} pixels "
            f"and be at least 1 pixel high and wide; got rows {top} to {bottom}, columns {left} to "
            f"{right}, heights from {int(heights.min())}, widths from {int(widths.min())}."
        )
    # What no box reaches need not be converted nor multiplied.
    images = _as_floats(images[..., top:bottom, left:right])
    rows = _interpolation(tops - top, heights, images.shape[-2], image_size, images.device)
    columns = _interpolation(lefts - left, widths, images.shape[-1], image_size, images.device)
    columns = columns.transpose(1, 2)
    return _multiply(rows, images, columns if flips is None else flip(columns, flips))


def _interpolation(starts, lengths, length, size, device):
    """Matrices (n, size, length) that resample a stretch of `length` pixels to `size` pixels.

    The kernel is a triangle as wide as torchvision's: two pixels of the picture or of the result,
    whichever are larger. It is cut at the ends of the stretch, which a crop does not look beyond.
    """
    import torch

    lengths = lengths.to(device)[:, None, None]
    indices = torch.arange(length, device=device) - starts.to(device)[:, None, None]
    scales = lengths.float() / size
    centers = scales * (torch.arange(size, device=device)[:, None] + 0.5)
    weights = (indices + 0.5 - centers).abs_().div_(-scales.clamp(min=1)).add_(1).clamp_(min=0)
    weights.mul_((indices >= 0) & (indices < lengths))
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _multiply(rows, images, columns):
    """Product of each channel with its image's matrices from the left and from the right."""
    n, channels, height, width = images.shape
    images = images.reshape(n, channels * height, width).bmm(columns)
    return rows[:, None].matmul(images.view(n, channels, height, -1))


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror some of the images: left becomes right.

    Parameters
    ----------
    images : tensor of shape (n, ..., width)
        A batch of images.
    mask : tensor of bool, shape (n,)
        True for images to change.

    Returns
    -------
    images : tensor of the same shape
        The changed images.
    """
    import torch

    # A choice, not an index by the mask, whose length the device would have to tell.
    mask = mask.to(images.device).view(-1, *(1,) * (images.ndim - 1))
    return torch.where(mask, images.flip(-1), images)


def affine(images: Tensor, matrices: Tensor, fill: "float | Tensor" = 0.0) -> Tensor:
    """Apply an affine map to each image, taking the nearest pixel.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        A batch of images.
    matrices : tensor of shape (n, 2, 3)
        Maps a point of the result, (x, y, 1), to a point of the image, (x, y), in pixels. The
        centre of the first pixel is at (0.5, 0.5). As in PIL.
    fill : float or tensor that broadcasts to the images, default=0.0
        Value outside the image.

    Returns
    -------
    images : tensor of the same shape
        Every pixel is one of the image, bit for bit, or `fill`.
    """
    import torch

    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device)[:, None] + 0.5
    of_x, of_y, of_one = matrices.to(images.device, images.dtype)[..., None, None].unbind(2)
    columns, rows = (of_x * x + (of_y * y + of_one)).floor_().unbind(1)
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    indices = rows.long().mul_(width).add_(columns.long()).masked_fill_(outside, 0)
    indices = indices.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, indices).view_as(images)
    return _cover(moved, outside[:, None], fill)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate images about their centre; edges are mirrored.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, side, side)
        A batch of images.
    degrees : float
        Angle, to the left. Multiples of 90 move pixels exactly; other angles interpolate
        bilinearly.

    Returns
    -------
    images : tensor of the same shape
        The changed images.
    """
    import torch
    import torch.nn.functional as F

    quarters, rest = divmod(degrees, 90)
    images = images.rot90(int(quarters), (2, 3))
    if not rest:
        return images
    side = images.shape[-1]
    margin = ceil(side * (sqrt(2) - 1) / 2)  # what corners reach beyond an edge, at the most
    angle, wide = radians(rest), F.pad(images, (margin,) * 4, mode="reflect")
    turn = [[cos(angle), -sin(angle), 0.0], [sin(angle), cos(angle), 0.0]]
    turn = torch.tensor(turn, device=images.device).expand(len(images), -1, -1)
    grid = F.affine_grid(turn, list(wide.shape), align_corners=False)
    turned = F.grid_sample(wide, grid, align_corners=False)
    return turned[..., margin : margin + side, margin : margin + side]


def cut_out(
    images: Tensor, sides: Tensor, rows: Tensor, columns: Tensor, fill: "float | Tensor" = 0.0
) -> Tensor:
    """Cover a square of each image with one value.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        A batch of images.
    sides : tensor of int64, shape (n,)
        Sides of the squares in pixels; 0 covers nothing.
    rows, columns : tensor of int64, shape (n,)
        Centres of the squares; for even sides the centre is half a pixel further up and left. Parts
        of a square outside the image are cut off.
    fill : float or tensor that broadcasts to the images, default=0.0
        Value of the square.

    Returns
    -------
    images : tensor of the same shape
        The changed images.
    """
    import torch

    sides = sides.to(images.device)[:, None]
    within = []
    for centers, length in ((rows, images.shape[-2]), (columns, images.shape[-1])):
        starts = centers.to(images.device)[:, None] - sides // 2
        indices = torch.arange(length, device=images.device) - starts
        within.append((indices >= 0) & (indices < sides))
    return _cover(images.clone(), within[0][:, None, :, None] & within[1][:, None, None, :], fill)


def _cover(images, covered, fill):
    """Fill some pixels, in place. Products with 0 and 1 are exact, and quicker than a choice."""
    covered = covered.to(images.dtype)
    return images.mul_(1 - covered).add_(covered * fill)
