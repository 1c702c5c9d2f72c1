"""Logits of being an outlier, as scores."""

import numpy as np

from ._base import BaseScorer


class LogitScorer(BaseScorer):
    r"""Score by the logit of being an outlier, which a network has computed.

    .. math:: s(l) = -\max_j l_j

    Parameters
    ----------
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1. The
        network was trained on these rows, so the threshold is too tight for new rows.

    Attributes
    ----------
    offset_ : float
        Threshold: a quantile of the training scores.
    n_features_in_ : int
        Number of logits of each row, usually one.

    See Also
    --------
    skad.OutlierExposureAdapter : Gives such logits.
    skad.ConfidenceScorer : Logits of the classes of normal images.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021 (PANDA-OE).

    Examples
    --------
    >>> from skad import LogitScorer
    >>> LogitScorer().fit([[-3.0], [-2.0], [-4.0]]).predict([[-3.5], [2.0]])
    array([ 1, -1])
    """

    def __init__(self, contamination: str | float = "auto") -> None:
        self.contamination = contamination

    def _fit(self, X):
        return self  # nothing is learned but the threshold

    def _score(self, X):
        return -np.max(X.astype(np.float64), axis=1)
