"""Losses that draw features to a centre, and what holds parameters back."""

from collections.abc import Iterable

from .._types import Tensor
from ._rows import unit


def compactness_loss(features: Tensor, center: Tensor) -> Tensor:
    r"""Compute the mean squared distance of features from a fixed centre, per feature.

    .. math:: \frac1B \sum_{i=1}^B \frac{\lVert \psi(x_i) - c \rVert_2^2}{D}

    Parameters
    ----------
    features : torch.Tensor of shape (B, D)
        Features :math:`\psi(x)` of a batch, as the network gives them.
    center : torch.Tensor of shape (D,)
        The centre c, in PANDA the mean feature of the training images before training.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; 0 if all features are at the centre.

    See Also
    --------
    angular_center_loss : The same for directions.
    elastic_penalty : Keeps features from collapsing to the centre.

    Notes
    -----
    PANDA's paper writes the sum over images without D; its code takes the mean over the batch and
    divides by D, as here. PANDA's weight of 10,000 for the elastic penalty belongs to the divided
    form. DeepSVDD's one-class loss is D times this one.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import compactness_loss
    >>> compactness_loss(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([1.0, 1.0]))
    tensor(1.5000)
    """
    return ((features - center) ** 2).mean()


def angular_center_loss(features: Tensor, center: Tensor) -> Tensor:
    r"""Compute the negative mean inner product of unit features with a fixed centre.

    .. math:: -\frac1B \sum_{i=1}^B z_i^\top c, \qquad
        z_i = \frac{\phi(x_i)}{\lVert \phi(x_i) \rVert_2}

    Parameters
    ----------
    features : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of a batch; only directions matter. A zero row adds 0.
    center : torch.Tensor of shape (D,)
        The centre c, used as given. The mean of unit features is shorter than 1.

    Returns
    -------
    loss : torch.Tensor of shape ()
        Between plus and minus the length of the centre; lowest if all features point along it.

    See Also
    --------
    compactness_loss : The same for features with their lengths.
    mean_shifted_contrastive_loss : The loss to which MSC adds this one.

    Notes
    -----
    For a centre of unit length, the mean of :math:`\lVert z - c \rVert_2^2` is 2 plus twice this
    loss. MSC's code minimises that, for both views, with the centre scaled to unit length. This is
    the paper's loss with weight 2 for each view. With this loss, the code uses the scaled centre in
    the contrastive loss too; without it, it does not.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import angular_center_loss
    >>> angular_center_loss(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0]))
    tensor(-0.9000)
    """
    return -(unit(features) @ center).mean()


def soft_boundary_loss(
    features: Tensor, center: Tensor, radius: "Tensor | float", nu: float = 0.1
) -> Tensor:
    r"""Compute the loss of a sphere that may leave some features outside (soft-boundary DeepSVDD).

    .. math:: R^2 + \frac1{\nu B} \sum_{i=1}^B
        \max \bigl( 0, \lVert \phi(x_i) - c \rVert_2^2 - R^2 \bigr)

    Parameters
    ----------
    features : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of a batch, as the network gives them.
    center : torch.Tensor of shape (D,)
        The centre c of the sphere.
    radius : torch.Tensor of shape () or float
        The radius R. A tensor may require a gradient.
    nu : float, default=0.1
        Largest share :math:`\nu`, in (0, 1], of features outside the best radius (0.1: DeepSVDD's
        code).

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least :math:`R^2`, and equal to it if no feature is outside.

    Raises
    ------
    ValueError
        If `nu` is not in (0, 1], `radius` is not a single number, or shapes do not match.

    See Also
    --------
    soft_boundary_radius : The radius of a batch.
    compactness_loss : For radius 0, this loss is D times that one, divided by :math:`\nu`.

    Notes
    -----
    Features inside the sphere have no gradient. Weight decay, which the paper adds to the equation,
    is left to the optimiser, as in its code. Distances are not divided by D, unlike those of
    :func:`compactness_loss`.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import soft_boundary_loss
    >>> features, center = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0.0, 0.0])
    >>> soft_boundary_loss(features, center, radius=2.0, nu=0.5)
    tensor(9.)
    """
    import torch

    _check_sphere("soft_boundary_loss", features, center, nu)
    radius = torch.as_tensor(radius, dtype=features.dtype, device=features.device)
    if radius.ndim:
        raise ValueError(
            f"soft_boundary_loss: radius must be one number; got shape {tuple(radius.shape)}."
        )
    outside = ((features - center) ** 2).sum(dim=1) - radius**2
    return radius**2 + outside.clamp(min=0).mean() / nu


