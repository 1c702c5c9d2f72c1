"""Blur and sharpness of a batch, with one strength per image."""

from .._types import Tensor
from ._batch import _per_sample
from ._geometry import _multiply

# Radius of the blur, in standard deviations.
_N_SIGMA = 3


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each image by a Gaussian with its own width; edges are mirrored.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        A batch of images.
    sigmas : tensor of float32, shape (n,)
        Standard deviations in pixels, positive. The kernel is cut at three of them, rounded up.

    Returns
    -------
    images : tensor of the same shape
        The changed images.

    Notes
    -----
    Mirroring does not repeat the edge pixel itself, as "reflect" in torch.
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
    indices = (torch.arange(size, device=device) + steps[:, None]) % period
    indices = torch.minimum(indices, period - indices)
    reached = torch.eye(size, device=device)[indices]
    return kernels.matmul(reached.flatten(1)).view(-1, size, size)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the difference of each image from its blurred version by a factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    factors : tensor of float32, shape (n,)
        Not negative. 1 changes nothing, and less than 1 blurs.

    Returns
    -------
    images : tensor of the same shape
        Clipped to [0, 1].

    Notes
    -----
    As in PIL, the blur is a mean of 3 x 3 pixels with weight 5 for the central one, and pixels at
    the edges stay as they are.
    """
    blurred = images.clone()
    # Sums of three rows, then of three columns: a fraction of the time of pooling.
    sums = (images[..., :-2, :] + images[..., 1:-1, :]).add_(images[..., 2:, :])
    sums = (sums[..., :-2] + sums[..., 1:-1]).add_(sums[..., 2:])
    blurred[..., 1:-1, 1:-1].mul_(4).add_(sums).div_(13)
    return blurred.lerp_(images, _per_sample(factors, images)).clamp_(0, 1)
