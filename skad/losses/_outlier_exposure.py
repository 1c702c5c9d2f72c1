"""The loss of auxiliary outliers."""

from .._types import Tensor


def outlier_exposure_loss(normal_logits: Tensor, outlier_logits: Tensor) -> Tensor:
    r"""Compute the binary cross-entropy between normal images and auxiliary outliers.

    .. math:: -\frac1{n + m} \Bigl[ \sum_{i=1}^n \log(1 - \sigma(s_i))
        + \sum_{j=1}^m \log \sigma(s'_j) \Bigr]

    with the logistic function :math:`\sigma`. Outliers have label 1, so a high logit is anomalous.

    Parameters
    ----------
    normal_logits : torch.Tensor of shape (n,) or (n, 1)
        Logits s of normal images.
    outlier_logits : torch.Tensor of shape (m,) or (m, 1)
        Logits s' of outliers.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0; :math:`\log 2` for logits of 0. Every logit has the same weight, in either
        group.

    Notes
    -----
    PANDA's paper prints the log-likelihood, which must be maximised. Its code minimises the
    negative, as here, with 32 normal images and 32 outliers in a batch.

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
