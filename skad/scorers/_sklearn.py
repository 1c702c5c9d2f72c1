"""scikit-learn's own outlier detectors and densities in the place of a scorer."""

import numpy as np
from sklearn.base import clone

from .._compat import HasMethods
from ._base import BaseScorer


class SklearnScorer(BaseScorer):
    """Score by any estimator of scikit-learn that has `score_samples`.

    For example `OneClassSVM`, `IsolationForest`, ``LocalOutlierFactor(novelty=True)``,
    `EllipticEnvelope`, `GaussianMixture` or `KernelDensity`; high = normal. The threshold is set as
    in all scorers of skad, and labelled anomalies are left out of the fit.

    Parameters
    ----------
    estimator : estimator
        An estimator with `fit` and `score_samples`. A clone of it is fitted.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1. A
        `contamination` of the estimator itself has no effect here.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    offset_ : float
        Threshold: a quantile of the estimator's scores of the training rows.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.EnsembleScorer : Accepts this scorer in its list.

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
