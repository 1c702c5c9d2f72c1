"""Where pixels come from: crops, mirror images, blur."""

from .._batches import _same_shape

# Radius of the blur, in standard deviations.
_N_SIGMA = 3


def resized_crop(images, tops, lefts, heights, widths, image_size, flips=None):
    """Cut another box out of each image and resize it by antialiased bilinear interpolation.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        float32, or uint8, which is scaled to [0, 1].
    tops, lefts, heights, widths : tensor of int64, shape (n,)
        A box within each image, in pixels.
    image_size : int
        Side of the result.
    flips : tensor of bool, shape (n,), default=None
        Which results are mirrored: this costs nothing here.

    Returns
    -------
    crops : tensor of float32, shape (n, channels, image_size, image_size)

    Notes
    -----
    Interpolation is linear in rows and in columns, so a box is a matrix on either side of its
    image: two products of batches of matrices for all boxes, in place of one call for each.
    """
    import torch

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
    images = images[..., top:bottom, left:right]
    is_integer = images.dtype == torch.uint8
    images = images.float().div_(255) if is_integer else images.float()
    rows = _interpolation(tops - top, heights, images.shape[-2], image_size, images.device)
    columns = _interpolation(lefts - left, widths, images.shape[-1], image_size, images.device)
    columns = columns.transpose(1, 2)
    return _multiply(rows, images, columns if flips is None else flip(columns, flips))


def cut_out(batch, tops, lefts, heights, widths, image_size, flips):
    """`resized_crop` of a batch that may be a list of images: those of one shape in one tensor."""
    import torch

    boxes = (tops, lefts, heights, widths)
    if not isinstance(batch, list):
        return resized_crop(batch, *boxes, image_size, flips)
    shape = (len(batch), batch[0].shape[0], image_size, image_size)
    images = torch.empty(shape, device=batch[0].device)
    for places in _same_shape(batch):
        group = torch.stack([batch[i] for i in places])
        own = (values[places] for values in boxes)
        images[places] = resized_crop(group, *own, image_size, flips[places])
    return images


def _interpolation(starts, lengths, length, size, device):
    """Matrices (n, size, length) that resample a stretch of `length` pixels to `size` pixels.

    The kernel is a triangle as wide as torchvision's: two pixels of the picture or of the result,
    whichever are larger. It is cut at the ends of the stretch, which a crop does not look beyond.
    """
    import torch

    lengths = lengths.to(device)[:, None, None]
    places = torch.arange(length, device=device) - starts.to(device)[:, None, None]
    scales = lengths.float() / size
    centers = scales * (torch.arange(size, device=device)[:, None] + 0.5)
    weights = (places + 0.5 - centers).abs_().div_(-scales.clamp(min=1)).add_(1).clamp_(min=0)
    weights.mul_((places >= 0) & (places < lengths))
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _multiply(rows, images, columns):
    """Product of each channel with its image's matrices from the left and from the right."""
    n, channels, height, width = images.shape
    images = images.reshape(n, channels * height, width).bmm(columns)
    return rows[:, None].matmul(images.view(n, channels, height, -1))


def flip(images, mask):
    """Mirror some of the images: left becomes right.

    Parameters
    ----------
    images : tensor of shape (n, ..., width)
    mask : tensor of bool, shape (n,)

    Returns
    -------
    images : tensor of the same shape
    """
    mask = mask.to(images.device)
    images = images.clone()
    images[mask] = images[mask].flip(-1)
    return images


def gaussian_blur(images, sigmas):
    """Blur each image by a Gaussian of its own width, mirrored at the edges.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
    sigmas : tensor of float32, shape (n,)
        Standard deviations in pixels, positive. The kernel ends at three of them, rounded up.

    Returns
    -------
    images : tensor of the same shape

    Notes
    -----
    The mirror leaves out the edge itself, as "reflect" does in torch.
    """
    rows = _blurring(sigmas, images.shape[-2], images.device)
    columns = _blurring(sigmas, images.shape[-1], images.device)
    return _multiply(rows, images, columns.transpose(1, 2))


def _blurring(sigmas, size, device):
    """Matrices (n, size, size) that blur a stretch of `size` pixels."""
    import torch

    radii = (_N_SIGMA * sigmas).ceil()
    radius = int(radii.max())
    steps = torch.arange(-radius, radius + 1, device=device)
    sigmas, radii = sigmas.to(device)[:, None], radii.to(device)[:, None]
    kernels = steps.div(sigmas).square_().div_(-2).exp_().mul_(steps.abs() <= radii)
    kernels.div_(kernels.sum(dim=1, keepdim=True))
    # Beyond an edge pixels come back in reverse, however often the kernel goes beyond.
    period = max(2 * size - 2, 1)
    places = (torch.arange(size, device=device) + steps[:, None]) % period
    places = torch.minimum(places, period - places)
    reached = torch.eye(size, device=device)[places]
    return kernels.matmul(reached.flatten(1)).view(-1, size, size)


def affine(images, matrices):
    """Resample each image through an affine map, by the nearest pixel; outside it is black.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
    matrices : tensor of float64, shape (n, 2, 3)
        Maps (x, y, 1) of a pixel of the result to the place (x, y) in the image that it shows, in
        pixels from the upper left corner; centres of pixels are at halves.

    Returns
    -------
    images : tensor of the same shape
    """
    import torch

    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x.flatten() + 0.5, y.flatten() + 0.5, torch.ones(height * width)])
    columns, rows = matrices.cpu().matmul(places.double()).floor().long().unbind(1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    shown = (rows * width + columns).masked_fill_(~inside, 0).to(images.device)
    shown = shown[:, None].expand(-1, images.shape[1], -1)
    found = images.flatten(2).gather(2, shown)
    return found.mul_(inside.to(images.device)[:, None]).view_as(images)
