"""PANDA's sample-wise early stopping: each sample is scored by its most telling checkpoint."""

from numbers import Integral

import numpy as np

from .._compat import Interval, StrOptions
from .._rows import nonzero, same_within
from ._base import BaseScorer
from ._centroid import CentroidScorer
from ._knn import KNNScorer


class SampleWiseScorer(BaseScorer):
    r"""Score by the largest distance of a sample at any checkpoint of a training (PANDA-SES).

    .. math:: s(x) = -\max_t \frac{d_t(x)}{s_t}, \qquad s_t = \frac{1}{n} \sum_{i=1}^n d_t(x_i)

    over checkpoints t of a network in training. Their features :math:`\psi_t(x)` lie side by side
    in the columns of X, those of the untrained network first. The distance :math:`d_t` is

    - "center": :math:`\lVert \psi_t(x) - c \rVert^2`, with the mean c of the first features of the
      training rows, :math:`\frac{1}{n} \sum_i \psi_0(x_i)`;
    - "knn": :math:`\sum_{j=1}^{k} \lVert \psi_t(x) - \psi_t(x_{(j)}) \rVert^2` over the k nearest
      training rows at the same checkpoint. A training row is never its own neighbour, see
      :class:`~skad.KNNScorer`.

    Training draws the features together until they are all the same, and the best step to stop at
    differs from sample to sample. The ratio is about 1 for training rows at every step. So the step
    at which a sample stands out most can be chosen for each sample, without labels.

    Parameters
    ----------
    n_checkpoints : int, default=1
        Number of checkpoints, including the untrained network. Each has
        ``n_features_in_ / n_checkpoints`` columns.
    distance : {"center", "knn"}, default="center"
        Which distance is measured, see above.
    n_neighbors : int, default=2
        The number k of neighbours for "knn".
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    center_ : ndarray of float64, shape (n_features / n_checkpoints,)
        The centre c; for "center" only.
    scales_ : ndarray of float64, shape (n_checkpoints,)
        The divisors :math:`s_t`.
    offset_ : float
        Threshold: a quantile of the training scores. They are leave-one-out for "knn", but not for
        "center".
    n_features_in_ : int
        Number of features, of all checkpoints together.

    See Also
    --------
    skad.CentroidScorer : ``metric="squared_euclidean"`` ranks as "center" of one checkpoint does.
    skad.KNNScorer : ``metric="euclidean"`` ranks as "knn" of one checkpoint does.
    skad.EnsembleScorer : Sum over blocks of columns instead of the maximum.

    Notes
    -----
    The paper leaves some details open, and its code for this was not published. Here

    - :math:`s_t` is the mean of squared distances, as the numerator is squared;
    - the untrained network counts as a checkpoint;
    - all checkpoints share one centre, as there is only one in the loss that training minimises;
    - "knn" is an extension: the paper's formula is that of "center".

    No divisor is smaller than the square of the rounding error of a distance: 128 units in the last
    place of the features' length (of the length at another checkpoint, if all features are zero).
    A checkpoint at which all
    training rows are one point says nothing about samples at that point, and puts all others
    practically infinitely far.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, on sample-wise early stopping (PANDA-SES).

    Examples
    --------
    Two checkpoints of two features each. The second tells the last row apart, the first the one
    before it:

    >>> import numpy as np
    >>> from skad.scorers import SampleWiseScorer
    >>> X = [[1, 0, 0.5, 0], [-1, 0, -0.5, 0], [0, 1, 0, 0.5], [0, -1, 0, -0.5]]
    >>> scorer = SampleWiseScorer(n_checkpoints=2).fit(X)
    >>> scorer.scales_
    array([1.  , 0.25])
    >>> scorer.score_samples([[1, 0, 0, 0.5], [3, 0, 0.5, 0], [1, 0, 0, 2]])
    array([ -1.,  -9., -16.])
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        "n_checkpoints": [Interval(Integral, 1, None, closed="left")],
        "distance": [StrOptions({"center", "knn"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_checkpoints: int = 1,
        *,
        distance: str = "center",
        n_neighbors: int = 2,
        contamination: str | float = "auto",
    ) -> None:
        self.n_checkpoints = n_checkpoints
        self.distance = distance
        self.n_neighbors = n_neighbors
        self.contamination = contamination

    def _fit(self, X):
        if X.shape[1] % self.n_checkpoints:
            raise ValueError(
                f"{type(self).__name__}: the number of features must be a multiple of "
                f"n_checkpoints={self.n_checkpoints}, with as many for each checkpoint; X has "
                f"{X.shape[1]} features. Set n_checkpoints to the number of networks whose "
                "features lie side by side in X."
            )
        self._width = X.shape[1] // self.n_checkpoints
        vars(self).pop("center_", None)
        if self.distance == "center":
            self.center_ = next(self._parts(X)).mean(axis=0, dtype=np.float64)
        self._members = [self._fit_member(part) for part in self._parts(X)]
        means = [distances.mean() for distances in self._distances(X)]
        self.scales_ = np.maximum(means, self._rounding(X))

    def _fit_member(self, part):
        """What gives the negative distances at one checkpoint."""
        if self.distance == "center":
            member = CentroidScorer("squared_euclidean", center=self.center_)
        else:
            member = KNNScorer(self.n_neighbors, metric="euclidean")
        try:
            member._fit_rows(part)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error
        return member

    def _parts(self, X):
        """Features of each checkpoint."""
        for start in range(0, X.shape[1], self._width):
            yield np.ascontiguousarray(X[:, start : start + self._width])

    def _distances(self, X):
        """Distances of all rows, checkpoint by checkpoint."""
        for member, part in zip(self._members, self._parts(X)):
            yield -member._score(part)

    def _rounding(self, X):
        """Squared distance at each checkpoint that may be nothing but rounding; above zero."""
        squared = [np.square(part, dtype=np.float64).sum() / len(X) for part in self._parts(X)]
        squared = np.where(np.equal(squared, 0), nonzero(np.max(squared)), squared)
        return np.maximum(same_within(X.dtype) ** 2 * squared, np.finfo(np.float64).tiny)

    def _score(self, X):
        farthest = np.zeros(len(X))
        for distances, scale in zip(self._distances(X), self.scales_):
            np.maximum(farthest, distances / scale, out=farthest)
        return -farthest
