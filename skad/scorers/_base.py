"""What every scorer shares: validation, the threshold, the dropping of labelled anomalies."""

from abc import ABC, abstractmethod

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import fit_context
from .._decision import CONTAMINATION, DecisionMixin
from .._fitting import unchanged_on_error
from .._labels import normal_rows


class BaseScorer(DecisionMixin, BaseEstimator, ABC):
    """Outlier detector on 2-D arrays; subclasses give `_fit(X)` and `_score(X)`, high = normal."""

    _parameter_constraints = {"contamination": CONTAMINATION}  # noqa: RUF012

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn what is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of normal samples.
        y : array-like of shape (n_samples,), optional
            Rows labelled -1 (or True) are left out; see :class:`skad.metrics.AUROCScorer`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `X` is empty, holds NaN or infinity, or has too few rows; if labels are unknown.
        """
        with unchanged_on_error(self):
            X = validate_data(self, X, dtype=("float64", "float32"))
            X = X[normal_rows(X, y, owner=type(self).__name__)]
            self._fit(X)
            self.offset_ = self._offset(self._score(X))
        return self

    def score_samples(self, X):
        """Score of each sample, high = normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of float64, shape (n_samples,)
        """
        check_is_fitted(self)
        return self._score(validate_data(self, X, reset=False, dtype=("float64", "float32")))

    @abstractmethod
    def _fit(self, X):
        """Learn from validated rows, all of them normal."""

    @abstractmethod
    def _score(self, X):
        """Score validated rows as float64, high = normal; training rows leave themselves out."""
