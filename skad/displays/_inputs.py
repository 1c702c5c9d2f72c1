"""What displays take: scores, labels, and estimators to have scores and features from."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from .._labels import outlier_mask
from ..images._door import check_images


def read_scores(scores, owner):
    """Scores as finite float64."""
    scores = column_or_1d(scores).astype(np.float64)
    if len(scores) == 0:
        raise ValueError(f"{owner}: there are no scores; give at least one.")
    if not np.isfinite(scores).all():
        index = np.flatnonzero(~np.isfinite(scores))[0]
        raise ValueError(f"{owner}: scores must be finite; score {index} is {scores[index]}.")
    return scores


def read_labels(y, owner, *, n_samples=None):
    """Labels as a mask of the anomalies, None without; `n_samples` where their number is known."""
    if y is None:
        return None
    outlier = outlier_mask(y, owner=owner)
    if n_samples is not None and len(outlier) != n_samples:
        raise ValueError(
            f"{owner}: there are {n_samples} samples, but {len(outlier)} labels; give one label "
            "for each sample, in the same order."
        )
    return outlier


def scores_of(estimator, X, owner):
    """Scores of samples, high = normal."""
    if not hasattr(estimator, "decision_function"):
        raise TypeError(
            f"{owner}: {type(estimator).__name__} has no decision_function; give a fitted outlier "
            "detector, or its scores to from_predictions."
        )
    return estimator.decision_function(X)


def split_steps(estimator):
    """What makes features, None where nothing does, and what scores them.

    Parameters
    ----------
    estimator : estimator
        A detector of this package, a Pipeline, or a scorer alone; fitted.

    Returns
    -------
    steps : Pipeline or None
    scorer : estimator
    """
    check_is_fitted(estimator)
    pipeline = getattr(estimator, "pipeline_", estimator)
    if not isinstance(pipeline, Pipeline):
        return None, pipeline
    return (pipeline[:-1] if len(pipeline) > 1 else None), pipeline[-1]


def features_of(estimator, X):
    """What the last step of a fitted estimator sees of `X`: rows of features."""
    steps, _ = split_steps(estimator)
    if steps is None:
        return X
    if hasattr(estimator, "pipeline_"):  # behind a detector's own door for images
        X = check_images(estimator, X)
    return steps.transform(X)
