"""Losses that sort images into clusters, by logits (SCAN) or by distance from centres (DEC)."""

import math

from .._types import Tensor
from ._rows import check_rows

# What the logarithm of a mean share takes at least, as in SCAN's code.
_SMALLEST_SHARE = 1e-8


def scan_loss(logits: Tensor, neighbor_logits: Tensor, entropy_weight: float = 5.0) -> Tensor:
    r"""Compute SCAN's loss: an image and its neighbour agree on a cluster, and all are used.

    .. math:: -\frac1B \sum_{i=1}^B \log \langle p_i, p'_i \rangle - \lambda H(\bar p), \qquad
        H(m) = -\sum_{k=1}^K m_k \log m_k, \quad \bar p = \frac1B \sum_{i=1}^B p_i

    where p is the softmax of the logits of an image, and p' that of its neighbour.

    Parameters
    ----------
    logits : torch.Tensor of shape (B, K)
        Logits of images over K clusters.
    neighbor_logits : torch.Tensor of shape (B, K)
        Logits of one neighbour of each image, in the same order. They get a gradient too.
    entropy_weight : float, default=5.0
        Weight :math:`\lambda` of the entropy.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least :math:`-\lambda \log K`. It has this value if all pairs are sure and agree, and all
        clusters have the same number of images.

    Raises
    ------
    ValueError
        If the two are not matrices of the same shape.

    See Also
    --------
    self_labelling_loss : The loss of SCAN's next step.

    Notes
    -----
    The entropy is that of the images without their neighbours, as in the paper's code. It is taken
    over the batch, so a batch that is small compared with K cannot use all clusters. Inside the
    logarithm, shares below 1e-8 are set to 1e-8; the code does so outside of it too. The code clips
    the logarithm of the agreement at -100; here it is exact. The code's default weight is 2, but
    all of its configurations set 5.

    References
    ----------
    Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images
    without Labels", ECCV 2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import scan_loss
    >>> sure = torch.tensor([[40.0, 0.0], [0.0, 40.0]])
    >>> scan_loss(sure, sure)
    tensor(-3.4657)
    >>> scan_loss(torch.zeros(2, 2), sure)
    tensor(-2.7726)
    """
    import torch

    check_rows("scan_loss", logits=logits, neighbor_logits=neighbor_logits)
    log_p, log_neighbor = (torch.log_softmax(_wide(rows), 1) for rows in (logits, neighbor_logits))
    agreement = torch.logsumexp(log_p + log_neighbor, dim=1).mean()
    shares = log_p.exp().mean(dim=0)
    entropy = -(shares * shares.clamp(min=_SMALLEST_SHARE).log()).sum()
    return (-agreement - entropy_weight * entropy).to(logits.dtype)


def self_labelling_loss(
    weak_logits: Tensor, strong_logits: Tensor, threshold: float = 0.99, balanced: bool = True
) -> Tensor:
    r"""Compute the cross-entropy of one view on the cluster that another view is sure of.

    .. math:: \frac{\sum_{i \in S} w_{y_i} \bigl( -\log p_{i, y_i} \bigr)}{\sum_{i \in S} w_{y_i}},
        \qquad y_i = \arg\max_k q_{ik}, \quad S = \{ i : \max_k q_{ik} > t \}

    where q is the softmax of the weak view's logits, without gradient, and p that of the strong
    view's.

    Parameters
    ----------
    weak_logits : torch.Tensor of shape (B, K)
        Logits of weakly augmented images over K clusters. Detached here.
    strong_logits : torch.Tensor of shape (B, K)
        Logits of the same images, strongly augmented, in the same order.
    threshold : float, default=0.99
        Threshold t that the largest share must exceed.
    balanced : bool, default=True
        Give each cluster the same weight: w is the number of images in S over the number of them in
        the cluster. Otherwise w is 1.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0. If S is empty it is 0, and so are its gradients.

    Raises
    ------
    ValueError
        If the two are not matrices of the same shape.

    See Also
    --------
    scan_loss : The loss of SCAN's step before.

    Notes
    -----
    The paper and its code agree. The code raises an error if S is empty.

    References
    ----------
    Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images
    without Labels", ECCV 2020.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import self_labelling_loss
    >>> weak = torch.tensor([[9.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    >>> strong = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.0]])
    >>> self_labelling_loss(weak, strong)
    tensor(0.5032)
    >>> self_labelling_loss(weak, strong, threshold=1.0)
    tensor(0.)
    """
    import torch
    import torch.nn.functional as F

    check_rows("self_labelling_loss", weak_logits=weak_logits, strong_logits=strong_logits)
    shares, targets = torch.softmax(_wide(weak_logits.detach()), dim=1).max(dim=1)
    losses = F.cross_entropy(_wide(strong_logits), targets, reduction="none")
    weights = (shares > threshold).to(losses.dtype)
    if balanced:
        counts = (F.one_hot(targets, weak_logits.shape[1]) * weights[:, None]).sum(dim=0)
        weights = weights * weights.sum() / counts.clamp(min=1)[targets]
    # Weights of sure images are at least 1, so only a sum of 0 is changed.
    return ((weights * losses).sum() / weights.sum().clamp(min=1)).to(strong_logits.dtype)


