"""Kernel density on the sphere."""

from numbers import Real

import numpy as np
from scipy.special import logsumexp

from .._compat import Interval, StrOptions
from .._rows import plain_rows, same_within, unit_rows
from ._base import BaseScorer
from ._blocks import blockwise
from ._neighbors import IndexFromGallery, NeighborIndex


class KDEScorer(IndexFromGallery, BaseScorer):
    r"""Score by a Gaussian kernel density of directions: DROC's KDE.

    With rows scaled to unit length,

    .. math:: s(x) = \frac{1}{\gamma} \log \sum_i \exp\bigl(2 \gamma \cos(x, x_i)\bigr),

    which is, up to constants, the logarithm of the kernel :math:`\exp(-\gamma \lVert x - x_i
    \rVert^2)` summed over the training rows :math:`x_i`. A zero row has cosine 0 with every row.

    If a query equals a training row up to rounding, that row is left out once. Scores of training
    rows are therefore leave-one-out.

    Parameters
    ----------
    gamma : "scale" or float, default="scale"
        Width of the kernel. "scale" is :math:`10 / (d \operatorname{var})`, with the variance of
        all values of the unit training rows (DROC's code).
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    gamma_ : float
        The width that is used.
    gallery_ : ndarray of float64, shape (n_samples, n_features)
        The training rows, of unit length.
    offset_ : float
        Threshold: a quantile of the leave-one-out training scores.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.GaussianScorer : DROC's GDE, with ``normalize=True, log_likelihood=True``.
    skad.KNNScorer : The limit of a narrow kernel.

    References
    ----------
    Sohn, Li, Yoon, Jin, Pfister, "Learning and Evaluating Representations for Deep One-class
    Classification", ICLR 2021, section 3.

    Examples
    --------
    >>> from skad import KDEScorer
    >>> scorer = KDEScorer(gamma=5.0).fit([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1]])
    >>> scorer.score_samples([[2.0, 0.05], [0.0, 1.0]]).round(2)
    array([2.21, 0.28])
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        "gamma": [StrOptions({"scale"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, gamma: str | float = "scale", *, contamination: str | float = "auto"
    ) -> None:
        self.gamma = gamma
        self.contamination = contamination

    def _fit(self, X):
        if len(X) < 2:
            raise ValueError(
                f"{type(self).__name__}: needs at least 2 training rows, since a row leaves itself "
                "out; got n_samples = 1."
            )
        self.gallery_ = unit_rows(X)
        self._build_index()
        self._dtype = X.dtype
        if self.gamma == "scale":
            # One and the same direction, all values equal: any width will do.
            self.gamma_ = 10.0 / (self.gallery_.shape[1] * self.gallery_.var() or 1.0)
        else:
            self.gamma_ = float(self.gamma)

    def _build_index(self, built=None):
        self._index = NeighborIndex(self.gallery_, plain_rows, built=built)

    def _score(self, X):
        return blockwise(self._score_block, X, max(self.gallery_.shape))

    def _score_block(self, X):
        rows = unit_rows(X)
        cosines = rows @ self.gallery_.T
        # Not by the largest cosine, which can't tell rows apart that are nearer than 1e-8.
        squared, nearest = self._index.search(rows, 1)
        itself = np.flatnonzero(np.sqrt(squared[:, 0]) <= same_within(X.dtype, self._dtype))
        cosines[itself, nearest[itself, 0]] = -np.inf
        return logsumexp(2.0 * self.gamma_ * cosines, axis=1) / self.gamma_
