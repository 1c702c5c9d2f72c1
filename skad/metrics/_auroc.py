"""Area under the ROC curve with the direction made sure of."""

from numbers import Real

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from .._labels import outlier_mask
from .._types import ArrayLike, Images


def auroc_score(y_true: ArrayLike, scores: ArrayLike, *, outlier_label: object = None) -> float:
    """Compute the area under the ROC curve of scores that are high for normal samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomaly), or booleans (True = anomaly), or any labels together with
        `outlier_label`.
    scores : array-like of shape (n_samples,)
        As `decision_function` and `score_samples` give them: high = normal.
    outlier_label : object, optional
        The label of the anomalies, if labels are of another kind.

    Returns
    -------
    auroc : float
        In [0, 1]: of all pairs of an anomaly and a normal sample, the share in which the anomaly
        scores lower. Ties count half.

    Raises
    ------
    ValueError
        If the labels are ambiguous or all of one kind.

    Examples
    --------
    >>> from skad.metrics import auroc_score
    >>> auroc_score([1, 1, -1, -1], [0.9, 0.4, 0.5, 0.1])
    0.75
    """
    mask = outlier_mask(y_true, outlier_label=outlier_label, owner="auroc_score")
    scores = column_or_1d(scores)
    check_consistent_length(mask, scores)
    if mask.all() or not mask.any():
        kind = "anomalies" if mask.all() else "normal"
        hint = "" if outlier_label is None else f" (outlier_label={outlier_label!r})"
        raise ValueError(
            f"auroc_score: all {len(mask)} samples are {kind}{hint}; both kinds are needed. Split "
            "with skad.model_selection.OneClassKFold, which puts both into every test fold."
        )
    return float(roc_auc_score(mask, -np.asarray(scores, dtype=np.float64)))


def auroc_interval(
    y_true: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95, outlier_label: object = None
) -> tuple[float, float]:
    r"""Compute a confidence interval of the AUROC, which holds for perfect separation too.

    It contains the areas :math:`\theta` that differ from the measured area A by no more than
    chance,

    .. math:: |\theta - A| \le z \sqrt{V(\theta)}, \qquad V(\theta) = \frac{\theta (1 - \theta)}
        {m n} \left(1 + N \left(\frac{1 - \theta}{2 - \theta} + \frac{\theta}{1 + \theta}
        \right)\right), \qquad N = \frac{m + n}{2} - 1

    with m anomalies and n normal samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels, see :func:`auroc_score`.
    scores : array-like of shape (n_samples,)
        As `decision_function` and `score_samples` give them: high = normal.
    confidence : float in (0, 1), default=0.95
        Confidence of the interval. (0.95 is convention.)
    outlier_label : object, optional
        The label of the anomalies, if labels are of another kind.

    Returns
    -------
    low, high : float
        Ends of the interval.

    Raises
    ------
    ValueError
        If the labels are ambiguous or all of one kind, or `confidence` is not in (0, 1).

    References
    ----------
    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
    Part 2", Statistics in Medicine 25, 2006: method 5.

    Examples
    --------
    >>> from skad.metrics import auroc_interval
    >>> low, high = auroc_interval([1, 1, 1, -1, -1, -1], [0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    >>> round(low, 2), high
    (0.5, 1.0)
    """
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(
            f"auroc_interval: confidence must be a float in (0, 1); got {confidence!r}."
        )
    area = auroc_score(y_true, scores, outlier_label=outlier_label)
    mask = outlier_mask(y_true, outlier_label=outlier_label, owner="auroc_interval")
    m, n = int(mask.sum()), int((~mask).sum())
    z = norm.ppf(0.5 + confidence / 2)

    def beyond(theta):
        weight = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + ((m + n) / 2 - 1) * weight) / (m * n)
        return abs(theta - area) - z * np.sqrt(variance)

    # At 0 and 1, where the variance is nothing, every area is beyond.
    low = 0.0 if area == 0 else brentq(beyond, 0.0, min(area, 1 - 1e-12))
    high = 1.0 if area == 1 else brentq(beyond, max(area, 1e-12), 1.0)
    return float(low), float(high)


class AUROCScorer:
    """Scorer for `GridSearchCV` and `cross_val_score`: AUROC of a detector's `decision_function`.

    With ``scoring="roc_auc"``, labels in which 1 stands for an anomaly silently reverse the result.
    This scorer accepts only labels whose meaning is clear.

    Parameters
    ----------
    outlier_label : object, optional
        The label of the anomalies, if labels are neither +1 and -1 nor booleans. Detectors,
        however, accept only +1, -1 and booleans in `fit`.

    See Also
    --------
    skad.OneClassKFold : Folds that train on normal samples and test on both kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from skad import KNNScorer, OneClassKFold, auroc_scorer
    >>> X = np.vstack([np.eye(8) * 0.1 + 1, np.eye(8) * 9])
    >>> y = np.repeat([1, -1], 8)
    >>> cross_val_score(KNNScorer(), X, y, cv=OneClassKFold(2), scoring=auroc_scorer)
    array([1., 1.])
    """

    def __init__(self, outlier_label: object = None) -> None:
        self.outlier_label = outlier_label

    def __call__(self, estimator: object, X: Images, y: ArrayLike) -> float:
        """AUROC of `estimator` on `X`, labelled `y`."""
        scores = estimator.decision_function(X)
        return auroc_score(y, scores, outlier_label=self.outlier_label)

    def __repr__(self):
        return f"AUROCScorer(outlier_label={self.outlier_label!r})"


auroc_scorer = AUROCScorer()
