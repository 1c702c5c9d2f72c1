"""A loss of views that agree, whose variances and covariances keep the features apart."""

from .._types import Tensor
from ._rows import check_rows


def vicreg_loss(
    first: Tensor,
    second: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    r"""Compute the loss of two views by invariance, variance and covariance (VICReg).

    .. math:: \lambda \frac{1}{Bd} \lVert Z - Z' \rVert_F^2
        + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    .. math:: v(Z) = \frac1d \sum_{j=1}^d \max\bigl(0, \gamma - \sqrt{C_{jj} + \varepsilon}\bigr),
        \qquad c(Z) = \frac1d \sum_{j \neq k} C_{jk}^2

    with the covariance C of the rows of a view, in which sums are divided by B - 1.

    Parameters
    ----------
    first, second : torch.Tensor of shape (B, d)
        Features Z and Z' of two views of the same images, in the same order, at least two.
    invariance_weight, variance_weight, covariance_weight : float
        Weights :math:`\lambda, \mu, \nu`; by default 25, 25 and 1 (paper).
    target_std : float, default=1.0
        Standard deviation :math:`\gamma` above which a feature varies enough (paper).
    eps : float, default=1e-4
        Keeps the gradient of a constant feature finite (paper).

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0.

    Raises
    ------
    ValueError
        If the two views are not matrices of the same shape, or have fewer than two images, which
        have no variance.

    See Also
    --------
    nt_xent_loss : Other images keep features apart, instead of variances.

    Notes
    -----
    The paper prints the invariance as squared distances of rows, averaged over images. Its code,
    for which the weights were chosen, also averages over features, as here; weights then do not
    depend on the number of features. v is summed over both views, as printed. The code takes half
    of that, which is ``variance_weight=12.5``.

    References
    ----------
    Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import vicreg_loss
    >>> views = torch.tensor([[0.0, 3.0], [2.0, 1.0]])
    >>> vicreg_loss(views, views)  # correlated: the features' covariance is -2
    tensor(8.)
    >>> vicreg_loss(torch.zeros(2, 2), torch.zeros(2, 2))  # collapsed
    tensor(49.5000)
    """
    check_rows("vicreg_loss", first=first, second=second)
    if len(first) < 2:
        raise ValueError(
            "vicreg_loss: first and second need at least two rows, as variances are taken over "
            f"images; got {len(first)}. Give larger batches."
        )
    loss = invariance_weight * (first - second).square().mean()
    for view in (first, second):
        centered = view - view.mean(0)
        std = (centered.square().sum(0) / (len(view) - 1) + eps).sqrt()
        # Above the diagonal alone, as below it is the same.
        covariance = (centered.T @ centered / (len(view) - 1)).triu(1)
        loss = loss + variance_weight * (target_std - std).relu().mean()
        loss = loss + covariance_weight * 2 * covariance.square().sum() / view.shape[1]
    return loss
