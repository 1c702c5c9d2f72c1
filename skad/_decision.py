"""From scores to decisions, the same for scorers and detectors."""

from numbers import Real

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from ._compat import Interval, StrOptions
from ._types import Images, Labels

CONTAMINATION = [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")]

# The share of training images beyond the threshold when nobody says: as in PyOD and in
# scikit-learn before "auto" came to mean a fixed score there.
AUTO_CONTAMINATION = 0.1


class DecisionMixin(OutlierMixin):
    """`decision_function` and `predict` on top of `score_samples` and `offset_`."""

    def _offset(self, training_scores, contamination=None):
        """Threshold that leaves a share of the training scores below it, by default the own."""
        contamination = self.contamination if contamination is None else contamination
        share = AUTO_CONTAMINATION if contamination == "auto" else contamination
        return float(np.percentile(training_scores, 100.0 * share))

    def decision_function(self, X: Images) -> np.ndarray:
        """Score each sample, shifted so that negative means anomaly.

        Parameters
        ----------
        X : array-like
            The samples, in any container that `fit` takes.

        Returns
        -------
        scores : ndarray of float64, shape (n_samples,)
            ``score_samples(X) - offset_``: negative for anomalies, high = normal.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        """
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: Images) -> np.ndarray:
        """Label each sample as normal or anomalous.

        Parameters
        ----------
        X : array-like
            The samples, in any container that `fit` takes.

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            +1 for normal, -1 for an anomaly and for a sample without a score.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(self, X: Images, y: Labels = None, **fit_params: object) -> np.ndarray:
        """Fit to `X` and label the same samples.

        Parameters
        ----------
        X : array-like
            The samples.
        y : array-like of shape (n_samples,), optional
            Samples labelled -1 are left out of the fit, but are labelled too.
        **fit_params : dict
            Passed on to `fit`.

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            +1 for normal, -1 for anomaly.
        """
        return self.fit(X, y, **fit_params).predict(X)
