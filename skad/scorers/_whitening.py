"""Whitening as a transformer."""

from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._compat import Interval, StrOptions, fit_context
from .._fitting import parameters_of, unchanged_on_error
from .._labels import has_anomaly_labels, normal_rows
from .._types import ArrayLike, Labels
from ._base import validate_rows
from ._covariance import Covariance
from ._moments import Moments

# Shared by the scorers that whiten.
COVARIANCE_CONSTRAINTS = {
    "shrinkage": [StrOptions({"ledoit_wolf"}), Interval(Real, 0, 1, closed="both")],
    "n_components": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="neither"),
        None,
    ],
}


class Whitening(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Transform features so that the training rows have the identity as covariance.

    Let :math:`\mu` be the mean of the training rows, :math:`V` the eigenvectors and :math:`s` the
    eigenvalues of their covariance, and :math:`\lambda` the shrinkage. Then

    .. math::
        u = \Lambda^{-1/2} V^T (x - \mu), \qquad
        \Lambda = (1 - \lambda)\, s + \lambda\, \bar s,

    where :math:`\bar s` is the mean variance over all d features.

    Parameters
    ----------
    center : bool, default=True
        Subtract the mean. This does not change distances, but it changes angles. Do not centre for
        angles: seen from the mean, normal rows lie in all directions.
    shrinkage : "ledoit_wolf" or float in [0, 1], default="ledoit_wolf"
        The shrinkage :math:`\lambda`. "ledoit_wolf" estimates it from the rows. If the estimate is
        0 although the rows do not span the space (two rows, for example), the oracle approximating
        shrinkage is used instead. 0 is the plain (biased) covariance; the whitened training rows
        then have exactly the identity. NSA does not shrink; with no more rows than features, all
        training rows are then equally far from each other.
    n_components : int, float in (0, 1) or None, default=None
        Keep this number of directions of largest variance (at most the rank), or as many as make
        up this share of the variance; drop the rest.

    Attributes
    ----------
    mean_ : ndarray of float64, shape (n_features,)
        Mean of the training rows.
    covariance_ : object
        Directions and their variances.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.KNNScorer : ``metric="mahalanobis"`` and ``"mahalanobis_cosine"`` whiten on their own.

    Notes
    -----
    If the training rows do not span the space, for example because there are no more rows than
    features, shrinkage gives the same variance to all directions outside their span. The last
    column then holds the length of the part of a row outside the span. Distances and angles to
    training rows are those of the full :math:`\Sigma^{-1/2}(x - \mu)`, and no matrix larger than
    the training rows is formed. (With ``center=False`` the direction of the mean belongs to the
    span.)

    References
    ----------
    Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal
    of Multivariate Analysis 2004. Chen, Wiesel, Eldar, Hero, "Shrinkage Algorithms for MMSE
    Covariance Estimation", IEEE Transactions on Signal Processing 2010. Yousef, Ackermann, Kurup,
    Bishop, "No Shifted Augmentations (NSA)", section 2.5.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import Whitening
    >>> X = np.random.RandomState(0).normal(size=(200, 2)) * [1, 100]
    >>> whitened = Whitening(shrinkage=0.0).fit_transform(X)
    >>> np.cov(whitened.T, bias=True).round(6) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """

    _parameter_constraints = {**COVARIANCE_CONSTRAINTS, "center": ["boolean"]}  # noqa: RUF012

    def __init__(
        self,
        *,
        center: bool = True,
        shrinkage: str | float = "ledoit_wolf",
        n_components: int | float | None = None,
    ) -> None:
        self.center = center
        self.shrinkage = shrinkage
        self.n_components = n_components

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Labels = None) -> Self:
        """Learn mean and covariance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of normal samples.
        y : array-like of shape (n_samples,), optional
            Rows labelled -1 (or True) are left out; labels of another kind are ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` is empty, holds NaN or infinity, or all rows are equal; if the covariance is
            singular and neither shrunk nor truncated.
        """
        with unchanged_on_error(self):
            X = validate_rows(self, X, reset=True)
            labels = y if has_anomaly_labels(y) else None
            self._fit(X[normal_rows(X, labels, owner=type(self).__name__)])
        return self

    def _fit(self, X, owner="Whitening"):
        self._fitted = parameters_of(self)
        moments = Moments.of(X)
        self.mean_ = moments.mean
        self.covariance_ = Covariance.estimate(
            [moments],
            shrinkage=self.shrinkage,
            n_components=self.n_components,
            owner=owner,
        )
        if not self.center:  # the mean must not count as a remainder of the training rows
            self.covariance_ = self.covariance_.extended(self.mean_)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Whiten rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of the samples.

        Returns
        -------
        whitened : ndarray of float64, shape (n_samples, n_coordinates)
            At most `n_features` columns; see Notes for the last one.
        """
        check_is_fitted(self)
        return self._whiten(validate_rows(self, X, reset=False))

    def _whiten(self, X):
        return self.covariance_.whiten(X, self.mean_ if self._fitted.center else 0.0)

    @property
    def _n_features_out(self):
        return self.covariance_.n_coordinates
