"""scikit-learn's own outlier detectors and densities in the place of a scorer."""

import numpy as np
from sklearn.base import clone

from .._compat import HasMethods
from ._base import BaseScorer


class SklearnScorer(BaseScorer):
    """Score by any estimator of scikit-learn that has `score_samples`.

    That is `OneClassSVM`, `IsolationForest`, ``LocalOutlierFactor(novelty=True)``,
    `EllipticEnvelope`, `GaussianMixture`, `KernelDensity` and their like: high = normal, as
    everywhere. The threshold is skad's, and labelled anomalies are left out of the fit.

    Parameters
    ----------
    estimator : estimator
        Cloned and fitted; has `fit` and `score_samples`.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows beyond the threshold `offset_`; "auto" is 0.1. A `contamination`
        of the estimator itself moves its own threshold, not this one.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    offset_ : float
        Threshold: quantile of the scores that the estimator gives its training rows.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.EnsembleScorer : Takes these among its scorers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import IsolationForest
    >>> from skad import SklearnScorer
    >>> X = load_digits().data
    >>> scorer = SklearnScorer(IsolationForest(random_state=0), contamination=0.05).fit(X)
    >>> float((scorer.predict(X) == -1).mean().round(3))
    0.05
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        "estimator": [HasMethods(["fit", "score_samples"])],
    }

    def __init__(self, estimator: object, *, contamination: str | float = "auto") -> None:
        self.estimator = estimator
        self.contamination = contamination

    def _fit(self, X):
        self.estimator_ = clone(self.estimator).fit(X)

    def _score(self, X):
        return np.asarray(self.estimator_.score_samples(X), dtype=np.float64)
