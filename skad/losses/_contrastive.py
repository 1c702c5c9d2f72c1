"""Losses that tell the views of one image from those of others."""

from .._types import Tensor
from ._rows import check_rows, unit


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    r"""Compute the contrastive loss between two views of each image (NT-Xent), from both views.

    .. math:: -\frac1{2B} \sum_{i=1}^{2B} \log \frac{\exp(\cos(v_i, v_{p(i)}) / \tau)}
        {\sum_{m \neq i} \exp(\cos(v_i, v_m) / \tau)}

    where v are the 2B rows of both arguments, and p(i) is the row of the same image in the other
    argument.

    Parameters
    ----------
    first, second : torch.Tensor of shape (B, d)
        Features of two views of the same images, in the same order; only directions matter. A zero
        row has cosine 0 with every row.
    temperature : float
        Temperature :math:`\tau`, positive. The lower it is, the more weight the nearest rows have.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; 0 for a batch of one image, which has no others to contrast with.

    Raises
    ------
    ValueError
        If the two views are not matrices of the same shape.

    See Also
    --------
    mean_shifted_contrastive_loss : The same around a centre, for pretrained features.

    Notes
    -----
    For identical views of orthogonal images the loss is :math:`\log(1 + (2B - 2) e^{-1/\tau})`. To
    use rotated images as negatives, as in CSI, give each rotation its own row: with four rotations
    of B images, every anchor has 8B - 2 negatives.

    References
    ----------
    Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020. Tack, Mo, Jeong, Shin, "CSI: Novelty Detection via Contrastive
    Learning on Distributionally Shifted Instances", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import nt_xent_loss
    >>> nt_xent_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor(0.5514)
    """
    import torch
    import torch.nn.functional as F

    check_rows("nt_xent_loss", first=first, second=second)
    units = unit(torch.cat([first, second]))
    itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
    logits = (units @ units.T / temperature).masked_fill(itself, -torch.inf)
    positives = torch.arange(len(units), device=units.device).roll(len(first))
    return F.cross_entropy(logits, positives)


def mean_shifted_contrastive_loss(
    first: Tensor, second: Tensor, center: Tensor, temperature: float = 0.25
) -> Tensor:
    r"""Compute the contrastive loss around the centre of normal features (MSC).

    .. math:: \mathcal{L}_{\text{NT-Xent}}(u^{(1)}, u^{(2)}), \qquad u = z - c, \quad
        z = \frac{\phi(x)}{\lVert \phi(x) \rVert_2}

    Parameters
    ----------
    first, second : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of two views of the same images, in the same order; only
        directions matter.
    center : torch.Tensor of shape (D,)
        The centre c, used as given. In MSC it is the mean of the unit features of the training
        images, not augmented, before training; it is shorter than 1.
    temperature : float, default=0.25
        Temperature of the contrastive loss, positive (0.25: MSC).

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; 0 for a batch of one image.

    Raises
    ------
    ValueError
        If the two views are not matrices of the same shape.

    See Also
    --------
    nt_xent_loss : The same without shift; a centre of zeros gives it.
    angular_center_loss : The loss that MSC adds for its best results.

    Notes
    -----
    The sum printed in the paper runs over the wrong index; here it is the usual sum over all rows
    but the anchor. The paper shifts by the unscaled mean. Its code does too, unless the angular
    loss is added: then it shifts by the mean scaled to unit length. Give the one that you want.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import mean_shifted_contrastive_loss
    >>> views, center = torch.eye(2), torch.tensor([0.5, 0.5])
    >>> mean_shifted_contrastive_loss(views, 3 * views, center, temperature=1.0)
    tensor(0.2395)
    """
    check_rows("mean_shifted_contrastive_loss", first=first, second=second)
    return nt_xent_loss(unit(first) - center, unit(second) - center, temperature)
