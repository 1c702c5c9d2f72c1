"""Distance to the nearest training rows: the score of DN2, PANDA and MSC."""

from numbers import Integral

import numpy as np

from .._compat import Interval, StrOptions
from ._base import BaseScorer
from ._neighbors import NeighborIndex

# Rows that differ by so many units in the last place are the same row: the last bits of a feature
# depend on how many images went through the network with it (by up to 4e-6 of its length, seen on
# MobileNets and ResNets in float32).
_SAME_ULPS = 128


class KNNScorer(BaseScorer):
    r"""Score by the distance to the nearest training rows.

    .. math:: s(x) = -\sum_{j=1}^{k} \lVert x - x_{(j)} \rVert_2^2

    with :math:`x_{(j)}` the j-th nearest training row; with ``metric="cosine"`` all rows are scaled
    to unit length first, so that each term is :math:`2 (1 - \cos(x, x_{(j)}))`.

    A query that equals a training row, but for rounding (128 units in the last place of its type),
    is taken to be that row, which is then not its own neighbour (once: a second copy counts).
    Scores of training rows, and so the threshold, are leave-one-out.

    Parameters
    ----------
    n_neighbors : int, default=2
        Number of neighbours k (2 in the papers and their code).
    metric : {"cosine", "euclidean"}, default="cosine"
        "cosine" is the angular form of MSC, 3.3 points better on CIFAR-10 than PANDA's
        "euclidean".
    aggregation : {"sum_of_squares", "mean"}, default="sum_of_squares"
        Sum of squared distances (the published code of PANDA and MSC) or mean distance (SPADE).
        Distances are euclidean, for "cosine" between unit vectors.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    gallery_ : ndarray of shape (n_samples, n_features)
        The training rows.
    offset_ : float
        Threshold: quantile of the leave-one-out training scores.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    faiss searches in float32 on rows that were centred and scaled; the distances to what it
    proposes are measured again in float64, and a query for which float32 can't prove that nothing
    nearer was missed is searched again in float64.

    See Also
    --------
    skad.DN2 : This scorer on the features of a pretrained network.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection",
    AAAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import KNNScorer
    >>> gallery = np.array([[0.0, 1.0], [0.1, 1.0], [0.0, 2.0], [0.2, 1.5]])
    >>> scorer = KNNScorer(metric="euclidean").fit(gallery)
    >>> scorer.score_samples([[0.0, 1.1], [3.0, 1.0]]).round(2)
    array([ -0.03, -16.5 ])
    >>> scorer.predict([[0.0, 1.1], [3.0, 1.0]])
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "aggregation": [StrOptions({"sum_of_squares", "mean"})],
    }

    def __init__(
        self,
        n_neighbors=2,
        *,
        metric="cosine",
        aggregation="sum_of_squares",
        contamination="auto",
    ):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.aggregation = aggregation
        self.contamination = contamination

    def _fit(self, X):
        if len(X) <= self.n_neighbors:
            raise ValueError(
                f"{type(self).__name__}: n_neighbors={self.n_neighbors} needs at least "
                f"{self.n_neighbors + 1} training rows, since a row is not its own neighbour; got "
                f"n_samples = {len(X)}. Give more rows or lower n_neighbors."
            )
        self.gallery_ = X
        self._index = NeighborIndex(X, _unit_rows if self.metric == "cosine" else _plain_rows)

    def _score(self, X):
        squared, _ = self._index.search(X, self.n_neighbors + 1)
        itself = np.sqrt(squared[:, 0]) <= self._rounding(X)
        squared = np.where(itself[:, None], squared[:, 1:], squared[:, :-1])
        if self.aggregation == "mean":
            return -np.sqrt(squared).mean(axis=1)
        return -squared.sum(axis=1)

    def _rounding(self, X):
        """Distance that may be left between two computations of the same row."""
        epsilon = max(np.finfo(X.dtype).eps, np.finfo(self.gallery_.dtype).eps)
        length = 1.0 if self.metric == "cosine" else np.linalg.norm(X.astype(np.float64), axis=1)
        return _SAME_ULPS * epsilon * length

    def __getstate__(self):
        # The index is a second copy of the gallery, in a format that belongs to one faiss version.
        state = super().__getstate__().copy()
        state.pop("_index", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "gallery_"):
            self._fit(self.gallery_)


def _plain_rows(X):
    return X.astype(np.float64)


def _unit_rows(X):
    """Rows of unit length; a zero row stays zero."""
    X = X.astype(np.float64)
    # Scaled by the largest value first: the squares of 1e-200 would vanish.
    X /= _nonzero(np.abs(X).max(axis=1, keepdims=True))
    X /= _nonzero(np.linalg.norm(X, axis=1, keepdims=True))
    return X


def _nonzero(scale):
    return np.where(scale == 0, 1.0, scale)
