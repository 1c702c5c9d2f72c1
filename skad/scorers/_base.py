"""What every scorer shares: validation, the threshold, the dropping of labelled anomalies."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from .._callbacks import CallbackSupportMixin, fit_task
from .._compat import fit_context
from .._decision import CONTAMINATION, DecisionMixin
from .._fitting import parameters_of, unchanged_on_error
from .._labels import has_anomaly_labels, normal_rows, outlier_mask
from .._types import ArrayLike, Labels

# Larger values have fourth powers, of which covariances are made, beyond float64.
_LARGEST = 1e75


def validate_rows(estimator, X, *, reset):
    """Rows as a finite array of float32 or float64; scikit-learn's errors, and one of our own."""
    with np.errstate(invalid="ignore"):  # scikit-learn adds inf to -inf on its way to its error
        X = validate_data(estimator, X, reset=reset, dtype=("float64", "float32"))
    # The sum of squares is one quick pass, and seldom calls for a closer look.
    if X.dtype == np.float32 or np.vdot(X, X) <= _LARGEST**2:
        return X
    largest = np.abs(X).max()
    if largest > _LARGEST:
        raise ValueError(
            f"{type(estimator).__name__}: values of X must lie within +-{_LARGEST:g}; got one of "
            f"size {largest:g}. Scale the features down."
        )
    return X


class BaseScorer(CallbackSupportMixin, DecisionMixin, BaseEstimator, ABC):
    """Outlier detector on 2-D arrays; subclasses give `_fit(X)` and `_score(X)`, high = normal.

    After the fit parameters are read in `_fitted`, as they were then: new ones count from the next
    fit on.
    """

    _parameter_constraints = {"contamination": CONTAMINATION}  # noqa: RUF012

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Labels = None) -> Self:
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
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` is empty, holds NaN or infinity, or has too few rows; if labels are unknown.
        """
        return self._fit_normal(X, y)

    def _fit_normal(self, X, y, **per_row):
        """Fit to the rows that are normal, wholly or not at all."""
        with unchanged_on_error(self), fit_task(self):
            X = validate_rows(self, X, reset=True)
            rows, per_row = self._normal(X, y, per_row)
            self._fit_rows(rows, **per_row)
            scores = self._score(self._threshold_rows(rows))
            self.offset_ = self._offset(scores, self._fitted.contamination)
        return self

    def _threshold_rows(self, X):
        """Those of the rows of the fit that the threshold is taken from."""
        return X

    def _fit_rows(self, X, **per_row):
        """Learn from validated rows by the parameters as they are now, but for the threshold."""
        self._fitted = parameters_of(self)
        self._fit(X, **per_row)

    def _normal(self, X, y, per_row):
        """Rows without labelled anomalies, and what belongs to these rows."""
        indices = normal_rows(X, y, owner=type(self).__name__)
        given = {name: column_or_1d(v) for name, v in per_row.items() if v is not None}
        check_consistent_length(X, *given.values())
        return X[indices], {name: values[indices] for name, values in given.items()}

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Score each sample, high = normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of the samples.

        Returns
        -------
        scores : ndarray of float64, shape (n_samples,)
            One score for each row.
        """
        return self._score(self._validated(X))

    def _validated(self, X):
        """Rows to be scored, as an array."""
        check_is_fitted(self)
        return validate_rows(self, X, reset=False)

    @abstractmethod
    def _fit(self, X):
        """Learn from validated rows, all of them normal."""

    @abstractmethod
    def _score(self, X):
        """Score validated rows as float64, high = normal."""

    def _training_scores(self, X):
        """Scores of the rows that were fitted, each left out of the fit as far as that is cheap."""
        return self._score(X)


def can_extend(scorer):
    obstacle = scorer._obstacle_to_extending(getattr(scorer, "_fitted", scorer))
    if obstacle:
        raise AttributeError(f"{type(scorer).__name__}: {obstacle}")
    return True


class IncrementalScorer(BaseScorer, ABC):
    """Scorer that takes rows in batches; subclasses give `_extend(X)` too."""

    def _obstacle_to_extending(self, parameters):
        """Why these parameters rule `partial_fit` out, or None."""

    @available_if(can_extend)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: Labels = None) -> Self:
        """Learn from more rows, as if they had been there in `fit`.

        The parameters of the estimator are those at the first batch, or at `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of normal samples. The first batch must be enough for a fit.
        y : array-like of shape (n_samples,), optional
            Rows labelled -1 (or True) are left out. In a later batch all may be labelled so.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._extend_normal(X, y)

    def _extend_normal(self, X, y, **per_row):
        if not hasattr(self, "offset_"):
            return self._fit_normal(X, y, **per_row)
        with unchanged_on_error(self):
            X = self._validated(X)
            if has_anomaly_labels(y) and outlier_mask(y).all():
                return self
            rows, per_row = self._normal(X, y, per_row)
            scores = self._score(self._extend(rows, **per_row))
            self.offset_ = self._offset(scores, self._fitted.contamination)
        return self

    @abstractmethod
    def _extend(self, X):
        """Learn from more validated rows; give the rows that the threshold is taken from."""
