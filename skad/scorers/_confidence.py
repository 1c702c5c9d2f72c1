"""Confidence of a classifier."""

from numbers import Real

import numpy as np
from scipy.special import logsumexp

from .._compat import Interval
from ._base import BaseScorer


class ConfidenceScorer(BaseScorer):
    r"""Score logits by the largest softmax probability, at a temperature.

    .. math:: S(f) = \max_i \operatorname{softmax}(f / T)_i, \qquad
              s(f) = \log \frac{S}{1 - S}

    The log odds rank samples as S does. Unlike S they do not round to 1, which would tie all
    samples of a confident classifier. ``scipy.special.expit(s)`` is S.

    Parameters
    ----------
    temperature : float, default=1.0
        The temperature T: 1 for the plain baseline, 1 000 for ODIN. (The other half of ODIN, a
        perturbation of the image, belongs to the network.)
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    offset_ : float
        Threshold: a quantile of the training scores.
    n_features_in_ : int
        Number of classes.

    References
    ----------
    Hendrycks, Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples",
    ICLR 2017. Liang, Li, Srikant, "Enhancing the Reliability of Out-of-Distribution Image Detection
    in Neural Networks", ICLR 2018.

    Examples
    --------
    >>> from skad import ConfidenceScorer
    >>> scorer = ConfidenceScorer().fit([[9.0, 0.0], [0.0, 8.0], [7.0, 0.0]])
    >>> scorer.score_samples([[0.0, 5.0], [3.0, 3.0]])
    array([5., 0.])
    """

    _parameter_constraints = {  # noqa: RUF012
        **BaseScorer._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, temperature: float = 1.0, *, contamination: str | float = "auto") -> None:
        self.temperature = temperature
        self.contamination = contamination

    def _fit(self, X):
        if X.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__}: X must hold the logits of at least 2 classes; got "
                "n_features = 1."
            )

    def _score(self, X):
        logits = np.sort(X.astype(np.float64) / self._fitted.temperature, axis=1)
        return logits[:, -1] - logsumexp(logits[:, :-1], axis=1)
