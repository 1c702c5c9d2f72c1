"""What a label says: normal or anomaly. The only reader of labels in skad."""

from numbers import Real

import numpy as np
from sklearn.utils import column_or_1d

from ._compat import num_samples
from ._warnings import warn


def outlier_mask(y, *, outlier_label=None, owner="y"):
    """Tell which labels mean anomaly.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomaly) as in scikit-learn, or booleans (True = anomaly), or any
        labels together with ``outlier_label``.
    outlier_label : object, optional
        The label of the anomalies; every other label is normal.
    owner : str
        Named in error messages.

    Returns
    -------
    mask : ndarray of bool, shape (n_samples,)

    Raises
    ------
    ValueError
        If the labels are ambiguous: 0 and 1, say, where either may be the anomaly.
    """
    y = _plain(y)
    if outlier_label is not None:
        return np.asarray(y == outlier_label, dtype=bool)
    if y.dtype.kind == "b":
        return y
    if not _is_plus_minus_one(y):
        raise ValueError(f"{owner}: {_ALLOWED}; got {_describe(y)}. {_FIX}")
    return y == -1


_ALLOWED = (
    "Unknown label type: labels must be +1 (normal) and -1 (anomaly), or booleans (True = anomaly)"
)
_FIX = "Convert them, for example with np.where(y == 'my anomaly label', -1, 1)."


def _plain(y):
    """Labels as an array; objects that are all booleans or all numbers become such."""
    y = column_or_1d(np.asarray(y))
    if y.dtype == object and len(y):
        if all(isinstance(label, (bool, np.bool_)) for label in y):
            return y.astype(bool)
        if all(isinstance(label, Real) and label in (1, -1) for label in y):
            return y.astype(int)
    return y


def _is_plus_minus_one(y):
    return y.dtype.kind in "iuf" and bool(np.isin(y, (1, -1)).all())


def _describe(y):
    found = np.unique(y.astype(str)).tolist()
    return f"{', '.join(found[:6])}{', ...' if len(found) > 6 else ''} (dtype {y.dtype})"


def has_anomaly_labels(y):
    """True for labels that tell anomalies, +1 and -1 or booleans; False for targets of any kind."""
    if y is None:
        return False
    y = _plain(y)
    return y.dtype.kind == "b" or _is_plus_minus_one(y)


def normal_rows(X, y, *, owner):
    """Row numbers of the normal images: all of them without ``y``, else those not labelled anomaly.

    ``GridSearchCV`` refits on every row it was given, labelled anomalies included, so each
    ``fit(X, y)`` leaves those out.
    """
    n_samples = num_samples(X)
    if y is None:
        return np.arange(n_samples)
    y = _plain(y)
    if len(y) != n_samples:
        raise ValueError(f"{owner}: X has {n_samples} samples, but y has {len(y)} labels.")
    if y.dtype.kind in "iuf" and not _is_plus_minus_one(y) and not (y == -1).any():
        # Classes of normal images, or 0 and 1 of which either may be the anomaly. An error would
        # be in order, but scikit-learn's contract has fit take any numbers.
        warn(
            f"{owner}: {_ALLOWED}; got {_describe(y)}, so y is ignored and all samples count as "
            "normal. " + _FIX
        )
        return np.arange(n_samples)
    mask = outlier_mask(y, owner=owner)
    if mask.all():
        raise ValueError(f"{owner}: all {n_samples} samples are labelled anomalies; none to fit.")
    return np.flatnonzero(~mask)


def classes_of_normal(class_labels, y, *, owner):
    """Classes of the images that ``y`` does not call anomalies; None without classes."""
    if class_labels is None:
        return None
    class_labels = np.asarray(class_labels)
    if not has_anomaly_labels(y):
        return class_labels
    if class_labels.shape != (num_samples(y),):
        raise ValueError(
            f"{owner}: class_labels must be one for each of the {num_samples(y)} images, as y is; "
            f"got shape {class_labels.shape}."
        )
    return class_labels[normal_rows(class_labels, y, owner=owner)]
