"""Losses that predict one view of an image from another, without negatives."""

from .._types import Tensor
from ._rows import check_rows, unit


def negative_cosine_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    r"""Compute the negative mean cosine between predictions and targets without gradient.

    .. math:: -\frac1B \sum_{i=1}^B \cos(p_i, \operatorname{sg}(z_i))

    where sg stops gradients: targets are constants.

    Parameters
    ----------
    predictions : torch.Tensor of shape (B, d)
        Predictions p, made from one view of each image; only directions matter. A zero row
        has cosine 0 with its target.
    targets : torch.Tensor of shape (B, d)
        Targets z, made from another view of the same images, in the same order. Detached here; only
        directions matter.

    Returns
    -------
    loss : torch.Tensor of shape ()
        Between -1 and 1; -1 if each prediction points along its target.

    Raises
    ------
    ValueError
        If predictions and targets are not matrices of the same shape.

    See Also
    --------
    simsiam_loss : Both directions between two views.
    byol_loss : Both directions, with a target network.

    Notes
    -----
    The mean of :math:`\lVert p / \lVert p \rVert_2 - z / \lVert z \rVert_2 \rVert_2^2` is 2 plus
    twice this loss, without zero rows. That is BYOL's loss for one direction. The mean over both
    directions is SimSiam's.

    References
    ----------
    Chen, He, "Exploring Simple Siamese Representation Learning", CVPR 2021. Grill et al.,
    "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import negative_cosine_loss
    >>> negative_cosine_loss(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0]] * 2))
    tensor(-0.9000)
    """
    check_rows("negative_cosine_loss", predictions=predictions, targets=targets)
    return -(unit(predictions) * unit(targets.detach())).sum(dim=1).mean()


def simsiam_loss(
    first_predictions: Tensor,
    second_predictions: Tensor,
    first_projections: Tensor,
    second_projections: Tensor,
) -> Tensor:
    r"""Compute SimSiam's loss: each view predicts the projection of the other.

    .. math:: -\frac1{2B} \sum_{i=1}^B \Bigl[ \cos(p_i^{(1)}, \operatorname{sg}(z_i^{(2)}))
        + \cos(p_i^{(2)}, \operatorname{sg}(z_i^{(1)})) \Bigr]

    where sg stops gradients: projections are constants.

    Parameters
    ----------
    first_predictions, second_predictions : torch.Tensor of shape (B, d)
        Outputs p = h(z) of the predictor for the projections; only directions matter.
    first_projections, second_projections : torch.Tensor of shape (B, d)
        Projections z of two views of the same images, in the same order. Detached here, so give
        the tensors that the predictor took.

    Returns
    -------
    loss : torch.Tensor of shape ()
        Between -1 and 1. Collapsed features reach -1 too.

    Raises
    ------
    ValueError
        If the four are not matrices of the same shape.

    See Also
    --------
    negative_cosine_loss : One direction.
    byol_loss : The same with projections by a slower network.

    Notes
    -----
    The paper and its code agree. In the code batch normalisation follows the last layer of the
    projector, so the lengths of projections hardly drift. Without it, divide projections by their
    length before predictor and loss. The loss then does not depend on the length, and its gradient
    keeps the length constant to first order.

    References
    ----------
    Chen, He, "Exploring Simple Siamese Representation Learning", CVPR 2021.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import simsiam_loss
    >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    >>> simsiam_loss(first, second, first, second)
    tensor(-0.6000)
    >>> simsiam_loss(second, first, first, second)
    tensor(-1.)
    """
    check_rows(
        "simsiam_loss",
        first_predictions=first_predictions,
        second_predictions=second_predictions,
        first_projections=first_projections,
        second_projections=second_projections,
    )
    from_first = negative_cosine_loss(first_predictions, second_projections)
    from_second = negative_cosine_loss(second_predictions, first_projections)
    return (from_first + from_second) / 2


def byol_loss(
    first_predictions: Tensor,
    second_predictions: Tensor,
    first_targets: Tensor,
    second_targets: Tensor,
) -> Tensor:
    r"""Compute BYOL's loss: each view predicts a slower network's projection of the other.

    .. math:: \frac1B \sum_{i=1}^B \Bigl[ 2 - 2 \cos(p_i^{(1)}, \operatorname{sg}(z_i'^{(2)}))
        + 2 - 2 \cos(p_i^{(2)}, \operatorname{sg}(z_i'^{(1)})) \Bigr]

    where sg stops gradients: targets are constants.

    Parameters
    ----------
    first_predictions, second_predictions : torch.Tensor of shape (B, d)
        Predictions p that the trained network makes from two views of the same images, in the same
        order; only directions matter.
    first_targets, second_targets : torch.Tensor of shape (B, d)
        Projections z' of the same two views by the target network, whose weights are a moving
        average of the trained ones. Detached here; only directions matter.

    Returns
    -------
    loss : torch.Tensor of shape ()
        Between 0 and 8, up to rounding; 0 if all predictions point along their targets.

    Raises
    ------
    ValueError
        If the four are not matrices of the same shape.

    See Also
    --------
    negative_cosine_loss : One direction.
    simsiam_loss : The same without a second network, on another scale.

    Notes
    -----
    On the same tensors this is 4 plus four times :func:`simsiam_loss`. The code takes squared
    distances of unit rows, which is the same except for zero rows: here a zero row is orthogonal
    and adds 2, there it is at distance 1.

    References
    ----------
    Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS
    2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import byol_loss
    >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    >>> byol_loss(first, second, first, second)
    tensor(1.6000)
    """
    check_rows(
        "byol_loss",
        first_predictions=first_predictions,
        second_predictions=second_predictions,
        first_targets=first_targets,
        second_targets=second_targets,
    )
    from_first = 2 + 2 * negative_cosine_loss(first_predictions, second_targets)
    from_second = 2 + 2 * negative_cosine_loss(second_predictions, first_targets)
    return from_first + from_second