def soft_assignments(codes: Tensor, centers: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Compute the share of each cluster in each code, by Student's t-distribution (DEC).

    .. math:: q_{ij} = \frac{(1 + \lVert z_i - \mu_j \rVert_2^2 / \alpha)^{-(\alpha + 1) / 2}}
        {\sum_{k=1}^K (1 + \lVert z_i - \mu_k \rVert_2^2 / \alpha)^{-(\alpha + 1) / 2}}

    Parameters
    ----------
    codes : torch.Tensor of shape (n, D)
        Codes z of images.
    centers : torch.Tensor of shape (K, D)
        Centres :math:`\mu` of the clusters.
    alpha : float, default=1.0
        Degrees of freedom :math:`\alpha`, positive and finite. With fewer, far clusters get larger
        shares.

    Returns
    -------
    assignments : torch.Tensor of shape (n, K)
        The shares q, in the dtype of the codes; each row sums to 1. Gradients flow to codes and
        centres.

    Raises
    ------
    ValueError
        If `alpha` is out of its range, or shapes do not match.

    See Also
    --------
    sharpened_targets : The targets of the assignments.
    dec_loss : The loss between the two.

    Notes
    -----
    Rows do not depend on each other, so many codes can be computed in parts; at once they take n K
    D numbers of memory. The paper fixes :math:`\alpha` at 1.

    References
    ----------
    Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import soft_assignments
    >>> centers = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> soft_assignments(torch.tensor([[0.0, 0.0], [1.0, 5.0]]), centers)
    tensor([[0.8333, 0.1667],
            [0.5000, 0.5000]])
    """
    import torch

    _check_clusters(codes, centers, alpha)
    squared = ((_wide(codes)[:, None] - _wide(centers)) ** 2).sum(dim=2)
    # In logarithms: powers of large distances may vanish in all clusters.
    logits = -(alpha + 1) / 2 * torch.log1p(squared / alpha)
    return torch.softmax(logits, dim=1).to(codes.dtype)


def sharpened_targets(assignments: Tensor) -> Tensor:
    r"""Compute DEC's targets: surer assignments, with less weight for large clusters.

    .. math:: p_{ij} = \frac{q_{ij}^2 / f_j}{\sum_{k=1}^K q_{ik}^2 / f_k}, \qquad
        f_j = \sum_{i=1}^n q_{ij}

    Parameters
    ----------
    assignments : torch.Tensor of shape (n, K)
        Shares q of K clusters in each image; each row sums to 1. Detached here.

    Returns
    -------
    targets : torch.Tensor of shape (n, K)
        The targets p, without gradient; each row sums to 1. A cluster without any share gets none.

    Raises
    ------
    ValueError
        If the assignments are not a matrix.

    See Also
    --------
    soft_assignments : Computes the shares.
    dec_loss : The loss with these targets.

    Notes
    -----
    Dividing by f moves unsure images from large clusters to small ones; with clusters of the same
    size, rows only become surer. The paper computes f over all images, the code of CLAD (Park et
    al.) over each batch.

    References
    ----------
    Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import sharpened_targets
    >>> sharpened_targets(torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    tensor([[0.9000, 0.1000],
            [0.1000, 0.9000]])
    """
    if assignments.ndim != 2:
        raise ValueError(
            "sharpened_targets: assignments must be a matrix, one row per image; "
            f"got {tuple(assignments.shape)}."
        )
    shares = _wide(assignments.detach())
    sizes = shares.sum(dim=0)
    weights = shares * (shares / sizes.masked_fill(sizes == 0, 1))
    return (weights / weights.sum(dim=1, keepdim=True)).to(assignments.dtype)


def dec_loss(assignments: Tensor, targets: Tensor) -> Tensor:
    r"""Compute DEC's loss: the divergence of targets from assignments, averaged over images.

    .. math:: \frac1B \sum_{i=1}^B \mathrm{KL}(p_i \Vert q_i)
        = \frac1B \sum_{i=1}^B \sum_{j=1}^K p_{ij} \log \frac{p_{ij}}{q_{ij}}

    Parameters
    ----------
    assignments : torch.Tensor of shape (B, K)
        Shares q of K clusters in each image, as :func:`soft_assignments` gives them.
    targets : torch.Tensor of shape (B, K)
        Targets p of the same images, in the same order, as :func:`sharpened_targets` gives them.
        Detached here.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0, up to rounding; 0 if assignments equal targets. Targets of 0 add nothing.

    Raises
    ------
    ValueError
        If the two are not matrices of the same shape.

    Notes
    -----
    The paper writes the sum over images, B times this loss; CLAD (Park et al.) takes the mean, as
    here. With assignments by distance, the gradient of the sum with respect to the code :math:`z_i`
    is

    .. math:: \frac{\alpha + 1}{\alpha} \sum_{j=1}^K \Bigl( 1 +
        \frac{\lVert z_i - \mu_j \rVert_2^2}{\alpha} \Bigr)^{-1} (p_{ij} - q_{ij}) (z_i - \mu_j)

    An assignment that was rounded to 0 is set to the smallest positive number, so the loss stays
    finite.

    References
    ----------
    Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from skad.losses import dec_loss, sharpened_targets
    >>> assignments = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    >>> dec_loss(assignments, sharpened_targets(assignments))
    tensor(0.0725)
    """
    import torch

    check_rows("dec_loss", assignments=assignments, targets=targets)
    shares, wanted = _wide(assignments), _wide(targets.detach())
    log_shares, log_wanted = (
        rows.clamp(min=torch.finfo(rows.dtype).tiny).log() for rows in (shares, wanted)
    )
    loss = (wanted * (log_wanted - log_shares)).sum(dim=1).mean()
    return loss.to(assignments.dtype)


def _wide(rows):
    """Rows in at least single precision: logarithms and counts need more than 16 bits."""
    import torch

    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _check_clusters(codes, centers, alpha):
    if not 0 < alpha < math.inf:
        raise ValueError(f"soft_assignments: alpha must be positive and finite; got {alpha}.")
    if codes.ndim != 2 or centers.ndim != 2 or codes.shape[1] != centers.shape[1]:
        raise ValueError(
            "soft_assignments: codes and centers must be matrices with rows of the same length; "
            f"got {tuple(codes.shape)} and {tuple(centers.shape)}."
        )
