"""Distance to one centre."""

import numpy as np

from .._compat import StrOptions
from .._rows import angle_of, plain_rows, unit_rows
from ._base import BaseScorer
from ._covariance import Covariance
from ._moments import Moments
from ._whitening import COVARIANCE_CONSTRAINTS


class CentroidScorer(BaseScorer):
    r"""Score by the distance to the centre of the training rows.

    With the centre c, by default the mean :math:`\mu` of the training rows, the score is

    - "cosine" (NSA's c-Cos): :math:`-\arccos \cos(x, c)`, in radians;
    - "mahalanobis_cosine" (NSA's c-Cos(Mah)):
      :math:`-\arccos \cos(\Sigma^{-1/2} x, \Sigma^{-1/2} c)`;
    - "euclidean": :math:`-\lVert x - c \rVert`;
    - "squared_euclidean" (DeepSVDD): :math:`-\lVert x - c \rVert^2`.

    A zero row has no direction; its angle to any row is 60 degrees.

    NSA writes c-Cos(Mah) with centred whitening :math:`\Sigma^{-1/2} (x - \mu)`. That maps the mean
    to the zero vector, to which no angle is defined. So here rows are whitened but not centred.

    Parameters
    ----------
    metric : {"cosine", "mahalanobis_cosine", "euclidean", "squared_euclidean"}, default="cosine"
        Distance to the centre, see above.
    center : "mean", "origin" or array-like of shape (n_features,), default="mean"
        The centre. DeepSVDD fixes one before training and gives it here. The origin has no
        direction, so it is for the euclidean metrics only.
    shrinkage : "ledoit_wolf" or float in [0, 1], default="ledoit_wolf"
        Shrinkage of the covariance for "mahalanobis_cosine", see :class:`~skad.Whitening`.
    n_components : int, float in (0, 1) or None, default=None
        Directions that whitening keeps, see :class:`~skad.Whitening`.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    center_ : ndarray of float64, shape (n_features,)
        The centre.
    offset_ : float
        Threshold: a quantile of the training scores. The centre was computed from the training
        rows, so they score too well if they are few for the number of features.
        :class:`~skad.ConformalDetector` sets thresholds that hold for new rows.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.KNNScorer : Distance to the nearest rows: slower, but better (PANDA: 96.2 against 94.2).
    skad.GaussianScorer : Mahalanobis distance to the mean.

    References
    ----------
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA)", section 2.5. Ruff et al.,
    "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import CentroidScorer
    >>> scorer = CentroidScorer().fit([[1.0, 0.9], [1.0, 1.1], [2.0, 2.0]])
    >>> np.degrees(scorer.score_samples([[3.0, 3.0], [1.0, 0.0]])).round(3) + 0.0
    array([  0., -45.])
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        **COVARIANCE_CONSTRAINTS,
        "metric": [StrOptions({"cosine", "mahalanobis_cosine", "euclidean", "squared_euclidean"})],
        "center": [StrOptions({"mean", "origin"}), "array-like"],
    }

    def __init__(
        self,
        metric: str = "cosine",
        *,
        center: str = "mean",
        shrinkage: str | float = "ledoit_wolf",
        n_components: int | float | None = None,
        contamination: str | float = "auto",
    ) -> None:
        self.metric = metric
        self.center = center
        self.shrinkage = shrinkage
        self.n_components = n_components
        self.contamination = contamination

    def _fit(self, X):
        self.center_ = self._find_center(X)
        self._is_angle = self.metric.endswith("cosine")
        if self._is_angle and np.linalg.norm(self.center_) <= self._rounding(X):
            raise ValueError(
                f"{type(self).__name__}: the centre is the zero vector (but for rounding), which "
                f"has no direction, so metric='{self.metric}' has no angle to it. Features that "
                "were centred lost theirs: leave that out, or use a euclidean metric."
            )
        if self.metric == "mahalanobis_cosine":
            covariance = Covariance.estimate(
                [Moments.of(X)],
                shrinkage=self.shrinkage,
                n_components=self.n_components,
                owner=type(self).__name__,
            )
            # With the centre among the directions, a remainder is orthogonal to it.
            self.covariance_ = covariance.extended(self.center_)

    def _find_center(self, X):
        n_features = X.shape[1]
        if isinstance(self.center, str):
            return (
                np.zeros(n_features)
                if self.center == "origin"
                else X.mean(axis=0, dtype=np.float64)
            )
        center = np.asarray(self.center)
        numbers = center.dtype.kind in "iuf" and np.isfinite(center).all()
        if center.shape != (n_features,) or not numbers:
            raise ValueError(
                f"{type(self).__name__}: center must hold {n_features} finite numbers, one a "
                f"feature; got shape {center.shape}, dtype {center.dtype}. Or use center='mean'."
            )
        return center.astype(np.float64)

    def _rounding(self, X):
        """Length that is left of a mean of zero; a centre that was given is taken at its word."""
        if not isinstance(self.center, str):
            return 0.0
        return 1e3 * np.finfo(X.dtype).eps * np.sqrt(np.square(X, dtype=np.float64).sum() / len(X))

    def _score(self, X):
        return self._distances(X, self.center_)

    def _training_scores(self, X):
        center = self._fitted.center
        if not isinstance(center, str) or center == "origin" or len(X) < 2:
            return self._score(X)
        # The mean of the other rows; the covariance still holds them all.
        return self._distances(X, self.center_ + (self.center_ - X) / (len(X) - 1))

    def _distances(self, X, centers):
        """Negative distance of each row to its centre, or to the one centre."""
        if self._is_angle:
            rows, centers = (
                unit_rows(self._whitened(points)) for points in (X, np.atleast_2d(centers))
            )
            return -angle_of(np.linalg.norm(rows - centers, axis=1))
        apart = np.subtract(X, centers, dtype=np.float64)
        squared = np.einsum("nd,nd->n", apart, apart)
        return -squared if self._fitted.metric == "squared_euclidean" else -np.sqrt(squared)

    def _whitened(self, X):
        if self._fitted.metric == "mahalanobis_cosine":
            return self.covariance_.whiten(X, 0.0)
        return plain_rows(X)
