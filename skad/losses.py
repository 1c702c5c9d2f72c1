"""Losses that adapt pretrained features to normal images; each takes tensors and keeps no state."""


def compactness_loss(features, center):
    r"""Mean squared distance of features from a fixed centre, per feature.

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
    elastic_penalty : Keeps features from collapsing onto the centre.

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


def angular_center_loss(features, center):
    r"""Negative mean inner product of the directions of features with a fixed centre.

    .. math:: -\frac1B \sum_{i=1}^B z_i^\top c, \qquad
        z_i = \frac{\phi(x_i)}{\lVert \phi(x_i) \rVert_2}

    Parameters
    ----------
    features : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of a batch; only directions count. A zero row counts as 0.
    center : torch.Tensor of shape (D,)
        The centre c, used as given. The mean of unit features is shorter than 1.

    Returns
    -------
    loss : torch.Tensor of shape ()
        Between plus and minus the length of the centre; lowest if all features point along it.

    See Also
    --------
    compactness_loss : The same for features with their lengths.
    mean_shifted_contrastive_loss : What MSC adds it to.

    Notes
    -----
    For a centre of unit length the mean of :math:`\lVert z - c \rVert_2^2` is 2 plus twice this
    loss. That is what MSC's code minimises, for each of the two views and after scaling the centre
    to unit length: the paper's loss with weight 2 per view. The code then gives the scaled centre
    to the contrastive loss too, which it does not without the angular one.

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
    return -(_unit(features) @ center).mean()


def nt_xent_loss(first, second, temperature):
    r"""Contrastive loss between two views of each image (NT-Xent), over both views as anchors.

    .. math:: -\frac1{2B} \sum_{i=1}^{2B} \log \frac{\exp(\cos(v_i, v_{p(i)}) / \tau)}
        {\sum_{m \neq i} \exp(\cos(v_i, v_m) / \tau)}

    with the 2B rows v of both arguments and p(i) the row of the same image in the other one.

    Parameters
    ----------
    first, second : torch.Tensor of shape (B, d)
        Features of two views of the same images, in the same order; only directions count. A zero
        row has cosine 0 with every row.
    temperature : float
        The temperature :math:`\tau`, positive: the lower, the more the nearest rows count.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; 0 for a batch of one image, which has nothing to contrast with.

    Raises
    ------
    ValueError
        If the two views are not matrices of the same shape.

    See Also
    --------
    mean_shifted_contrastive_loss : The same seen from a centre, for pretrained features.

    Notes
    -----
    On identical views of orthogonal images the loss is :math:`\log(1 + (2B - 2) e^{-1/\tau})`.

    References
    ----------
    Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import nt_xent_loss
    >>> nt_xent_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor(0.5514)
    """
    import torch
    import torch.nn.functional as F

    _check_views("nt_xent_loss", first, second)
    units = _unit(torch.cat([first, second]))
    itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
    logits = (units @ units.T / temperature).masked_fill(itself, -torch.inf)
    positives = torch.arange(len(units), device=units.device).roll(len(first))
    return F.cross_entropy(logits, positives)


def mean_shifted_contrastive_loss(first, second, center, temperature=0.25):
    r"""Contrastive loss of angles seen from the centre of the normal features (MSC).

    .. math:: \mathcal{L}_{\text{NT-Xent}}(u^{(1)}, u^{(2)}), \qquad u = z - c, \quad
        z = \frac{\phi(x)}{\lVert \phi(x) \rVert_2}

    Parameters
    ----------
    first, second : torch.Tensor of shape (B, D)
        Features :math:`\phi(x)` of two views of the same images, in the same order; only
        directions count.
    center : torch.Tensor of shape (D,)
        The centre c, used as given: in MSC the mean, which is shorter than 1, of the unit features
        of the unaugmented training images before training.
    temperature : float, default=0.25
        The temperature of the contrastive loss, positive. The default is MSC's.

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
    nt_xent_loss : The same without shift, to which a centre of zeros leads back.
    angular_center_loss : What MSC adds for its best results.

    Notes
    -----
    The sum printed in the paper runs over the wrong index; over all rows but the anchor it is the
    usual one. The paper shifts by the unscaled mean. So does the code, unless the angular loss is
    added: then it shifts by the mean scaled to unit length. Give the centre you mean.

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
    _check_views("mean_shifted_contrastive_loss", first, second)
    return nt_xent_loss(_unit(first) - center, _unit(second) - center, temperature)


def outlier_exposure_loss(normal_logits, outlier_logits):
    r"""Binary cross-entropy between normal images and auxiliary outliers.

    .. math:: -\frac1{n + m} \Bigl[ \sum_{i=1}^n \log(1 - \sigma(s_i))
        + \sum_{j=1}^m \log \sigma(s'_j) \Bigr]

    with the logistic function :math:`\sigma`: outliers have label 1, so a high logit is anomalous.

    Parameters
    ----------
    normal_logits : torch.Tensor of shape (n,) or (n, 1)
        Logits s of normal images.
    outlier_logits : torch.Tensor of shape (m,) or (m, 1)
        Logits s' of outliers.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; :math:`\log 2` for logits of 0. Every logit weighs the same, whichever group it
        is of.

    Notes
    -----
    PANDA's paper prints the log-likelihood, which is to be maximised; its code minimises the
    negative, as here, on 32 normal images and 32 outliers a batch.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier
    Exposure", ICLR 2019.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import outlier_exposure_loss
    >>> outlier_exposure_loss(torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 0.0]))
    tensor(0.4100)
    """
    import torch
    import torch.nn.functional as F

    normal, outlier = normal_logits.flatten(), outlier_logits.flatten()
    labels = torch.cat([torch.zeros_like(normal), torch.ones_like(outlier)])
    return F.binary_cross_entropy_with_logits(torch.cat([normal, outlier]), labels)


def elastic_penalty(parameters, anchors, importances=None):
    r"""Weighted squared distance of parameters from where they started.

    .. math:: \frac12 \sum_i F_i (\theta_i - \theta_i^0)^2

    Parameters
    ----------
    parameters : sequence of torch.Tensor
        The parameters :math:`\theta`, of any shapes.
    anchors : sequence of torch.Tensor
        Their values :math:`\theta^0` before training, of the same shapes: detached copies, not the
        parameters themselves.
    importances : sequence of torch.Tensor, default=None
        The weights F, of the same shapes; in EWC the diagonal of the Fisher information. None
        weighs all alike with 1 (L2-SP).

    Returns
    -------
    penalty : torch.Tensor of shape ()
        Without a factor :math:`\lambda`; 0 at the anchors.

    Raises
    ------
    ValueError
        If there are no parameters, or the sequences do not match in length or shapes.

    See Also
    --------
    compactness_loss : What PANDA adds 10,000 times this penalty to.

    Notes
    -----
    PANDA (EWC) leaves the classifier out and takes batch normalisation's scales and shifts in. Its
    authors' snippet for F takes gradients of the mean loss of 32 images; their squares can be 32
    times smaller than the mean square over single images, so the factor belongs to the way that F
    is estimated.

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


def _unit(rows):
    """Rows of unit length; a zero row stays zero, with a gradient that is no larger than others."""
    import torch

    # Scaled by the largest value first: squares may vanish or overflow. A direction does not depend
    # on the scale, nor does its gradient.
    scale = rows.detach().abs().amax(dim=-1, keepdim=True)
    rows = rows / scale.masked_fill(scale == 0, 1)
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / length.masked_fill(length == 0, 1)


def _check_views(owner, first, second):
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"{owner}: first and second must be matrices of the same shape, one row per image; got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
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