def soft_boundary_radius(features: Tensor, center: Tensor, nu: float = 0.1) -> Tensor:
    r"""Compute the radius that leaves a given share of a batch outside.

    .. math:: R = Q_{1 - \nu} \bigl( \lVert \phi(x_1) - c \rVert_2, \dots,
        \lVert \phi(x_B) - c \rVert_2 \bigr)

    with the quantile Q, interpolated linearly between distances. It is for
    :func:`soft_boundary_loss`.

    Parameters
    ----------
    features : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of a batch, as the network gives them.
    center : torch.Tensor of shape (D,)
        The centre c of the sphere.
    nu : float, default=0.1
        Share :math:`\nu`, in (0, 1], that stays outside.

    Returns
    -------
    radius : torch.Tensor of shape ()
        At least 0, of the dtype and on the device of the features, without gradient.

    Raises
    ------
    ValueError
        If `nu` is not in (0, 1], or shapes do not match.

    See Also
    --------
    soft_boundary_loss : The loss with this radius.

    Notes
    -----
    If :math:`\nu B` is a whole number, no radius gives the batch a lower loss. The paper finds the
    radius of all images by line search, every few epochs. Its code takes the radius of the batch,
    as here, after each step, and keeps it at 0 for the first ten epochs.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import soft_boundary_radius
    >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    >>> soft_boundary_radius(features, torch.tensor([0.0, 0.0]), nu=0.25)
    tensor(3.5000)
    """
    import torch

    _check_sphere("soft_boundary_radius", features, center, nu)
    # Quantiles of half precision do not exist.
    wide = torch.promote_types(features.dtype, torch.float32)
    differences = (features - center).detach()
    distances = torch.linalg.vector_norm(differences, dim=1, dtype=wide)
    return torch.quantile(distances, 1 - nu).to(features.dtype)


def elastic_penalty(
    parameters: Iterable, anchors: Iterable, importances: Iterable | None = None
) -> Tensor:
    r"""Compute the weighted squared distance of parameters from their initial values.

    .. math:: \frac12 \sum_i F_i (\theta_i - \theta_i^0)^2

    Parameters
    ----------
    parameters : sequence of torch.Tensor
        The parameters :math:`\theta`, of any shapes.
    anchors : sequence of torch.Tensor
        Values :math:`\theta^0` of the parameters before training, in the same shapes. Give detached
        copies, not the parameters themselves.
    importances : sequence of torch.Tensor, default=None
        The weights F, in the same shapes; in EWC the diagonal of the Fisher information. None gives
        all the weight 1 (L2-SP).

    Returns
    -------
    penalty : torch.Tensor of shape ()
        The penalty, without a factor :math:`\lambda`; 0 at the anchors.

    Raises
    ------
    ValueError
        If there are no parameters, or the sequences do not match in length or shapes.

    See Also
    --------
    compactness_loss : PANDA adds 10,000 times this penalty to it.

    Notes
    -----
    PANDA (EWC) includes the scales and shifts of batch normalisation but not the classifier. Its
    authors' code for F takes gradients of the mean loss of 32 images. Their squares can be 32 times
    smaller than the mean square over single images, so the factor depends on how F is estimated.

    References
    ----------
    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. Li,
    Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional
    Networks", ICML 2018. Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for
    Anomaly Detection and Segmentation", CVPR 2021.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import elastic_penalty
    >>> now, before = [torch.tensor([1.0, 2.0])], [torch.tensor([0.0, 0.0])]
    >>> elastic_penalty(now, before)
    tensor(2.5000)
    >>> elastic_penalty(now, before, [torch.tensor([4.0, 1.0])])
    tensor(4.)
    """
    parameters, anchors = list(parameters), list(anchors)
    importances = None if importances is None else list(importances)
    _check_sequences(parameters, anchors, importances)
    squares = [(now - before) ** 2 for now, before in zip(parameters, anchors)]
    if importances is not None:
        squares = [weight * square for weight, square in zip(importances, squares)]
    return sum(square.sum() for square in squares) / 2


def _check_sphere(owner, features, center, nu):
    if not 0 < nu <= 1:
        raise ValueError(f"{owner}: nu must be in (0, 1]; got {nu}.")
    if features.ndim != 2 or center.shape != features.shape[1:]:
        raise ValueError(
            f"{owner}: features must be a matrix, one row per image, and center as long as a row; "
            f"got {tuple(features.shape)} and {tuple(center.shape)}."
        )


def _check_sequences(parameters, anchors, importances):
    """Shapes match one by one; broadcasting would hide a mismatch."""
    shapes = [tuple(tensor.shape) for tensor in parameters]
    if not shapes:
        raise ValueError("elastic_penalty: parameters is empty. An iterator can be used only once.")
    for name, others in [("anchors", anchors), ("importances", importances)]:
        if others is not None and [tuple(tensor.shape) for tensor in others] != shapes:
            raise ValueError(
                f"elastic_penalty: {name} must match parameters in number and shapes; got "
                f"{len(others)} tensors for {len(shapes)} parameters, or other shapes."
            )
