"""The loss of autoencoders."""

from .._types import Tensor


def reconstruction_loss(images: Tensor, reconstructions: Tensor) -> Tensor:
    r"""Compute the squared error of reconstructed images, summed over each image.

    .. math:: \frac1B \sum_{i=1}^B \lVert x_i - \hat x_i \rVert_2^2

    Parameters
    ----------
    images : torch.Tensor of shape (B, C, H, W)
        Images x of a batch.
    reconstructions : torch.Tensor of shape (B, C, H, W)
        Reconstructions :math:`\hat x` of the images, in the same order.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; 0 if all pixels are equal.

    Raises
    ------
    ValueError
        If the two are not batches of images of the same shape.

    Notes
    -----
    The paper speaks of the mean squared error. Its code sums over pixels and channels and averages
    over the batch, as here: C H W times the mean over all values. The code's weight decay is chosen
    for the sum.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018, on how its autoencoder is pretrained.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import reconstruction_loss
    >>> reconstruction_loss(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5))
    tensor(12.)
    """
    if images.ndim != 4 or images.shape != reconstructions.shape:
        raise ValueError(
            "reconstruction_loss: images and reconstructions must have the same shape "
            f"(B, C, H, W); got {tuple(images.shape)} and {tuple(reconstructions.shape)}."
        )
    return ((images - reconstructions) ** 2).sum(dim=(1, 2, 3)).mean()
